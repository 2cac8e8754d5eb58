//! How a command fails: a line that says what, a hint that says what next, an exit code.

use std::fmt;
use std::path::Path;

use tripline_engine::EngineError;
use tripline_store::StoreError;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1 }
    }

    pub(crate) fn display(error: impl fmt::Display) -> Self {
        Self::new(error.to_string())
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what else could be done next.
    pub(crate) fn also_hint(self, hint: &str) -> Self {
        let hint = match &self.hint {
            Some(said) => format!("{said}; {hint}"),
            None => hint.to_owned(),
        };
        self.hint(hint)
    }

    /// The command was called wrongly.
    pub(crate) fn usage(message: &str, example: &str) -> Self {
        Self { message: message.to_owned(), hint: Some(format!("for example: {example}")), code: 2 }
    }

    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("{}: {error}", path.display()))
    }

    /// Part of it was done.
    pub(crate) fn partly(message: String) -> Self {
        Self { message, hint: None, code: 3 }
    }

    /// The rows were printed but are not all.
    pub(crate) fn incomplete(warnings: &[String]) -> Self {
        Self { message: format!("the answer is incomplete: {}", warnings.join("; ")), hint: None, code: 3 }
    }

    /// 1 failed, 2 called wrongly, 3 incomplete answer, or only part of it done.
    pub(crate) fn exit_code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = match error.detail() {
            Some(detail) => format!("{error}: {detail}"),
            None => error.to_string(),
        };
        Self { message, hint: error.hint(), code: 1 }
    }
}

impl From<arrow::error::ArrowError> for Failure {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::new(format!("the rows cannot be written: {error}"))
    }
}

macro_rules! from_displayed {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::display(error)
            }
        })+
    };
}

from_displayed!(
    tripline_agent::queries::HeaderError,
    tripline_agent::settings::SettingsError,
    tripline_agent::detect::DetectError,
    tripline_agent::jobs::JobError
);
