//! Logging in to Vault, and the token that comes of it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::driver::redacted::remember;
use crate::driver::secret::once::FAILED;
use crate::driver::secret::vault::api::{Api, Request};
use crate::driver::secret::{Fault, local};
use crate::model::secret::{AppRole, Credential, VaultAuth};
use crate::redact::Redactor;

/// What is renewed for no longer than this is at the end of its longest life.
const SHORT: Duration = Duration::from_secs(10);

/// Where a pod has the token of its service account.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The variable that has the token where the configuration says nothing, as with Vault's own tools.
pub(super) const TOKEN: &str = "VAULT_TOKEN";

/// A token of Vault's.
pub(super) struct Token {
    pub text: String,
    pub owner: Owner,
}

/// Whose a token is.
pub(super) enum Owner {
    /// Somebody else's, who gave it to us.
    Given,
    /// Our own, from a login: renewed in a long run, and revoked at its end.
    Own(Life),
}

/// How long a token lives.
#[derive(Clone, Copy)]
pub(super) struct Life {
    /// From when.
    pub since: Instant,
    /// How long; for ever when it is zero.
    pub length: Duration,
    pub renewable: bool,
    /// When it could not be renewed, the last time.
    pub failed: Option<Instant>,
}

impl Life {
    /// Whether it is time to renew it: more than half of it is over, and that has not failed a
    /// moment ago.
    pub fn is_due(&self) -> bool {
        let may_try = self.failed.is_none_or(|at| at.elapsed() >= FAILED);
        self.is_over() || (may_try && self.has_passed(self.length / 2))
    }

    /// Whether all of it is over.
    pub fn is_over(&self) -> bool {
        self.has_passed(self.length)
    }

    /// The same, when it could not be renewed now.
    pub fn not_renewed(self) -> Self {
        Self {
            failed: Some(Instant::now()),
            ..self
        }
    }

    fn has_passed(&self, part: Duration) -> bool {
        !self.length.is_zero() && self.since.elapsed() >= part
    }

    /// Of an answer to what was asked at this moment: by the server's clock it began no sooner.
    fn of(auth: &Value, since: Instant) -> Self {
        Self {
            since,
            length: Duration::from_secs(auth["lease_duration"].as_u64().unwrap_or_default()),
            renewable: auth["renewable"] == true,
            failed: None,
        }
    }
}

/// What became of a token that was to be renewed.
pub(super) enum Renewal {
    /// It lives on.
    Prolonged(Life),
    /// There is another one, of a new login.
    Replaced(Token),
    /// It is as it was.
    Failed(Fault),
}

/// Whoever logs in to a server.
pub(super) struct Visitor<'a> {
    pub api: &'a Api,
    pub root: &'a Path,
    pub auth: Option<&'a VaultAuth>,
    /// The secret id, once it was unwrapped.
    pub secret_id: &'a OnceCell<String>,
    pub redactor: &'a Redactor,
}

