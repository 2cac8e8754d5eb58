//! Credentials, as an OpenAPI document's security schemes and requirements describe them.

use serde_json::Value;

use super::api::Document;

/// One credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) carrier: Carrier,
    /// The environment variable that the document names for it.
    pub(super) variable: Option<String>,
}

/// How a credential travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carrier {
    Bearer,
    Basic,
    /// A header, and what stands in front of the value.
    Header(String, String),
    Query(String),
}

/// What every request must carry; the first need not be a header, the others are.
pub(super) fn credentials(document: Document<'_>, decisions: &mut Vec<String>) -> Vec<Credential> {
    let root = document.0;
    let Some(schemes) = root["components"]["securitySchemes"].as_object().filter(|schemes| !schemes.is_empty()) else {
        decisions.push("the document says nothing of credentials; check `auth`".to_owned());
        return Vec::new();
    };
    let scheme = |name: &str| schemes.get(name).and_then(|scheme| credential(document.resolve(scheme)));
    // What is required, of the whole document or of its first GET that says so; else any one scheme.
    let required = |of: &Value| -> Vec<Vec<String>> {
        let alternatives = of["security"].as_array().into_iter().flatten();
        let names =
            alternatives.map(|all| all.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect());
        names.filter(|names: &Vec<String>| !names.is_empty()).collect()
    };
    let mut alternatives = required(root);
    if alternatives.is_empty() {
        let gets = root["paths"].as_object().into_iter().flatten().map(|(_, item)| &item["get"]);
        alternatives = gets.map(required).find(|found| !found.is_empty()).unwrap_or_default();
    }
    if alternatives.is_empty() {
        alternatives = schemes.keys().map(|name| vec![name.clone()]).collect();
    }
    let mut usable: Vec<(bool, Vec<String>, Vec<Credential>)> = Vec::new();
    for names in alternatives {
        let Some(mut all) = names.iter().map(|name| scheme(name)).collect::<Option<Vec<Credential>>>() else {
            continue;
        };
        // At most one can be anything but a header.
        all.sort_by_key(|one| matches!(one.carrier, Carrier::Header(..)));
        if all.iter().skip(1).all(|one| matches!(one.carrier, Carrier::Header(..))) {
            let flows = names.iter().any(|name| is_flow(document.resolve(&schemes[name])));
            usable.push((flows, names, all));
        }
    }
    // A key is easier to come by than a token that a flow gives.
    usable.sort_by_key(|(flows, ..)| *flows);
    let known = usable.len();
    let Some((_, names, all)) = usable.into_iter().next() else {
        decisions
            .push("none of the document's ways to authenticate is one that a source can have; check `auth`".to_owned());
        return Vec::new();
    };
    if known > 1 || schemes.len() > names.len() {
        decisions
            .push(format!("the document knows several ways to authenticate; the draft uses {}", names.join(" and ")));
    }
    all
}

fn is_flow(scheme: &Value) -> bool {
    let kind = scheme["type"].as_str().unwrap_or_default();
    kind.eq_ignore_ascii_case("oauth2") || kind.eq_ignore_ascii_case("openIdConnect")
}

fn credential(scheme: &Value) -> Option<Credential> {
    let word = |key: &str| scheme[key].as_str().unwrap_or_default().to_ascii_lowercase();
    let name = || scheme["name"].as_str().map(str::to_owned);
    let carrier = match (word("type").as_str(), word("scheme").as_str(), word("in").as_str()) {
        ("http", "basic", _) => Carrier::Basic,
        ("http", "bearer", _) | ("oauth2" | "openidconnect", ..) => Carrier::Bearer,
        ("http", ..) => Carrier::Header("Authorization".to_owned(), format!("{} ", scheme["scheme"].as_str()?)),
        ("apikey", _, "header") => Carrier::Header(name()?, String::new()),
        ("apikey", _, "query") => Carrier::Query(name()?),
        _ => return None,
    };
    let is_variable = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let variable = scheme["x-env-name"].as_str().filter(is_variable).map(str::to_owned);
    Some(Credential { carrier, variable })
}
