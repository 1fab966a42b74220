//! The contract of sources of secrets, held by each of them: canaries are in no error and in nothing
//! that shows a source.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use serde_json::json;
use shipit::driver::aws::Aws;
use shipit::driver::secret::{Secrets, Servers};
use shipit::model::Period;
use shipit::model::secret::{
    AppRole, AwsParameter, AwsSecret, Credential, JwtRole, KubernetesRole, ProgramSecret,
    SecretRef, SecretVersion, SopsSecret, VaultAuth, VaultSecret, VaultServer,
};
use shipit::port::SecretSource as _;
use shipit::port::secret::{SecretError, SecretErrorKind};
use shipit::redact::Redactor;

use crate::vault::{Fake, JWT, ROOT, SECRET_ID};

const ONE: &str = "canary-one-5d0e";
const TWO: &str = "canary-two-b81f";

/// Somewhere that keeps a secret.
#[async_trait]
trait Keeper {
    /// Where the secret is.
    fn from(&self) -> SecretRef;
    /// Where none is.
    fn missing(&self) -> SecretRef;
    /// Whoever reads it: one that has read nothing yet.
    fn reader(&self) -> Secrets;
    /// Gives it another value.
    async fn write(&self, value: &str);
    /// Destroys a version, where that can be done: gives one that is not there any more.
    async fn destroy(&self, version: &SecretVersion) -> SecretVersion;
}

async fn keeps_the_contract(keeper: &dyn Keeper) {
    let from = keeper.from();
    keeper.write(ONE).await;
    let reader = keeper.reader();
    let one = reader.read("db", &from).await.expect("it is there");
    assert_eq!(one.value.expose(), ONE);

    // A run has one value of it, and the next run the newest.
    keeper.write(TWO).await;
    let again = reader.read("db", &from).await.expect("it is there");
    assert_eq!(again.value.expose(), ONE);
    let later = keeper.reader();
    let two = later.read("db", &from).await.expect("it is there");
    assert_eq!(two.value.expose(), TWO);
    assert!(from.has_versions() || two.version.is_none());

    if let Some(version) = &one.version {
        assert_ne!(one.version, two.version);
        let pinned = from.at(Some(version));
        let before = later.read("db", &pinned).await.expect("it is kept");
        assert_eq!(before.value.expose(), ONE);
        assert_eq!(before.version.as_ref(), Some(version));

        let gone = from.at(Some(&keeper.destroy(version).await));
        let gone = keeper.reader().read("db", &gone).await;
        let gone = gone.expect_err("it was destroyed");
        assert_eq!(gone.kind, SecretErrorKind::Gone, "{gone}");
        says_what_to_do(&gone);
        let newest = keeper.reader().read("db", &from).await;
        assert_eq!(newest.expect("it is there").value.expose(), TWO);
    }

    let none = later.read("db", &keeper.missing()).await;
    let none = none.expect_err("it is not there");
    assert_eq!(none.kind, SecretErrorKind::Unreadable);
    says_what_to_do(&none);
    is_clean(&format!("{later:?} {reader:?} {two:?} {from:?}"));
    later.close().await;
    later.close().await;
}

#[track_caller]
fn says_what_to_do(error: &SecretError) {
    assert_eq!(error.name, "db");
    assert!(
        !error.reason.is_empty() && !error.help.is_empty(),
        "{error:?}"
    );
    is_clean(&format!("{error} {error:?} {}", error.help));
}

#[track_caller]
fn is_clean(text: &str) {
    assert!(!text.contains("canary"), "{text}");
}

/// A file, or what reads one.
struct InFolder {
    folder: tempfile::TempDir,
    kind: Kind,
}

enum Kind {
    File,
    Run,
    Sops { recipient: String },
}

impl InFolder {
    fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, kind }
    }

    fn named(&self, name: &str) -> SecretRef {
        match &self.kind {
            Kind::File => SecretRef::File(PathBuf::from(name)),
            // As some programs do, it tells on the way what it has.
            Kind::Run => SecretRef::Run(ProgramSecret {
                command: vec![
                    "sh".to_owned(),
                    "-c".to_owned(),
                    format!("cat {name} >&2; cat {name} || {{ cat secret; exit 4; }}"),
                ],
                timeout: Period::from_secs(20),
            }),
            Kind::Sops { .. } => SecretRef::Sops(SopsSecret {
                file: "secret.yaml".into(),
                key: format!("shop.{name}"),
            }),
        }
    }
}

