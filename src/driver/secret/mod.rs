//! Secrets from files and from the environment.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::files;
use crate::model::secret::{SecretRef, SecretValue};
use crate::port::SecretSource;
use crate::port::secret::SecretError;

/// The largest secret that is read.
const LIMIT: u64 = 64 << 10;

/// Reads secrets; relative paths are relative to the project's folder.
#[derive(Debug, Clone)]
pub struct Secrets {
    root: PathBuf,
}

impl Secrets {
    /// For the project in this folder.
    #[must_use]
    pub const fn new(root: PathBuf) -> Self {
        Self { root }
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
        match from {
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
                Ok(SecretValue::new(
                    value.strip_suffix('\r').unwrap_or(value).to_owned(),
                ))
            }
            SecretRef::Env(variable) => {
                std::env::var(variable).map(SecretValue::new).map_err(|_| {
                    failed(
                        format!("the variable {variable} is not set"),
                        "set it for this command",
                    )
                })
            }
            SecretRef::Vault(_) => Err(failed(
                "not supported yet by this version".to_owned(),
                "use `file` or `env` under `secrets:`",
            )),
        }
    }
}
