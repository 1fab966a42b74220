//! Where secrets are kept: files and variables (`local`), whatever a program prints (`program`),
//! and files that are encrypted with SOPS (`sops`); KV stores of Vault (`vault`), Amazon (`aws`).
//!
//! Each source is a file with one function from what names a secret to its value. What all of them
//! keep to is here: a secret is asked for once, its value is a text that a variable can hold, and
//! an error says nothing of it. Start with [`Secrets`].

mod aws;
mod local;
mod once;
mod program;
mod sops;
mod vault;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::driver::aws::Aws;
use crate::driver::secret::once::OnceMap;
use crate::driver::secret::sops::SopsFiles;
use crate::driver::secret::vault::Vault;
use crate::model::secret::{
    SECRET_LIMIT, SecretRef, SecretValue, SecretVersion, VaultServer, without_line_end,
};
use crate::port::SecretSource;
use crate::port::engine::CheckResult;
use crate::port::secret::{SecretError, SecretErrorKind, SecretReading};
use crate::redact::Redactor;

/// How many keys an error names.
const NAMED: usize = 10;

/// The largest secret that is read, in bytes.
const LIMIT: u64 = SECRET_LIMIT;

/// Why a source gave nothing. It says nothing of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    reason: String,
    help: String,
    kind: SecretErrorKind,
}

impl Fault {
    fn new(reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            help: help.into(),
            kind: SecretErrorKind::Unreadable,
        }
    }

    fn of(self, name: &str) -> SecretError {
        SecretError {
            name: name.to_owned(),
            reason: self.reason,
            help: self.help,
            kind: self.kind,
        }
    }
}

/// A value, and what is known of its version where the source has one.
struct Found {
    text: String,
    version: Option<SecretVersion>,
    until: Option<Timestamp>,
}

/// The servers that keep secrets.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    /// A Vault; that of the environment's variables where nothing is said of it.
    pub vault: VaultServer,
    /// Amazon, in the region of its secrets.
    pub aws: Arc<Aws>,
}

/// Reads secrets, each of them once: what a plan compared is what is deployed. Relative paths are
/// relative to the project's folder.
#[derive(Debug)]
pub struct Secrets {
    root: PathBuf,
    known: OnceMap<SecretRef, SecretReading>,
    sops: SopsFiles,
    vault: Vault,
    aws: Arc<Aws>,
}

impl Secrets {
    /// For the project in this folder. What a login uses and gives is hidden in all that is
    /// printed.
    #[must_use]
    pub fn new(root: PathBuf, servers: Servers, redactor: &Redactor) -> Self {
        Self {
            vault: Vault::new(root.clone(), servers.vault, redactor.clone()),
            aws: servers.aws,
            root,
            known: OnceMap::default(),
            sops: SopsFiles::default(),
        }
    }

    async fn ask(&self, from: &SecretRef) -> Result<SecretReading, Fault> {
        let Found {
            text,
            version,
            until,
        } = self.find(from).await?;
        if text.contains('\0') {
            return Err(Fault::new(
                "there is a NUL in it, which no variable can hold",
                "write it as a text, in base64 for one, and have the service read that",
            ));
        }
        Ok(SecretReading {
            value: SecretValue::new(text),
            version,
            until,
        })
    }

    async fn find(&self, from: &SecretRef) -> Result<Found, Fault> {
        let text = match from {
            SecretRef::File(path) => local::file(&self.root, path)?,
            SecretRef::Env(name) => local::variable(name)?,
            SecretRef::Run(secret) => program::read(&self.root, secret).await?,
            SecretRef::Sops(secret) => self.sops.read(&self.root, secret).await?,
            SecretRef::Vault(secret) => return self.vault.read(secret).await,
            SecretRef::AwsSecret(secret) => return aws::secret(&self.aws, secret).await,
            SecretRef::AwsParameter(parameter) => {
                return aws::parameter(&self.aws, parameter).await;
            }
            SecretRef::Kubernetes(other) => {
                return Err(Fault::new(
                    format!(
                        "it is in the Secret {} of the cluster, whose pods name it",
                        other.secret
                    ),
                    "its value is not read here: `kubectl` shows it to whoever may see it",
                ));
            }
        };
        Ok(Found {
            text,
            version: None,
            until: None,
        })
    }
}

#[async_trait]
impl SecretSource for Secrets {
    async fn read(&self, name: &str, from: &SecretRef) -> Result<SecretReading, SecretError> {
        let known = self.known.of(from.clone());
        let read = Box::pin(known.get_or_make(self.ask(from))).await;
        let reading = read.map_err(|fault| fault.of(name))?;

        // The newest version was read by its number, too.
        if let Some(version) = &reading.version
            && from.version().is_none()
        {
            self.known.of(from.at(Some(version))).set(reading.clone());
        }
        Ok(reading.clone())
    }

    async fn examine(&self, secrets: &[&SecretRef]) -> Vec<CheckResult> {
        let mut found = Vec::new();
        if secrets
            .iter()
            .any(|from| matches!(from, SecretRef::Vault(_)))
        {
            let what = format!("Vault at {} lets this in", self.vault.place());
            found.push(examined(what, self.vault.examine().await));
        }
        let is_amazons = |from: &&SecretRef| {
            matches!(from, SecretRef::AwsSecret(_) | SecretRef::AwsParameter(_))
        };
        if secrets.iter().any(is_amazons) {
            let what = "Amazon's credentials are there".to_owned();
            found.push(examined(what, aws::examine(&self.aws).await));
        }
        found
    }

