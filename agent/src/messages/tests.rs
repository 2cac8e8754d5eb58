use super::*;
use crate::actions::marker;
use crate::govern::testing::{SHA, agent_loop, cost_spike, evidence, noon};
use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::{Value, json};
use tripline_store::{
    Action, ActionKind, ActionStatus, Approval, ApprovalStatus, Evidence, EvidenceStatus, ExactJson, Feedback,
    FeedbackVia, Gap, Incident, IncidentStatus, NarrativeParts, NewAnomaly, NewApproval, NewFeedback, Severity, Via,
};

fn incident(finding: &NewAnomaly) -> Incident {
    Incident {
        id: "0199aaaa-0000-7000-8000-000000000001".into(),
        detector: finding.detector.clone(),
        kind: finding.kind.clone(),
        severity: finding.severity,
        entity: finding.entity.clone(),
        fingerprint: finding.fingerprint.clone(),
        description: finding.description.clone(),
        status: IncidentStatus::Open,
        opened_at: noon(),
        window: finding.window,
        last_seen_at: noon(),
        occurrences: 1,
        reopened_count: 0,
        clean_windows: 0,
        resolved_at: None,
        culprit_sha: Some(SHA.to_owned()),
        cost_usd: Some(12.5),
        narrative: Some("all of it".to_owned()),
        narrative_parts: Some(NarrativeParts {
            what_happened: "Cost rose to $12.50 an hour.".to_owned(),
            likely_cause: "Commit 9f2c1ab0 raised max_tokens.".to_owned(),
            impact: "12 users waited.".to_owned(),
            recommended_action: "Revert 9f2c1ab0.".to_owned(),
        }),
        narrator: Some("template".to_owned()),
        suspects: json!([{"sha": SHA, "score": 0.82, "message": "Raise max_tokens"}]),
        timeline: json!([]),
        gaps: vec![Gap { source: "sentry".to_owned(), reason: "HTTP 503 after 3 retries".to_owned() }],
        evidence_sha256: Some("e".repeat(64)),
        investigated_at: Some(noon()),
        slack_channel: None,
        slack_ts: None,
        github_issue_url: None,
        updated_at: noon(),
    }
}

fn approval(action_type: &str, status: ApprovalStatus) -> Approval {
    let resolved = status != ApprovalStatus::Pending;
    Approval {
        id: "0199bbbb-0000-7000-8000-000000000002".into(),
        request: NewApproval {
            incident_id: "0199aaaa-0000-7000-8000-000000000001".into(),
            incident_type: "cost_spike".to_owned(),
            severity: Severity::High,
            action_type: action_type.to_owned(),
            target: Some("acme/shop".to_owned()),
            payload: ExactJson::new(&json!({"key": "k"})),
            evidence_sha256: None,
            summary: "Opens the issue.".to_owned(),
            expires_at: noon() + TimeDelta::hours(4),
            max_attempts: 3,
        },
        payload_sha256: "ab".repeat(32),
        status,
        created_at: noon(),
        resolved_at: resolved.then(noon),
        resolved_by: resolved.then(|| "U0APPROVER1".to_owned()),
        resolved_via: resolved.then_some(Via::Slack),
        reason: None,
        slack_channel: None,
        slack_ts: None,
    }
}

fn action(action_type: &str, status: ActionStatus, result: Option<Value>, error: Option<&str>) -> Action {
    Action {
        id: "0199cccc-0000-7000-8000-000000000003".into(),
        kind: ActionKind::Remediation,
        action_type: action_type.to_owned(),
        target: None,
        incident_id: None,
        approval_id: None,
        payload: ExactJson::new(&json!({})),
        payload_sha256: String::new(),
        idempotency_key: "k".to_owned(),
        status,
        attempts: 1,
        max_attempts: 3,
        next_attempt_at: noon(),
        lease_holder: None,
        lease_until: None,
        result,
        error: error.map(str::to_owned),
        depends_on: None,
        created_at: noon(),
        updated_at: noon(),
        completed_at: Some(noon()),
    }
}

