use super::*;

#[test]
fn bundled() {
    for (n, t) in [
        ("langfuse", include_str!("../../sources/langfuse.yaml")),
        ("sentry", include_str!("../../sources/sentry.yaml")),
        ("github", include_str!("../../sources/github.yaml")),
        ("slack", include_str!("../../sources/slack.yaml")),
    ] {
        if let Err(e) = parse(n, t) {
            panic!("{e}");
        }
    }
}
