//! Secrets from files and from the environment.

use std::collections::HashMap;
use std::env::VarError;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::files;
use crate::model::secret::{SecretRef, SecretValue};
use crate::port::SecretSource;
use crate::port::secret::SecretError;

/// The largest secret that is read.
const LIMIT: u64 = 64 << 10;

/// Reads secrets, each of them once: what a plan compared is what is deployed. Relative paths are
/// relative to the project's folder.
#[derive(Debug)]
pub struct Secrets {
    root: PathBuf,
    known: Mutex<HashMap<SecretRef, SecretValue>>,
}

impl Secrets {
    /// For the project in this folder.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        let known = Mutex::default();
        Self { root, known }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SecretRef, SecretValue>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SecretSource for Secrets {
    async fn read(&self, name: &str, from: &SecretRef) -> Result<SecretValue, SecretError> {
        let failed = |reason: String, help: &str| SecretError {
            name: name.to_owned(),
            reason,
            help: help.to_owned(),
        };

        if let Some(value) = self.known().get(from) {
            return Ok(value.clone());
        }
        let value = match from {
            SecretRef::File(path) => {
                let path = self.root.join(path);
                let unreadable = |error: std::io::Error| {
                    failed(
                        format!("{}: {error}", path.display()),
                        "write the file, which is short, or name another under `secrets:`",
                    )
                };
                let text = files::read_text(&path, LIMIT).map_err(unreadable)?;
                let value = text.strip_suffix('\n').unwrap_or(&text);
                value.strip_suffix('\r').unwrap_or(value).to_owned()
            }
            SecretRef::Env(variable) => std::env::var(variable).map_err(|error| {
                let reason = match error {
                    VarError::NotPresent => format!("the variable {variable} is not set"),
                    VarError::NotUnicode(_) => format!("the variable {variable} is no text"),
                };
                failed(reason, "set it for this command")
            })?,
        };

        if value.contains('\0') {
            return Err(failed(
                "there is a NUL in it, which no variable can hold".to_owned(),
                "write it as a text, in base64 for one, and have the service read that",
            ));
        }

        let value = SecretValue::new(value);
        self.known().insert(from.clone(), value.clone());
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_without_its_last_line_end_and_with_no_nul_in_it() {
        let root = tempfile::tempdir().expect("a folder");
        let read = async |text: &str| {
            std::fs::write(root.path().join("secret"), text).expect("written");
            let secrets = Secrets::new(root.path().to_path_buf());
            let value = secrets.read("db", &SecretRef::File("secret".into())).await;
            value
                .map(|value| value.expose().to_owned())
                .map_err(|error| error.reason)
        };
        assert_eq!(read("one\n").await, Ok("one".to_owned()));
        assert_eq!(read("one\r\n").await, Ok("one".to_owned()));
        assert_eq!(read("two\nlines\n\n").await, Ok("two\nlines\n".to_owned()));
        let nul = read("a\0b\n").await.expect_err("no variable holds it");
        assert!(nul.contains("NUL"), "{nul}");
    }
}
