// The weekly digest as it reads in Slack, the figures with the SQL behind them, and earlier weeks.
import { Link } from "react-router";
import { useParams } from "../lib/seen";
import { seg } from "../api/client";
import { useListing } from "../api/hooks";
import type { Digest } from "../api/types";
import { Card, Fold, Json, PageTitle, Pre } from "../components/bits";
import { DigestText } from "../components/digest-text";
import { Empty, Failure, Loading, Unknown } from "../components/states";
import { More, RowsTable } from "../components/table";
import { Time } from "../components/time";
import { money } from "../lib/format";
import { workbench } from "../lib/workbench";

type Query = { name: string; title?: string; sql: string; params?: Record<string, unknown>; status?: string; error?: string | null; rows?: Record<string, unknown>[] };

function View({ digest }: { digest: Digest }) {
  const queries = Array.isArray(digest.queries) ? (digest.queries as Query[]) : [];
  return (
    <>
      <Card title={<>Week to <Time at={digest.week_end} /></>}>
        <p className="hint">From <Time at={digest.week_start} />, {digest.time_zone}; written by {digest.narrator}; model calls cost {money(digest.cost_usd)}.</p>
        {digest.gaps.map((gap) => <Unknown key={gap.source} source={gap.source} reason={gap.reason} />)}
        <DigestText text={digest.report} />
      </Card>
      <Card title="Where the figures are from">
        <Fold summary="Figures"><Json label="Figures" value={digest.figures} /></Fold>
        {queries.map((query) => (
          <Fold key={query.name} summary={<><strong>{query.name}</strong>{query.title ? `: ${query.title}` : ""}{query.error ? <span className="gap"> unknown: {query.error}</span> : null}</>}>
            <RowsTable label={`Rows of ${query.name}`} rows={query.rows ?? []} />
            <Pre label="SQL">{query.sql}</Pre>
            <p><Link to={workbench({ sql: query.sql, params: query.params })}>Open in workbench</Link></p>
          </Fold>
        ))}
      </Card>
    </>
  );
}

export default function DigestPage() {
  const { id } = useParams();
  const digests = useListing<Digest>("/api/v1/digest/history");
  const items = digests.data?.pages.flatMap((page) => page.items) ?? [];
  const shown = id ? items.find((digest) => digest.id === id) : items[0];
  return (
    <>
      <PageTitle>Digest</PageTitle>
      {digests.isError ? <Failure error={digests.error} again={() => void digests.refetch()} /> : null}
      {digests.isLoading ? <Loading what="digests" /> : null}
      {digests.data && !items.length ? <Empty>No digest was written yet. The job weekly_digest writes one each Monday; it can be run under <Link to="/jobs">Jobs</Link>.</Empty> : null}
      {id && digests.data && items.length && !shown ? <Empty>There is no digest of that name here; show more weeks below.</Empty> : null}
      {shown ? <View key={shown.id} digest={shown} /> : null}
      {items.length ? <Card title="All weeks"><ul>{items.map((digest) => <li key={digest.id}><Link to={`/digest/${seg(digest.id)}`}>Week to <Time at={digest.week_end} /></Link></li>)}</ul><More listing={digests} /></Card> : null}
    </>
  );
}
