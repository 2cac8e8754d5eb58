// A decision that waits: what is asked, what exactly would be done, and the two answers.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { useSession } from "../api/hooks";
import { post, seg } from "../api/client";
import type { Approval, Decided } from "../api/types";
import { left, verb } from "../lib/format";
import { Code, Facts, Fold, Pre } from "./bits";
import { Failure } from "./states";
import { Left, useTick } from "./time";

/** The payload, part by part, whole: it is what will be sent. */
export function Payload({ approval }: { approval: Approval }) {
  const payload = approval.payload;
  const parts = payload && typeof payload === "object" && !Array.isArray(payload) ? Object.entries(payload) : [["payload", payload] as [string, unknown]];
  return (
    <>
      <Facts items={[["Target", approval.target], ["Payload sha256", <Code>{approval.payload_sha256}</Code>], ["Evidence sha256", approval.evidence_sha256 ? <Code>{approval.evidence_sha256}</Code> : "–"]]} />
      {parts.map(([name, value]) => (
        <div key={name}><h3>{name}</h3><Pre label={name}>{typeof value === "string" ? value : JSON.stringify(value, null, 2)}</Pre></div>
      ))}
    </>
  );
}

export function DecisionBlock({ approval, open = false }: { approval: Approval; open?: boolean }) {
  const client = useQueryClient();
  const session = useSession();
  const [reason, setReason] = useState("");
  useTick();
  const decide = useMutation({
    mutationFn: (decision: "approve" | "reject") =>
      post<Decided>(`/api/v1/approvals/${seg(approval.id)}/${decision}`, { payload_sha256: approval.payload_sha256, ...(reason.trim() ? { reason: reason.trim() } : {}) }),
    onSettled: () => client.invalidateQueries({ queryKey: ["live"] }),
  });
  const may = Boolean(session.data?.approver);
  const scoped = session.data?.scopes.some((scope) => scope === "operate" || scope === "admin");
  const expired = left(approval.expires_at) === "expired";
  const blocked = !may || decide.isPending || expired;
  const why = `why-${approval.id}`;
  return (
    <div className="decision" aria-busy={decide.isPending}>
      <p><strong>Shall Tripline {verb(approval.action_type)}?</strong> <Left until={approval.expires_at} /> <Link to={`/approvals/${seg(approval.id)}`}>Details</Link></p>
      <p>{approval.summary}</p>
      {decide.isError ? <Failure error={decide.error} /> : null}
      <p className="decide">
        <input type="text" maxLength={1000} placeholder="reason (optional)" aria-label="reason" disabled={!may} value={reason} onChange={(event) => setReason(event.target.value)} />
        <button type="button" className="approve" disabled={blocked} aria-describedby={may ? undefined : why} onClick={() => decide.mutate("approve")}>Approve: {verb(approval.action_type)}</button>
        <button type="button" className="reject" disabled={blocked} aria-describedby={may ? undefined : why} onClick={() => decide.mutate("reject")}>Reject</button>
      </p>
      {may ? null : (
        <p className="hint" id={why}>{scoped ? "You may read this. Deciding is for those whom governance.approvers lists." : "You may read this. Deciding takes a key with the scope operate, of a person whom governance.approvers lists."}</p>
      )}
      <Fold summary="Exactly what will be done" open={open}><Payload approval={approval} /></Fold>
    </div>
  );
}
