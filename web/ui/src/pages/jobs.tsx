// Jobs: when they run, how they ran, and running one now.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "react-router";
import { useParams } from "../lib/seen";
import { post, seg } from "../api/client";
import { useJobRuns, useJobs } from "../api/hooks";
import type { Job, JobAnswer } from "../api/types";
import { Badge, Card, Code, Cron, Fold, Json, PageTitle } from "../components/bits";
import { Failure, Loading, Show } from "../components/states";
import { More, Table } from "../components/table";
import { Since, Time } from "../components/time";
import { duration } from "../lib/format";
import { OfInstallation, useMayHere, Why } from "../lib/may";

export function RunNow({ name, quiet = false }: { name: string; /** Where the reason is said once for all of them. */ quiet?: boolean }) {
  const client = useQueryClient();
  const may = useMayHere("operate", "Running a job");
  const run = useMutation({
    mutationFn: (dry: boolean) => post<JobAnswer>(`/api/v1/jobs/${seg(name)}/run`, { dry_run: dry }),
    onSettled: () => client.invalidateQueries({ queryKey: ["live"] }),
  });
  return (
    <>
      <span className="decide">
        <button type="button" disabled={!may.may || run.isPending} aria-describedby={!may.may && quiet ? "why-run" : undefined} onClick={() => run.mutate(false)}>Run now</button>
        <button type="button" disabled={!may.may || run.isPending} aria-describedby={!may.may && quiet ? "why-run" : undefined} onClick={() => run.mutate(true)}>Dry run</button>
        {quiet ? null : <Why may={may} />}
      </span>
      {run.isPending ? <span role="status"> running…</span> : null}
      {run.isError ? <Failure error={run.error} /> : null}
      {run.isSuccess ? <Fold summary={run.data.dry_run ? "Dry run: nothing was written" : `Ran: ${run.data.run?.status ?? "done"}`} open><Json label="What it found or did" value={run.data.detail} /></Fold> : null}
    </>
  );
}

function Runs({ job }: { job: Job }) {
  const runs = useJobRuns(job.name);
  const items = runs.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <PageTitle side={<Link to="/jobs">All jobs</Link>}>{job.name}</PageTitle>
      <Card title="The job"><p>{job.description}</p><p>{job.schedule ? <>Runs by <Code>{job.schedule}</Code>, next <Time at={job.next_due_at} />.</> : "Runs on demand."} {job.judged_until ? <>Judged until <Time at={job.judged_until} />.</> : null}</p><RunNow name={job.name} /></Card>
      <Card title="Runs">
        {runs.isError ? <Failure error={runs.error} /> : runs.isLoading ? <Loading /> : (
          <Table label="Runs" more={runs.hasNextPage} rows={items} rowKey={(run) => run.id} empty="It has not run yet." columns={[
            { header: "Started", cell: (run) => <Time at={run.started_at} />, sort: (run) => run.started_at }, { header: "Status", cell: (run) => <Badge word={run.status} />, sort: (run) => run.status },
            { header: "Took", cell: (run) => run.finished_at ? duration((Date.parse(run.finished_at) - Date.parse(run.started_at)) / 1000) : "–" },
            { header: "Window", cell: (run) => run.window ? <><Time at={run.window.start} /> to <Time at={run.window.end} /></> : "–" }, { header: "Attempt", cell: (run) => run.attempt },
            { header: "Error", cell: (run) => run.error ?? "none" }, { header: "Detail", cell: (run) => run.detail ? <Fold summary="detail"><Json label="Detail" value={run.detail} /></Fold> : "–" },
          ]} />
        )}
        <More listing={runs} />
      </Card>
    </>
  );
}

export default function Jobs() {
  const { id } = useParams();
  const jobs = useJobs();
  const may = useMayHere("operate", "Running a job");
  if (id && !jobs.data) return <><PageTitle side={<Link to="/jobs">All jobs</Link>}>{id}</PageTitle><OfInstallation what="Jobs"><Show query={jobs} what="jobs">{() => null}</Show></OfInstallation></>;
  if (!jobs.data) return <><PageTitle>Jobs</PageTitle><OfInstallation what="Jobs"><Show query={jobs} what="jobs">{() => null}</Show></OfInstallation></>;
  return (
    <Show query={jobs} what="jobs">{(data) => {
      const job = data.items.find((item) => item.name === id);
      if (id) return job ? <Runs key={job.name} job={job} /> : <p className="empty">There is no job of that name. <Link to="/jobs">All jobs</Link></p>;
      return (
        <>
          <PageTitle>Jobs</PageTitle>
          <Card><Table label="Jobs" rows={data.items} rowKey={(item) => item.name} empty="No jobs." columns={[
            { header: "Job", cell: (item) => <><Link to={`/jobs/${seg(item.name)}`}>{item.name}</Link><br /><span className="hint">{item.description}</span></>, sort: (item) => item.name },
            { header: "Schedule", cell: (item) => item.schedule ? <Cron>{item.schedule}</Cron> : "on demand" },
            { header: "Last run", cell: (item) => <Since at={item.last_run?.started_at} />, sort: (item) => item.last_run?.started_at },
            { header: "Status", cell: (item) => item.last_run ? <><Badge word={item.last_run.status} />{item.last_run.error ? <><br /><span className="gap">{item.last_run.error}</span></> : null}</> : "–", sort: (item) => item.last_run?.status },
            { header: "Next", cell: (item) => <Time at={item.next_due_at} />, sort: (item) => item.next_due_at },
            { header: "Run", cell: (item) => <RunNow name={item.name} quiet /> },
          ]} /></Card>
          <p><Why id="why-run" may={may} /></p>
        </>
      );
    }}</Show>
  );
}
