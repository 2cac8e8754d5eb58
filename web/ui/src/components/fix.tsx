// A fix of a prompt: what would be published as a new version of it, and what came of it. Whoever reads may ask for it; nothing is
// published that no approver wants.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { post, seg } from "../api/client";
import { useGet, useSession } from "../api/hooks";
import type { FixState, PublishedFix, WaitingFix } from "../api/types";
import { figure, title } from "../lib/format";
import { useMay, Why } from "../lib/may";
import { Badge, External, Fold, Pre } from "./bits";
import { Failure, Show } from "./states";
import { Since, iso } from "./time";

type Answer = PublishedFix | WaitingFix;
const waits = (answer: Answer): answer is WaitingFix => "approval_id" in answer;

/** What came of the newest fix, by the runs that began after it. */
function Followed({ signal }: { signal: number }) {
  const state = useGet<FixState>(`/v1/signals/${signal}/fix-status`);
  return <Show query={state}>{(data) => ("verdict" in data
    ? <p><Badge word={data.verdict} /> Applied <Since at={iso(data.applied_at)} /> {data.applied_via === "langfuse" ? <>as version {data.langfuse_version ?? "unknown"} of {data.langfuse_prompt_name}</> : "by hand"}: seen again in {figure(data.recurrences_after_fix)} of {figure(data.runs_after_fix)} runs since.</p>
    : null)}</Show>;
}

export function ApplyFix({ signal, fix, prompt }: { signal: number; fix: string; prompt: string | null }) {
  const client = useQueryClient();
  const may = useMay("operate", "Noting that it was copied");
  const session = useSession();
  // Who may approve needs nobody else: then it is published at once.
  const atOnce = Boolean(session.data?.approver);
  const [name, setName] = useState(prompt ?? "");
  const apply = useMutation({
    mutationFn: () => post<Answer>(`/v1/signals/${signal}/apply-fix`, { fix_content: fix, langfuse_prompt_name: name.trim(), applied_via: "langfuse" }),
    onSettled: () => client.invalidateQueries({ queryKey: ["live"] }),
  });
  const copy = useMutation({
    mutationFn: async () => { await navigator.clipboard.writeText(fix); return post(`/v1/signals/${signal}/record-copy`, { fix_content: fix }); },
    onSettled: () => client.invalidateQueries({ queryKey: ["live"] }),
  });
  return (
    <>
      <p className="decide">
        <label>Prompt in Langfuse <input type="text" maxLength={200} value={name} onChange={(event) => setName(event.target.value)} placeholder="its name" /></label>
        <button type="button" disabled={!name.trim() || apply.isPending} onClick={() => apply.mutate()}>{atOnce ? "Publish it as a new version" : "Ask to publish it as a new version"}</button>
        <button type="button" disabled={!may.may || copy.isPending} onClick={() => copy.mutate()}>Copy, to apply by hand</button>
        <Why may={may} />{copy.isSuccess ? <span role="status">Copied, and noted: it is followed up by the runs from now on.</span> : null}
      </p>
      {apply.isError ? <Failure error={apply.error} /> : null}{copy.isError ? <Failure error={copy.error} /> : null}
      {apply.data ? (
        <div role="status">
          <p>{waits(apply.data) ? <>It waits for a decision: <Link to={`/approvals/${seg(apply.data.approval_id)}`}>what exactly would be published</Link>.</> : <>Published as version {apply.data.new_version}: <External address={apply.data.prompt_url}>{apply.data.prompt_url ?? "in Langfuse"}</External>.</>}</p>
          <Fold summary={title("before and after")}><Pre label="Before">{apply.data.old_text}</Pre><Pre label="After">{apply.data.new_text}</Pre></Fold>
        </div>
      ) : null}
      <Followed signal={signal} />
    </>
  );
}
