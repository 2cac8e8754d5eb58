use proptest::prelude::*;

use super::*;

/// A small valid spec; `{table}` stands for more fields of its one table.
fn minimal() -> String {
    r"source: toy
description: A toy.
base_url: { env: [TOY_URL], default: http://localhost }
inputs:
  token: { env: [TOY_TOKEN], required: true, secret: true }
  org: { env: [TOY_ORG] }
auth: { type: bearer, token: token }
test: /ping
tables:
  things:
    description: Things.
    guide: Ask away.
    primary_key: [id]
    columns:
      id: { type: text, about: Id }
      made_at: { type: timestamp, path: madeAt, about: When }
    endpoints:
      - name: things
        path: /orgs/{{input.org}}/things
        filters:
          made_at: { lower: since, format: iso_s }
"
    .to_owned()
}

fn errors(text: &str) -> String {
    match parse("toy.yaml", text) {
        Ok(_) => panic!("no error in:\n{text}"),
        Err(errors) => errors.to_string(),
    }
}

/// The errors of the minimal spec with `from` replaced by `to`.
fn broken(from: &str, to: &str) -> String {
    let text = minimal();
    assert!(text.contains(from), "{from}");
    errors(&text.replacen(from, to, 1))
}

#[test]
fn a_valid_spec_is_understood() {
    let spec = parse("toy.yaml", &minimal()).unwrap();
    assert_eq!((spec.name.as_str(), spec.tables.len(), spec.limits.concurrency), ("toy", 1, 8));
    let table = spec.table("things").unwrap();
    assert_eq!(table.columns[1].kind, ColumnKind::Timestamp);
    assert_eq!(table.primary_key, [0]);
}

#[test]
fn the_bundled_specs_are_valid() {
    let mut names = Vec::new();
    for (name, text) in crate::bundled() {
        match parse(name, text) {
            Ok(spec) => names.push(spec.name),
            Err(errors) => panic!("{errors}"),
        }
    }
    names.sort();
    assert_eq!(names, ["datadog", "github", "langfuse", "linear", "pagerduty", "sentry", "slack"]);
}

#[test]
fn an_error_names_file_line_column_and_what_is_allowed() {
    let cases = [
        ("description: A toy.", "descripton: A toy."),
        ("type: bearer", "type: bearr"),
        ("token: token }", "token: tokn }"),
        ("path: madeAt", "paht: madeAt"),
        ("type: timestamp", "type: datetime"),
        ("{{input.org}}", "{{input.orga}}"),
        ("{{input.org}}", "{{input.token}}"),
        ("{{input.org}}", "{{id}}"),
        ("{{input.org}}", "{{input.org"),
        ("made_at: { lower", "mad_at: { lower"),
        (", format: iso_s }", " }"),
        ("primary_key: [id]", "primary_key: [idd]"),
        ("env: [TOY_URL]", "env: [toy_url]"),
        ("env: [TOY_URL], default", "default"),
        ("default: http://localhost", "default: ftp://localhost"),
        ("      id: {", "      ID: {"),
        ("about: Id }", "about: Id, from: key }"),
        ("about: Id }", "about: Id, from: detail }"),
        ("about: Id }", "about: Id, from: parent }"),
        ("path: madeAt", "path: a..b"),
        ("        filters:", "        pagination: { type: pages }\n        filters:"),
        ("        filters:", "        pagination: { type: cursor, param: c }\n        filters:"),
        ("        filters:", "        page_size: { param: limit, max: none }\n        filters:"),
        ("    guide: Ask away.", "    guide: Ask away.\n    parent: { table: thing, key: { id: id } }"),
        ("    guide: Ask away.", "    guide: Ask away.\n    parent: { table: things, key: { id: id } }"),
        ("    guide: Ask away.", "    guide: Ask away.\n    at_most: ['made_at < id', 'id <= made_at']"),
        ("made_at: { lower: since, format: iso_s }", "id: { into: q, equal: 'id:{{value}}' }"),
        ("made_at: { lower: since, format: iso_s }", "id: { condition: id }"),
        ("made_at: { lower: since, format: iso_s }", "id: { list: comma }"),
        ("test: /ping\n", ""),
    ];
    let shown: Vec<String> = cases.iter().map(|(from, to)| broken(from, to)).collect();
    insta::assert_snapshot!(shown.join("\n---\n"));
}

/// The line of the minimal spec, after the replacement, that has `mark` in it.
fn line_of(from: &str, to: &str, mark: &str) -> usize {
    let text = minimal().replacen(from, to, 1);
    text.lines().position(|line| line.contains(mark)).unwrap() + 1
}

#[test]
fn an_error_stands_at_the_line_it_is_about() {
    let key = "      made_at: {";
    let with_key = |path: &str| format!("      box: {{ type: text, from: key, about: Box }}\n{key}{path}");
    for (from, to, mark, expected) in [
        ("        path: /orgs", "        paht: /orgs", "paht", "has no field `paht`; did you mean `path`?"),
        (key, "      id: { type: int, about: Again }\n      made_at: {", "Again", "`id` is already there, on line 15"),
        ("type: timestamp", "type: datetime", "datetime", "the column `type` is `datetime`"),
        ("made_at: { lower", "mad_at: { lower", "mad_at: { lower", "did you mean `made_at`?"),
        ("        filters:", "        pagination: { type: pges }\n        filters:", "pges", "it must be none, page"),
        ("{{input.org}}", "{{id}}", "/things", "`path` uses `id`, which nothing supplies"),
        ("{{input.org}}", "{{org}}", "/things", "did you mean `input.org`?"),
        ("{{input.org}}", "{org}", "/things", "`path` has `{org}`, which would be sent as it stands"),
        ("/things\n", "/things?all=1\n", "all=1", "parameters go into `params`"),
        (key, &with_key(""), "from: key", "the column `box` is `from: key`, but is neither required"),
        ("about: Id }", "about: Id, from: detail }", "about: Id", "the table has no `detail`"),
        ("test: /ping", "test: ping", "test: ping", "`test` must start with `/`"),
        ("source: toy", "source: agent", "source: agent", "`agent` is a schema of Tripline's own"),
        ("[id]", "[made_at, weight]", "primary_key", "names the column `weight`"),
        (
            "        filters:",
            "        rows: data.0\n        filters:",
            "data.0",
            "a list is reached through objects only",
        ),
        (
            "        filters:",
            "        pagination: { type: next_url, next: '' }\n        filters:",
            "next_url",
            "`next` must not be empty",
        ),
    ] {
        let found = broken(from, to);
        let place = format!("toy.yaml:{}:", line_of(from, to, mark));
        assert!(
            found.lines().any(|line| line.starts_with(&place) && line.contains(expected)),
            "{place} {expected}: {found}"
        );
    }
}

#[test]
fn a_key_that_not_every_query_pins_is_refused_wherever_a_request_needs_it() {
    let boxed = "      box: { type: text, from: key, about: Box }\n      made_at: {";
    let spec = |required: &str, place: &str| {
        let text = minimal().replacen("      made_at: {", boxed, 1);
        let text = text.replace("    primary_key: [id]", &format!("    primary_key: [id]\n{required}"));
        text.replacen("        path: /orgs/{{input.org}}/things\n", place, 1)
    };
    let alternatives = "    required: [{ any_of: [[box], [id]] }]";
    for place in [
        "        path: '/boxes/{{box}}'\n",
        "        path: /things\n        params: { box: '{{box}}' }\n",
        "        path: /things\n        method: post\n        body: { filter: { box: '{{box}}' } }\n",
    ] {
        let text = spec(alternatives, place);
        let line = text.lines().position(|line| line.contains("{{box}}")).unwrap() + 1;
        let found = errors(&text.replace("id: { type: text,", "id: { type: text, from: key,"));
        assert!(
            found.contains(&format!("toy.yaml:{line}:")) && found.contains("uses `box`, which nothing is sure"),
            "{found}"
        );
        let sure = spec("    required: [box]", place);
        parse("toy.yaml", &sure).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn a_detail_request_cannot_be_made_of_what_it_answers() {
    let text = minimal()
        .replacen("      made_at: {", "      size: { type: int, from: detail, about: Size }\n      made_at: {", 1)
        .replace("    primary_key: [id]", "    primary_key: [id]\n    detail: { path: '/things/{{size}}' }");
    assert!(errors(&text).contains("toy.yaml:14:21: `path` uses `size`, which nothing supplies"), "{}", errors(&text));
    parse("toy.yaml", &text.replace("{{size}}", "{{id}}")).unwrap();
}

#[test]
fn a_key_that_rows_cannot_be_told_apart_by_is_refused() {
    for kind in ["float", "bool", "json"] {
        let found = broken("id: { type: text", &format!("id: {{ type: {kind}"));
        assert!(found.starts_with(&format!("toy.yaml:13:19: `id` in `primary_key` is of type {kind}")), "{found}");
    }
}

#[test]
fn a_credential_is_a_secret_whether_the_file_says_so_or_not() {
    let quiet = minimal().replace(", secret: true", "");
    for (auth, secret) in [
        ("{ type: bearer, token: token }", true),
        ("{ type: basic, username: org, password: token }", true),
        ("{ type: header, header: X-Key, value: token }", true),
        ("{ type: query, param: k, value: token }", true),
        ("{ type: none }", false),
    ] {
        let text = quiet.replace("{ type: bearer, token: token }", auth);
        let spec = parse("toy.yaml", &text).unwrap();
        assert_eq!((spec.inputs[0].secret, spec.inputs[1].secret), (secret, false), "{auth}");
        let shown = parse("toy.yaml", &text.replace("{{input.org}}", "{{input.token}}"));
        assert_eq!(shown.is_err(), secret, "{auth}: a secret has no place in a path");
    }
    let open = quiet.replace("{ type: bearer, token: token }", "{ type: none }");
    for (header, secret) in [("X-Application-Key", true), ("X-Tenant", false)] {
        let text = open.replace("test: /ping", &format!("headers: {{ {header}: '{{{{input.token}}}}' }}\ntest: /ping"));
        assert_eq!(parse("toy.yaml", &text).unwrap().inputs[0].secret, secret, "{header}");
    }
}

#[test]
fn every_problem_of_a_file_is_reported_at_once() {
    let text = minimal()
        .replace("type: bearer", "type: bearr")
        .replace("type: timestamp", "type: datetime")
        .replace("guide: Ask away.", "giude: Ask away.")
        .replace("made_at: { lower", "mad_at: { lower");
    let found = parse("toy.yaml", &text).unwrap_err();
    let lines: Vec<u64> = found.problems.iter().map(|p| p.at.line).collect();
    assert_eq!(found.problems.len(), 5, "{found}");
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn a_column_named_twice_is_reported_with_its_line_and_the_rest_is_checked_too() {
    let again = "      id: { type: text, about: Again }\n      made_at: {";
    let text = minimal().replacen("      made_at: {", again, 1);
    let found = errors(&text.replace("type: timestamp", "type: datetime"));
    assert!(found.starts_with("toy.yaml:16:7: "), "{found}");
    assert!(found.contains("`id` is already there, on line 15"), "{found}");
    assert!(found.contains("datetime"), "{found}");
}

#[test]
fn text_that_is_no_yaml_is_reported_with_its_line() {
    let found = errors("source: toy\n  bad: [1, 2\n");
    assert!(found.starts_with("toy.yaml:"), "{found}");
    assert!(errors("").contains("toy.yaml"));
    assert!(errors("- a\n- b\n").contains("must be a mapping"));
}

#[test]
fn a_wrong_body_or_query_is_reported_with_its_line() {
    let graphql = |query: &str| format!("        graphql: '{query}'\n        filters:");
    for (to, expected) in [
        ("        body: { a: 1 }\n        filters:".to_owned(), "a `body` needs `method: post`"),
        ("        page_size: { param: /size, max: 3 }\n        filters:".to_owned(), "`/size` is a place in a body"),
        (graphql("query { things { id } }"), "needs the placeholder `{{fields}}` once"),
        (graphql("query { things { {{fields}} }"), "`graphql` is no GraphQL query"),
        (graphql("mutation { things { {{fields}} } }"), "must be one query"),
        (graphql("query { things { {{fields}} } }"), "`since` is no variable of the query"),
        ("        included: { path: a }\n        filters:".to_owned(), "`included` needs the field `key`"),
        ("        params: { a: '{{now.soon}}' }\n        filters:".to_owned(), "write now.iso_ms"),
    ] {
        let found = broken("        filters:", &to);
        assert!(found.contains(expected) && found.starts_with("toy.yaml:"), "{expected}: {found}");
        assert!(!found.starts_with("toy.yaml:0"), "{found}");
    }
    let undeclared = minimal().replace("{ lower: since, format", "{ lower: /variables/from, format");
    let undeclared = undeclared.replace("        filters:", &graphql("query { things { {{fields}} } }"));
    assert!(errors(&undeclared).contains("the query declares no `$from`"));
    let both = broken("primary_key: [id]", "primary_key: [id]\n    bounded: [id]");
    assert!(both.contains("`id` in `bounded` is not a timestamp"), "{both}");
    assert!(broken("env: [TOY_TOKEN]", "file: secrets/token").contains("neither an absolute path nor a variable"));
    assert!(broken("http://localhost", "'{{input.token}}.example'").contains("secret input `token`"));
}

#[test]
fn a_cycle_of_parents_is_reported_at_the_table() {
    let second = "  parts:\n    description: Parts.\n    guide: Ask.\n    primary_key: [id]\n    parent: { table: things, key: { thing: id } }\n    columns:\n      id: { type: text, about: Id }\n      thing: { type: text, from: key, about: Thing }\n    endpoints: [{ name: parts, path: '/things/{{thing}}/parts' }]\n";
    let text =
        minimal().replace("primary_key: [id]", "primary_key: [id]\n    parent: { table: parts, key: { id: id } }");
    let found = errors(&format!("{}{second}", text.replace("about: Id }", "about: Id, from: key }")));
    assert!(found.contains("toy.yaml:10:3: the table `things` is, in the end, its own parent"), "{found}");
    assert!(found.contains("the table `parts` is, in the end, its own parent"), "{found}");
}

#[test]
fn a_text_that_would_grow_without_end_or_is_nested_without_end_is_refused() {
    let levels: Vec<String> = (1..30).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]", n - 1)).collect();
    let bomb = format!("a0: &a0 [x, x, x]\n{}\n", levels.join("\n"));
    for text in [bomb, "[".repeat(100_000), format!("source: {}x", "{a: ".repeat(50_000)), "- ".repeat(50_000)] {
        assert!(parse("x.yaml", &text).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,300}") {
        let _ = parse("x.yaml", &text);
    }

    #[test]
    fn no_damage_to_a_spec_makes_the_parser_panic(
        source in 0..8_usize, at in 0.0..1.0_f64, length in 0..40_usize, insert in "[a-z0-9:{}\\[\\], \n'\"&*.#/-]{0,12}"
    ) {
        let text = crate::bundled().nth(source).map_or_else(minimal, |(_, text)| text.to_owned());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a text")]
        let place = (at * text.len() as f64) as usize;
        let start = (0..=place).rev().find(|i| text.is_char_boundary(*i)).unwrap();
        let end = (start + length..=text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len());
        let damaged = format!("{}{insert}{}", &text[..start], &text[end..]);
        let _ = parse("x.yaml", &damaged);
    }
}