impl Visitor<'_> {
    /// How it logs in, for people.
    pub fn method(&self) -> String {
        match self.auth {
            None => format!("the token in {TOKEN}"),
            Some(VaultAuth::Token(Credential::Env(name))) => format!("the token in {name}"),
            Some(VaultAuth::Token(Credential::File(path))) => {
                format!("the token in {}", path.display())
            }
            Some(VaultAuth::Approle(_)) => "AppRole".to_owned(),
            Some(VaultAuth::Kubernetes(role)) => format!("the Kubernetes role {}", role.role),
            Some(VaultAuth::Jwt(role)) => format!("the JWT role {}", role.role),
        }
    }

    pub async fn log_in(&self) -> Result<Token, Fault> {
        let (method, mount, body) = match self.auth {
            None => return self.given(&Credential::Env(TOKEN.to_owned())),
            Some(VaultAuth::Token(credential)) => return self.given(credential),
            Some(VaultAuth::Approle(role)) => {
                let secret_id = self.secret_id(role).await?;
                let body = json!({"role_id": role.role_id, "secret_id": secret_id});
                ("approle", &role.mount, body)
            }
            Some(VaultAuth::Kubernetes(role)) => {
                let file = role.token_file.clone().unwrap_or_else(|| POD.into());
                let jwt = self.credential(&Credential::File(file))?;
                let body = json!({"role": role.role, "jwt": jwt});
                ("kubernetes", &role.mount, body)
            }
            Some(VaultAuth::Jwt(role)) => {
                let jwt = self.credential(&role.token)?;
                let body = json!({"role": role.role, "jwt": jwt});
                ("jwt", &role.mount, body)
            }
        };

        let mount = mount.as_deref().unwrap_or(method).trim_matches('/');
        let path = format!("auth/{mount}/login");
        // A secret id may be good for one login: it is not shown twice.
        let asked_at = Instant::now();
        let answer = self
            .api
            .ask_once(&Request::post(&path, None, &body))
            .await?;
        let what = format!("logging in to Vault by {}", self.method());
        let data = answer.data(self.api, &what, ("create", &path));
        let auth = &data.map_err(|fault| refused(fault, &path))?["auth"];
        let text = auth["client_token"]
            .as_str()
            .filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| {
            let reason = format!(
                "{what} at {}: there is no token in the answer",
                self.api.place()
            );
            Fault::new(reason, "look at `sources.vault.auth`")
        })?;
        remember(self.redactor, text);
        Ok(Token {
            text: text.to_owned(),
            owner: Owner::Own(Life::of(auth, asked_at)),
        })
    }

    fn given(&self, credential: &Credential) -> Result<Token, Fault> {
        Ok(Token {
            text: self.credential(credential)?,
            owner: Owner::Given,
        })
    }

    /// What opens the door, hidden from then on.
    fn credential(&self, credential: &Credential) -> Result<String, Fault> {
        let read = match credential {
            Credential::Env(name) => local::variable(name),
            Credential::File(path) => local::file(self.root, path),
        };
        let text = read.map_err(|fault| Fault {
            reason: format!("logging in to Vault: {}", fault.reason),
            help: "set it, or write another `sources.vault.auth`".to_owned(),
            ..fault
        })?;
        let text = text.trim().to_owned();
        if text.is_empty() {
            let what = match credential {
                Credential::Env(name) => name.clone(),
                Credential::File(path) => path.display().to_string(),
            };
            let reason = format!("logging in to Vault: {what} is empty");
            return Err(Fault::new(reason, "look at what writes it"));
        }
        remember(self.redactor, &text);
        Ok(text)
    }

    async fn secret_id(&self, role: &AppRole) -> Result<String, Fault> {
        if !role.wrapped {
            return self.credential(&role.secret_id);
        }
        let unwrapped = self.secret_id.get_or_try_init(|| self.unwrap(role)).await?;
        Ok(unwrapped.clone())
    }

    async fn unwrap(&self, role: &AppRole) -> Result<String, Fault> {
        let credential = self.credential(&role.secret_id)?;
        let body = json!({});
        let request = Request::post("sys/wrapping/unwrap", Some(&credential), &body);
        let answer = self.api.ask_once(&request).await?;
        let what = "unwrapping the secret id of Vault's AppRole";
        let data = answer.data(self.api, what, ("update", "sys/wrapping/unwrap"));
        let data = data.map_err(|fault| Fault {
            help: "a wrapped secret id is unwrapped once and ends soon: have a new one made for \
                   each run; if nobody of yours has used this one, somebody else has: revoke it"
                .to_owned(),
            ..fault
        })?;
        let secret_id = data["data"]["secret_id"].as_str().ok_or_else(|| {
            let reason = format!("{what}: there is none in it");
            Fault::new(
                reason,
                "wrap the answer of `auth/approle/role/NAME/secret-id`",
            )
        })?;
        remember(self.redactor, secret_id);
        Ok(secret_id.to_owned())
    }

    /// Has our own token live on; a new one where it cannot.
    pub async fn renew(&self, token: &str, life: Life) -> Renewal {
        if life.renewable && !life.is_over() {
            let (path, body) = ("auth/token/renew-self", json!({}));
            let request = Request::post(path, Some(token), &body);
            let asked_at = Instant::now();
            let answer = match self.api.ask(&request).await {
                Ok(answer) => answer,
                // A login would get no further.
                Err(fault) => return Renewal::Failed(fault),
            };
            if let Ok(data) = answer.data(self.api, "renewing the token", ("update", path)) {
                let life = Life::of(&data["auth"], asked_at);
                // At the end of its longest life it is renewed for no time at all.
                if life.length > SHORT {
                    return Renewal::Prolonged(life);
                }
            }
        }
        match self.log_in().await {
            Ok(token) => Renewal::Replaced(token),
            Err(fault) => Renewal::Failed(fault),
        }
    }
}

/// A login that was refused, with what its method wants.
fn refused(fault: Fault, path: &str) -> Fault {
    Fault {
        help: format!(
            "look at `sources.vault.auth`, at the role in Vault (`vault read {}/role/NAME`), and \
             whether its credential has ended",
            path.trim_end_matches("/login")
        ),
        ..fault
    }
}
