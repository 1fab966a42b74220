//! What must hold before or after a switch.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::model::port::PortName;
use crate::model::short::{self, Short};
use crate::model::{Host, Period, ServiceName};

/// One check. Before the switch it is run against the preview slot, after it against live traffic.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// An HTTP request must give the expected status.
    Http(HttpCheck),
    /// A TCP connection must be accepted.
    Tcp(TcpCheck),
    /// A command must exit with 0.
    Run(RunCheck),
    /// The registry's scan of every image must have found no more than this. `ecr` only.
    Scan(ScanCheck),
    /// Every image must be signed with one of these keys, as `cosign sign --key` does it. `oci` and
    /// `ecr`, and before the switch only.
    Signature(SignatureCheck),
}

/// What a registry's scan may have found. A scan that is not there, or that failed, does not hold:
/// it is not "clean".
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct ScanCheck {
    /// How many critical findings.
    #[serde(default)]
    pub critical: u64,
    /// How many of high severity.
    #[serde(default)]
    pub high: u64,
    /// How many of medium severity; any number without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<u64>,
    /// How many of low severity; any number without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<u64>,
    /// How long the scan may take.
    #[serde(default = "five_minutes")]
    pub timeout: Period,
}

impl ScanCheck {
    /// The first severity of which there is more than may be: its name, how many, and how many may
    /// be.
    #[must_use]
    pub fn exceeded(&self, found: &BTreeMap<String, u64>) -> Option<(&'static str, u64, u64)> {
        let limits = [
            ("critical", Some(self.critical)),
            ("high", Some(self.high)),
            ("medium", self.medium),
            ("low", self.low),
        ];
        limits.into_iter().find_map(|(severity, limit)| {
            let count = found.get(severity).copied().unwrap_or(0);
            limit
                .filter(|limit| count > *limit)
                .map(|limit| (severity, count, limit))
        })
    }
}

/// With which keys images must be signed. One signature by one of them is enough.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct SignatureCheck {
    /// The files of the public keys, relative to the project's folder: PEM; ECDSA P-256, Ed25519 or
    /// RSA.
    pub keys: Vec<KeyFile>,
}

/// A public key's file. In a configuration it is the path alone; a plan has the key itself, too.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(from = "KeyForm")]
#[schemars(with = "PathBuf")]
pub struct KeyFile {
    /// The file, relative to the project's folder.
    pub file: PathBuf,
    /// What is in it.
    pub pem: String,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum KeyForm {
    File(PathBuf),
    Read { file: PathBuf, pem: String },
}

impl From<KeyForm> for KeyFile {
    fn from(form: KeyForm) -> Self {
        match form {
            KeyForm::File(file) => Self {
                file,
                pem: String::new(),
            },
            KeyForm::Read { file, pem } => Self { file, pem },
        }
    }
}

const fn five_minutes() -> Period {
    Period::from_secs(300)
}

/// An HTTP GET and what it must answer.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// The path, with its query.
    pub path: String,
    /// Which service is asked; may be left out when only one has a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// One of its `ports` that gets no traffic, by its name: on a host each instance is asked
    /// there, on a cluster the slot's own Service. Without it the port with the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// The header `Host` of the request. Without it that of the address that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
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
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// Which service is asked; may be left out when only one has a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// One of its `ports` that gets no traffic, by its name: on a host each instance is asked
    /// there, on a cluster the slot's own Service. Without it the port with the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// How long the connection may take.
    #[serde(default = "five_seconds")]
    pub timeout: Period,
}

/// A command that must exit with 0. It sees `SHIPIT_URL`, `SHIPIT_ENVIRONMENT`, `SHIPIT_SLOT` and
/// `SHIPIT_RELEASE`, and `SHIPIT_URL_<SERVICE>` for each service with a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[schemars(with = "RunForm")]
pub struct RunCheck {
    /// The argument vector.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Period,
}

/// A command in a file: a text is split at blanks (no shell), a list is taken as it is, and the
/// long form has a time limit too.
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum RunForm {
    Line(String),
    Vector(Vec<String>),
    Long(RunParts),
}

#[doc(hidden)]
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields)]
pub struct RunParts {
    command: Vec<String>,
    #[serde(default = "one_minute")]
    timeout: Period,
}

impl Short for RunCheck {
    type Long = RunParts;

    const EXPECTED: &'static str =
        "a command: a text, a list, or a map with `command` and `timeout`";

    fn long(long: RunParts) -> Self {
        let RunParts { command, timeout } = long;
        Self { command, timeout }
    }

    fn text(text: String) -> Self {
        let words = text.split_whitespace().map(str::to_owned);
        Self {
            command: words.collect(),
            timeout: one_minute(),
        }
    }

    fn list(list: Vec<String>) -> Option<Self> {
        Some(Self {
            command: list,
            timeout: one_minute(),
        })
    }
}

impl<'de> serde::Deserialize<'de> for RunCheck {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
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

impl Check {
    /// The port that it asks besides the one with the traffic, and whose it is.
    #[must_use]
    pub const fn port(&self) -> Option<(Option<&ServiceName>, &PortName)> {
        let (service, port) = match self {
            Self::Http(check) => (&check.service, &check.port),
            Self::Tcp(check) => (&check.service, &check.port),
            Self::Run(_) | Self::Scan(_) | Self::Signature(_) => return None,
        };
        match port {
            Some(port) => Some((service.as_ref(), port)),
            None => None,
        }
    }
}

/// A port's name behind what is asked there.
fn at(port: Option<&PortName>) -> String {
    port.map_or_else(String::new, |port| format!(" at {port}"))
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(check) => {
                write!(
                    f,
                    "http {}{} → {}",
                    check.path,
                    at(check.port.as_ref()),
                    check.expect
                )?;
                check.hold.map_or(Ok(()), |hold| write!(f, " for {hold}"))
            }
            Self::Tcp(check) => write!(f, "tcp connection{}", at(check.port.as_ref())),
            Self::Run(check) => write!(f, "run {}", check.command.join(" ")),
            Self::Scan(check) => write!(
                f,
                "scan: critical ≤ {}, high ≤ {}",
                check.critical, check.high
            ),
            Self::Signature(check) => {
                let files: Vec<_> = check
                    .keys
                    .iter()
                    .map(|key| key.file.to_string_lossy())
                    .collect();
                write!(f, "signed by {}", files.join(" or "))
            }
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
