//! Where actions go: base addresses and credentials of GitHub and Slack for writing.
//!
//! Owns reading them from the environment that is handed in, and saying what is missing. Must hold: a secret is never
//! in `Debug`, an error or a check.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tripline_engine::Environment;
use url::Url;

const GITHUB_API: &str = "https://api.github.com";
const SLACK_API: &str = "https://slack.com/api";
const LANGFUSE: &str = "https://cloud.langfuse.com";
/// Where Slack's response addresses are.
const SLACK_HOOKS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];

/// A repository, `owner/name`. Both parts hold only what GitHub allows there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    owner: String,
    name: String,
}

impl Repository {
    /// Its owner.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Its parts as values of `$owner` and `$repo`.
    pub(crate) fn params(&self) -> tripline_engine::Params {
        let text = |value: &str| tripline_engine::Param::Text(value.to_owned());
        tripline_engine::Params::from([("owner".to_owned(), text(&self.owner)), ("repo".to_owned(), text(&self.name))])
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for Repository {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |part: &str| {
            !part.is_empty()
                && part.len() <= 100
                && !part.bytes().all(|b| b == b'.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        match text.split_once('/') {
            Some((owner, name)) if allowed(owner) && allowed(name) => {
                Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("'{text}' is no repository; write owner/name")),
        }
    }
}

/// GitHub, for writing.
#[derive(Debug, Clone)]
pub struct GithubDestination {
    /// Base of the REST API.
    pub(crate) api: Result<Url, String>,
    pub(crate) token: Option<SecretString>,
    /// Where issues go.
    pub(crate) issues: Result<Repository, String>,
    /// Where the commits are, for links.
    pub(crate) code: Option<Repository>,
    /// Base of pages for people; `None` when it cannot be told from the API's address.
    pub(crate) web: Option<String>,
    /// What signs GitHub's requests to us.
    pub(crate) webhook_secret: Option<SecretString>,
}

/// Slack, for writing.
#[derive(Debug, Clone)]
pub struct SlackDestination {
    /// Base of the Web API.
    pub(crate) api: Result<Url, String>,
    pub(crate) token: Option<SecretString>,
    /// What signs Slack's requests to us.
    pub(crate) signing_secret: Option<SecretString>,
}

/// Langfuse, for publishing versions of prompts.
#[derive(Debug, Clone)]
pub struct LangfuseDestination {
    /// Its address, of the API and of its pages.
    pub(crate) api: Result<Url, String>,
    /// Public and secret key.
    pub(crate) keys: Option<(String, SecretString)>,
}

impl LangfuseDestination {
    /// The page of a prompt, for people.
    pub(crate) fn prompt_page(&self, name: &str) -> Option<String> {
        let mut url = self.api.as_ref().ok()?.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(["prompts", name]);
        Some(url.into())
    }
}

/// A webhook that is told every finding about a run.
#[derive(Clone)]
pub struct WebhookDestination {
    /// Where it is; `None` when none is configured. It may hold a token.
    pub(crate) url: Option<Result<Url, String>>,
    /// What signs the body.
    pub(crate) secret: Option<SecretString>,
}

impl fmt::Debug for WebhookDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookDestination").field("configured", &self.url.is_some()).finish_non_exhaustive()
    }
}

/// Where actions go.
#[derive(Debug, Clone)]
pub struct Destinations {
    pub(crate) github: GithubDestination,
    pub(crate) slack: SlackDestination,
    pub(crate) webhook: WebhookDestination,
    pub(crate) langfuse: LangfuseDestination,
}