fn links() -> Links {
    Links {
        page: Some("https://tripline.example.com/#incident=0199aaaa-0000-7000-8000-000000000001".to_owned()),
        commit: Some(format!("https://github.com/acme/shop/commit/{SHA}")),
    }
}

fn render(incident: &Incident, approvals: &[Approval], actions: &[Action]) -> Content {
    let people = crate::people::People::of(incident, &[]);
    incident_message(&IncidentView { incident, approvals, actions, links: &links(), people: &people, feedback: &[] })
}

fn snapshot(content: &Content) -> Value {
    json!({"text": content.text, "blocks": content.blocks})
}

#[test]
fn while_commits_cannot_be_read_the_culprit_is_unknown_and_not_missing() {
    let mut incident = incident(&cost_spike());
    incident.culprit_sha = None;
    assert!(render(&incident, &[], &[]).blocks.unwrap().to_string().contains("Culprit: none found"));
    incident.gaps.push(Gap { source: "github".to_owned(), reason: "HTTP 503 after 3 retries".to_owned() });
    let message = render(&incident, &[], &[]).blocks.unwrap().to_string();
    let issue = incident_issue(&incident, &[], &links(), "marker").body;
    for said in [message, issue] {
        assert!(said.contains("unknown (commits could not be read)"), "{said}");
        assert!(!said.contains("none found"), "{said}");
    }
}

#[test]
fn an_incident_that_asks_shows_its_parts_and_its_buttons() {
    let content = render(&incident(&cost_spike()), &[approval("open_github_issue", ApprovalStatus::Pending)], &[]);
    insta::assert_json_snapshot!("asks", snapshot(&content));
}

/// Whether a block asks for a decision, and not for a verdict about the incident.
fn is_decision(block: &Value) -> bool {
    !block["block_id"].as_str().unwrap_or_default().starts_with("tripline-verdict:")
}

#[test]
fn the_message_names_the_author_and_who_is_on_call_and_what_was_not_asked() {
    use crate::people::{OnCall, People, Watch};
    let incident = incident(&cost_spike());
    let on_call = |name: &str, level, policy: Option<&str>| OnCall {
        name: name.to_owned(),
        level,
        policy: policy.map(str::to_owned),
    };
    let known = vec![on_call("Ann <!here>", 1, Some("web")), on_call("Bo", 1, None), on_call("Cy", 2, None)];
    let people = People {
        watch: Watch::Known(known),
        author: Some("ada\n<@U1>".to_owned()),
        not_configured: vec!["datadog".to_owned(), "linear".to_owned()],
    };
    let told = |people: &People| {
        let view =
            IncidentView { incident: &incident, approvals: &[], actions: &[], links: &links(), people, feedback: &[] };
        incident_message(&view).blocks.unwrap().to_string()
    };
    let shown = told(&people);
    assert!(shown.contains("Author of the first suspect: ada &lt;@U1&gt;"), "{shown}");
    assert!(shown.contains("On call: Ann &lt;!here&gt; (web), Bo") && !shown.contains("Cy"), "{shown}");
    assert!(shown.contains("Not asked, not configured: datadog, linear"), "{shown}");
    let unknown = told(&People { watch: Watch::Unknown, ..People::default() });
    assert!(unknown.contains("On call: unknown, PagerDuty did not answer"), "{unknown}");
}

#[test]
fn a_loop_has_a_third_button_that_kills() {
    let content = render(&incident(&agent_loop(15)), &[approval("kill_loop", ApprovalStatus::Pending)], &[]);
    let buttons: Vec<&str> = content
        .blocks
        .as_ref()
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .filter(|block| block["type"] == "actions" && is_decision(block))
        .flat_map(|block| block["elements"].as_array().unwrap())
        .map(|button| button["action_id"].as_str().unwrap())
        .collect();
    assert_eq!(buttons, ["tripline_approve", "tripline_reject", "tripline_kill_loop"]);
}

