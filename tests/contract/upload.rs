//! Uploads that break on the way, through a proxy in front of the real registry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shipit::driver::registry::oci::remote::Remote;
use shipit::driver::registry::oci::{Location, Oci};
use shipit::model::Digest;
use shipit::model::image::ImageHome;
use shipit::port::Registry as _;
use shipit::port::registry::{Blob, BuiltImage, RegistryError};

use crate::support::web;

/// What a registry does with the part that had come when a request broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// Keeps it, as the specification wants it.
    Keeps,
    /// Gives the session up, as Docker's own does.
    Forgets,
}

/// Which requests are broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// Each, after so many bytes.
    After(u64),
    /// The first of each blob, in its middle.
    EachOnce,
    /// Each, in its middle.
    Always,
    /// None, but the first answer of each blob is lost.
    Answers,
}

struct Shared {
    target: String,
    memory: Memory,
    breaks: Break,
    client: Client<HttpConnector, BoxBody<Bytes, std::io::Error>>,
    /// How many bytes of blobs have come.
    came: AtomicU64,
    /// Where each session goes on, and how many bytes it has.
    sessions: Mutex<BTreeMap<String, (String, u64)>>,
    broken: Mutex<BTreeSet<String>>,
}

type Answer = Result<Response<BoxBody<Bytes, std::io::Error>>, std::io::Error>;

fn whole(bytes: impl Into<Bytes>) -> BoxBody<Bytes, std::io::Error> {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

impl Shared {
    async fn pass(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let (head, mut body) = request.into_parts();
        let session = head
            .uri
            .path()
            .split("/blobs/uploads/")
            .nth(1)
            .filter(|id| !id.is_empty());
        let Some(session) = session.map(str::to_owned) else {
            let bytes = body
                .collect()
                .await
                .map_err(std::io::Error::other)?
                .to_bytes();
            return self
                .forward(&head, &head.uri.to_string(), whole(bytes))
                .await;
        };
        let digest = head
            .uri
            .query()
            .and_then(|query| query.split("digest=").nth(1));
        let (uri, has) = self.goes_on(&session, &head.uri.to_string(), digest);
        let range = head
            .headers
            .get("content-range")
            .and_then(|range| range.to_str().ok());
        if head.method == Method::PATCH
            && range.and_then(|range| range.split_once('-')?.0.parse().ok()) != Some(has)
        {
            let refused = Response::builder().status(StatusCode::RANGE_NOT_SATISFIABLE);
            return Ok(refused.body(whole("")).expect("an answer"));
        }
        let length = head
            .headers
            .get("content-length")
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let length: u64 = length.unwrap_or(0);
        let first = digest
            .is_some_and(|digest| self.broken.lock().expect("whole").insert(digest.to_owned()));
        let end = match self.breaks {
            Break::After(bytes) if bytes < length => Some(bytes),
            Break::EachOnce if first && length > 0 => Some(length / 2),
            Break::Always if length > 0 => Some(length / 2),
            _ => None,
        };
        let mut bytes = BytesMut::new();
        while end.is_none_or(|end| (bytes.len() as u64) < end)
            && let Some(frame) = body.frame().await
        {
            bytes.extend_from_slice(
                &frame
                    .map_err(std::io::Error::other)?
                    .into_data()
                    .unwrap_or_default(),
            );
        }
        bytes.truncate(usize::try_from(end.unwrap_or(u64::MAX)).unwrap_or(usize::MAX));
        self.came.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let lost = || Err(std::io::Error::other("broken"));
        match (end, self.memory) {
            (Some(_), Memory::Keeps) => {
                let patch = Request::builder()
                    .method(Method::PATCH)
                    .body(())
                    .expect("a request")
                    .into_parts()
                    .0;
                let uri = uri.split("&digest=").next().unwrap_or_default().to_owned();
                self.forward(&patch, &uri, whole(bytes)).await?;
                lost()
            }
            (Some(_), Memory::Forgets) => {
                let parts = [
                    Ok(Frame::data(bytes.freeze())),
                    Err(std::io::Error::other("broken")),
                ];
                let half = StreamBody::new(futures_util::stream::iter(parts)).boxed();
                let _ = self.forward(&head, &uri, half).await;
                lost()
            }
            (None, _) => {
                let answer = self.forward(&head, &uri, whole(bytes)).await?;
                if self.breaks == Break::Answers && first {
                    lost()
                } else {
                    Ok(answer)
                }
            }
        }
    }

    /// Where a request to a session goes: a registry that keeps what has come knows that by the
    /// session alone.
    fn goes_on(&self, session: &str, asked: &str, digest: Option<&str>) -> (String, u64) {
        let sessions = self.sessions.lock().expect("whole");
        match sessions
            .get(session)
            .filter(|_| self.memory == Memory::Keeps)
        {
            Some((uri, has)) => (
                digest.map_or_else(|| uri.clone(), |digest| format!("{uri}&digest={digest}")),
                *has,
            ),
            None => (asked.to_owned(), 0),
        }
    }

    async fn forward(
        &self,
        head: &http::request::Parts,
        uri: &str,
        body: BoxBody<Bytes, std::io::Error>,
    ) -> Answer {
        let mut to = Request::builder()
            .method(&head.method)
            .uri(format!("http://{}{uri}", self.target));
        for (name, value) in head
            .headers
            .iter()
            .filter(|(name, _)| *name != "connection")
        {
            to = to.header(name, value);
        }
        let answer = self.client.request(to.body(body).expect("a request")).await;
        let (head, body) = answer.map_err(std::io::Error::other)?.into_parts();
        let bytes = body
            .collect()
            .await
            .map_err(std::io::Error::other)?
            .to_bytes();
        let said = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if let (Some(location), Some(range)) = (said("location"), said("range")) {
            let path = location
                .split_once("//")
                .and_then(|(_, rest)| rest.split_once('/'));
            let path = format!("/{}", path.expect("a path").1);
            let session = path
                .split("/blobs/uploads/")
                .nth(1)
                .and_then(|rest| rest.split('?').next());
            let last: u64 = range
                .split_once('-')
                .and_then(|(_, last)| last.parse().ok())
                .expect("a range");
            let has = if last == 0 { 0 } else { last + 1 };
            let session = session.expect("a session").to_owned();
            self.sessions
                .lock()
                .expect("whole")
                .insert(session, (path, has));
        }
        Ok(Response::from_parts(head, whole(bytes)))
    }
}

struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    async fn new(target: &str, memory: Memory, breaks: Break) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            memory,
            breaks,
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
            came: AtomicU64::new(0),
            sessions: Mutex::default(),
            broken: Mutex::default(),
        });
        let (address, of) = (
            listener.local_addr().expect("an address"),
            Arc::clone(&shared),
        );
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let of = Arc::clone(&of);
                let service =
                    hyper::service::service_fn(move |request| Arc::clone(&of).pass(request));
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move {
                    server.serve_connection(TokioIo::new(socket), service).await
                });
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    fn came(&self) -> u64 {
        self.shared.came.load(Ordering::SeqCst)
    }
}

