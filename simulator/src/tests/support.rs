//! A running simulator and a client with every vendor's credentials.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{Content, Dataset, Scenario, SimulatorHandle, SimulatorOptions, start};

/// An answer.
pub(crate) struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A header as text; empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The address of a relation in the Link header.
    pub(crate) fn link(&self, rel: &str) -> Option<String> {
        self.header("link").split(", <").find_map(|part| {
            let (url, rest) = part.trim_start_matches('<').split_once('>')?;
            rest.contains(&format!("rel=\"{rel}\"")).then(|| url.to_owned())
        })
    }
}

/// A running simulator.
pub(crate) struct Sim {
    pub handle: SimulatorHandle,
    pub client: reqwest::Client,
}

/// A client without proxies.
pub(crate) fn client() -> reqwest::Client {
    let _chosen_before = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl Sim {
    pub(crate) async fn start(options: SimulatorOptions) -> Self {
        Self { handle: start(options).await.unwrap(), client: client() }
    }

    /// A simulator with one incident's history.
    pub(crate) async fn scenario(scenario: Scenario) -> Self {
        Self::start(SimulatorOptions { content: Content::Scenarios(vec![scenario]), ..SimulatorOptions::default() })
            .await
    }

    /// A simulator with the given files: `("github/commits", items)`.
    pub(crate) async fn data(files: &[(&str, Value)]) -> Self {
        Self::data_with(files, SimulatorOptions::default()).await
    }

    pub(crate) async fn data_with(files: &[(&str, Value)], options: SimulatorOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), files);
        Self::start(SimulatorOptions { content: Content::DataDir(dir.path().to_owned()), ..options }).await
    }

    /// A simulator with a dataset.
    pub(crate) async fn dataset(dataset: &Dataset, options: SimulatorOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        dataset.write(dir.path()).unwrap();
        Self::start(SimulatorOptions { content: Content::DataDir(dir.path().to_owned()), ..options }).await
    }

    /// A request with the vendor's credential; `path` starts with the vendor.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.handle.base_url()) };
        let request = self.client.request(method, &url);
        if url.contains("/langfuse/") {
            request.basic_auth("pk-lf-test", Some("sk-lf-test"))
        } else if url.contains("/datadog/") {
            request.header("dd-api-key", "api-key-of-a-test").header("dd-application-key", "app-key-of-a-test")
        } else if url.contains("/pagerduty/") {
            request.header("authorization", "Token token=token-of-a-test")
        } else if url.contains("/linear/") {
            request.header("authorization", "key-of-a-test")
        } else {
            request.bearer_auth("token-of-a-test")
        }
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// A GET that must succeed, as JSON.
    pub(crate) async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// A Slack method with a form.
    pub(crate) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Value {
        let answer = self.send(self.request(Method::POST, path).form(fields)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    pub(crate) async fn set_clock(&self, now: &str) {
        let answer = self.post("/_clock", &json!({ "now": now })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

/// Writes files of the data format.
pub(crate) fn write(dir: &Path, files: &[(&str, Value)]) {
    for (name, items) in files {
        let path = dir.join(format!("{name}.json"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, items.to_string()).unwrap();
    }
}

/// The texts under a key of all objects of an array.
pub(crate) fn texts<'a>(items: &'a Value, key: &str) -> Vec<&'a str> {
    items.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap_or_default()).collect()
}