/// One line of `tripline doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DestinationCheck {
    /// What was checked.
    pub name: &'static str,
    /// Whether it is as it must be.
    pub ok: bool,
    /// What was found. Never a secret.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl Destinations {
    /// Reads `GITHUB_API_URL`, `GITHUB_TOKEN`, `GITHUB_TARGET_REPO` (`owner/name`, or a name beside `GITHUB_OWNER`;
    /// without it `GITHUB_OWNER`/`GITHUB_REPO`), `GITHUB_SERVER_URL`, `SLACK_API_URL`, `SLACK_BOT_TOKEN` and
    /// `SLACK_SIGNING_SECRET`, `WEBHOOK_URL`, `WEBHOOK_SECRET`, `LANGFUSE_BASE_URL` (or `LANGFUSE_HOST`), `LANGFUSE_PUBLIC_KEY` and
    /// `LANGFUSE_SECRET_KEY`. What is missing or wrong disables what needs it, and [`checks`](Self::checks) says so.
    #[must_use]
    pub fn from_environment(environment: &Environment) -> Self {
        let secret = |name: &str| environment.get(name).map(|value| SecretString::from(value.to_owned()));
        let api = base_url(environment, "GITHUB_API_URL", GITHUB_API);
        let web = web_base(environment, api.as_ref().ok());
        Self {
            github: GithubDestination {
                api,
                token: secret("GITHUB_TOKEN"),
                issues: target_repository(environment),
                code: code_repository(environment),
                web,
                webhook_secret: secret("GITHUB_WEBHOOK_SECRET"),
            },
            slack: SlackDestination {
                api: base_url(environment, "SLACK_API_URL", SLACK_API),
                token: secret("SLACK_BOT_TOKEN"),
                signing_secret: secret("SLACK_SIGNING_SECRET"),
            },
            webhook: WebhookDestination { url: webhook_url(environment), secret: secret("WEBHOOK_SECRET") },
            langfuse: LangfuseDestination {
                api: base_url(environment, langfuse_variable(environment), LANGFUSE),
                keys: environment.get("LANGFUSE_PUBLIC_KEY").map(str::to_owned).zip(secret("LANGFUSE_SECRET_KEY")),
            },
        }
    }

    /// What signs Slack's requests; `None` when it is not set: then nobody is let in.
    #[must_use]
    pub fn signing_secret(&self) -> Option<&SecretString> {
        self.slack.signing_secret.as_ref()
    }

    /// Whether findings about runs are told to a webhook.
    #[must_use]
    pub fn has_webhook(&self) -> bool {
        self.webhook.url.is_some()
    }

    /// Whether messages can be posted to Slack.
    #[must_use]
    pub fn has_slack(&self) -> bool {
        self.slack.token.is_some()
    }

    /// Whether anything can be written to GitHub.
    #[must_use]
    pub fn has_github(&self) -> bool {
        self.github.token.is_some()
    }

    /// Whether prompts of Langfuse can be read and published.
    #[must_use]
    pub fn has_langfuse(&self) -> bool {
        self.langfuse.keys.is_some() && self.langfuse.api.is_ok()
    }

    /// The page of a Langfuse prompt.
    #[must_use]
    pub fn prompt_page(&self, name: &str) -> Option<String> {
        self.langfuse.prompt_page(name)
    }

    /// What signs GitHub's requests; `None` when it is not set: then nobody is let in.
    #[must_use]
    pub fn webhook_secret(&self) -> Option<&SecretString> {
        self.github.webhook_secret.as_ref()
    }

    /// The installation's repository: where the commits are.
    #[must_use]
    pub fn code_repository(&self) -> Option<&Repository> {
        self.github.code.as_ref()
    }

    /// Where issues are opened.
    #[must_use]
    pub fn issue_repository(&self) -> Option<&Repository> {
        self.github.issues.as_ref().ok()
    }

    /// The page of a commit, where one can be linked to.
    #[must_use]
    pub fn commit_page(&self, sha: &str) -> Option<String> {
        let is_sha = (7..=64).contains(&sha.len()) && sha.bytes().all(|b| b.is_ascii_hexdigit());
        let (web, repository) = (self.github.web.as_ref()?, self.github.code.as_ref()?);
        is_sha.then(|| format!("{web}/{repository}/commit/{sha}"))
    }

    /// Whether an address that came with a click is Slack's: on its hook hosts, or where the Web API was configured to
    /// be. Anything else is not fetched, whoever signed for it.
    #[must_use]
    pub fn accepts_response_url(&self, text: &str) -> bool {
        let Ok(url) = Url::parse(text) else { return false };
        if !url.username().is_empty() || url.password().is_some() || text.len() > 2_000 {
            return false;
        }
        let on_hooks = url.scheme() == "https"
            && url.port().is_none()
            && url.host_str().is_some_and(|host| SLACK_HOOKS.contains(&host));
        let beside_api = self
            .slack
            .api
            .as_ref()
            .is_ok_and(|api| matches!(url.scheme(), "http" | "https") && url.origin() == api.origin());
        on_hooks || beside_api
    }

    /// What is configured and what is missing, for `tripline doctor`.
    #[must_use]
    pub fn checks(&self) -> Vec<DestinationCheck> {
        let check = |name, ok, detail: String, hint| DestinationCheck { name, ok, detail, hint: (!ok).then_some(hint) };
        let secret = |set: &Option<SecretString>| (set.is_some(), if set.is_some() { "set" } else { "not set" });
        let address = |api: &Result<Url, String>| match api {
            Ok(url) if is_private(url) => (true, url.to_string()),
            Ok(url) => (false, format!("{url} is not encrypted")),
            Err(problem) => (false, problem.clone()),
        };
        let (github_ok, github_token) = secret(&self.github.token);
        let (slack_ok, slack_token) = secret(&self.slack.token);
        let (signing_ok, signing) = secret(&self.slack.signing_secret);
        let (github_api_ok, github_api) = address(&self.github.api);
        let (slack_api_ok, slack_api) = address(&self.slack.api);
        let (target_ok, target) = match &self.github.issues {
            Ok(repository) => (true, repository.to_string()),
            Err(problem) => (false, problem.clone()),
        };
        let mut checks = vec![
            check("GitHub API address", github_api_ok, github_api, "set GITHUB_API_URL to an https address"),
            check(
                "GitHub token for issues",
                github_ok,
                github_token.to_owned(),
                "set GITHUB_TOKEN (issues: read and write); approved issues fail without it",
            ),
            check(
                "repository for issues",
                target_ok,
                target,
                "set GITHUB_TARGET_REPO, or GITHUB_OWNER and GITHUB_REPO",
            ),
            check("Slack API address", slack_api_ok, slack_api, "set SLACK_API_URL to an https address"),
            check(
                "Slack token for posting",
                slack_ok,
                slack_token.to_owned(),
                "set SLACK_BOT_TOKEN (docs/slack.md has the scopes); nothing is posted without it",
            ),
            check(
                "Slack signing secret",
                signing_ok,
                signing.to_owned(),
                "set SLACK_SIGNING_SECRET; every click is refused without it",
            ),
        ];
        if let Some(Err(problem)) = &self.webhook.url {
            checks.push(check("webhook", false, problem.clone(), "set WEBHOOK_URL to an https address, or unset it"));
        }
        checks
    }
}

