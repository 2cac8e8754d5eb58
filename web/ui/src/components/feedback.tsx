// Whether the responders found an incident right or wrong; what they say counts in the detector's precision.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { post, seg } from "../api/client";
import { useMay, Why } from "../lib/may";
import { Failure } from "./states";

export function Feedback({ incident }: { incident: string }) {
  const client = useQueryClient();
  const may = useMay("operate", "Saying so");
  const say = useMutation({
    mutationFn: (correct: boolean) => post(`/api/v1/incidents/${seg(incident)}/feedback`, { correct }),
    onSuccess: () => client.invalidateQueries({ queryKey: ["live"] }),
  });
  return (
    <div className="noprint">
      <p className="decide">Was this right? <button type="button" disabled={!may.may || say.isPending} aria-pressed={say.isSuccess && say.variables} onClick={() => say.mutate(true)}>Right</button> <button type="button" disabled={!may.may || say.isPending} aria-pressed={say.isSuccess && !say.variables} onClick={() => say.mutate(false)}>Wrong</button>
        {say.isSuccess ? <span role="status"> Noted, thank you.</span> : null}<Why may={may} /></p>
      {say.isError ? <Failure error={say.error} /> : null}
    </div>
  );
}
