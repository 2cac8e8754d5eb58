// The states that every list has: loading, empty, failed, and unknown because a source failed.
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ApiError } from "../api/client";

export const Loading = ({ what = "" }: { what?: string }) => <p className="empty" role="status">Loading{what ? ` ${what}` : ""}…</p>;
export const Empty = ({ children }: { children: ReactNode }) => <p className="empty">{children}</p>;

/** What went wrong, what exactly, and what to do; another try is offered where it may help. */
export function Failure({ error, again }: { error: unknown; again?: () => void }) {
  const known = error instanceof ApiError ? error : null;
  return (
    <div className="error" role="alert">
      <p><strong>{error instanceof Error ? error.message : String(error)}</strong>{known?.detail ? `: ${known.detail}` : ""}</p>
      {known?.hint ? <p>{known.hint}</p> : null}
      {again && known?.status !== 403 ? <button type="button" onClick={again}>Try again</button> : null}
    </div>
  );
}

/** What is not known, because a source did not answer: never the same as nothing. */
export const Unknown = ({ source, reason }: { source: string; reason?: string | null }) => (
  <p className="gap"><strong>unknown: {source}</strong>{reason ? ` — ${reason}` : ""}</p>
);

/** Shows what a query answered, or how it stands. */
export function Show<T>({ query, what, children }: { query: UseQueryResult<T>; what?: string; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) {
    return (
      <>
        {query.isError ? <Failure error={query.error} again={() => void query.refetch()} /> : null}
        {children(query.data)}
      </>
    );
  }
  if (query.isError) return <Failure error={query.error} again={() => void query.refetch()} />;
  return <Loading what={what} />;
}
