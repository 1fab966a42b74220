//! Registries that mean no good, and what they get.

mod elsewhere;
mod unsteady;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use oci_spec::distribution::Reference;
use serde_json::json;

use super::remote::{LoggedIn, Login, MANIFEST, Remote, Trust};
use super::{Location, Oci};
use crate::files::login::Credentials;
use crate::model::garbage::Collect;
use crate::model::image::ImageHome;
use crate::model::{Digest, ServiceName};
use crate::port::Registry as _;
use crate::port::registry::{Blob, RegistryError};

type Answer = Response<BoxBody<Bytes, Infallible>>;
type Respond = dyn Fn(&Parts, &Seen) -> Answer + Send + Sync;

/// What was asked of a server.
#[derive(Default)]
struct Seen {
    /// Method and path, what it was authorized with, and the body.
    requests: Mutex<Vec<(String, Option<String>, String)>>,
    /// How many bytes of endless answers were taken.
    taken: Arc<AtomicU64>,
}

impl Seen {
    fn requests(&self) -> Vec<(String, Option<String>, String)> {
        self.requests.lock().expect("whole").clone()
    }

    /// How often this was asked for.
    fn times(&self, path: &str) -> usize {
        let requests = self.requests();
        requests
            .iter()
            .filter(|(asked, ..)| asked.contains(path))
            .count()
    }

    /// An answer that has no end.
    fn endless(&self) -> Answer {
        let taken = Arc::clone(&self.taken);
        let part = Bytes::from(vec![b' '; 64 << 10]);
        let parts = futures_util::stream::repeat(part).map(move |part| {
            taken.fetch_add(part.len() as u64, Ordering::SeqCst);
            Ok(Frame::data(part))
        });
        Response::new(BodyExt::boxed(StreamBody::new(parts)))
    }
}

struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn new(respond: impl Fn(&Parts, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let (seen, respond) = (Arc::new(Seen::default()), Arc::new(respond) as Arc<Respond>);
        let of = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (of, respond) = (Arc::clone(&of), Arc::clone(&respond));
                let service = hyper::service::service_fn(move |request| {
                    answer(request, Arc::clone(&of), Arc::clone(&respond))
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move {
                    server.serve_connection(TokioIo::new(socket), service).await
                });
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
    respond: Arc<Respond>,
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let authorization = head.headers.get(AUTHORIZATION);
    let request = (
        format!("{} {}", head.method, head.uri),
        authorization.map(|value| value.to_str().expect("text").to_owned()),
        String::from_utf8_lossy(&body).into_owned(),
    );
    seen.requests.lock().expect("whole").push(request);
    Ok(respond(&head, &seen))
}

fn said(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed());
    *answer.status_mut() = status;
    answer
}

fn with(mut answer: Answer, name: http::HeaderName, value: &str) -> Answer {
    let value = HeaderValue::from_str(value).expect("a value");
    answer.headers_mut().append(name, value);
    answer
}

fn bearer(realm: &str) -> Answer {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"r\"");
    with(
        said(StatusCode::UNAUTHORIZED, ""),
        WWW_AUTHENTICATE,
        &challenge,
    )
}

fn has_token(headers: &HeaderMap) -> bool {
    headers
        .get(AUTHORIZATION)
        .is_some_and(|value| value == "Bearer tok")
}