    async fn close(&self) {
        self.vault.close().await;
    }
}

fn examined(what: String, found: Result<String, Fault>) -> CheckResult {
    match found {
        Ok(what) => CheckResult {
            what,
            fault: None,
            help: None,
        },
        Err(fault) => CheckResult {
            what,
            fault: Some(fault.reason),
            help: Some(fault.help),
        },
    }
}

/// A value of a JSON document as a text; none of what no variable can hold: null, a list or a map.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The keys that a map has, for who named another one.
fn keys(map: &Map<String, Value>) -> String {
    let named: Vec<String> = map
        .keys()
        .take(NAMED)
        .map(|key| format!("`{key}`"))
        .collect();
    match map.len() {
        0 => "nothing is kept there".to_owned(),
        1..=NAMED => format!("it has {}", named.join(", ")),
        _ => format!("it has {}, …", named.join(", ")),
    }
}

/// Bytes as a secret's text: without the last line end, which editors and programs put there.
fn text(what: &str, bytes: Vec<u8>) -> Result<String, Fault> {
    let text = String::from_utf8(bytes).map_err(|_| {
        Fault::new(
            format!("{what} is not a text in UTF-8"),
            "write it as a text, in base64 for one, and have the service read that",
        )
    })?;
    Ok(without_line_end(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Period;
    use crate::model::secret::ProgramSecret;

    fn secrets_in(root: &std::path::Path) -> Secrets {
        Secrets::new(root.to_path_buf(), Servers::default(), &Redactor::default())
    }

    #[tokio::test]
    async fn a_file_is_read_without_its_last_line_end_and_with_no_nul_in_it() {
        let root = tempfile::tempdir().expect("a folder");
        let read = async |text: &str| {
            std::fs::write(root.path().join("secret"), text).expect("written");
            let secrets = secrets_in(root.path());
            let read = secrets.read("db", &SecretRef::File("secret".into())).await;
            read.map(|read| read.value.expose().to_owned())
                .map_err(|error| error.reason)
        };
        assert_eq!(read("one\n").await, Ok("one".to_owned()));
        assert_eq!(read("one\r\n").await, Ok("one".to_owned()));
        assert_eq!(read("two\nlines\n\n").await, Ok("two\nlines\n".to_owned()));
        let nul = read("a\0b\n").await.expect_err("no variable holds it");
        assert!(nul.contains("NUL"), "{nul}");
    }

    #[test]
    fn a_value_is_a_text_and_its_neighbours_are_named_by_their_keys() {
        let text = |value: Value| plain(&value);
        assert_eq!(text(json!("a")).as_deref(), Some("a"));
        assert_eq!(text(json!(5432)).as_deref(), Some("5432"));
        assert_eq!(text(json!(true)).as_deref(), Some("true"));
        for none in [json!(null), json!(["a"]), json!({"a": 1})] {
            assert_eq!(plain(&none), None, "{none}");
        }

        let map = |count: usize| (0..count).map(|key| (format!("{key:02}"), json!("canary")));
        assert_eq!(keys(&map(0).collect()), "nothing is kept there");
        assert_eq!(keys(&map(2).collect()), "it has `00`, `01`");
        let ten = keys(&map(10).collect());
        assert!(ten.ends_with("`09`"), "{ten}");
        assert_eq!(keys(&map(11).collect()), format!("{ten}, …"));
    }

    #[tokio::test]
    async fn a_source_is_asked_once_by_however_many_at_once() {
        let root = tempfile::tempdir().expect("a folder");
        let script = "echo x >>asked; wc -l <asked";
        let from = SecretRef::Run(ProgramSecret {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: Period::from_secs(20),
        });
        let secrets = secrets_in(root.path());
        let (one, other) = tokio::join!(secrets.read("a", &from), secrets.read("b", &from));
        let later = secrets.read("a", &from).await.expect("a value");
        assert_eq!(one.expect("a value").value.expose().trim(), "1");
        assert_eq!(other.expect("a value").value.expose().trim(), "1");
        assert_eq!(later.value.expose().trim(), "1");
    }

    #[tokio::test]
    async fn a_source_that_fails_is_asked_once_by_however_many_at_once() {
        let root = tempfile::tempdir().expect("a folder");
        let script = "echo x >>asked; exit 1";
        let from = SecretRef::Run(ProgramSecret {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: Period::from_secs(20),
        });
        let secrets = secrets_in(root.path());
        let (one, other) = tokio::join!(secrets.read("a", &from), secrets.read("b", &from));
        let one = one.expect_err("it fails");
        let other = other.expect_err("it fails, too");
        let later = secrets.read("a", &from).await.expect_err("as before");
        assert_eq!((one.name.as_str(), other.name.as_str()), ("a", "b"));
        assert_eq!((&one.reason, &later.reason), (&other.reason, &other.reason));
        let asked = std::fs::read_to_string(root.path().join("asked")).expect("it was asked");
        assert_eq!(asked, "x\n");
    }
}
