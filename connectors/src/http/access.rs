//! Address and credentials of a source, from the environment.
//!
//! Must hold: what is missing is named by its variable; a value that no header can carry is refused without being shown.

use std::io::ErrorKind;
use std::path::PathBuf;

use base64::Engine as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use tripline_engine::Environment;
use url::Url;

use crate::spec::{Auth, Input, Part, SecretFile, Slot, SourceSpec, Template};

/// Address and credentials, taken from the environment.
pub(super) struct Access {
    pub(super) base: Url,
    pub(super) headers: HeaderMap,
    /// A credential that travels as a parameter.
    pub(super) query: Option<(String, SecretString)>,
    pub(super) inputs: Vec<String>,
}

/// What keeps a source from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unconfigured {
    /// Environment variables to set; of several for one thing, the first.
    pub(crate) variables: Vec<String>,
    /// What is wrong, when it is not just absence.
    pub(crate) detail: String,
}

/// The values of the spec's inputs: from variables, else files, else the spec itself.
///
/// # Errors
/// When a file that is named cannot be read; its content is never shown.
pub(super) fn inputs(spec: &SourceSpec, environment: &Environment) -> Result<Vec<Option<String>>, Unconfigured> {
    let one = |input: &Input| -> Result<Option<String>, Unconfigured> {
        let names: Vec<&str> = input.env.iter().map(String::as_str).collect();
        if let Some((_, value)) = environment.first(&names) {
            return Ok(Some(value.to_owned()));
        }
        for file in &input.files {
            let (place, path) = match file {
                SecretFile::Variable(name) => match environment.first(&[name.as_str()]) {
                    Some((_, path)) => (name.clone(), PathBuf::from(path)),
                    None => continue,
                },
                SecretFile::Path(path) => (path.display().to_string(), path.clone()),
            };
            match std::fs::read_to_string(&path) {
                Ok(text) => return Ok(Some(text.trim().to_owned())),
                Err(error) if error.kind() == ErrorKind::NotFound && matches!(file, SecretFile::Path(_)) => {}
                Err(error) => {
                    let detail = format!("the file that {place} names cannot be read: {}", error.kind());
                    return Err(Unconfigured { variables: vec![place], detail });
                }
            }
        }
        Ok(input.default.clone())
    };
    spec.inputs.iter().map(one).collect()
}

/// Takes address and credentials from the environment; `found` are the values of the spec's inputs.
pub(super) fn configure(
    spec: &SourceSpec,
    environment: &Environment,
    found: Vec<Option<String>>,
) -> Result<Access, Unconfigured> {
    let mut missing = Vec::new();
    let names: Vec<&str> = spec.base_url.env.iter().map(String::as_str).collect();
    let base = match environment.first(&names) {
        None => {
            spec.base_url.default.as_ref().and_then(|address| default_address(spec, address, &found)).transpose()?
        }
        Some((name, text)) => match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Some(url),
            _ => {
                return Err(Unconfigured {
                    variables: vec![name.to_owned()],
                    detail: format!("{name} is not an http or https URL"),
                });
            }
        },
    };
    if base.is_none() {
        missing.extend(spec.base_url.env.first().cloned());
    }
    for (input, value) in spec.inputs.iter().zip(&found) {
        if input.required && value.is_none() {
            missing.extend(input.places().into_iter().next());
        }
    }
    let Some(base) = base.filter(|_| missing.is_empty()) else {
        let detail = format!("{} not set", if missing.len() == 1 { "a variable is" } else { "variables are" });
        return Err(Unconfigured { variables: missing, detail });
    };
    let inputs: Vec<String> = found.into_iter().map(Option::unwrap_or_default).collect();
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let mut set = |name: &HeaderName, value: &str, inputs: &[usize]| -> Result<(), Unconfigured> {
        let variables = || inputs.iter().filter_map(|i| spec.inputs[*i].places().into_iter().next()).collect();
        let mut value = HeaderValue::from_str(value).map_err(|_| Unconfigured {
            variables: variables(),
            detail: "a value holds characters that no header can have".to_owned(),
        })?;
        value.set_sensitive(inputs.iter().any(|i| spec.inputs[*i].secret));
        headers.insert(name, value);
        Ok(())
    };
    for (name, template) in &spec.headers {
        let used: Vec<usize> = template.slots().filter_map(slot_input).collect();
        set(name, &fill_inputs(template, &inputs), &used)?;
    }
    let mut query = None;
    match &spec.auth {
        Auth::None => {}
        Auth::Bearer { token } => {
            if !inputs[*token].is_empty() {
                set(&AUTHORIZATION, &format!("Bearer {}", inputs[*token]), &[*token])?;
            }
        }
        Auth::Basic { username, password } => {
            let pair = format!("{}:{}", inputs[*username], inputs[*password]);
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            set(&AUTHORIZATION, &format!("Basic {pair}"), &[*username, *password])?;
        }
        Auth::Header { header, prefix, value } => set(header, &format!("{prefix}{}", inputs[*value]), &[*value])?,
        Auth::Query { param, value } => {
            query = Some((param.clone(), SecretString::from(inputs[*value].clone())));
        }
    }
    Ok(Access { base, headers, query, inputs })
}

fn slot_input(slot: &Slot) -> Option<usize> {
    match slot {
        Slot::Input(index) => Some(*index),
        Slot::Column(_) | Slot::Now(_) => None,
    }
}

/// The spec's own address with its inputs filled in; `None` while one of them is missing.
fn default_address(
    spec: &SourceSpec,
    address: &Template<Slot>,
    found: &[Option<String>],
) -> Option<Result<Url, Unconfigured>> {
    let used: Vec<usize> = address.slots().filter_map(slot_input).collect();
    let values: Vec<&str> = used.iter().map(|i| found.get(*i)?.as_deref()).collect::<Option<_>>()?;
    let bad = || Unconfigured {
        variables: used.iter().filter_map(|i| spec.inputs[*i].places().into_iter().next()).collect(),
        detail: "the API's address cannot be made of what is set".to_owned(),
    };
    // A part of a host or path: letters, digits, dots, dashes. Anything else could lead to another host.
    let is_part = |value: &str| {
        !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    if !values.into_iter().all(is_part) {
        return Some(Err(bad()));
    }
    let text = address.fill(|slot| slot_input(slot).and_then(|i| found.get(i).cloned().flatten()).unwrap_or_default());
    Some(Url::parse(&text).map_err(|_| bad()))
}

/// Fills a template that holds only inputs.
fn fill_inputs(template: &Template<Slot>, inputs: &[String]) -> String {
    template
        .0
        .iter()
        .map(|part| match part {
            Part::Literal(text) => text.as_str(),
            Part::Slot(slot) => slot_input(slot).and_then(|i| inputs.get(i)).map_or("", String::as_str),
        })
        .collect()
}
