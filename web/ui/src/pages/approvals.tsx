// What waits for a decision, with everything it takes to decide; and what was decided.
import { Link, useSearchParams } from "react-router";
import { seg } from "../api/client";
import { useActions, useApprovals, useApprovalStats } from "../api/hooks";
import { Outcome } from "../components/actions";
import { Badge, Card, PageTitle, Tabs } from "../components/bits";
import { DecisionBlock } from "../components/decide";
import { Empty, Failure, Loading } from "../components/states";
import { More, Table } from "../components/table";
import { Since } from "../components/time";
import { title, verb } from "../lib/format";

const TABS = ["pending", "approved", "rejected", "expired"] as const;

export default function Approvals() {
  const [search, setSearch] = useSearchParams();
  const tab = TABS.find((name) => name === search.get("status")) ?? "pending";
  const stats = useApprovalStats();
  const approvals = useApprovals({ status: tab });
  const actions = useActions({ kind: "remediation" });
  const items = approvals.data?.pages.flatMap((page) => page.items) ?? [];
  const done = actions.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <PageTitle>Approvals</PageTitle>
      <div className="toolbar">
        <Tabs label="Status" tabs={[...TABS]} value={tab} onChange={(next) => setSearch(next === "pending" ? {} : { status: next }, { replace: true })} />
        {stats.data ? <p className="hint">{stats.data.pending} pending, {stats.data.approved} approved, {stats.data.rejected} rejected, {stats.data.expired} expired{stats.data.avg_resolution_minutes === null ? "" : `; decided within ${stats.data.avg_resolution_minutes.toFixed(1)} min on average`}</p> : null}
      </div>
      {approvals.isError ? <Failure error={approvals.error} again={() => void approvals.refetch()} /> : null}
      {approvals.isLoading ? <Loading what="approvals" /> : null}
      {approvals.data && tab === "pending" ? (
        items.length ? items.map((approval) => (
          <Card key={approval.id} title={<><Badge word={approval.severity} /> <Link to={`/incidents/${seg(approval.incident_id)}`}>{title(approval.incident_type)}</Link></>}>
            <DecisionBlock approval={approval} />
          </Card>
        )) : <Empty>No pending approvals.</Empty>
      ) : null}
      {approvals.data && tab !== "pending" ? (
        <Table label={`Approvals that are ${tab}`} more={approvals.hasNextPage} rows={items} rowKey={(approval) => approval.id} empty={`No approval was ${tab}.`} columns={[
          { header: "What", cell: (approval) => <><Link to={`/approvals/${seg(approval.id)}`}>{title(verb(approval.action_type))}</Link><br /><span className="hint">{approval.summary}</span></> },
          { header: "Incident", cell: (approval) => <Link to={`/incidents/${seg(approval.incident_id)}`}>{title(approval.incident_type)}</Link> },
          { header: "Severity", cell: (approval) => <Badge word={approval.severity} /> },
          { header: "By", cell: (approval) => approval.resolved_by ?? "–", sort: (approval) => approval.resolved_by }, { header: "Via", cell: (approval) => approval.resolved_via ?? "–" },
          { header: "Why", cell: (approval) => approval.reason ?? "–" }, { header: "When", cell: (approval) => approval.resolved_at ? <Since at={approval.resolved_at} /> : "–", sort: (approval) => approval.resolved_at },
        ]} />
      ) : null}
      <More listing={approvals} />
      <Card title="What was done">
        {actions.isError ? <Failure error={actions.error} /> : actions.isLoading ? <Loading /> : (
          <Table label="Actions" more={actions.hasNextPage} rows={done} rowKey={(action) => action.id} empty="Nothing was done yet." columns={[
            { header: "Action", cell: (action) => title(action.type) }, { header: "Status", cell: (action) => <Badge word={action.status} />, sort: (action) => action.status },
            { header: "Attempts", cell: (action) => action.attempts }, { header: "Target", cell: (action) => action.target }, { header: "Outcome", cell: (action) => <Outcome action={action} /> },
            { header: "Incident", cell: (action) => action.incident_id ? <Link to={`/incidents/${seg(action.incident_id)}`}>open</Link> : "–" }, { header: "When", cell: (action) => <Since at={action.updated_at} />, sort: (action) => action.updated_at },
          ]} />
        )}
        <More listing={actions} />
      </Card>
    </>
  );
}