#[test]
fn decisions_and_outcomes_take_the_place_of_the_buttons() {
    let incident = incident(&cost_spike());
    let mut killed = approval("kill_loop", ApprovalStatus::Approved);
    killed.reason = Some(KILL_REASON.to_owned());
    let mut by_policy = approval("kill_loop", ApprovalStatus::Approved);
    by_policy.resolved_via = Some(Via::Policy);
    let mut by_key = approval("open_github_issue", ApprovalStatus::Rejected);
    by_key.resolved_by = Some("Alice <admin>".to_owned());
    let opened = action(
        "open_github_issue",
        ActionStatus::Done,
        Some(json!({"url": "https://github.com/acme/shop/issues/7"})),
        None,
    );
    let shown: Vec<Value> = [
        (approval("open_github_issue", ApprovalStatus::Approved), opened),
        (killed, action("kill_loop", ActionStatus::Requested, None, None)),
        (by_policy, action("kill_loop", ActionStatus::Done, None, None)),
        (by_key, action("open_github_issue", ActionStatus::Failed, None, Some("GitHub refused (HTTP 404)"))),
        (
            approval("open_github_issue", ApprovalStatus::Expired),
            action("open_github_issue", ActionStatus::Unknown, None, Some("no answer in time")),
        ),
    ]
    .into_iter()
    .map(|(approval, action)| {
        let content = render(&incident, &[approval], &[action]);
        let blocks = content.blocks.clone().unwrap();
        let blocks: Vec<Value> =
            blocks.as_array().unwrap().iter().filter(|block| is_decision(block)).cloned().collect();
        let blocks: Vec<Value> = blocks.iter().rev().take(3).rev().cloned().collect();
        assert!(!blocks.iter().any(|block| block["type"] == "actions"));
        json!({"text": content.text, "last_blocks": blocks})
    })
    .collect();
    insta::assert_json_snapshot!("decided", shown);
}

#[test]
fn an_issue_has_the_four_parts_the_evidence_and_its_marker() {
    let mut rows = evidence();
    rows.push(Evidence {
        name: "errors_in_window".to_owned(),
        sources: vec!["sentry".to_owned()],
        status: EvidenceStatus::Unknown,
        error: Some("HTTP 503 after 3 retries".to_owned()),
        row_count: 0,
        ..rows[0].clone()
    });
    let issue = incident_issue(&incident(&cost_spike()), &rows, &links(), &marker("incident:1:open_github_issue:0"));
    insta::assert_snapshot!("issue", format!("{}\n\n{}", issue.title, issue.body));
}

#[test]
fn every_note_says_what_happened() {
    let mut rejected = approval("open_github_issue", ApprovalStatus::Rejected);
    rejected.reason = Some("a *known* issue <!here>".to_owned());
    let approved = approval("open_github_issue", ApprovalStatus::Approved);
    let notes = [
        Note::Reopened.text(),
        Note::Resolved(Ended { lasted: chrono::TimeDelta::minutes(95), cost_usd: Some(12.5), windows: 4 }).text(),
        Note::Decided(&rejected).text(),
        Note::IssueOpened { url: "https://github.com/acme/shop/issues/7" }.text(),
        Note::IssueOpened { url: "javascript:alert(1)|x" }.text(),
        Note::KillRequested { trace_id: "0af7651916cd43dd8448eb211c80319c", runs: None }.text(),
        Note::KillAcknowledged { at: noon() }.text(),
        Note::ActionFailed { action_type: "open_github_issue", why: "GitHub refused (HTTP 404)" }.text(),
        Note::ActionUnknown { action_type: "open_github_issue", why: "no answer in time." }.text(),
        already_decided(&approved),
        already_decided(&rejected),
        already_decided(&approval("kill_loop", ApprovalStatus::Expired)),
        expired(),
        not_allowed(),
        mismatch(),
        not_found(),
        not_understood(),
    ];
    insta::assert_snapshot!("notes", notes.join("\n"));
}

