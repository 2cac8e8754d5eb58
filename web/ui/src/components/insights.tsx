// What somebody should know of a session, worst first as it was found; the figures behind it are one click away.
import { Link } from "react-router";
import { seg } from "../api/client";
import type { Insight } from "../api/types";
import { title } from "../lib/format";
import { Badge, Fold, Json } from "./bits";
import { Empty } from "./states";
import { Since } from "./time";

export function Insights({ insights, session = false }: { insights: Insight[]; /** Whether each says which session it is of. */ session?: boolean }) {
  if (!insights.length) return <Empty>None.</Empty>;
  return (
    <ul className="lines">
      {insights.map((insight) => (
        <li key={insight.id} className="line">
          <Badge word={insight.severity} />
          <span className="line-main">
            <strong>{insight.title}</strong>
            <span>{insight.message}</span>
            <span className="hint">{title(insight.category)}{insight.agent_id ? ` · ${insight.agent_id}` : ""}{session ? <> · <Link to={`/sessions/${seg(insight.session_id)}`}>session {insight.session_id.slice(-8)}</Link></> : null}</span>
            <Fold summary="What it rests on"><Json label="What it rests on" value={insight.payload} /></Fold>
          </span>
          <span className="line-side"><Since at={insight.created_at} /></span>
        </li>
      ))}
    </ul>
  );
}