#[async_trait]
impl Keeper for InFolder {
    fn from(&self) -> SecretRef {
        self.named("secret")
    }

    fn missing(&self) -> SecretRef {
        self.named("nothing")
    }

    fn reader(&self) -> Secrets {
        reader(self.folder.path(), VaultServer::default())
    }

    async fn write(&self, value: &str) {
        let path = self.folder.path().join("secret");
        std::fs::write(&path, format!("{value}\n")).expect("written");
        let Kind::Sops { recipient } = &self.kind else {
            return;
        };
        let plain = self.folder.path().join("plain.yaml");
        std::fs::write(&plain, format!("shop: {{secret: {value}, other: 1}}\n")).expect("written");
        let encrypted = Command::new("sops")
            .args(["encrypt", "--age", recipient])
            .arg(&plain)
            .output()
            .expect("sops starts");
        assert!(encrypted.status.success(), "{encrypted:?}");
        std::fs::write(self.folder.path().join("secret.yaml"), encrypted.stdout).expect("written");
        std::fs::remove_file(plain).expect("removed");
    }

    async fn destroy(&self, _: &SecretVersion) -> SecretVersion {
        panic!("it has no versions");
    }
}

fn reader(root: &Path, vault: VaultServer) -> Secrets {
    let servers = Servers {
        vault,
        ..Servers::default()
    };
    Secrets::new(root.to_path_buf(), servers, &Redactor::default())
}

#[tokio::test]
async fn a_file_keeps_the_contract() {
    keeps_the_contract(&InFolder::new(Kind::File)).await;
}

#[tokio::test]
async fn a_program_keeps_the_contract() {
    keeps_the_contract(&InFolder::new(Kind::Run)).await;
}

/// The key is where `sops` looks for it: `SOPS_AGE_KEY_FILE`, with its public half in a comment.
#[tokio::test]
async fn sops_keeps_the_contract() {
    let key = std::env::var("SOPS_AGE_KEY_FILE").unwrap_or_default();
    if !crate::parts::has("sops") {
        return;
    }
    if !crate::parts::is_given(!key.is_empty(), "SOPS_AGE_KEY_FILE names no key") {
        return;
    }
    let text = std::fs::read_to_string(key).expect("a key");
    let recipient = text
        .lines()
        .find_map(|line| line.split("public key: ").nth(1));
    let recipient = recipient.expect("its public half").to_owned();
    keeps_the_contract(&InFolder::new(Kind::Sops { recipient })).await;
}

/// A path of a Vault's own.
struct InVault {
    folder: tempfile::TempDir,
    address: String,
    root: String,
    /// The mount of the store: `secret` keeps versions, `old` does not.
    store: &'static str,
    path: String,
    auth: VaultAuth,
}

impl InVault {
    /// In the small Vault, by a login that is wrapped or not.
    fn fake(fake: &Fake, wrapped: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let credential = if wrapped {
            fake.wrap()
        } else {
            SECRET_ID.to_owned()
        };
        std::fs::write(folder.path().join("secret-id"), credential).expect("written");
        Self {
            folder,
            address: fake.address.clone(),
            root: ROOT.to_owned(),
            store: "secret",
            path: "shop/web".to_owned(),
            auth: approle("shop", wrapped),
        }
    }

    fn secret(&self, key: &str) -> SecretRef {
        SecretRef::Vault(VaultSecret {
            path: format!("{}/{}", self.store, self.path),
            key: key.to_owned(),
            version: None,
            mount: None,
            kv: None,
        })
    }
}

fn approle(role_id: &str, wrapped: bool) -> VaultAuth {
    VaultAuth::Approle(AppRole {
        role_id: role_id.to_owned(),
        secret_id: Credential::File("secret-id".into()),
        wrapped,
        mount: None,
    })
}

