//! Vault (or `OpenBao`): KV stores, with and without versions, by its HTTP API.
//!
//! [`api`] sends requests, [`login`] gets the token for them, [`kv`] knows the stores. Nothing is
//! asked before a secret is, and each path is read once. Start with [`Vault::read`].

mod api;
mod kv;
mod login;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::OnceCell;

use crate::driver::secret::once::{FAILED, OnceMap};
use crate::driver::secret::vault::api::{Api, Request};
use crate::driver::secret::vault::kv::Document;
use crate::driver::secret::vault::login::{Owner, Token, Visitor};
use crate::driver::secret::{Fault, Found};
use crate::model::secret::{SecretVersion, VaultSecret, VaultServer};
use crate::redact::Redactor;

/// How long giving a token back may take.
const REVOKED: Duration = Duration::from_secs(5);

/// A server of Vault.
pub(super) struct Vault {
    root: PathBuf,
    server: VaultServer,
    redactor: Redactor,
    api: OnceCell<Api>,
    login: tokio::sync::Mutex<Login>,
    /// The secret id that was wrapped: it is unwrapped once.
    secret_id: OnceCell<String>,
    /// By path and version, with all that says where it is.
    documents: OnceMap<VaultSecret, Document>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// The server that the configuration names. Nothing is asked of it yet.
    pub fn new(root: PathBuf, server: VaultServer, redactor: Redactor) -> Self {
        Self {
            root,
            server,
            redactor,
            api: OnceCell::new(),
            login: tokio::sync::Mutex::default(),
            secret_id: OnceCell::new(),
            documents: OnceMap::default(),
        }
    }

    /// A value, in the version that is named or the newest.
    pub async fn read(&self, secret: &VaultSecret) -> Result<Found, Fault> {
        // Several secrets may be keys of one path: all of them are of the same version then.
        let path = VaultSecret {
            key: String::new(),
            ..secret.clone()
        };
        let document = self.documents.of(path);
        let document = document
            .get_or_make(async {
                let token = self.token().await?;
                kv::read(self.api().await?, &token, secret).await
            })
            .await?;
        Ok(Found {
            text: document.value(secret)?,
            version: document.version.map(SecretVersion::Number),
            until: document.until,
        })
    }

    /// Whether the login works, and how long it holds.
    pub async fn examine(&self) -> Result<String, Fault> {
        let token = self.token().await?;
        let api = self.api().await?;
        let path = "auth/token/lookup-self";
        let answer = api.ask(&Request::get(path, &token)).await?;
        let body = answer.data(api, "looking at Vault's token", ("read", path))?;
        let seconds = body["data"]["ttl"].as_u64().unwrap_or_default();
        let life = if seconds == 0 {
            "without an end".to_owned()
        } else {
            format!("for another {}", span(seconds))
        };
        let by = self.visitor(api).method();
        Ok(format!(
            "Vault at {} lets this in by {by}, {life}",
            api.place()
        ))
    }

    /// Where it is, for people.
    pub fn place(&self) -> &str {
        self.server.address.as_deref().unwrap_or("VAULT_ADDR")
    }

    /// Gives back the token that a login made. It ends by itself where that is not possible.
    pub async fn close(&self) {
        let login = std::mem::take(&mut *self.login.lock().await);
        let Login::Made(Token {
            text,
            owner: Owner::Own(_),
        }) = login
        else {
            return;
        };
        let Some(api) = self.api.get() else {
            return;
        };
        let body = json!({});
        let request = Request::post("auth/token/revoke-self", Some(&text), &body);
        let _ = tokio::time::timeout(REVOKED, api.ask_once(&request)).await;
    }

    async fn api(&self) -> Result<&Api, Fault> {
        let made = async || Api::new(&self.root, &self.server);
        self.api.get_or_try_init(made).await
    }

    fn visitor<'a>(&'a self, api: &'a Api) -> Visitor<'a> {
        Visitor {
            api,
            root: &self.root,
            auth: self.server.auth.as_ref(),
            secret_id: &self.secret_id,
            redactor: &self.redactor,
        }
    }

    /// A token that holds for a while. Whoever else wants one waits for the same login.
    async fn token(&self) -> Result<String, Fault> {
        let visitor = self.visitor(self.api().await?);
        let mut login = self.login.lock().await;
        let made = match std::mem::take(&mut *login) {
            Login::Failed(fault, at) if at.elapsed() < FAILED => {
                *login = Login::Failed(fault.clone(), at);
                return Err(fault);
            }
            Login::None | Login::Failed(..) => visitor.log_in().await,
            Login::Made(token) => match token.owner {
                Owner::Own(life) if life.is_waning() => visitor.renew(&token, life).await,
                Owner::Own(_) | Owner::Given => Ok(token),
            },
        };
        match made {
            Ok(token) => {
                let text = token.text.clone();
                *login = Login::Made(token);
                Ok(text)
            }
            Err(fault) => {
                *login = Login::Failed(fault.clone(), Instant::now());
                Err(fault)
            }
        }
    }
}

/// What came of logging in.
#[derive(Default)]
enum Login {
    /// Nobody needed it yet.
    #[default]
    None,
    Made(Token),
    /// It failed then.
    Failed(Fault, Instant),
}

/// A number of seconds as a person says it: one unit, rounded down.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
