use super::*;
use crate::spec::{Auth, Pagination};

const TICKETS: &str = r##"
openapi: 3.1.0
info: { title: "Help desk: the 'API'" }
servers: [{ url: 'https://{region}.desk.example.com/v2', variables: { region: { default: eu } } }]
components:
  securitySchemes: { key: { type: apiKey, in: header, name: X-Desk-Key } }
  schemas:
    Ticket:
      allOf:
        - { type: object, properties: { id: { type: string }, createdAt: { type: string, format: date-time } } }
        - type: object
          properties:
            status: { type: [string, 'null'], description: "open or closed.\nMore." }
            requester: { type: object, properties: { e.mail: { type: string }, age: { type: integer } } }
            tags: { type: array, items: { type: string } }
            self: { $ref: '#/components/schemas/Ticket' }
  parameters: { limit: { name: limit, in: query, schema: { type: integer, maximum: 200 } } }
paths:
  /tickets:
    get:
      summary: Lists tickets.
      parameters:
        - $ref: '#/components/parameters/limit'
        - { name: cursor, in: query, schema: { type: string } }
        - { name: status, in: query, schema: { type: array, items: { type: string } } }
        - { name: updated_since, in: query, schema: { type: string, format: date-time } }
      responses:
        '200': { content: { application/json: { schema: { type: object, properties: { data: { type: array, items: { $ref: '#/components/schemas/Ticket' } }, meta: { type: object, properties: { nextCursor: { type: string } } } } } } } }
  /tickets/{ticketId}: { get: { responses: { '200': { content: { application/json: { schema: { $ref: '#/components/schemas/Ticket' } } } } } } }
  /tickets/{ticketId}/comments:
    get:
      parameters: [{ name: page, in: query, schema: { type: integer, default: 0 } }]
      responses: { '200': { content: { application/json: { schema: { type: array, items: { type: object, properties: { body: { type: string } } } } } } } }
    post: { responses: {} }
"##;

#[test]
fn a_document_becomes_a_spec_that_lints_clean_and_lists_what_is_left_to_decide() {
    let draft = draft("desk", TICKETS).unwrap();
    let spec = spec::parse("desk.yaml", &draft.yaml).unwrap();
    let names: Vec<&str> = spec.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!((names, draft.tables), (vec!["tickets", "comments"], 2));
    assert!(matches!(&spec.auth, Auth::Header { header, .. } if header == "x-desk-key"));
    assert!(draft.yaml.contains("https://eu.desk.example.com/v2"));

    let tickets = spec.table("tickets").unwrap();
    let columns: Vec<(&str, &str)> = tickets.columns.iter().map(|c| (c.name.as_str(), c.kind.name())).collect();
    for expected in [
        ("id", "text"),
        ("created_at", "timestamp"),
        ("status", "text"),
        ("requester__e_mail", "text"),
        ("requester__age", "int"),
        ("tags", "json"),
    ] {
        assert!(columns.contains(&expected), "{expected:?}: {columns:?}");
    }
    let endpoint = &tickets.endpoints[0];
    let Pagination::Cursor { param, next, .. } = &endpoint.pagination else { panic!("{:?}", endpoint.pagination) };
    assert_eq!((param.as_str(), next.to_string().as_str()), ("cursor", "$.meta.nextCursor"));
    assert_eq!(endpoint.page_size.as_ref().map(|size| size.max), Some(200));
    assert_eq!(endpoint.filters.len(), 1);

    let comments = spec.table("comments").unwrap();
    assert!(comments.is_required(0) && comments.columns[0].name == "ticket_id");
    assert!(matches!(comments.endpoints[0].pagination, Pagination::Page { start: 0, .. }));

    let all = draft.decisions.join("\n");
    for expected in ["updated_since", "1 GETs answer no list", "comments: nothing looks like an id", "inexact"] {
        assert!(all.contains(expected), "{expected}: {all}");
    }
    assert!(draft.decisions.iter().all(|decision| draft.yaml.contains(decision)));
}