#[async_trait]
impl Keeper for InVault {
    fn from(&self) -> SecretRef {
        self.secret("url")
    }

    fn missing(&self) -> SecretRef {
        self.secret("uri")
    }

    fn reader(&self) -> Secrets {
        let server = VaultServer {
            address: Some(self.address.clone()),
            auth: Some(self.auth.clone()),
            ..VaultServer::default()
        };
        reader(self.folder.path(), server)
    }

    async fn write(&self, value: &str) {
        let data = json!({"url": value, "port": 5432});
        let (path, body) = match self.store {
            "old" => (format!("old/{}", self.path), data),
            _ => (format!("secret/data/{}", self.path), json!({"data": data})),
        };
        ask(&self.address, &self.root, &path, &body).await;
    }

    async fn destroy(&self, version: &SecretVersion) -> SecretVersion {
        let path = format!("secret/destroy/{}", self.path);
        let body = json!({"versions": [version]});
        ask(&self.address, &self.root, &path, &body).await;
        version.clone()
    }
}

#[tokio::test]
async fn a_vault_keeps_the_contract() {
    keeps_the_contract(&InVault::fake(&Fake::start(), false)).await;
}

#[tokio::test]
async fn a_store_of_vault_without_versions_keeps_the_contract() {
    let fake = Fake::start();
    let keeper = InVault {
        store: "old",
        ..InVault::fake(&fake, false)
    };
    keeps_the_contract(&keeper).await;
    let pinned = keeper.from().at(Some(&SecretVersion::Number(1)));
    let error = keeper
        .reader()
        .read("db", &pinned)
        .await
        .expect_err("it has none");
    assert!(error.reason.contains("a store without versions"), "{error}");
}

#[tokio::test]
async fn every_login_lets_in() {
    let fake = Fake::start();
    let keeper = InVault::fake(&fake, false);
    let put = |name: &str, text: &str| {
        std::fs::write(keeper.folder.path().join(name), format!("{text}\n")).expect("written");
    };
    keeper.write(ONE).await;
    put("jwt", JWT);
    put("root", ROOT);
    let (role, mount) = ("shop".to_owned(), None);
    let logins = [
        VaultAuth::Token(Credential::File("root".into())),
        VaultAuth::Kubernetes(KubernetesRole {
            role: role.clone(),
            token_file: Some("jwt".into()),
            mount,
        }),
        VaultAuth::Jwt(JwtRole {
            role,
            token: Credential::File("jwt".into()),
            mount: Some("gitlab".to_owned()),
        }),
    ];
    for auth in logins {
        let opened = match auth {
            VaultAuth::Token(_) => ROOT,
            _ => JWT,
        };
        let server = VaultServer {
            address: Some(fake.address.clone()),
            namespace: Some("shop/blue".to_owned()),
            auth: Some(auth),
            ..VaultServer::default()
        };
        let shown = format!("{server:?}");
        let redactor = Redactor::default();
        let servers = Servers {
            vault: server,
            ..Servers::default()
        };
        let reader = Secrets::new(keeper.folder.path().to_path_buf(), servers, &redactor);
        let read = reader.read("db", &keeper.from()).await.expect(&shown);
        assert_eq!(read.value.expose(), ONE, "{shown}");
        assert_eq!(redactor.text(opened), "***", "{shown}");
        reader.close().await;
    }
    // What was given is not given back.
    assert_eq!(fake.count("auth/token/revoke-self"), 2);
    let known = fake.known.lock().expect("known");
    let all = known.namespaces.iter();
    assert_eq!(all.filter(|named| *named != "shop/blue").count(), 0);
    assert!(known.namespaces.len() > 6, "{:?}", known.namespaces);
}

#[tokio::test]
async fn a_real_vault_keeps_the_contract() {
    let Some((address, root)) = real_vault() else {
        return;
    };
    let mut keeper = real(address, root).await;
    keeper.store = "old";
    keeps_the_contract(&keeper).await;
    keeper.store = "secret";
    keeps_the_contract(&keeper).await;
    let examined = keeper.reader().examine(&[&keeper.from()]).await;
    assert_eq!(examined[0].fault, None, "{examined:?}");
    assert!(
        examined[0].what.contains("by AppRole, for another"),
        "{examined:?}"
    );

    is_unwrapped_once(keeper).await;
}

