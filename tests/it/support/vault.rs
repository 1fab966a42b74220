//! A small Vault that answers as the real one does (1.21), for what the tests ask of it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

/// What the small one knows.
#[derive(Default)]
pub struct Known {
    /// By path, each version from the first on; none is one that was destroyed.
    documents: BTreeMap<String, Vec<Option<Value>>>,
    tokens: Vec<String>,
    wrapped: BTreeMap<String, String>,
    /// Every request: method, path and token.
    pub asked: Vec<(String, String, String)>,
    /// How many requests are still answered with this status.
    pub trouble: Option<(u16, usize)>,
    /// How long the tokens of logins live, in seconds.
    pub life: u64,
    /// The namespaces that were asked for.
    pub namespaces: Vec<String>,
}

/// The small Vault.
#[derive(Clone)]
pub struct Fake {
    pub address: String,
    pub known: Arc<Mutex<Known>>,
}

/// What the role wants.
pub const SECRET_ID: &str = "canary-secret-id-51f0";

/// What roles for pods and for build servers want.
pub const JWT: &str = "canary-jwt-2f66";

/// The token that opens everything.
pub const ROOT: &str = "canary-root-token-9c1d";

impl Fake {
    pub fn start() -> Self {
        Self::with(None)
    }

    /// The same behind TLS, with this certificate and its key.
    pub fn with_tls(chain: &Path, key: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(chain).expect("a chain");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a key for it");
        Self::with(Some(Arc::new(config)))
    }

    fn with(tls: Option<Arc<ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let known = Known {
            tokens: vec![ROOT.to_owned()],
            life: 3600,
            ..Known::default()
        };
        let known = Arc::new(Mutex::new(known));
        let shared = Arc::clone(&known);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (known, tls) = (Arc::clone(&shared), tls.clone());
                std::thread::spawn(move || match tls {
                    None => answer(stream, &known),
                    Some(config) => {
                        let connection = ServerConnection::new(config).expect("a connection");
                        answer(StreamOwned::new(connection, stream), &known);
                    }
                });
            }
        });
        Self {
            address: format!("{scheme}://{address}"),
            known,
        }
    }

    /// Keeps another version at a path.
    pub fn put(&self, path: &str, data: Value) {
        let mut known = self.known.lock().expect("known");
        let versions = known.documents.entry(path.to_owned()).or_default();
        versions.push(Some(data));
    }

    /// Destroys a version.
    pub fn destroy(&self, path: &str, version: usize) {
        let mut known = self.known.lock().expect("known");
        known.documents.get_mut(path).expect("it is there")[version - 1] = None;
    }

    /// Wraps the secret id in a token that is good for once.
    pub fn wrap(&self) -> String {
        let token = "canary-wrapping-token-77".to_owned();
        let mut known = self.known.lock().expect("known");
        known.wrapped.insert(token.clone(), SECRET_ID.to_owned());
        token
    }

    pub fn count(&self, path: &str) -> usize {
        let known = self.known.lock().expect("known");
        let asked = known.asked.iter();
        asked
            .filter(|(_, asked, _)| asked.starts_with(path))
            .count()
    }
}

struct Asked {
    method: String,
    path: String,
    query: String,
    token: String,
    namespace: Option<String>,
    body: Value,
}

