// The live stream: what changed makes what is shown old, and it is read again.
//
// One tab holds the stream and tells the others: browsers allow six connections per host, and a stream takes one.
import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";

export type Live = "connecting" | "live" | "lost";
type Message = "change" | "sources" | "live" | "lost";

let state: Live = "connecting";
const listeners = new Set<() => void>();
const subscribe = (listener: () => void) => { listeners.add(listener); return () => listeners.delete(listener); };

/** Whether what is shown is kept current. */
export const useLive = () => useSyncExternalStore(subscribe, () => state);

function set(next: Live) {
  if (state === next) return;
  state = next;
  for (const listener of listeners) listener();
}

/** Reads the sources again, and before them the server's time: by an older one they would have answered in the future. */
export async function sourcesAgain(client: QueryClient) {
  await client.invalidateQueries({ queryKey: ["session"] });
  await client.invalidateQueries({ queryKey: ["sources"] });
}

/** Follows the stream until the signal; without locks (an address that is neither https nor this machine) each tab has its own. */
function follow(client: QueryClient, signal: AbortSignal) {
  const channel = "BroadcastChannel" in window ? new BroadcastChannel("tripline") : null;
  let soon: ReturnType<typeof setTimeout> | undefined;
  const refresh = () => {
    soon ??= setTimeout(() => {
      soon = undefined;
      void client.invalidateQueries({ queryKey: ["live"] });
      void client.invalidateQueries({ queryKey: ["session"] });
    }, 150);
  };
  const hear = (message: Message) => {
    if (message === "sources") return void sourcesAgain(client);
    // What happened while the stream was lost was not told.
    if (message === "change" || (message === "live" && state === "lost")) {
      refresh();
      void sourcesAgain(client);
    }
    set(message === "lost" ? "lost" : "live");
  };
  const tell = (message: Message) => { hear(message); channel?.postMessage(message); };
  if (channel) channel.onmessage = (event: MessageEvent<Message>) => hear(event.data);

  const listen = () => new Promise<void>((done) => {
    let stream: EventSource | null = null;
    let again: ReturnType<typeof setTimeout> | undefined;
    const connect = () => {
      stream = new EventSource("/api/v1/stream");
      stream.addEventListener("open", () => tell("live"));
      stream.addEventListener("change", () => tell("change"));
      stream.addEventListener("sources", () => tell("sources"));
      stream.addEventListener("error", () => {
        tell("lost");
        // It connects again by itself unless the server refused it.
        if (stream?.readyState !== EventSource.CLOSED) return;
        // Refused: maybe because the key has ended, which the session then says.
        void client.invalidateQueries({ queryKey: ["session"] });
        again = setTimeout(connect, 2000);
      });
    };
    connect();
    signal.addEventListener("abort", () => { clearTimeout(again); stream?.close(); done(); }, { once: true });
  });
  if (navigator.locks && channel) {
    // Whoever waits for the stream hears of it from the tab that has it.
    navigator.locks.request("tripline-stream", { signal }, listen).catch(() => undefined);
    navigator.locks.query?.().then((locks) => { if (locks.held?.some((lock) => lock.name === "tripline-stream")) set("live"); }).catch(() => undefined);
  } else void listen();
  signal.addEventListener("abort", () => { clearTimeout(soon); channel?.close(); }, { once: true });
}

export function useLiveStream(enabled: boolean) {
  const client = useQueryClient();
  useEffect(() => {
    if (!enabled) return;
    const stop = new AbortController();
    follow(client, stop.signal);
    return () => stop.abort();
  }, [client, enabled]);
}
