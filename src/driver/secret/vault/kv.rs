//! KV stores of Vault: where one is mounted, whether it keeps versions, and what is in it.

use std::fmt;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::driver::secret::vault::api::{Answer, Api, Request};
use crate::driver::secret::{Fault, keys, plain};
use crate::model::secret::{KvVersion, VaultSecret};
use crate::port::secret::SecretErrorKind;

/// All that is kept at a path, in one version.
pub(super) struct Document {
    values: Map<String, Value>,
    pub version: Option<u64>,
    /// When Vault deletes this version by itself.
    pub until: Option<Timestamp>,
}

/// What is in it is never shown.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Document {
    /// One of its values, as a text.
    pub fn value(&self, secret: &VaultSecret) -> Result<String, Fault> {
        let (path, key) = (&secret.path, &secret.key);
        let value = self.values.get(key).ok_or_else(|| {
            let version = self.version.map(|number| format!(" (version {number})"));
            let version = version.unwrap_or_default();
            Fault::new(
                format!("{path}{version} has no `{key}`"),
                keys(&self.values),
            )
        })?;
        plain(value).ok_or_else(|| {
            let reason = format!("`{key}` in {path} is no text");
            Fault::new(reason, "keep it as a text of its own")
        })
    }
}

/// A store, and a place in it.
struct Place {
    mount: String,
    below: String,
    kv: KvVersion,
}

/// Reads all that is kept at a secret's path.
pub(super) async fn read(api: &Api, token: &str, secret: &VaultSecret) -> Result<Document, Fault> {
    let place = place(api, token, secret).await?;
    match place.kv {
        KvVersion::One => unversioned(api, token, secret, &place).await,
        KvVersion::Two => versioned(api, token, secret, &place).await,
    }
}

async fn place(api: &Api, token: &str, secret: &VaultSecret) -> Result<Place, Fault> {
    let path = secret.path.trim_matches('/');
    if let Some(mount) = &secret.mount {
        let mount = mount.trim_matches('/');
        let kv = secret.kv.unwrap_or(KvVersion::Two);
        return split(path, mount, kv);
    }

    // As Vault's own command asks: any token that may do anything below the path may ask it.
    let asked = format!("sys/internal/ui/mounts/{path}");
    let answer = api.ask(&Request::get(&asked, token)).await?;
    let what = format!("asking where {path} is mounted");
    let found = answer
        .data(api, &what, ("read", path))
        .map_err(|fault| Fault {
            help: format!(
                "allow `read` on {path} in a policy of this login (KV 2: on its `data/` path), or \
             write `mount` and `kv` beside `path`; look at `sources.vault.namespace`, too"
            ),
            ..fault
        })?;
    let data = &found["data"];
    let (kind, mount) = (data["type"].as_str(), data["path"].as_str());
    let mount = mount.unwrap_or_default().trim_matches('/');
    if !matches!(kind, Some("kv" | "generic")) {
        let kind = kind.unwrap_or("nothing");
        return Err(Fault::new(
            format!("{path} is in `{mount}`, which is a store of `{kind}`"),
            "secrets are read from KV stores alone: what another store makes has a lease that \
             nobody would renew",
        ));
    }
    let is_versioned = data["options"]["version"] == "2";
    let told = if is_versioned {
        KvVersion::Two
    } else {
        KvVersion::One
    };
    split(path, mount, secret.kv.unwrap_or(told))
}

fn split(path: &str, mount: &str, kv: KvVersion) -> Result<Place, Fault> {
    let below = path
        .strip_prefix(mount)
        .and_then(|below| below.strip_prefix('/'));
    let below = below.filter(|below| !below.is_empty()).ok_or_else(|| {
        let reason = format!("{path} is nothing in the store `{mount}`");
        Fault::new(
            reason,
            "write the whole path, mount included: `secret/storefront`",
        )
    })?;
    // As people copy it from an address.
    let below = match kv {
        KvVersion::One => below,
        KvVersion::Two => below.strip_prefix("data/").unwrap_or(below),
    };
    Ok(Place {
        mount: mount.to_owned(),
        below: below.to_owned(),
        kv,
    })
}

async fn unversioned(
    api: &Api,
    token: &str,
    secret: &VaultSecret,
    place: &Place,
) -> Result<Document, Fault> {
    if let Some(version) = secret.version {
        return Err(Fault::new(
            format!(
                "{} is in a store without versions, and version {version} is asked for",
                secret.path
            ),
            "take `version` out, or have the store keep versions: `vault kv enable-versioning`",
        ));
    }
    let path = format!("{}/{}", place.mount, place.below);
    let answer = api.ask(&Request::get(&path, token)).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(nothing(secret));
    }
    let what = format!("reading {}", secret.path);
    let body = answer.data(api, &what, ("read", &path))?;
    Ok(Document {
        values: body["data"].as_object().cloned().unwrap_or_default(),
        version: None,
        until: None,
    })
}

async fn versioned(
    api: &Api,
    token: &str,
    secret: &VaultSecret,
    place: &Place,
) -> Result<Document, Fault> {
    let path = format!("{}/data/{}", place.mount, place.below);
    let request = Request {
        query: secret.version.map(|number| ("version", number.to_string())),
        ..Request::get(&path, token)
    };
    let answer = api.ask(&request).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(gone(secret, &answer));
    }

    let what = format!("reading {}", secret.path);
    let body = answer.data(api, &what, ("read", &path))?;
    let (data, metadata) = (&body["data"]["data"], &body["data"]["metadata"]);
    Ok(Document {
        values: data.as_object().cloned().unwrap_or_default(),
        version: metadata["version"].as_u64(),
        until: deletion(metadata),
    })
}

fn deletion(metadata: &Value) -> Option<Timestamp> {
    metadata["deletion_time"].as_str()?.parse().ok()
}

fn nothing(secret: &VaultSecret) -> Fault {
    Fault::new(
        format!("nothing is kept at {}", secret.path),
        "look at the path: `vault kv get` takes the same",
    )
}

/// A version that is not there (any more), or a path at which nothing ever was.
fn gone(secret: &VaultSecret, answer: &Answer) -> Fault {
    let path = &secret.path;
    let metadata = &answer.body["data"]["metadata"];
    let how = if metadata["destroyed"] == true {
        "destroyed"
    } else if metadata["version"].is_u64() {
        "deleted"
    } else {
        "not there"
    };
    let back = if how == "deleted" {
        format!("`vault kv undelete -versions=N {path}` brings it back, or write a new one")
    } else {
        "write a new version, and make a new plan".to_owned()
    };

    match (secret.version, metadata["version"].as_u64()) {
        (Some(number), _) => Fault {
            reason: format!("version {number} of {path} is {how}"),
            help: back,
            kind: SecretErrorKind::Gone,
        },
        (None, Some(number)) => Fault::new(
            format!("the newest version of {path}, {number}, is {how}"),
            back,
        ),
        (None, None) => nothing(secret),
    }
}
