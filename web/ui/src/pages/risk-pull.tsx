// The score of one pull request, with everything it is made of.
import { Link } from "react-router";
import { useParams } from "../lib/seen";
import { seg } from "../api/client";
import { useGet } from "../api/hooks";
import type { RiskScore } from "../api/types";
import { Badge, Card, Code, External, Facts, PageTitle } from "../components/bits";
import { Show, Unknown } from "../components/states";
import { Table } from "../components/table";
import { Time } from "../components/time";
import { count, figure, money } from "../lib/format";

const points = (value: number) => value.toLocaleString("en-US", { maximumFractionDigits: 1 });

export function Score({ data }: { data: RiskScore }) {
  const { coverage } = data;
  return (
    <>
      <Card title="The score">
        {coverage.gaps.map((gap) => <Unknown key={gap.source} source={gap.source} reason={gap.reason} />)}
        {data.complete ? null : <p className="gap"><strong>incomplete</strong>: {coverage.measured} of {count(coverage.commits, "commit")} since <Time at={coverage.since} /> are measured. The score may be higher.</p>}
        <p className="answer">{data.risk_score} of 100{data.risk_score > data.threshold ? `, above ${data.threshold}: changes are requested once somebody approves it` : `, not above ${data.threshold}`}</p>
        <p>{points(data.points.error_points)} for {count(data.points.errors, "new error")} (4 each), {points(data.points.cost_points)} for {money(data.points.cost_usd)} more cost (10 a dollar, 50 at most); 100 at most together.</p>
        <Facts items={[["Title", <External address={data.pull.url}>{data.pull.title}</External>], ["By", data.pull.author], ["State", <Badge word={data.pull.state} />], ["Files", figure(data.file_count)], ["Commits behind it", figure(data.commit_count)]]} />
      </Card>
      <Card title="Its files, the riskiest first">
        <Table label="Files" most={50} rows={data.files} rowKey={(file) => file.path} empty="It changes no file." columns={[
          { header: "File", cell: (file) => <>{file.path}{file.previous_path ? <span className="hint"> before: {file.previous_path}</span> : null}</>, sort: (file) => file.path }, { header: "Change", cell: (file) => file.status },
          { header: "Score alone", cell: (file) => file.score, sort: (file) => file.score }, { header: "Changes before", cell: (file) => figure(file.changes), sort: (file) => file.changes },
          { header: "New errors", cell: (file) => figure(file.errors), sort: (file) => file.errors }, { header: "More cost", cell: (file) => money(file.cost_usd), sort: (file) => file.cost_usd },
        ]} />
      </Card>
      <Card title="Commits behind it, the worst first">
        <Table label="Commits" rows={data.commits} rowKey={(commit) => commit.sha} empty="None was followed by trouble." columns={[
          { header: "Commit", cell: (commit) => <Code>{commit.sha.slice(0, 8)}</Code> }, { header: "Landed", cell: (commit) => <Time at={commit.committed_at} />, sort: (commit) => commit.committed_at },
          { header: "New errors", cell: (commit) => commit.error_delta, sort: (commit) => commit.error_delta }, { header: "More cost", cell: (commit) => money(commit.cost_delta_usd), sort: (commit) => commit.cost_delta_usd }, { header: "Files", cell: (commit) => commit.files.join(", ") },
        ]} />
      </Card>
    </>
  );
}

export default function RiskPull() {
  const { id = "" } = useParams();
  const score = useGet<RiskScore>(`/api/v1/risk/current/${seg(id)}`, { still: true });
  return <><PageTitle side={<Link to="/risk">All scores</Link>}>Risk of pull request #{id}</PageTitle><Show query={score} what="the score">{(data) => <Score data={data} />}</Show></>;
}
