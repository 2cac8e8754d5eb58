//! Plans as `EXPLAIN` shows them: what would be sent for which query.

use datafusion::scalar::ScalarValue;
use tripline_engine::{Constraints, ScanRequest, SortKey};

use crate::testing::{Reply, Toy, World, constrain};

fn text(s: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(s.to_owned()))
}

fn time(hours_before_noon: i64, micros: i64) -> ScalarValue {
    let micros = (1_795_176_000 - 3600 * hours_before_noon) * 1_000_000 + micros;
    ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()))
}

struct Case {
    table: &'static str,
    columns: &'static [&'static str],
    constraints: Constraints,
    limit: Option<usize>,
    sort: Option<SortKey>,
}

fn case(table: &'static str, columns: &'static [&'static str], constraints: &[(&str, &str, ScalarValue)]) -> Case {
    Case { table, columns, constraints: constrain(constraints), limit: None, sort: None }
}

impl Case {
    fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    fn sort(mut self, column: &str, descending: bool) -> Self {
        self.sort = Some(SortKey { column: column.to_owned(), descending });
        self
    }
}

#[test]
fn explain_shows_what_would_be_sent() {
    let window = |column: &'static str| [(column, ">=", time(24, 0)), (column, "<", time(0, 0))];
    let repo = [("owner", "=", text("acme")), ("repo", "=", text("shop"))];
    let with = |more: &[(&'static str, &'static str, ScalarValue)]| [&repo[..], more].concat();
    let cases = [
        case("langfuse.observations", &["id"], &[]).limit(10),
        case("langfuse.observations", &["id", "total_cost"], &window("start_time")),
        case("langfuse.observations", &["id"], &[("start_time", ">", time(24, 5)), ("start_time", "<=", time(0, 5))])
            .limit(10),
        case("langfuse.observations", &["output"], &[("type", "=", text("GENERATION")), ("name", "in", text("a,b"))]),
        case("langfuse.observations", &["id"], &[("trace_id", "in", text("t1,t2")), ("start_time", ">=", time(24, 0))]),
        case("langfuse.observations", &["id"], &[("level", "<>", text("DEBUG"))]).limit(10),
        case("langfuse.traces", &["id", "total_cost"], &window("timestamp")),
        case("langfuse.scores", &["value"], &[("name", "in", text("a,b")), ("observation_id", "=", text("o1"))]),
        case("langfuse.scores", &["value"], &[("observation_id", "=", text("o1")), ("trace_id", "=", text("t1"))]),
        case("langfuse.scores", &["value"], &[("name", "=", text("a,b"))]),
        case("langfuse.sessions", &["id"], &window("created_at")),
        case(
            "sentry.issues",
            &["title", "count"],
            &[("first_seen", ">=", time(48, 0)), ("project", "in", text("web,api"))],
        ),
        case("sentry.issues", &["title"], &[]).sort("first_seen", true).limit(5),
        case("sentry.issue_events", &["title"], &[]),
        case("sentry.deploys", &["id"], &[("date_finished", ">=", time(24, 0))]),
        case("github.commits", &["sha"], &with(&window("commit__committer__date"))),
        case("github.commits", &["sha"], &[("owner", "=", text("acme"))]),
        case("github.commit_files", &["filename"], &with(&[("sha", "in", text("a,b,c"))])),
        case("github.pulls", &["number", "additions"], &with(&[("merged_at", ">=", time(24, 0))])),
        case("github.pulls", &["number"], &with(&[])).sort("created_at", true).limit(250),
        case("github.issues", &["number"], &with(&[("created_at", ">=", time(24, 0)), ("state", "=", text("open"))])),
        case(
            "github.workflow_runs",
            &["id"],
            &with(&[("created_at", ">=", time(24, 0)), ("status", "=", text("failure"))]),
        ),
        case("slack.messages", &["text"], &[("channel_name", "=", text("incidents")), ("ts", ">=", time(1, 7))]),
        case("slack.messages", &["text"], &[("channel", "=", text("C1")), ("ts", "<", time(1, 0))]).limit(20),
        case("slack.channels", &["name"], &[("is_archived", "=", ScalarValue::Boolean(Some(false)))]),
    ];
    let world = World::bundled(Toy::new(|_| Reply::status(500)));
    let shown: Vec<String> = cases
        .into_iter()
        .map(|case| {
            let mut request: ScanRequest = world.select(case.table, case.columns);
            request.constraints = case.constraints;
            request.limit = case.limit;
            request.sort = case.sort;
            let (source, table) = case.table.split_once('.').unwrap();
            let plan = world.connectors.source(source).unwrap().table(table).unwrap().describe(&request);
            let asked = format!(
                "{} [{}] {}{}{}",
                case.table,
                case.columns.join(", "),
                request.constraints,
                request.sort.map(|s| format!(" ORDER BY {s}")).unwrap_or_default(),
                request.limit.map(|l| format!(" LIMIT {l}")).unwrap_or_default()
            );
            format!("{asked}\n  {}\n  {}\n  {}", plan.request, plan.requests, plan.pushed.join(", "))
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
    assert_eq!(world.toy.count(), 0, "describing sends nothing");
}