/// A blob that no other run has pushed.
fn blob(folder: &Path, name: &str, size: usize) -> Blob {
    let mut bytes = uuid::Uuid::new_v4().as_bytes().repeat(size / 16 + 1);
    bytes.truncate(size);
    let file = folder.join(name);
    std::fs::write(&file, &bytes).expect("written");
    let media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
    Blob {
        media_type,
        digest: Digest::of(&bytes),
        size: size as u64,
        file: Some(file),
    }
}

fn image(folder: &Path, sizes: &[usize]) -> BuiltImage {
    let layers: Vec<Blob> = sizes
        .iter()
        .enumerate()
        .map(|(number, size)| blob(folder, &format!("l{number}"), *size))
        .collect();
    let config = blob(folder, "config", 1000);
    let named = |blob: &Blob| serde_json::json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size});
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "config": named(&config),
        "layers": layers.iter().map(named).collect::<Vec<_>>()});
    BuiltImage {
        manifest: manifest.to_string().into_bytes(),
        media_type,
        config,
        layers,
        folder: None,
    }
}

/// Pushes an image through a proxy: how many bytes of blobs went through, and how many they are.
async fn push(
    memory: Memory,
    breaks: Break,
    sizes: &[usize],
) -> Option<(Result<Digest, RegistryError>, u64, u64)> {
    let endpoint = crate::cluster::admin()?.registry;
    let repositories =
        BTreeMap::from([(web(), format!("upload-{}", uuid::Uuid::new_v4().simple()))]);
    let at = |endpoint: String| {
        let place = Location {
            endpoint,
            repositories: repositories.clone(),
            moves_tags: true,
            provenance: false,
            sbom: false,
        };
        Oci::new(place, Remote::default())
    };
    let proxy = Proxy::new(&endpoint, memory, breaks).await;
    let folder = tempfile::tempdir().expect("a folder");
    let image = image(folder.path(), sizes);
    let size = image.layers.iter().map(|layer| layer.size).sum::<u64>() + image.config.size;
    let pushed = at(proxy.address.to_string())
        .push(&web(), &image.into(), &["t".to_owned()], &|_| {})
        .await;
    if let Ok(digest) = &pushed {
        at(endpoint)
            .verify(ImageHome::Project(&web()), digest)
            .await
            .expect("whole");
    }
    Some((pushed, proxy.came(), size))
}

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_where_it_broke_however_often() {
    let breaks = Break::After(2 * MIB as u64);
    let Some((pushed, came, size)) = push(Memory::Keeps, breaks, &[11 * MIB + 5, MIB]).await else {
        return;
    };
    pushed.expect("pushed");
    assert_eq!(came, size, "every byte once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_in_every_blob_is_got_over() {
    let sizes = [3 * MIB, MIB, 1, 700];
    let Some((pushed, came, size)) = push(Memory::Keeps, Break::EachOnce, &sizes).await else {
        return;
    };
    pushed.expect("pushed");
    assert_eq!(came, size, "every byte once");
    // Docker's registry gives a session up when a request of it breaks: what had come is lost, and
    // no more.
    let (pushed, came, size) = push(Memory::Forgets, Break::EachOnce, &sizes)
        .await
        .expect("it is there");
    pushed.expect("pushed");
    assert!(came > size && came < 2 * size, "{came} of {size}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_not_sent_again_when_only_the_answer_was_lost() {
    for memory in [Memory::Keeps, Memory::Forgets] {
        let Some((pushed, came, size)) = push(memory, Break::Answers, &[3 * MIB, MIB]).await else {
            return;
        };
        pushed.expect("pushed");
        assert_eq!(came, size, "{memory:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_never_comes_further_is_given_up() {
    let Some((pushed, came, size)) = push(Memory::Forgets, Break::Always, &[MIB]).await else {
        return;
    };
    let Err(RegistryError::Remote { what, help, .. }) = pushed else {
        panic!("{pushed:?}")
    };
    assert!(
        what.starts_with("pushing sha256:") && help.contains("run the command again"),
        "{what}: {help}"
    );
    assert!(came <= 4 * size, "{came} of {size}");
}