fn read(stream: impl Read) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut token, mut namespace, mut length) = (String::new(), None, 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "x-vault-token" => value.trim().clone_into(&mut token),
            "x-vault-namespace" => namespace = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Asked {
        method,
        path: path.strip_prefix("/v1/")?.to_owned(),
        query: query.to_owned(),
        token,
        namespace,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

fn answer(mut stream: impl Read + Write, known: &Mutex<Known>) {
    let Some(asked) = read(&mut stream) else {
        return;
    };
    let (status, body) = decide(&asked, &mut known.lock().expect("known"));
    let text = body.to_string();
    let length = text.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{text}"
    );
}

fn errors(status: u16, text: &str) -> (u16, Value) {
    (status, json!({"errors": [text]}))
}

fn decide(asked: &Asked, known: &mut Known) -> (u16, Value) {
    let request = (
        asked.method.clone(),
        asked.path.clone(),
        asked.token.clone(),
    );
    known.asked.push(request);
    known.namespaces.extend(asked.namespace.clone());
    if let Some((status, left @ 1..)) = known.trouble {
        known.trouble = Some((status, left - 1));
        return errors(status, "Vault is busy");
    }

    let path = asked.path.as_str();
    if path == "auth/approle/login" {
        if asked.body["secret_id"] != SECRET_ID || asked.body["role_id"] != "shop" {
            return errors(400, "invalid role or secret ID");
        }
        let token = format!("canary-token-of-login-{}", known.tokens.len());
        known.tokens.push(token.clone());
        let auth = json!({"client_token": token, "lease_duration": known.life, "renewable": true});
        return (200, json!({"auth": auth}));
    }
    if matches!(path, "auth/kubernetes/login" | "auth/gitlab/login") {
        if asked.body["jwt"] != JWT || asked.body["role"] != "shop" {
            return errors(403, "permission denied");
        }
        let token = format!("canary-token-of-login-{}", known.tokens.len());
        known.tokens.push(token.clone());
        return (
            200,
            json!({"auth": {"client_token": token, "lease_duration": 60}}),
        );
    }
    if path == "sys/wrapping/unwrap" {
        return match known.wrapped.remove(&asked.token) {
            Some(id) => (200, json!({"data": {"secret_id": id}})),
            None => errors(400, "wrapping token is not valid or does not exist"),
        };
    }
    if !known.tokens.contains(&asked.token) {
        return errors(403, "permission denied");
    }
    match path {
        "auth/token/lookup-self" => (200, json!({"data": {"ttl": known.life}})),
        "auth/token/renew-self" => {
            let auth =
                json!({"client_token": asked.token, "lease_duration": 3600, "renewable": true});
            (200, json!({"auth": auth}))
        }
        "auth/token/revoke-self" => {
            known.tokens.retain(|token| *token != asked.token);
            (204, Value::Null)
        }
        _ => store(asked, known),
    }
}

fn store(asked: &Asked, known: &mut Known) -> (u16, Value) {
    let path = asked.path.as_str();
    if path.starts_with("sys/internal/ui/mounts/secret/") {
        let data = json!({"path": "secret/", "type": "kv", "options": {"version": "2"}});
        return (200, json!({"data": data}));
    }
    if path.starts_with("sys/internal/ui/mounts/old/") {
        let data = json!({"path": "old/", "type": "kv", "options": null});
        return (200, json!({"data": data}));
    }
    if path.starts_with("old/") {
        let kept = known.documents.entry(path.to_owned()).or_default();
        if asked.method == "POST" {
            kept.push(Some(asked.body.clone()));
            return (204, Value::Null);
        }
        return match kept.last() {
            Some(data) => (200, json!({"data": data})),
            None => (404, json!({"errors": []})),
        };
    }
    if let Some(path) = path.strip_prefix("secret/destroy/") {
        let gone = asked.body["versions"][0].as_u64().expect("a version");
        let versions = known.documents.get_mut(path).expect("it is there");
        versions[usize::try_from(gone).expect("small") - 1] = None;
        return (204, Value::Null);
    }
    let Some(path) = path.strip_prefix("secret/data/") else {
        return errors(404, "no handler for route");
    };
    let versions = known.documents.entry(path.to_owned()).or_default();
    if asked.method == "POST" {
        versions.push(Some(asked.body["data"].clone()));
        return (200, json!({"data": {"version": versions.len()}}));
    }

    let named = asked.query.strip_prefix("version=");
    let number = named.map_or(versions.len(), |number| number.parse().expect("a number"));
    let found = number.checked_sub(1).and_then(|at| versions.get(at));
    let metadata =
        json!({"version": number, "destroyed": found == Some(&None), "deletion_time": ""});
    match found {
        Some(Some(data)) => (200, json!({"data": {"data": data, "metadata": metadata}})),
        Some(None) => (404, json!({"data": {"data": null, "metadata": metadata}})),
        None => (404, json!({"errors": []})),
    }
}