#[test]
fn json_is_read_as_well_and_what_is_no_document_is_told_apart() {
    let json = r#"{"openapi": "3.0.3", "info": {"title": "x"}, "paths": {"/things": {"get": {"responses": {"200":
        {"content": {"application/json": {"schema": {"type": "array", "items": {"type": "object",
         "properties": {"id": {"type": "integer"}}}}}}}}}}}}"#;
    let draft = draft("x", json).unwrap();
    assert!(draft.decisions.iter().any(|d| d.contains("only the first is read")), "{:?}", draft.decisions);
    for (text, expected) in [
        ("{\"swagger\": \"2.0\"}", "Swagger 2.0"),
        ("[", "neither JSON nor YAML"),
        ("just words", "not OpenAPI"),
        ("openapi: 3.0.0\npaths: {}", "no GET whose answer is a list"),
    ] {
        let error = super::draft("x", text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(super::draft("Not a name", json).unwrap_err().contains("no name for a source"));
}

/// The draft of one of the vendors' own documents; `None` where they are not here.
fn of_vendor(file: &str) -> Option<(Draft, spec::SourceSpec)> {
    let Some(dir) = crate::tests::descriptions::vendors() else {
        println!("skipped: the vendors' descriptions are not here (set TRIPLINE_SHARED)");
        return None;
    };
    let text = std::fs::read_to_string(dir.join(file)).unwrap();
    let draft = draft("vendor", &text).unwrap_or_else(|error| panic!("{file}: {error}"));
    if let Some(dir) = std::env::var_os("TRIPLINE_DRAFTS") {
        std::fs::write(std::path::Path::new(&dir).join(format!("{}.yaml", file.replace('/', "-"))), &draft.yaml)
            .unwrap();
    }
    let spec = spec::parse("draft.yaml", &draft.yaml).unwrap_or_else(|errors| panic!("{file}: {errors}"));
    Some((draft, spec))
}

fn endpoint<'s>(spec: &'s spec::SourceSpec, table: &str) -> &'s spec::Endpoint {
    &spec.table(table).unwrap_or_else(|| panic!("no table {table}")).endpoints[0]
}

fn columns(spec: &spec::SourceSpec, table: &str) -> Vec<String> {
    spec.table(table).unwrap().columns.iter().map(|c| format!("{} {}", c.name, c.kind.name())).collect()
}

fn filters(spec: &spec::SourceSpec, table: &str) -> Vec<String> {
    let of = spec.table(table).unwrap();
    of.endpoints[0].filters.iter().map(|filter| of.columns[filter.column].name.clone()).collect()
}

#[test]
fn no_draft_of_a_real_document_has_too_many_columns_or_a_key_that_could_drop_rows() {
    for (file, at_least) in [
        ("datadog/datadog-v1.openapi.json", 5),
        ("datadog/datadog-v2.openapi.json", 8),
        ("github/github-rest.openapi.json", 20),
        ("sentry/sentry.openapi.json", 15),
        ("langfuse/langfuse-4.16.0.openapi.json", 12),
    ] {
        let Some((draft, spec)) = of_vendor(file) else { return };
        assert!(draft.tables >= at_least && draft.tables == spec.tables.len(), "{file}: {}", draft.tables);
        for table in &spec.tables {
            assert!(table.columns.len() <= 150, "{file}: {} has {} columns", table.name, table.columns.len());
            let keys = table.primary_key.iter().map(|index| &table.columns[*index]);
            let own = keys.filter(|column| !matches!(column.origin, spec::Origin::Key)).count();
            assert!(table.primary_key.is_empty() || own == 1, "{file}: {}", table.name);
        }
    }
}

#[test]
fn a_draft_of_githubs_document_pages_by_links_and_says_what_a_default_hides() {
    let Some((draft, spec)) = of_vendor("github/github-rest.openapi.json") else { return };
    let pulls = endpoint(&spec, "repos_pulls");
    assert!(matches!(&pulls.pagination, Pagination::Page { start: 1, link: true, param, .. } if param == "page"));
    assert_eq!(pulls.page_size.as_ref().map(|size| size.max), Some(100), "the description says so");
    let found = columns(&spec, "repos_pulls");
    for expected in
        ["number int", "user__login text", "base__ref text", "head__sha text", "merged_at timestamp", "labels json"]
    {
        assert!(found.iter().any(|column| column == expected), "{expected}: {found:?}");
    }
    assert!(columns(&spec, "commits").contains(&"commit__author__date timestamp".to_owned()));
    assert!(
        draft
            .decisions
            .iter()
            .any(|d| d == "repos_pulls: `state` is `open` where nothing is sent; put `all` into params")
    );
    assert_eq!(endpoint(&spec, "runs").rows.to_string(), "$.workflow_runs");
    assert!(spec.table("pulls_files").or(spec.table("files")).is_some_and(|files| files.is_required(2)));
}

