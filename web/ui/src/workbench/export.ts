// The whole result as a file. The server writes it as it reads it: a file that comes to its end is whole, and one that is not whole is
// broken off. Where gaps are allowed it is 10,000 rows at most, and headers say what is missing.
import { ApiError, send } from "../api/client";
import { text } from "../lib/seen";
import { lines } from "./run";

export const FILE_FORMATS = ["csv", "json", "parquet"] as const;
export type FileFormat = (typeof FILE_FORMATS)[number];
const WIRE: Record<FileFormat, string> = { csv: "csv", json: "ndjson", parquet: "parquet" };
const TYPES: Record<FileFormat, string> = { csv: "text/csv", json: "application/json", parquet: "application/vnd.apache.parquet" };

export const MOST_ROWS = 10_000_000;
export const MOST_WITH_GAPS = 10_000;
/** Characters of JSON that are put into one piece of the file. */
const PIECE = 1 << 20;

/** Lines of JSON as one array, in pieces: no text has all of it. */
export async function arrayOf(rows: AsyncIterable<string>, onPiece: (piece: string) => void): Promise<void> {
  let [piece, first] = ["[", true];
  for await (const row of rows) {
    piece += `${first ? "" : ",\n"}${row}`;
    first = false;
    if (piece.length > PIECE) { onPiece(piece); piece = ""; }
  }
  onPiece(`${piece}]\n`);
}

async function* counted(body: ReadableStream<Uint8Array>, onBytes: (read: number) => void): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  let read = 0;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      onBytes(read += value.byteLength);
      yield value as Uint8Array<ArrayBuffer>;
    }
  } finally {
    reader.releaseLock();
  }
}

/** Asks for the file; `missing` says what it lacks, where that may be. */
export async function exported(
  { format, partial, ...query }: { sql: string; params: Record<string, unknown>; partial: boolean; format: FileFormat },
  signal: AbortSignal,
  onBytes: (read: number) => void,
): Promise<{ file: Blob; missing: string | null }> {
  const response = await send("/api/v1/sql", {
    method: "POST", signal, headers: { "Content-Type": "application/json", "X-Tripline": "1" },
    body: text({ ...query, partial, format: WIRE[format], max_rows: partial ? MOST_WITH_GAPS : MOST_ROWS, timeout_ms: 60_000 }),
  });
  if (!response.body) throw new ApiError(0, "unreachable", "the answer has no body");
  const pieces: BlobPart[] = [];
  try {
    if (format === "json") {
      let read = 0;
      await arrayOf(lines(response.body), (piece) => { onBytes(read += piece.length); pieces.push(piece); });
    } else {
      for await (const piece of counted(response.body, onBytes)) pieces.push(piece);
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, "cut_off", "the file was broken off, because it would not have all rows", undefined, "run the query: its report says which source failed, or how many rows there are");
  }
  const complete = response.headers.get("x-tripline-complete");
  return { file: new Blob(pieces, { type: TYPES[format] }), missing: complete === "false" ? response.headers.get("x-tripline-warning") ?? "" : null };
}

/** Lets the browser keep a file. */
export function handOver(file: Blob, name: string) {
  const address = URL.createObjectURL(file);
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