/// The same login with its secret id wrapped.
async fn is_unwrapped_once(mut keeper: InVault) {
    let VaultAuth::Approle(AppRole { role_id, .. }) = keeper.auth.clone() else {
        panic!("an AppRole");
    };
    let path = format!("auth/approle/role/{role_id}/secret-id");
    let wrapping = reqwest::Client::new()
        .post(format!("{}/v1/{path}", keeper.address))
        .header("X-Vault-Token", &keeper.root)
        .header("X-Vault-Wrap-TTL", "60s");
    let wrapped = wrapping.send().await.expect("Vault answers");
    let text = wrapped.text().await.expect("a body");
    let wrapped: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let token = wrapped["wrap_info"]["token"].as_str().expect("a token");
    std::fs::write(keeper.folder.path().join("secret-id"), token).expect("written");

    keeper.auth = approle(&role_id, true);
    let read = keeper.reader().read("db", &keeper.from()).await;
    assert_eq!(read.expect("unwrapped").value.expose(), TWO);
    let again = keeper.reader().read("db", &keeper.from()).await;
    let again = again.expect_err("it was unwrapped already");
    assert!(again.help.contains("somebody else has"), "{again:?}");
    says_what_to_do(&again);
}

/// A role that may read one path of a real Vault.
async fn real(address: String, root: String) -> InVault {
    let set = async |path: &str, body: serde_json::Value| ask(&address, &root, path, &body).await;
    let name = format!("shop-{}", std::process::id());
    let enabled = [
        (
            "sys/mounts/secret",
            json!({"type": "kv", "options": {"version": "2"}}),
        ),
        (
            "sys/mounts/old",
            json!({"type": "kv", "options": {"version": "1"}}),
        ),
        ("sys/auth/approle", json!({"type": "approle"})),
    ];
    for (path, body) in enabled {
        // Another run may have done it.
        let request = reqwest::Client::new()
            .post(format!("{address}/v1/{path}"))
            .header("X-Vault-Token", &root)
            .body(body.to_string());
        request.send().await.expect("Vault answers");
    }
    let rules = format!(
        "path \"secret/data/{name}/*\" {{ capabilities = [\"read\"] }}\npath \"old/{name}/*\" {{ capabilities = [\"read\"] }}"
    );
    set(
        &format!("sys/policies/acl/{name}"),
        json!({"policy": rules}),
    )
    .await;
    let role = format!("auth/approle/role/{name}");
    set(&role, json!({"token_policies": name, "token_ttl": "10m"})).await;
    set(&format!("{role}/role-id"), json!({"role_id": name})).await;
    let made = set(&format!("{role}/secret-id"), json!({})).await;
    let id = made["data"]["secret_id"]
        .as_str()
        .expect("an id")
        .to_owned();

    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret-id"), id).expect("written");
    InVault {
        folder,
        auth: approle(&name, false),
        store: "secret",
        path: format!("{name}/web"),
        address: address.clone(),
        root: root.clone(),
    }
}

#[tokio::test]
async fn a_login_is_made_once_and_given_back() {
    let fake = Fake::start();
    let keeper = InVault::fake(&fake, true);
    keeper.write(ONE).await;
    let reader = keeper.reader();
    let (url, port) = (keeper.from(), keeper.secret("port"));
    let (one, other) = tokio::join!(reader.read("db", &url), reader.read("port", &port));
    assert_eq!(one.expect("it is there").value.expose(), ONE);
    assert_eq!(other.expect("it is there").value.expose(), "5432");
    assert_eq!(fake.count("auth/approle/login"), 1);
    assert_eq!(
        fake.count("secret/data/shop/web"),
        2,
        "written and read once"
    );

    let examined = reader.examine(&[&url]).await;
    assert!(
        examined[0].what.contains("by AppRole, for another 60 min"),
        "{examined:?}"
    );
    reader.close().await;
    assert_eq!(fake.count("auth/token/revoke-self"), 1);

    // What wrapped the secret id is worn out: that is an alarm.
    let second = keeper.reader().read("db", &url).await;
    let second = second.expect_err("it was unwrapped already");
    assert!(second.help.contains("somebody else has"), "{second:?}");
    says_what_to_do(&second);
}

