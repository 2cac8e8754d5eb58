// What was decided and done, one line each; and settling what a vendor could not tell.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { post, seg } from "../api/client";
import type { Action, Approval } from "../api/types";
import { title, verb } from "../lib/format";
import { useMay, Why } from "../lib/may";
import { Badge, External } from "./bits";
import { Failure } from "./states";
import { Since } from "./time";

export function Outcome({ action }: { action: Action }) {
  const result = (action.result ?? {}) as { url?: string; state?: string };
  if (action.error) return <>{action.error}</>;
  return result.url ? <External address={result.url}>{result.url}</External> : <>{result.state ?? action.status}</>;
}

function Settle({ action }: { action: Action }) {
  const client = useQueryClient();
  const may = useMay("operate", "Settling it");
  const [note, setNote] = useState("");
  const settle = useMutation({
    mutationFn: (status: "done" | "failed") => post(`/api/v1/actions/${seg(action.id)}/settle`, { status, ...(note.trim() ? { note: note.trim() } : {}) }),
    onSettled: () => client.invalidateQueries({ queryKey: ["live"] }),
  });
  return (
    <div className="decide">
      <p>Nobody knows whether it happened. Look, then say:</p>
      {settle.isError ? <Failure error={settle.error} /> : null}
      <input type="text" maxLength={1000} aria-label="what was found" placeholder="what was found (optional)" value={note} onChange={(event) => setNote(event.target.value)} />
      <button type="button" disabled={!may.may || settle.isPending} onClick={() => settle.mutate("done")}>It happened</button>
      <button type="button" disabled={!may.may || settle.isPending} onClick={() => settle.mutate("failed")}>It did not</button>
      <Why may={may} />
    </div>
  );
}

export function Done({ approvals, actions }: { approvals: Approval[]; actions: Action[] }) {
  const decided = approvals.filter((approval) => approval.status !== "pending");
  if (!decided.length && !actions.length) return null;
  return (
    <ul className="done">
      {decided.map((approval) => (
        <li key={approval.id}><Badge word={approval.status} /> {verb(approval.action_type)}{approval.resolved_by ? `, by ${approval.resolved_by}` : ""}{approval.resolved_via ? ` via ${approval.resolved_via}` : ""}{approval.reason ? ` (${approval.reason})` : ""} {approval.resolved_at ? <Since at={approval.resolved_at} /> : null}</li>
      ))}
      {actions.map((action) => (
        <li key={action.id} data-action={action.status}><Badge word={action.status} /> {title(action.type)}: <Outcome action={action} /> <Since at={action.updated_at} />
          {action.status === "unknown" ? <Settle action={action} /> : null}</li>
      ))}
    </ul>
  );
}
