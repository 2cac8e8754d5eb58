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

#[test]
fn the_vendors_own_documents_can_be_drafted_from() {
    let Some(dir) = crate::tests::descriptions::vendors() else {
        println!("skipped: the vendors' descriptions are not here (set TRIPLINE_SHARED)");
        return;
    };
    for (file, at_least) in [
        ("datadog/datadog-v2.openapi.json", 5),
        ("github/github-rest.openapi.json", 10),
        ("sentry/sentry.openapi.json", 5),
        ("langfuse/langfuse-4.16.0.openapi.json", 5),
    ] {
        let text = std::fs::read_to_string(dir.join(file)).unwrap();
        let draft = draft("vendor", &text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(draft.tables >= at_least, "{file}: {}", draft.tables);
    }
}
