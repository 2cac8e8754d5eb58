// One approval: what exactly, why, who may decide, and what came of it.
import { Link } from "react-router";
import { useParams } from "../lib/seen";
import { seg } from "../api/client";
import { useActions, useApproval, useAudit, useIncident, useSettings } from "../api/hooks";
import type { Approval as ApprovalData } from "../api/types";
import { Done } from "../components/actions";
import { Badge, Card, Facts, PageTitle } from "../components/bits";
import { DecisionBlock, Payload } from "../components/decide";
import { Failure, Show } from "../components/states";
import { Table } from "../components/table";
import { Left, Time } from "../components/time";
import { count, title, verb } from "../lib/format";

function Approvers() {
  const settings = useSettings();
  const governance = settings.data?.settings.governance as { approvers?: string[] } | undefined;
  if (settings.isError) return <>those whom <code>governance.approvers</code> lists</>;
  const names = governance?.approvers ?? [];
  return <>{settings.data ? (names.length ? names.join(", ") : "nobody: governance.approvers is empty") : "…"}</>;
}

function View({ approval }: { approval: ApprovalData }) {
  const actions = useActions({ approval_id: approval.id });
  const incident = useIncident(approval.incident_id);
  const audit = useAudit({ subject_id: approval.id, limit: 100 });
  return (
    <>
      <PageTitle side={<><Badge word={approval.severity} /> <Badge word={approval.status} /></>}>{title(verb(approval.action_type))}</PageTitle>
      <Card title="The decision">
        {approval.status === "pending" ? <DecisionBlock approval={approval} open /> : <><p>{approval.summary}</p><Done approvals={[approval]} actions={actions.data?.pages.flatMap((page) => page.items) ?? []} /></>}
        <Facts items={[
          ["Incident", <Link to={`/incidents/${seg(approval.incident_id)}`}>{title(approval.incident_type)}</Link>], ["Asked", <Time at={approval.created_at} />],
          ["Expires", <><Time at={approval.expires_at} /> {approval.status === "pending" ? <Left until={approval.expires_at} /> : null}</>], ["May decide", <Approvers />], ["Attempts at most", approval.max_attempts],
        ]} />
      </Card>
      {approval.status === "pending" ? null : <Card title="Exactly what was asked"><Payload approval={approval} /></Card>}
      <Card title="Evidence">
        <Show query={incident}>{(data) => <><p>{data.narrative_parts?.likely_cause ?? data.description}</p><ul>{data.evidence.map((item) => <li key={item.name}><Link to={`/incidents/${seg(data.id)}#evidence-${item.name}`}>{item.name}</Link>: {item.status === "unknown" ? <span className="gap">unknown: {item.error}</span> : count(item.row_count, "row")}</li>)}</ul></>}</Show>
      </Card>
      <Card title="What the record says">
        <Show query={audit}>{(data) => <Table label="Entries of the record" rows={data.items} empty="No entries." rowKey={(entry) => String(entry.seq)} columns={[
          { header: "No.", cell: (entry) => entry.seq }, { header: "When", cell: (entry) => <Time at={entry.at} /> }, { header: "Event", cell: (entry) => entry.event }, { header: "By", cell: (entry) => entry.actor },
          { header: "Detail", cell: (entry) => <code className="wrap">{JSON.stringify(entry.detail)}</code> },
        ]} />}</Show>
      </Card>
    </>
  );
}

export default function Approval() {
  const { id = "" } = useParams();
  const approval = useApproval(id);
  if (approval.isError && !approval.data) return <><PageTitle side={<Link to="/approvals">All approvals</Link>}>Approval</PageTitle><Failure error={approval.error} again={() => void approval.refetch()} /></>;
  return <Show query={approval} what="the approval">{(data) => <View key={data.id} approval={data} />}</Show>;
}