/// An incident whose every vendor field is this text.
fn hostile(text: &str) -> (Incident, Vec<Approval>, Vec<Action>, Vec<Evidence>) {
    let mut incident = incident(&cost_spike());
    for field in [&mut incident.entity, &mut incident.kind, &mut incident.description] {
        text.clone_into(field);
    }
    incident.narrative = Some(text.to_owned());
    incident.narrator = Some(text.to_owned());
    incident.culprit_sha = Some(text.to_owned());
    incident.narrative_parts = Some(NarrativeParts {
        what_happened: text.to_owned(),
        likely_cause: text.to_owned(),
        impact: text.to_owned(),
        recommended_action: text.to_owned(),
    });
    incident.suspects = json!([{"sha": text, "score": 1.0, "message": text}, text, {"id": text}]);
    incident.gaps = vec![Gap { source: text.to_owned(), reason: text.to_owned() }];
    incident.evidence_sha256 = Some(text.to_owned());
    let mut pending = approval("open_github_issue", ApprovalStatus::Pending);
    pending.request.target = Some(text.to_owned());
    pending.request.summary = text.to_owned();
    let mut rejected = approval(text, ApprovalStatus::Rejected);
    rejected.resolved_by = Some(text.to_owned());
    rejected.reason = Some(text.to_owned());
    let actions = vec![
        action("open_github_issue", ActionStatus::Done, Some(json!({ "url": text })), None),
        action("open_github_issue", ActionStatus::Failed, None, Some(text)),
    ];
    let rows = vec![Evidence {
        name: text.to_owned(),
        sources: vec![text.to_owned()],
        status: EvidenceStatus::Unknown,
        error: Some(text.to_owned()),
        ..evidence()[0].clone()
    }];
    (incident, vec![pending, rejected], actions, rows)
}

/// People, sources and verdicts that have all this name.
fn hostile_people(text: &str) -> (crate::people::People, Feedback) {
    use crate::people::{OnCall, People, Watch};
    let on_call = OnCall { name: text.to_owned(), level: 1, policy: Some(text.to_owned()) };
    let people = People {
        watch: Watch::Known(vec![on_call]),
        author: Some(text.to_owned()),
        not_configured: vec![text.to_owned()],
    };
    let feedback = NewFeedback {
        incident_id: "0199aaaa-0000-7000-8000-000000000001".into(),
        correct: false,
        given_by: text.to_owned(),
        via: FeedbackVia::Api,
        comment: Some(text.to_owned()),
    };
    (people, Feedback { feedback, given_at: noon() })
}

/// The links and mentions in Slack text: everything between `<` and `>`.
fn active(text: &str) -> Vec<String> {
    text.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default().to_owned()).collect()
}

fn is_ours(token: &str) -> bool {
    token.starts_with("https://tripline.example.com/#incident=")
        || token.starts_with("https://github.com/acme/shop/commit/")
        || token.starts_with("!date^")
        || token.starts_with("@U0APPROVER1")
}