/// Whether a token may be sent there without anybody reading it on the way.
fn is_private(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || loopback
}

fn base_url(environment: &Environment, name: &str, default: &str) -> Result<Url, String> {
    let text = environment.get(name).unwrap_or(default);
    let url = Url::parse(text.trim_end_matches('/')).map_err(|error| format!("{name} is no address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("{name} is no http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{name} must not hold credentials, a query or a fragment"));
    }
    Ok(url)
}

/// Under which name Langfuse's address is set.
fn langfuse_variable(environment: &Environment) -> &'static str {
    let found = environment.first(&["LANGFUSE_BASE_URL", "LANGFUSE_HOST"]);
    if found.is_some_and(|(name, _)| name == "LANGFUSE_HOST") { "LANGFUSE_HOST" } else { "LANGFUSE_BASE_URL" }
}

/// The webhook's address. Unlike that of an API it may have a query.
fn webhook_url(environment: &Environment) -> Option<Result<Url, String>> {
    let text = environment.get("WEBHOOK_URL")?;
    // The address itself is in no error: it may hold a token.
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    Some(url.ok_or_else(|| "WEBHOOK_URL is no http or https address".to_owned()))
}

fn target_repository(environment: &Environment) -> Result<Repository, String> {
    let owner = environment.get("GITHUB_OWNER");
    match (environment.get("GITHUB_TARGET_REPO"), owner) {
        (Some(target), _) if target.contains('/') => target.parse(),
        (Some(target), Some(owner)) => format!("{owner}/{target}").parse(),
        (Some(_), None) => Err("GITHUB_TARGET_REPO names no owner, and GITHUB_OWNER is not set".to_owned()),
        (None, _) => code_repository(environment).ok_or_else(|| "no repository for issues is configured".to_owned()),
    }
}

fn code_repository(environment: &Environment) -> Option<Repository> {
    let repository = environment.get("GITHUB_REPO")?;
    match environment.get("GITHUB_OWNER") {
        _ if repository.contains('/') => repository.parse().ok(),
        Some(owner) => format!("{owner}/{repository}").parse().ok(),
        None => None,
    }
}

/// Where people look at commits: `GITHUB_SERVER_URL` (GitHub's own name for it), else what the API's address implies.
fn web_base(environment: &Environment, api: Option<&Url>) -> Option<String> {
    if environment.get("GITHUB_SERVER_URL").is_some() {
        let url = base_url(environment, "GITHUB_SERVER_URL", GITHUB_API).ok()?;
        return Some(url.as_str().trim_end_matches('/').to_owned());
    }
    let api = api?;
    match (api.host_str()?, api.path().trim_end_matches('/')) {
        ("api.github.com", _) => Some("https://github.com".to_owned()),
        // GitHub Enterprise Server serves both under one host.
        (_, "/api/v3") => Some(api.origin().ascii_serialization()),
        // A stand-in or a proxy: commits still live on github.com.
        _ => Some("https://github.com".to_owned()),
    }
}

/// The text of a secret, for the one header it goes into.
pub(crate) fn expose(secret: &SecretString) -> &str {
    secret.expose_secret()
}

#[cfg(test)]
mod tests;
