//! Which credentials the vendors accept.
//!
//! Owns: the policy. Does not own: how a vendor carries a credential or refuses one.

/// Credentials that are accepted. A field that is `None` accepts any credential of that vendor.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Langfuse public and secret key.
    pub langfuse: Option<(String, String)>,
    /// Sentry auth token.
    pub sentry: Option<String>,
    /// GitHub token.
    pub github: Option<String>,
    /// Slack token; any of several.
    pub slack: Option<Vec<String>>,
    /// Datadog API key and application key.
    pub datadog: Option<(String, String)>,
    /// PagerDuty token.
    pub pagerduty: Option<String>,
    /// Linear key.
    pub linear: Option<String>,
    /// Key of the model endpoint.
    pub llm: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// How credentials are judged.
#[derive(Debug, Clone, Default)]
#[allow(clippy::large_enum_variant, reason = "a simulator has one")]
pub enum Auth {
    /// A credential is required; any is accepted but one that contains `invalid`.
    #[default]
    Any,
    /// A credential is required and must be one of these.
    Exact(Credentials),
    /// None is required.
    Off,
}

impl Auth {
    pub(crate) fn is_off(&self) -> bool {
        matches!(self, Auth::Off)
    }

    pub(crate) fn accepts_langfuse(&self, public: &str, secret: &str) -> bool {
        match self {
            Auth::Off => true,
            Auth::Exact(Credentials { langfuse: Some((known_public, known_secret)), .. }) => {
                known_public == public && known_secret == secret
            }
            _ => plausible(public) && plausible(secret),
        }
    }

    pub(crate) fn accepts_sentry(&self, token: &str) -> bool {
        self.accepts(token, |known| known.sentry.as_deref())
    }

    pub(crate) fn accepts_github(&self, token: &str) -> bool {
        self.accepts(token, |known| known.github.as_deref())
    }

    pub(crate) fn accepts_llm(&self, token: &str) -> bool {
        self.accepts(token, |known| known.llm.as_deref())
    }

    pub(crate) fn accepts_datadog(&self, api: &str, app: &str) -> bool {
        match self {
            Auth::Off => true,
            Auth::Exact(Credentials { datadog: Some((known_api, known_app)), .. }) => {
                known_api == api && known_app == app
            }
            _ => plausible(api) && plausible(app),
        }
    }

    pub(crate) fn accepts_pagerduty(&self, token: &str) -> bool {
        self.accepts(token, |known| known.pagerduty.as_deref())
    }

    pub(crate) fn accepts_linear(&self, key: &str) -> bool {
        self.accepts(key, |known| known.linear.as_deref())
    }

    pub(crate) fn accepts_slack(&self, token: &str) -> bool {
        match self {
            Auth::Off => true,
            Auth::Exact(Credentials { slack: Some(known), .. }) => known.iter().any(|one| one == token),
            _ => plausible(token),
        }
    }

    fn accepts(&self, token: &str, known: impl Fn(&Credentials) -> Option<&str>) -> bool {
        match self {
            Auth::Off => true,
            Auth::Exact(credentials) => match known(credentials) {
                Some(one) => one == token,
                None => plausible(token),
            },
            Auth::Any => plausible(token),
        }
    }
}

/// Without a list, a credential is good unless it says of itself that it is not.
fn plausible(token: &str) -> bool {
    !token.is_empty() && !token.contains("invalid")
}