fn token() -> Answer {
    said(StatusCode::OK, r#"{"token": "tok"}"#)
}

/// A manifest with a configuration of this digest, that says to have so many bytes.
fn manifest(config: &Digest, size: u64) -> Answer {
    let kind = "application/vnd.oci.image.config.v1+json";
    let text = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": {"mediaType": kind, "digest": config, "size": size}});
    with(
        said(StatusCode::OK, text.to_string()),
        CONTENT_TYPE,
        MANIFEST,
    )
}

/// Logs in everywhere as the same.
struct As(Option<Credentials>);

#[async_trait::async_trait]
impl Login for As {
    async fn log_in(&self, _: &str) -> Result<LoggedIn, RegistryError> {
        let problem = self
            .0
            .is_none()
            .then(|| "the keychain is locked".to_owned());
        Ok(LoggedIn {
            credentials: self.0.clone(),
            problem,
            until: None,
        })
    }
}

const KIM: &str = "Basic a2ltOnB3";

fn kim() -> Credentials {
    Credentials::Password {
        user: "kim".to_owned(),
        password: "pw".to_owned(),
    }
}

fn remote(login: Option<Credentials>, auth_hosts: &[String]) -> Remote {
    let trust = Trust {
        auth_hosts: auth_hosts.to_vec(),
        ..Trust::default()
    };
    Remote::new(Arc::new(As(login)), trust)
}

fn image(server: &Server) -> Reference {
    let (registry, repository) = (server.address.to_string(), "shop/base".to_owned());
    Reference::with_tag(registry, repository, "1".to_owned())
}

/// Why a base image is not to be had.
async fn refused(server: &Server, remote: &Remote) -> String {
    let error = remote.base(&image(server), &[]).await.expect_err("refused");
    match error {
        RegistryError::Remote { reason, help, .. } => format!("{reason} | {help}"),
        other => other.to_string(),
    }
}

fn web() -> ServiceName {
    "web".parse().expect("a name")
}

fn oci(server: &Server) -> Oci {
    let place = Location {
        endpoint: server.address.to_string(),
        repositories: [(web(), "shop/web".to_owned())].into(),
        moves_tags: true,
        provenance: false,
        sbom: false,
    };
    Oci::new(place, remote(None, &[]))
}

#[tokio::test]
async fn a_login_goes_to_no_server_that_only_the_registry_has_named() {
    let tokens = Server::new(|_, _| token()).await;
    let realm = tokens.at("/token");
    let registry = Server::new(move |head, _| {
        if has_token(&head.headers) {
            manifest(&Digest::of(b"{}"), 2)
        } else {
            bearer(&realm)
        }
    })
    .await;

    let reason = refused(&registry, &remote(Some(kim()), &[])).await;
    let named = tokens.address.to_string();
    assert!(
        reason.contains(&named) && reason.contains("auth_hosts"),
        "{reason}"
    );
    assert_eq!(tokens.seen.requests(), [], "not even asked");

    let _ = remote(Some(kim()), std::slice::from_ref(&named))
        .base(&image(&registry), &[])
        .await;
    let (asked, shown, _) = &tokens.seen.requests()[0];
    let scope = "scope=repository%3Ashop%2Fbase%3Apull&service=r";
    assert!(
        asked.starts_with("GET /token?") && asked.contains(scope),
        "{asked}"
    );
    assert_eq!(shown.as_deref(), Some(KIM));
    assert!(
        registry
            .seen
            .requests()
            .iter()
            .all(|(_, shown, _)| shown.as_deref() != Some(KIM))
    );
}

#[tokio::test]
async fn nobody_is_asked_for_a_token_inside_of_the_cloud() {
    for realm in [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/token",
        "http://[::ffff:169.254.169.254]/token",
        "http://100.100.100.200/token",
    ] {
        let registry = Server::new(|_, _| bearer(realm)).await;
        let reason = refused(&registry, &remote(None, &[])).await;
        assert!(reason.contains("metadata"), "{realm}: {reason}");
    }
}

#[tokio::test]
async fn a_token_server_leads_nowhere_else() {
    let other = Server::new(|_, _| token()).await;
    let to = other.at("/token");
    let registry = Server::new(move |head, _| match head.uri.path() {
        "/token" => with(said(StatusCode::TEMPORARY_REDIRECT, ""), LOCATION, &to),
        _ => bearer(&format!(
            "http://{}/token",
            head.headers["host"].to_str().expect("text")
        )),
    })
    .await;
    for login in [Some(kim()), Some(Credentials::Identity("idtok".to_owned()))] {
        let reason = refused(&registry, &remote(login, &[])).await;
        assert!(reason.contains("leads on"), "{reason}");
    }
    assert_eq!(other.seen.requests(), []);
}

#[tokio::test]
async fn an_identity_is_changed_for_a_token_and_goes_to_the_token_server_alone() {
    let registry = Server::new(|head, _| match head.uri.path() {
        "/token" => said(StatusCode::OK, r#"{"access_token": "tok"}"#),
        _ if has_token(&head.headers) => manifest(&Digest::of(b"{}"), 2),
        _ => bearer(&format!(
            "http://{}/token",
            head.headers["host"].to_str().expect("text")
        )),
    })
    .await;
    let login = Some(Credentials::Identity("idtok".to_owned()));
    let _ = remote(login, &[]).base(&image(&registry), &[]).await;
    let requests = registry.seen.requests();
    let with_it: Vec<_> = requests
        .iter()
        .filter(|(_, _, body)| body.contains("idtok"))
        .collect();
    let [(asked, None, body)] = with_it.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(asked, "POST /token");
    assert!(
        body.contains("grant_type=refresh_token&client_id=shipit"),
        "{body}"
    );
    let shown = requests.iter().filter_map(|(_, shown, _)| shown.as_deref());
    assert!(shown.into_iter().all(|shown| shown == "Bearer tok"));
}

#[tokio::test]
async fn no_answer_is_read_without_end() {
    let is = |head: &Parts, part: &str| head.uri.path().contains(part);
    let tokens = Server::new(move |head, seen| match head.uri.path() {
        "/token" => seen.endless(),
        _ => bearer(&format!(
            "http://{}/token",
            head.headers["host"].to_str().expect("text")
        )),
    });
    let door = Server::new(|_, seen| {
        let mut answer = seen.endless();
        *answer.status_mut() = StatusCode::FORBIDDEN;
        answer
    });
    let read = Server::new(move |head, seen| {
        if is(head, "/manifests/") {
            seen.endless()
        } else {
            said(StatusCode::OK, "{}")
        }
    });
    let config = Server::new(move |head, seen| {
        if is(head, "/blobs/") {
            seen.endless()
        } else if is(head, "/manifests/") {
            manifest(&Digest::of(b"x"), 100)
        } else {
            said(StatusCode::OK, "{}")
        }
    });
    for (what, server) in [
        ("token", tokens.await),
        ("error", door.await),
        ("manifest", read.await),
        ("configuration", config.await),
    ] {
        let reason = refused(&server, &remote(None, &[])).await;
        let taken = server.seen.taken.load(Ordering::SeqCst);
        // What lies in the sockets' buffers was taken by nobody.
        assert!(
            (1..32 << 20).contains(&taken),
            "{what}: {taken} bytes, {reason}"
        );
        assert!(
            reason.len() < 4000,
            "{what}: {} bytes of reason",
            reason.len()
        );
    }
}

#[tokio::test]
async fn a_layer_has_no_more_bytes_than_its_manifest_says() {
    let server = Server::new(|head, seen| {
        if head.uri.path().contains("/blobs/") {
            seen.endless()
        } else {
            said(StatusCode::OK, "{}")
        }
    })
    .await;
    let remote = remote(None, &[]);
    let layer = Blob {
        media_type: String::new(),
        digest: Digest::of(b"x"),
        size: 100_000,
        file: None,
    };
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("layer");
    let open = remote
        .open(&image(&server), super::auth::Access::Pull)
        .await
        .expect("open");
    let fetched = super::fetch::fetch(&open, &image(&server), &layer, &to).await;
    assert!(
        matches!(fetched, Err(RegistryError::Corrupt { .. })),
        "{fetched:?}"
    );
    let size = std::fs::metadata(&to).expect("a file").len();
    assert!(size <= layer.size, "{size} bytes on the disk");
    assert_eq!(server.seen.times("/blobs/"), 1, "it is not asked for again");
}

#[tokio::test]
async fn lists_of_tags_and_of_what_is_attached_have_a_bound() {
    for part in ["/tags/list", "/referrers/"] {
        let server = Server::new(move |head, seen| {
            if head.uri.path().contains(part) {
                return seen.endless();
            }
            said(StatusCode::OK, "{}")
        })
        .await;
        let registry = oci(&server);
        let image = Digest::of(b"x");
        let failed = match part {
            "/tags/list" => registry.collect(&[].into(), Collect::Report).await.is_err(),
            _ => registry
                .signatures(ImageHome::Project(&web()), &image)
                .await
                .is_err(),
        };
        let taken = server.seen.taken.load(Ordering::SeqCst);
        assert!(
            failed && (1..64 << 20).contains(&taken),
            "{part}: {taken} bytes"
        );
    }
}

#[tokio::test]
async fn a_redirect_takes_no_login_along() {
    let config = Bytes::from_static(b"{\"os\": \"linux\"}");
    let digest = Digest::of(&config);
    let body = config.clone();
    let storage = Server::new(move |_, _| said(StatusCode::OK, body.clone())).await;
    let (to, size) = (storage.at("/bucket/x?signature=1"), config.len() as u64);
    let of = digest.clone();
    let registry = Server::new(move |head, _| match head.uri.path() {
        path if path.contains("/blobs/") => {
            with(said(StatusCode::TEMPORARY_REDIRECT, ""), LOCATION, &to)
        }
        path if path.contains("/manifests/") => manifest(&of, size),
        _ if head.headers.contains_key(AUTHORIZATION) => said(StatusCode::OK, "{}"),
        _ => with(
            said(StatusCode::UNAUTHORIZED, ""),
            WWW_AUTHENTICATE,
            "Basic realm=\"r\"",
        ),
    })
    .await;
    let found = remote(Some(kim()), &[]).base(&image(&registry), &[]).await;
    let base = found.expect("read").expect("there");
    assert_eq!(
        base.images.values().next().expect("an image").config,
        config
    );
    let [(_, shown, _)] = storage.seen.requests().try_into().expect("one request");
    assert_eq!(shown, None);
    let blobs = registry.seen.requests();
    let shown = blobs.iter().filter(|(asked, ..)| asked.contains("/blobs/"));
    assert!(
        shown.clone().count() == 1
            && shown
                .into_iter()
                .all(|(_, shown, _)| shown.as_deref() == Some(KIM))
    );
}

#[tokio::test]
async fn a_registry_that_is_busy_is_asked_again_when_it_says() {
    let busy = AtomicU64::new(5);
    let server = Server::new(move |head, _| {
        if !head.uri.path().contains("/manifests/") {
            return said(StatusCode::OK, "{}");
        }
        let left = busy.load(Ordering::SeqCst);
        if left > 0 {
            busy.store(left - 1, Ordering::SeqCst);
            return with(said(StatusCode::TOO_MANY_REQUESTS, ""), RETRY_AFTER, "0");
        }
        said(StatusCode::NOT_FOUND, "")
    })
    .await;
    let found = remote(None, &[]).base(&image(&server), &[]).await;
    assert_eq!(found.expect("an answer"), None);
    assert_eq!(server.seen.times("/manifests/"), 6);
}

#[tokio::test]
async fn why_there_was_no_login_is_told_when_one_is_wanted() {
    let open = Server::new(|_, _| said(StatusCode::NOT_FOUND, "")).await;
    let found = remote(None, &[]).base(&image(&open), &[]).await;
    assert_eq!(found.expect("nobody asked for one"), None);
    let locked = Server::new(|head, _| match head.uri.path() {
        "/v2/" => said(StatusCode::OK, "{}"),
        _ => said(StatusCode::UNAUTHORIZED, ""),
    })
    .await;
    let reason = refused(&locked, &remote(None, &[])).await;
    assert!(reason.contains("the keychain is locked"), "{reason}");
}

#[tokio::test]
async fn a_configuration_that_is_another_one_is_refused() {
    let server = Server::new(|head, _| match head.uri.path() {
        path if path.contains("/blobs/") => said(StatusCode::OK, "another"),
        path if path.contains("/manifests/") => manifest(&Digest::of(b"the one"), 7),
        _ => said(StatusCode::OK, "{}"),
    })
    .await;
    let found = remote(None, &[]).base(&image(&server), &[]).await;
    assert!(
        matches!(found, Err(RegistryError::Corrupt { .. })),
        "{found:?}"
    );
}
