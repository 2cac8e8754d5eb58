//! The conformance suite against SQLite, a test per promise.

macro_rules! tests {
    ($($module:ident { $($name:ident,)* })*) => {
        $(mod $module {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let home = crate::sqlite::tests::Home::new();
                crate::conformance::$module::$name(home.store()).await;
            }
        )*})*

        const LISTED: &[&str] = &[$($(stringify!($name),)*)*];
    };
}
crate::for_each_promise!(tests);

#[test]
fn no_promise_is_forgotten_in_the_list() {
    let sources = [
        include_str!("../../conformance/incidents.rs"),
        include_str!("../../conformance/approvals.rs"),
        include_str!("../../conformance/actions.rs"),
        include_str!("../../conformance/audit.rs"),
        include_str!("../../conformance/jobs.rs"),
        include_str!("../../conformance/observations.rs"),
        include_str!("../../conformance/events.rs"),
        include_str!("../../conformance/runs.rs"),
        include_str!("../../conformance/door.rs"),
        include_str!("../../conformance/sessions.rs"),
        include_str!("../../conformance/modes.rs"),
        include_str!("../../conformance/told.rs"),
    ];
    let written: Vec<_> = sources
        .iter()
        .flat_map(|source| source.lines())
        .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
        .collect();
    assert_eq!(written, LISTED);
}
