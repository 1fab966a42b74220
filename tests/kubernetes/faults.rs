//! A proxy in front of a real API that spoils one request: every call can fail in every way, and
//! what comes of it is a right message or none, and the same end when the command is run again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use crate::front::{Behind, Front};

/// How a request is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before the request has reached the API.
    Lost,
    /// The API has done it, and the answer never comes.
    AnswerLost,
    /// Half of the answer comes.
    Truncated,
    /// It is asked to come later.
    TooMany,
    /// It fails inside.
    Broken,
    /// The answer takes its time.
    Slow,
    /// A registry answers with other bytes, and says another digest.
    Wrong,
}

/// What any API may do.
pub const FAULTS: [Fault; 6] = [
    Fault::Lost,
    Fault::AnswerLost,
    Fault::Truncated,
    Fault::TooMany,
    Fault::Broken,
    Fault::Slow,
];

/// How long a slow answer takes.
const SLOW: std::time::Duration = std::time::Duration::from_secs(2);

/// A proxy that spoils one request.
pub struct Proxy {
    pub address: SocketAddr,
    seen: Arc<AtomicUsize>,
    _front: Front,
}

impl Proxy {
    /// In front of `target` (`127.0.0.1:5000`); the request with this number, from 1, is spoiled.
    pub fn start(target: &str, spoiled: usize, fault: Fault) -> Self {
        let seen = Arc::new(AtomicUsize::new(0));
        let (count, target) = (Arc::clone(&seen), target.to_owned());
        let front = Front::start(move |behind, request| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let fault = (number == spoiled).then_some(fault);
            pass(behind, target.clone(), request, fault)
        });
        Self {
            address: front.address,
            seen,
            _front: front,
        }
    }

    /// How many requests came.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

async fn pass(
    client: Behind,
    target: String,
    request: Request<Incoming>,
    fault: Option<Fault>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, std::io::Error>>, std::io::Error> {
    let lost = || std::io::Error::other("spoiled");
    let whole = |bytes: Bytes| Full::new(bytes).map_err(|never| match never {}).boxed();
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    match fault {
        Some(Fault::Lost) => return Err(lost()),
        Some(Fault::TooMany | Fault::Broken) => {
            let status = if fault == Some(Fault::TooMany) {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            let answer = Response::builder()
                .status(status)
                .header("retry-after", "0");
            return Ok(answer
                .body(whole(Bytes::from_static(b"spoiled")))
                .expect("an answer"));
        }
        _ => {}
    }
    let mut to = Request::builder()
        .method(head.method)
        .uri(format!("http://{target}{}", head.uri));
    for (name, value) in head
        .headers
        .iter()
        .filter(|(name, _)| *name != "connection")
    {
        to = to.header(name, value);
    }
    let answer = client
        .request(to.body(Full::new(body)).expect("a request"))
        .await
        .map_err(std::io::Error::other)?;
    let (mut head, body) = answer.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    match fault {
        Some(Fault::AnswerLost) => Err(lost()),
        Some(Fault::Truncated) if body.len() > 1 => {
            head.headers.insert("content-length", body.len().into());
            let half = Ok(hyper::body::Frame::data(body.slice(..body.len() / 2)));
            let parts = futures_util::stream::iter([half, Err(lost())]);
            Ok(Response::from_parts(
                head,
                http_body_util::StreamBody::new(parts).boxed(),
            ))
        }
        Some(Fault::Slow) => {
            tokio::time::sleep(SLOW).await;
            Ok(Response::from_parts(head, whole(body)))
        }
        Some(Fault::Wrong) => {
            if let Some(digest) = head.headers.get_mut("docker-content-digest") {
                *digest = format!("sha256:{}", "0".repeat(64))
                    .parse()
                    .expect("a value");
            }
            let wrong: Vec<u8> = body
                .iter()
                .map(|byte| if *byte == b'2' { b'3' } else { *byte })
                .collect();
            Ok(Response::from_parts(head, whole(wrong.into())))
        }
        _ => Ok(Response::from_parts(head, whole(body))),
    }
}
