//! What must hold before or after a switch.

use std::fmt;

use crate::model::Period;

/// One check. Before the switch it is held against the preview slot, after it against live traffic.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// An HTTP request must give the expected status.
    Http(HttpCheck),
    /// A TCP connection must be accepted.
    Tcp(TcpCheck),
    /// A command must exit with 0.
    Run(RunCheck),
}

/// An HTTP GET and what it must answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// The path, with its query.
    pub path: String,
    /// Which service is asked; may be left out when only one has a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<crate::model::ServiceName>,
    /// The status that is right.
    #[serde(default = "ok")]
    pub expect: u16,
    /// A text that the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// For how long it must hold; one good answer is enough without it.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<Period>,
    /// How long one answer may take.
    #[serde(default = "five_seconds")]
    pub timeout: Period,
}

/// A TCP connection that must be accepted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// Which service is asked; may be left out when only one has a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<crate::model::ServiceName>,
    /// How long the connection may take.
    #[serde(default = "five_seconds")]
    pub timeout: Period,
}

/// A command that must exit with 0. It sees `SHIPIT_URL`, `SHIPIT_ENVIRONMENT`, `SHIPIT_SLOT` and
/// `SHIPIT_RELEASE`, and `SHIPIT_URL_<SERVICE>` for each service with a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(from = "RunForm")]
pub struct RunCheck {
    /// The argument vector.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Period,
}

/// A command in a file: a text is split at blanks (no shell), a list is taken as it is, and the long
/// form has a time limit too.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
enum RunForm {
    Line(String),
    Vector(Vec<String>),
    Long {
        command: Vec<String>,
        #[serde(default = "one_minute")]
        timeout: Period,
    },
}

impl From<RunForm> for RunCheck {
    fn from(form: RunForm) -> Self {
        let (command, timeout) = match form {
            RunForm::Line(line) => (line.split_whitespace().map(str::to_owned).collect(), one_minute()),
            RunForm::Vector(command) => (command, one_minute()),
            RunForm::Long { command, timeout } => (command, timeout),
        };
        Self { command, timeout }
    }
}

const fn ok() -> u16 {
    200
}

const fn five_seconds() -> Period {
    Period::from_secs(5)
}

const fn one_minute() -> Period {
    Period::from_secs(60)
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(check) => {
                write!(f, "http {} → {}", check.path, check.expect)?;
                check.hold.map_or(Ok(()), |hold| write!(f, " for {hold}"))
            }
            Self::Tcp(_) => write!(f, "tcp connection"),
            Self::Run(check) => write!(f, "run {}", check.command.join(" ")),
        }
    }
}

/// When a check is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before the switch, on the preview slot.
    Before,
    /// After the switch, on live traffic.
    After,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}
