//! The slot with live traffic as a key of etcd, for whoever routes by it. By etcd's own JSON
//! gateway: two requests are all that is needed of it.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::model::route::Publication;
use crate::model::{LiveTraffic, chain};
use crate::port::pause;

/// How often a key is written until that is given up.
const TRIES: u32 = 5;
/// How long etcd has for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The largest answer that is read, and the largest password.
const LIMIT: usize = 64 << 10;

/// Writes the slot into its key.
pub(in crate::agent) async fn publish(
    publication: &Publication,
    to: LiveTraffic,
) -> Result<(), String> {
    let cannot =
        |reason: String| format!("the key {} could not be written: {reason}", publication.key);
    let etcd = Etcd {
        client: client(publication.ca.as_deref()).map_err(cannot)?,
        publication,
    };
    let mut last = String::new();
    // Who takes a connection and says nothing is asked once: a switch waits for this.
    let mut asked: Vec<&String> = publication.endpoints.iter().collect();
    for attempt in 0..TRIES {
        for endpoint in std::mem::take(&mut asked) {
            match etcd.put(endpoint, to.as_str()).await {
                Ok(()) => return Ok(()),
                Err(Refusal::Silent) => last = format!("{endpoint}: {}", Refusal::Silent),
                Err(refusal) => {
                    last = format!("{endpoint}: {refusal}");
                    asked.push(endpoint);
                }
            }
        }

        if asked.is_empty() {
            break;
        }

        let full = Duration::from_millis(100 << attempt);
        tokio::time::sleep(pause::between(full / 2, full)).await;
    }
    Err(cannot(last))
}

/// The value of the key; none where there is no such key. All members are asked at once and each
/// one once, for whoever asks here only looks: what does not answer costs [`ANSWER`], however many
/// there are.
pub(in crate::agent) async fn read(publication: &Publication) -> Result<Option<String>, String> {
    let cannot =
        |reason: String| format!("the key {} could not be read: {reason}", publication.key);
    let etcd = Etcd {
        client: client(publication.ca.as_deref()).map_err(cannot)?,
        publication,
    };
    let endpoints = publication.endpoints.iter();
    let mut answers: FuturesUnordered<_> = endpoints.map(|it| etcd.look(it)).collect();
    let mut refused = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(found) => return Ok(found),
            Err(reason) => refused.push(reason),
        }
    }
    refused.sort();
    Err(cannot(refused.join("; ")))
}

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts the authorities of this machine, or the one that is named and no other.
fn client(ca: Option<&Path>) -> Result<Https, String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = HttpsConnectorBuilder::new();
    let builder = match ca {
        None => builder
            .with_provider_and_native_roots(provider)
            .map_err(|error| error.to_string())?,
        Some(path) => {
            let unreadable =
                |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
            let mut roots = rustls::RootCertStore::empty();
            let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| unreadable(&error))?;
                roots.add(certificate).map_err(|error| unreadable(&error))?;
            }
            if roots.is_empty() {
                return Err(unreadable(&"there is no certificate in it"));
            }
            let config = rustls::ClientConfig::builder_with_provider(provider.into());
            let config = config
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?;
            builder.with_tls_config(config.with_root_certificates(roots).with_no_client_auth())
        }
    };
    Ok(Client::builder(TokioExecutor::new()).build(builder.https_or_http().enable_http1().build()))
}

/// Why a member of etcd did not do it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("connected, no answer within {} s", ANSWER.as_secs())]
    Silent,
    #[error("{0}")]
    Said(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Said(reason)
    }
}

struct Etcd<'a> {
    client: Https,
    publication: &'a Publication,
}