/// Every text of a message, with whether Slack formats it.
fn texts(value: &Value, found: &mut Vec<(String, bool)>) {
    match value {
        Value::Object(object) => {
            if let (Some(kind), Some(Value::String(text))) = (object.get("type"), object.get("text")) {
                found.push((text.clone(), kind == "mrkdwn"));
            }
            object.values().for_each(|value| texts(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| texts(value, found)),
        _ => {}
    }
}

const LIMITS: [(&str, usize); 3] = [("header", 150), ("section", 3_000), ("button", 75)];

fn within_limits(blocks: &Value) -> Result<(), String> {
    let blocks = blocks.as_array().ok_or("no blocks")?;
    if blocks.len() > 50 {
        return Err(format!("{} blocks", blocks.len()));
    }
    for block in blocks {
        for element in block["elements"].as_array().into_iter().flatten().chain([block]) {
            let kind = element["type"].as_str().unwrap_or_default();
            let length = |text: &Value| text["text"].as_str().map_or(0, |text| text.encode_utf16().count());
            let max = LIMITS.iter().find(|(name, _)| *name == kind).map_or(usize::MAX, |(_, max)| *max);
            if length(&element["text"]) > max {
                return Err(format!("a {kind} of {}", length(&element["text"])));
            }
            if element["fields"].as_array().into_iter().flatten().any(|field| length(field) > 2_000) {
                return Err("a field is too long".to_owned());
            }
        }
    }
    Ok(())
}

fn assert_inert_in_slack(text: &str) -> Result<(), TestCaseError> {
    let (incident, approvals, actions, _) = hostile(text);
    let (people, feedback) = hostile_people(text);
    for approvals in [&approvals[..], &approvals[1..]] {
        let content = incident_message(&IncidentView {
            incident: &incident,
            approvals,
            actions: &actions,
            links: &links(),
            people: &people,
            feedback: std::slice::from_ref(&feedback),
        });
        let blocks = content.blocks.clone().unwrap();
        within_limits(&blocks).map_err(TestCaseError::fail)?;
        let mut shown = Vec::new();
        texts(&blocks, &mut shown);
        shown.push((content.text, true));
        for (shown, formatted) in shown {
            let tokens = active(&shown);
            prop_assert!(tokens.iter().all(|token| is_ours(token)), "{tokens:?} in {shown:?}");
            prop_assert!(formatted || tokens.is_empty(), "{shown:?}");
            prop_assert!(!shown.is_empty());
        }
    }
    for note in [
        Note::Decided(&approvals[1]).text(),
        Note::ActionFailed { action_type: text, why: text }.text(),
        Note::ActionUnknown { action_type: text, why: text }.text(),
        Note::IssueOpened { url: text }.text(),
        Note::ChangesRequested { url: text }.text(),
        Note::PromptPublished { name: text, version: Some(3), url: Some(text) }.text(),
        Note::KillRequested { trace_id: text, runs: Some(Vec::new()) }.text(),
        Note::KillRequested { trace_id: text, runs: Some(vec![text.to_owned()]) }.text(),
        Note::KillRequested { trace_id: "trace", runs: Some(vec![text.to_owned()]) }.text(),
        already_decided(&approvals[1]),
    ] {
        prop_assert!(active(&note).iter().all(|token| is_ours(token)), "{note:?}");
    }
    Ok(())
}

/// What GitHub would link, mention or render in an issue's body, other than our own.
fn assert_inert_in_markdown(text: &str) -> Result<(), TestCaseError> {
    use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag};
    let (incident, _, _, rows) = hostile(text);
    let marker = marker("incident:1:open_github_issue:0");
    let issue = incident_issue(&incident, &rows, &links(), &marker);
    prop_assert!(issue.body.chars().count() <= 65_536, "{}", issue.body.chars().count());
    prop_assert_eq!(issue.body.lines().filter(|line| line.trim() == marker).count(), 1);
    prop_assert!(!issue.title.contains('\n') && issue.title.chars().count() <= 420);
    let mut ours =
        vec!["What happened", "Likely cause", "Impact", "Recommended action", "Facts", "Evidence", "Unknown"];
    let mut text = String::new();
    let mut heading = None;
    let github = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH
        | Options::ENABLE_GFM;
    for event in Parser::new_ext(&issue.body, github) {
        match event {
            Event::Start(Tag::Link { dest_url, .. }) => {
                prop_assert!(
                    dest_url.starts_with("https://tripline.example.com/#incident=")
                        || dest_url.starts_with("https://github.com/acme/shop/commit/"),
                    "a link to {dest_url}"
                );
            }
            Event::Start(Tag::Heading { level, .. }) => {
                prop_assert_eq!(level, HeadingLevel::H2);
                heading = Some(String::new());
            }
            Event::End(pulldown_cmark::TagEnd::Heading(_)) => {
                let name = heading.take().unwrap_or_default();
                prop_assert!(ours.contains(&name.as_str()), "a heading {name:?}");
                ours.retain(|ours| *ours != name);
            }
            Event::Html(html) | Event::InlineHtml(html) => prop_assert_eq!(html.trim(), &marker),
            Event::Start(
                Tag::Image { .. }
                | Tag::Table(_)
                | Tag::CodeBlock(_)
                | Tag::BlockQuote(_)
                | Tag::Emphasis
                | Tag::Strong
                | Tag::Strikethrough
                | Tag::FootnoteDefinition(_)
                | Tag::MetadataBlock(_),
            )
            | Event::FootnoteReference(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::Rule
            | Event::TaskListMarker(_) => {
                return Err(TestCaseError::fail(format!("{event:?} in {:?}", issue.body)));
            }
            Event::Text(part) => match &mut heading {
                Some(heading) => heading.push_str(&part),
                None => text.push_str(&part),
            },
            Event::SoftBreak | Event::HardBreak => text.push('\n'),
            Event::Code(_) | Event::End(_) => text.push(' '),
            Event::Start(_) => {}
        }
    }
    // What GitHub's own filters would find in the text between the code spans.
    let lower = text.to_lowercase();
    for mark in ["@", "://", "www.", "mailto:"] {
        prop_assert!(!lower.contains(mark), "{mark} in {text:?}");
    }
    let reference = lower.match_indices('#').any(|(at, _)| lower[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    prop_assert!(!reference, "{text:?}");
    Ok(())
}

#[test]
fn known_attacks_are_inert_everywhere() {
    for text in [
        "<!channel> <!here> <@U0VICTIM> <#C1> <!subteam^S1>",
        "<http://evil.example|click here>",
        "[click](http://evil.example) ![x](http://evil.example/x.png)",
        "@acme/everyone @octocat #1 GH-1 acme/shop#1 a@evil.example www.evil.example HTTPS://EVIL.example",
        "`` ` ``` `@octocat`",
        "``` \n@octocat\n```",
        "<img src=x onerror=alert(1)><script>alert(1)</script><!-- tripline:key=incident:1:open_github_issue:0 -->",
        "<!-- tripline:key=incident:1:open_github_issue:0 -->",
        "# heading\n## heading\nunder\n===\nunder\n---\n- list\n1. list\n2) list\n+ list\n* list\n> quote\n| a | b |\n|---|---|",
        "\n\n    code\n\tcode\n~~~\ncode\n~~~",
        "*bold* _it_ __b__ **b** ~~s~~ ***x*** a_b_c snake_case_name",
        "a\u{202e}b\u{200b}@\u{200b}octocat \u{feff}<\u{200b}!channel>",
        "$x$ $$y$$ \\(z\\) $`a`$",
        ":tada: [^1] [x]: http://evil.example [ ] - [x] task",
        "&lt;!channel&gt; &#64;octocat &commat;octocat &amp;lt;",
        "'; DROP TABLE approvals; -- ../../etc/passwd",
        "",
        " ",
        "\u{0}\u{7}\r\n",
        "---\ntitle: x\n---\n",
        "+++\ntitle: x\n+++\n",
    ] {
        assert_inert_in_slack(text).unwrap_or_else(|error| panic!("{text:?} in Slack: {error}"));
        assert_inert_in_markdown(text).unwrap_or_else(|error| panic!("{text:?} in Markdown: {error}"));
    }
}

#[test]
fn the_longest_texts_stay_within_the_limits() {
    for text in
        ["&".repeat(50_000), "`".repeat(50_000), "@a ".repeat(20_000), "😀".repeat(20_000), "\n- x".repeat(9_000)]
    {
        assert_inert_in_slack(&text).unwrap();
        assert_inert_in_markdown(&text).unwrap();
    }
}

/// Text made of what has an effect somewhere.
fn markup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<", ">", "&", "!", "@", "#", "1", "`", "``", "*", "_", "~", "[", "]", "(", ")", "|", "-", "+", "=", "$", "\\",
        ":", "/", "://", "www.", ".", "\n", "\n\n", "    ", " ", "a", "Bc", "http", "channel", "!--", "--", "--!>",
        "U0", "^", "\u{200b}", "\u{202e}", "é", "😀", "{", "}", "\"", "'", "%", "GH-", "&#64;", "&lt;", "\t", ";",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_vendor_text_is_active_in_slack(text in prop_oneof![markup(), any::<String>()]) {
        assert_inert_in_slack(&text)?;
    }

    #[test]
    fn no_vendor_text_is_active_in_an_issue(text in prop_oneof![markup(), any::<String>()]) {
        assert_inert_in_markdown(&text)?;
    }
}