#[tokio::test]
async fn a_token_that_wanes_is_renewed() {
    let fake = Fake::start();
    fake.known.lock().expect("known").life = 1;
    let keeper = InVault::fake(&fake, false);
    keeper.write(ONE).await;
    let reader = keeper.reader();
    reader
        .read("db", &keeper.from())
        .await
        .expect("it is there");
    let started = std::time::Instant::now();
    while started.elapsed() < std::time::Duration::from_millis(600) {
        std::thread::yield_now();
    }
    reader.examine(&[&keeper.from()]).await;
    assert_eq!(fake.count("auth/token/renew-self"), 1);
    assert_eq!(fake.count("auth/approle/login"), 1);
}

#[tokio::test]
async fn what_is_busy_is_asked_again_and_what_is_refused_is_not() {
    let fake = Fake::start();
    let keeper = InVault::fake(&fake, false);
    keeper.write(ONE).await;
    let reader = keeper.reader();
    reader.examine(&[&keeper.from()]).await;
    fake.known.lock().expect("known").trouble = Some((502, 2));
    let read = reader.read("db", &keeper.from()).await;
    assert_eq!(read.expect("at the third time").value.expose(), ONE);

    let denied = SecretRef::Vault(VaultSecret {
        path: "other/shop".to_owned(),
        key: "url".to_owned(),
        version: None,
        mount: Some("other".to_owned()),
        kv: None,
    });
    let before = fake.count("other");
    let error = reader.read("db", &denied).await.expect_err("no such store");
    says_what_to_do(&error);
    assert_eq!(fake.count("other") - before, 1);
}

#[tokio::test]
async fn a_login_that_is_refused_says_nothing_of_what_was_shown() {
    let fake = Fake::start();
    let keeper = InVault {
        auth: approle("another", false),
        ..InVault::fake(&fake, false)
    };
    let error = keeper.reader().read("db", &keeper.from()).await;
    let error = error.expect_err("there is no such role");
    assert!(
        error.reason.contains("invalid role or secret ID"),
        "{error}"
    );
    says_what_to_do(&error);
    let reader = keeper.reader();
    let (url, port) = (keeper.from(), keeper.secret("port"));
    let other = SecretRef::Vault(VaultSecret {
        path: "secret/other".to_owned(),
        key: "url".to_owned(),
        version: None,
        mount: None,
        kv: None,
    });
    let all = tokio::join!(
        reader.read("db", &url),
        reader.read("port", &port),
        reader.read("other", &other)
    );
    assert!(
        all.0.is_err() && all.1.is_err() && all.2.is_err(),
        "{all:?}"
    );
    assert_eq!(
        fake.count("auth/approle/login"),
        2,
        "each reader shows its secret id once"
    );
}

/// A secret or a parameter of Amazon's, which moto plays.
struct InAmazon {
    endpoint: String,
    name: String,
    from: SecretRef,
    /// Secrets can be written again only once they are there.
    is_there: std::sync::atomic::AtomicBool,
}

impl InAmazon {
    fn new(endpoint: String, from: impl FnOnce(String) -> SecretRef) -> Self {
        let name = format!("shop-{}", uuid::Uuid::new_v4());
        Self {
            endpoint,
            from: from(name.clone()),
            name,
            is_there: false.into(),
        }
    }

    async fn ask(&self, service: &str, target: &str, body: serde_json::Value) {
        let scope = format!("x/20260101/eu-central-1/{service}/aws4_request");
        let signed =
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=x");
        let request = reqwest::Client::new()
            .post(&self.endpoint)
            .header("Authorization", signed)
            .header("X-Amz-Target", target)
            .header("Content-Type", "application/x-amz-json-1.1")
            .body(body.to_string());
        let answer = request.send().await.expect("moto answers");
        assert!(answer.status().is_success(), "{target}: {answer:?}");
    }
}