impl Etcd<'_> {
    async fn put(&self, endpoint: &str, value: &str) -> Result<(), Refusal> {
        let token = self.token(endpoint).await?;
        let body =
            json!({"key": STANDARD.encode(&self.publication.key), "value": STANDARD.encode(value)});
        self.ask(endpoint, "/v3/kv/put", token.as_deref(), &body)
            .await
            .map(drop)
    }

    /// Asks one member, which has so long for its login and its answer.
    async fn look(&self, endpoint: &str) -> Result<Option<String>, String> {
        let answer = tokio::time::timeout(ANSWER, self.get(endpoint)).await;
        let answer = answer.unwrap_or(Err(Refusal::Silent));
        answer.map_err(|refusal| format!("{endpoint}: {refusal}"))
    }

    async fn get(&self, endpoint: &str) -> Result<Option<String>, Refusal> {
        let token = self.token(endpoint).await?;
        let body = json!({"key": STANDARD.encode(&self.publication.key)});
        let answer = self.ask(endpoint, "/v3/kv/range", token.as_deref(), &body);
        let answer = answer.await?;
        let Some(found) = answer["kvs"].get(0) else {
            return Ok(None);
        };
        // An empty value is left out of the answer.
        let value = found["value"].as_str().unwrap_or_default();
        let value = STANDARD.decode(value).map_err(|error| error.to_string())?;
        Ok(Some(String::from_utf8_lossy(&value).into_owned()))
    }

    /// A token for the user that is named; none where nobody is. The password is read each time: it
    /// may be changed while the agent runs.
    async fn token(&self, endpoint: &str) -> Result<Option<String>, Refusal> {
        let Some(login) = &self.publication.login else {
            return Ok(None);
        };
        let file = login.password_file.display();
        let password = crate::files::read_text(&login.password_file, LIMIT as u64);
        let password = password.map_err(|error| format!("{file}: {error}"))?;
        let body = json!({"name": login.user, "password": password.trim_end_matches(['\r', '\n'])});
        let answer = self
            .ask(endpoint, "/v3/auth/authenticate", None, &body)
            .await?;
        let token = answer["token"].as_str();
        let token = token.ok_or_else(|| "it gave no token".to_owned())?;
        Ok(Some(token.to_owned()))
    }

    async fn ask(
        &self,
        endpoint: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Result<Value, Refusal> {
        let mut request = Request::post(format!("{}{path}", endpoint.trim_end_matches('/')))
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let request = request
            .body(Full::from(body.to_string()))
            .map_err(|error| error.to_string())?;
        let ask = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|error| chain(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LIMIT).collect().await;
            let body: Value =
                serde_json::from_slice(&body.map_err(|error| error.to_string())?.to_bytes())
                    .unwrap_or_default();
            if status.is_success() {
                return Ok(body);
            }
            let said = body["message"]
                .as_str()
                .or(body["error"].as_str())
                .unwrap_or_default();
            Err(format!("it answered {status}: {said}"))
        };

        let answer: Result<Value, String> = tokio::time::timeout(ANSWER, ask)
            .await
            .map_err(|_| Refusal::Silent)?;
        Ok(answer?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_member_that_says_nothing_is_asked_once() {
        // It accepts by itself up to its backlog: the kernel does.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("an address");
        let publication = Publication {
            endpoints: vec![format!("http://{address}")],
            key: "/shop/live".to_owned(),
            login: None,
            ca: None,
        };
        let refused = publish(&publication, LiveTraffic::All(crate::model::Slot::Blue)).await;
        let reason = format!("http://{address}: connected, no answer within 5 s");
        assert_eq!(
            refused,
            Err(format!("the key /shop/live could not be written: {reason}"))
        );
        silent.set_nonblocking(true).expect("set");
        let asked = std::iter::from_fn(|| silent.accept().ok()).count();
        assert_eq!(asked, 1);
    }

    #[tokio::test]
    async fn members_are_asked_at_once_and_one_that_says_nothing_hides_no_other() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        use tokio::net::TcpListener;

        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let answers = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = |listener: &TcpListener| {
            let address = listener.local_addr().expect("an address");
            format!("http://{address}")
        };
        let publication = Publication {
            endpoints: vec![endpoint(&silent), endpoint(&answers)],
            key: "/shop/live".to_owned(),
            login: None,
            ca: None,
        };

        let (given_up, mut was_given_up) = tokio::sync::oneshot::channel();
        let keeping_silent = tokio::spawn(async move {
            let (mut stream, _) = silent.accept().await.expect("a request");
            while stream
                .read(&mut [0; 4096])
                .await
                .is_ok_and(|length| length > 0)
            {}
            let _ = given_up.send(());
        });
        let answering = async {
            let (mut stream, _) = answers.accept().await.expect("a request");
            let length = stream.read(&mut [0; 4096]).await.expect("a head");
            assert!(length > 0);
            let is_early = was_given_up.try_recv().is_err();
            let body = json!({"kvs": [{"value": STANDARD.encode("green")}]}).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let answer = [head.as_bytes(), body.as_bytes()].concat();
            stream.write_all(&answer).await.expect("an answer");
            (is_early, stream)
        };
        let (found, (is_early, _stream)) = tokio::join!(read(&publication), answering);
        assert_eq!(found, Ok(Some("green".to_owned())));
        assert!(is_early, "the silent one is still waited for");
        keeping_silent.await.expect("it is given up by now");
    }
}