#[test]
fn a_draft_of_sentrys_document_follows_link_headers_and_keeps_slashes_at_the_end() {
    let Some((draft, spec)) = of_vendor("sentry/sentry.openapi.json") else { return };
    assert!(matches!(endpoint(&spec, "issues").pagination, Pagination::Link { .. }));
    assert!(draft.yaml.contains("path: '/api/0/organizations/{{organization_id_or_slug}}/issues/'"));
    assert!(matches!(spec.auth, Auth::Bearer { .. }));
    let all = draft.decisions.join("\n");
    assert!(all.contains("issues: `query` is `is:unresolved` where nothing is sent"), "{all}");
    assert!(all.contains("the address has a part called region"), "{all}");
}

#[test]
fn a_draft_of_langfuses_document_has_its_cursors_groups_and_times() {
    let Some((_, spec)) = of_vendor("langfuse/langfuse-4.16.0.openapi.json") else { return };
    let observations = endpoint(&spec, "v2_observations");
    assert!(matches!(&observations.pagination, Pagination::Cursor { next, .. } if next.to_string() == "$.meta.cursor"));
    assert_eq!(observations.page_size.as_ref().map(|size| size.max), Some(1000));
    let start = observations.filters.iter().find(|filter| filter.lower.is_some()).unwrap();
    assert!(!start.exact && start.upper.is_some());
    assert!(filters(&spec, "v2_observations").contains(&"start_time".to_owned()));
    assert!(columns(&spec, "v3_scores").contains(&"value json".to_owned()), "a number, a flag or a text");
    assert!(matches!(spec.auth, Auth::Basic { .. }));
}

#[test]
fn a_draft_of_datadogs_documents_sends_both_keys_and_takes_a_cursor_for_a_cursor() {
    let Some((_, spec)) = of_vendor("datadog/datadog-v2.openapi.json") else { return };
    assert!(matches!(&spec.auth, Auth::Header { header, .. } if header == "dd-api-key"));
    assert_eq!(spec.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["dd-application-key"]);
    assert!(spec.inputs.iter().all(|input| input.secret));
    assert_eq!(spec.inputs.iter().flat_map(|i| &i.env).collect::<Vec<_>>(), ["DD_API_KEY", "DD_APP_KEY"]);
    // `links.next` is an address, and would be no cursor.
    assert!(
        matches!(&endpoint(&spec, "events").pagination, Pagination::Cursor { next, .. } if next.to_string() == "$.meta.page.after")
    );
    assert!(columns(&spec, "events").contains(&"message text".to_owned()), "attributes are the row's own fields");
    let Some((draft, spec)) = of_vendor("datadog/datadog-v1.openapi.json") else { return };
    assert!(matches!(endpoint(&spec, "slo").pagination, Pagination::Offset { total: Some(_), .. }));
    assert!(draft.decisions.iter().any(|d| d.starts_with("monitor: the number of the first page is not stated")));
}

#[test]
fn where_nothing_looks_like_an_id_no_key_is_guessed() {
    let json = r#"{"openapi": "3.0.3", "info": {"title": "x"}, "paths": {"/boxes/{box}/things/": {"get": {"responses": {"200":
        {"content": {"application/json": {"schema": {"type": "array", "items": {"type": "object",
         "properties": {"name": {"type": "string"}, "score": {"anyOf": [{"type": "number"}, {"type": "null"}]}}}}}}}}}}}}"#;
    let draft = draft("x", json).unwrap();
    let spec = spec::parse("x.yaml", &draft.yaml).unwrap();
    let things = spec.table("things").unwrap();
    assert!(things.primary_key.is_empty(), "a wrong key would drop rows");
    assert_eq!(columns(&spec, "things"), ["box text", "name text", "score float"]);
    assert!(draft.yaml.contains("path: '/boxes/{{box}}/things/'"));
}
