// Talking to the server. Owns: requests, errors, and the cache of answers. Must hold: nothing is sent anywhere else; what
// changes something is JSON, which no form of another page can send; a failure is an error that says what to do, never empty.
import { QueryClient } from "@tanstack/react-query";
import { conceal, parse, text } from "../lib/seen";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly detail?: string,
    readonly hint?: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

async function failure(response: Response): Promise<ApiError> {
  const body = await response.text().then((body) => parse<{ error?: Record<string, string> } | null>(body)).catch(() => null);
  const error = body?.error ?? {};
  return new ApiError(response.status, error.code ?? "http", error.message ?? `the server answered ${response.status}`, error.detail, error.hint);
}

/** Sends a request; answers the response, which succeeded. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { cache: "no-store", credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "the server does not answer", undefined, "it is tried again by itself");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return parse<T>(await (await send(path, { signal })).text());
}

export async function write<T>(method: "POST" | "PUT" | "PATCH" | "DELETE", path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await send(path, {
    method,
    signal,
    headers: { "Content-Type": "application/json", "X-Tripline": "1" },
    body: body === undefined ? undefined : text(body),
  });
  return response.status === 204 ? (undefined as T) : parse<T>(await response.text());
}

export const post = <T>(path: string, body: unknown = {}, signal?: AbortSignal) => write<T>("POST", path, body, signal);

/** A part of a path. */
export const seg = (part: string) => encodeURIComponent(conceal(part));

/** A path with the parameters that are set. */
export function withParams(path: string, params: Record<string, string | number | boolean | undefined | null>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== "") search.set(name, conceal(String(value)));
  }
  const text = search.toString();
  return text ? `${path}${path.includes("?") ? "&" : "?"}${text}` : path;
}

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // The live stream says when something changed.
      staleTime: 60_000,
      retry: (failures, error) => error instanceof ApiError && (error.status === 0 || error.status === 503) && failures < 2,
      refetchOnWindowFocus: true,
    },
  },
});
