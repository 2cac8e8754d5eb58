// Whether the page is being printed: then all of it is there, not only what was unfolded.
import { useSyncExternalStore } from "react";
import { flushSync } from "react-dom";

let printing = false;
const listeners = new Set<() => void>();
function set(next: boolean) {
  if (printing === next) return;
  printing = next;
  // The browser takes the page as it is when the handlers of the event are done.
  flushSync(() => { for (const listener of listeners) listener(); });
}
if (typeof window !== "undefined") {
  window.addEventListener("beforeprint", () => set(true));
  window.addEventListener("afterprint", () => set(false));
}
const subscribe = (listener: () => void) => { listeners.add(listener); return () => listeners.delete(listener); };

export const usePrinting = () => useSyncExternalStore(subscribe, () => printing);
