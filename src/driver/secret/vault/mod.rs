//! Vault (or `OpenBao`): KV stores, with and without versions, by its HTTP API.
//!
//! [`api`] sends requests, [`login`] gets the token for them, [`kv`] knows the stores. Nothing is
//! asked before a secret is, and each path is read once. Start with [`Vault::read`].

mod api;
mod kv;
mod login;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::driver::secret::once::{FAILED, OnceMap};
use crate::driver::secret::vault::api::{ADDRESS, Api, Request};
use crate::driver::secret::vault::kv::Document;
use crate::driver::secret::vault::login::{Owner, Renewal, Token, Visitor};
use crate::driver::secret::{Fault, Found};
use crate::model::secret::{SecretVersion, VaultSecret, VaultServer};
use crate::redact::Redactor;

/// How long giving tokens back may take.
const REVOKED: Duration = Duration::from_secs(5);

/// A server of Vault.
pub(super) struct Vault {
    root: PathBuf,
    server: VaultServer,
    redactor: Redactor,
    api: OnceCell<Api>,
    session: tokio::sync::Mutex<Session>,
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
            session: tokio::sync::Mutex::default(),
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
        self.server.address.as_deref().unwrap_or(ADDRESS)
    }

    /// Gives back the tokens that logins made. They end by themselves where that is not possible.
    pub async fn close(&self) {
        // Somebody may be logging in, at a server that is down.
        let session = tokio::time::timeout(REVOKED, self.session.lock()).await;
        let (Ok(mut session), Some(api)) = (session, self.api.get()) else {
            return;
        };
        let tokens = std::mem::take(&mut *session).into_own();
        let revoking = join_all(tokens.iter().map(|token| revoke(api, token)));
        let _ = tokio::time::timeout(REVOKED, revoking).await;
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

    /// A token that holds for a while. Whoever else wants one waits for the same login. One that
    /// is there stays in its place while Vault is asked: who gives up waiting forgets no token.
    async fn token(&self) -> Result<String, Fault> {
        let visitor = self.visitor(self.api().await?);
        let mut session = self.session.lock().await;
        let session = &mut *session;
        let token = match &mut session.login {
            Login::Failed(fault, at) if at.elapsed() < FAILED => return Err(fault.clone()),
            Login::None | Login::Failed(..) => {
                return session.logged_in(visitor.log_in().await);
            }
            Login::Made(token) => token,
        };

        let life = match token.owner {
            Owner::Own(life) if life.is_due() => life,
            Owner::Own(_) | Owner::Given => return Ok(token.text.clone()),
        };
        match visitor.renew(&token.text, life).await {
            Renewal::Prolonged(life) => token.owner = Owner::Own(life),
            Renewal::Replaced(new) => {
                let replaced = std::mem::replace(token, new);
                session.replaced.push(replaced.text);
            }
            // It is good to its end.
            Renewal::Failed(_) if !life.is_over() => token.owner = Owner::Own(life.not_renewed()),
            Renewal::Failed(fault) => return session.logged_in(Err(fault)),
        }
        Ok(token.text.clone())
    }
}

async fn revoke(api: &Api, token: &str) {
    let body = json!({});
    let request = Request::post("auth/token/revoke-self", Some(token), &body);
    let _ = api.ask_once(&request).await;
}

/// The tokens that logins made.
#[derive(Default)]
struct Session {
    login: Login,
    /// Those that others came for, which are good still.
    replaced: Vec<String>,
}

impl Session {
    /// Keeps what came of a login.
    fn logged_in(&mut self, made: Result<Token, Fault>) -> Result<String, Fault> {
        let text = made.as_ref().map(|token| token.text.clone());
        let text = text.map_err(Clone::clone);
        self.login = match made {
            Ok(token) => Login::Made(token),
            Err(fault) => Login::Failed(fault, Instant::now()),
        };
        text
    }

    /// All tokens that are ours to give back.
    fn into_own(self) -> Vec<String> {
        let mut own = self.replaced;
        if let Login::Made(Token {
            text,
            owner: Owner::Own(_),
        }) = self.login
        {
            own.push(text);
        }
        own
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
