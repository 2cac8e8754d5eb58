// Whether the responders found an incident right or wrong; what they say counts in the detector's precision.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { post, seg } from "../api/client";
import { useSession } from "../api/hooks";
import type { Feedback as Given } from "../api/types";
import { useMay, Why } from "../lib/may";
import { Failure } from "./states";
import { Since } from "./time";

/** Most bytes of a comment, as the server takes it. */
const LONGEST = 1000;

export function Feedback({ incident, given }: { incident: string; given: Given[] }) {
  const client = useQueryClient();
  const may = useMay("operate", "Saying so");
  const session = useSession();
  const [comment, setComment] = useState("");
  const say = useMutation({
    mutationFn: (correct: boolean) => post(`/api/v1/incidents/${seg(incident)}/feedback`, { correct, ...(comment.trim() ? { comment: comment.trim() } : {}) }),
    onSuccess: () => { setComment(""); return client.invalidateQueries({ queryKey: ["live"] }); },
  });
  const newest = [...given].sort((a, b) => b.given_at.localeCompare(a.given_at));
  const mine = newest.find((each) => each.given_by === session.data?.person);
  return (
    <div>
      <p className="decide noprint">Was this right? <button type="button" disabled={!may.may || say.isPending} aria-pressed={mine?.correct === true} onClick={() => say.mutate(true)}>Right</button> <button type="button" disabled={!may.may || say.isPending} aria-pressed={mine?.correct === false} onClick={() => say.mutate(false)}>Wrong</button>
        <input type="text" disabled={!may.may} maxLength={LONGEST} aria-label="Why it is right or wrong" placeholder="why, if you like" value={comment} onChange={(event) => setComment(event.target.value)} />
        {say.isSuccess ? <span role="status"> Noted, thank you.</span> : null}<Why may={may} /></p>
      {say.isError ? <Failure error={say.error} /> : null}
      {newest.length ? <ul className="parts" aria-label="What responders said">{newest.map((each, index) => <li key={index}><strong>{each.correct ? "Right" : "Wrong"}</strong>, said {each.given_by} <Since at={each.given_at} /> ({each.via}){each.comment ? `: ${each.comment}` : ""}</li>)}</ul> : <p className="hint">Nobody has said yet whether this was right.</p>}
    </div>
  );
}