#[async_trait]
impl Keeper for InAmazon {
    fn from(&self) -> SecretRef {
        self.from.clone()
    }

    fn missing(&self) -> SecretRef {
        match &self.from {
            SecretRef::AwsSecret(secret) => SecretRef::AwsSecret(AwsSecret {
                key: Some("uri".to_owned()),
                ..secret.clone()
            }),
            _ => SecretRef::AwsParameter(AwsParameter {
                name: "/shop/nothing".to_owned(),
                version: None,
            }),
        }
    }

    fn reader(&self) -> Secrets {
        let keys = Credentials::new("AKIDEXAMPLE", "canary-key-of-amazon", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .endpoint_url(&self.endpoint)
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .build();
        let servers = Servers {
            aws: Arc::new(Aws::with(config)),
            ..Servers::default()
        };
        Secrets::new(PathBuf::from("/"), servers, &Redactor::default())
    }

    async fn write(&self, value: &str) {
        let is_there = self.is_there.swap(true, Ordering::Relaxed);
        let name = &self.name;
        if let SecretRef::AwsSecret(_) = &self.from {
            let text = json!({"url": value, "port": 5432}).to_string();
            let (target, key) = if is_there {
                ("secretsmanager.PutSecretValue", "SecretId")
            } else {
                ("secretsmanager.CreateSecret", "Name")
            };
            let token = uuid::Uuid::new_v4().to_string();
            let body = json!({key: name, "SecretString": text, "ClientRequestToken": token});
            return self.ask("secretsmanager", target, body).await;
        }
        let body = json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": true});
        self.ask("ssm", "AmazonSSM.PutParameter", body).await;
    }

    async fn destroy(&self, version: &SecretVersion) -> SecretVersion {
        match version {
            SecretVersion::Number(_) => SecretVersion::Number(90_001),
            SecretVersion::Id(_) => SecretVersion::Id(uuid::Uuid::new_v4().to_string()),
        }
    }
}

fn moto() -> Option<String> {
    let named = std::env::var("SHIPIT_TEST_AWS").ok();
    let found = crate::parts::is_given(named.is_some(), "SHIPIT_TEST_AWS names no moto");
    named.filter(|_| found)
}

#[tokio::test]
async fn amazons_secrets_manager_keeps_the_contract() {
    let Some(endpoint) = moto() else { return };
    let keeper = InAmazon::new(endpoint, |name| {
        SecretRef::AwsSecret(AwsSecret {
            name,
            key: Some("url".to_owned()),
            version: None,
        })
    });
    keeps_the_contract(&keeper).await;
    let examined = keeper.reader().examine(&[&keeper.from()]).await;
    assert_eq!(examined[0].fault, None, "{examined:?}");
}

#[tokio::test]
async fn amazons_parameter_store_keeps_the_contract() {
    let Some(endpoint) = moto() else { return };
    let keeper = InAmazon::new(endpoint, |name| {
        SecretRef::AwsParameter(AwsParameter {
            name,
            version: None,
        })
    });
    keeps_the_contract(&keeper).await;
}

/// Asks either Vault for what a test needs to be there.
async fn ask(
    address: &str,
    token: &str,
    path: &str,
    body: &serde_json::Value,
) -> serde_json::Value {
    let request = reqwest::Client::new()
        .post(format!("{address}/v1/{path}"))
        .header("X-Vault-Token", token)
        .body(body.to_string());
    let answer = request.send().await.expect("Vault answers");
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    assert!(status.is_success(), "{path}: {status}: {text}");
    serde_json::from_str(&text).unwrap_or_default()
}

/// Address and root token of the real one, when there is one.
fn real_vault() -> Option<(String, String)> {
    let named = std::env::var("SHIPIT_TEST_VAULT").ok();
    let found = crate::parts::is_given(named.is_some(), "SHIPIT_TEST_VAULT names no Vault");
    let named = named.filter(|_| found)?;
    let (address, token) = named.trim().split_once(' ').expect("ADDRESS TOKEN");
    Some((address.to_owned(), token.to_owned()))
}
