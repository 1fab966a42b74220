//! A request's body on its way to an instance: counted against the limit, and watched for progress.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{EXPECT, HeaderMap};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use crate::agent::router::connection::pace::{Pace, PaceVerdict};
use crate::agent::router::connection::wait::Wait;
use crate::agent::router::request::trailers;
use crate::agent::router::upstream::InFlight;
use crate::model::limits::Limits;

/// How much of a refused body is still read, so that the client comes to read the answer.
const LINGER_BYTES: u64 = 8 << 20;
/// And for how long.
const LINGER: Duration = Duration::from_secs(2);

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is larger than the route allows.
    #[error("the request's body is larger than the route allows")]
    TooLarge,
    /// It came too slowly, or took too long.
    #[error("the request's body came slower than the route allows")]
    TooSlow,
    /// The client went away, or sent what is not HTTP.
    #[error("the client did not finish its request")]
    Client(#[from] hyper::Error),
}

/// Where an upload stands, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum UploadStanding {
    /// The instance takes its time to read, or to answer.
    Instance,
    /// The client takes its time to send.
    Client,
    /// The client ended it early.
    Broken,
    /// It was larger than allowed.
    TooLarge,
    /// It was slower than allowed.
    TooSlow,
}

/// An upload's progress, shared with whoever waits for the response.
#[derive(Debug)]
pub struct UploadProgress {
    began: Instant,
    moved_millis: AtomicU64,
    standing: AtomicU8,
}

impl UploadProgress {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            moved_millis: AtomicU64::new(0),
            standing: AtomicU8::new(UploadStanding::Instance as u8),
        }
    }

    /// When bytes of the body last moved.
    pub fn moved(&self) -> Instant {
        self.began + Duration::from_millis(self.moved_millis.load(Ordering::Relaxed))
    }

    /// Where it stands.
    pub fn standing(&self) -> UploadStanding {
        let standing = self.standing.load(Ordering::Acquire);
        [
            UploadStanding::Client,
            UploadStanding::Broken,
            UploadStanding::TooLarge,
            UploadStanding::TooSlow,
        ]
        .into_iter()
        .find(|known| *known as u8 == standing)
        .unwrap_or(UploadStanding::Instance)
    }

    fn advance(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_millis.store(millis, Ordering::Relaxed);
    }

    fn stand(&self, standing: UploadStanding) {
        self.standing.store(standing as u8, Ordering::Release);
    }
}

/// A request's body.
#[derive(Debug)]
pub struct Upload {
    incoming: Option<Incoming>,
    left: u64,
    progress: Option<Arc<UploadProgress>>,
    in_flight: Option<Arc<InFlight>>,
    client: Client,
    wait: Option<Wait>,
}

/// What the client does with the body now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// It sends, or will at once.
    Sends,
    /// It waits for a `100 Continue`, which it gets when the body is first asked for (RFC 9110
    /// §10.1.1).
    Waits,
}

impl Client {
    /// By the request's head.
    pub fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(EXPECT) {
            Self::Waits
        } else {
            Self::Sends
        }
    }
}

impl Upload {
    /// The client's body, as large and as slow as it may be.
    pub fn new(incoming: Incoming, limits: &Limits, client: Client) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        let until = Instant::now() + limits.body_timeout.get();
        Self {
            incoming: Some(incoming),
            left: limits.body.bytes(),
            progress: Some(Arc::new(UploadProgress::new())),
            in_flight: None,
            client,
            wait: Some(Wait::new(Pace::sending(limits), Some(until))),
        }
    }

    /// No body.
    pub const fn empty() -> Self {
        Self {
            incoming: None,
            left: 0,
            progress: None,
            in_flight: None,
            client: Client::Sends,
            wait: None,
        }
    }

    /// Whether there is no body.
    pub const fn is_empty(&self) -> bool {
        self.incoming.is_none()
    }

    /// Its progress, when there is a body.
    pub fn progress(&self) -> Option<Arc<UploadProgress>> {
        self.progress.clone()
    }

    /// Keeps the request counted as long as its body moves: an instance may answer before it has
    /// read all.
    pub fn hold(&mut self, in_flight: Arc<InFlight>) {
        self.in_flight = (!self.is_empty()).then_some(in_flight);
    }

    /// Counts it no more: the request came back unsent.
    pub fn let_go(&mut self) {
        self.in_flight = None;
    }

    fn stand(&self, standing: UploadStanding) {
        if let Some(progress) = &self.progress {
            progress.stand(standing);
        }
    }

    /// Ends the body: nothing more of it is read here.
    fn end(&mut self) -> Option<Incoming> {
        self.in_flight = None;
        self.incoming.take()
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadError> {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if let Some(progress) = &self.progress {
            progress.advance();
        }
        let Some(left) = self.left.checked_sub(bytes as u64) else {
            self.stand(UploadStanding::TooLarge);
            self.end().into_iter().for_each(linger);
            return Err(UploadError::TooLarge);
        };
        self.left = left;
        let waited = self.wait.as_mut().map(|wait| wait.moved(bytes));
        if waited == Some(PaceVerdict::TooSlow) {
            return Err(self.too_slow());
        }
        Ok(match frame.into_trailers() {
            Ok(mut trailers) => {
                trailers::clean(&mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        })
    }

    fn too_slow(&mut self) -> UploadError {
        self.stand(UploadStanding::TooSlow);
        self.end().into_iter().for_each(linger);
        UploadError::TooSlow
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.client = Client::Sends;
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };

        let polled = Pin::new(incoming).poll_frame(context);
        self.stand(if polled.is_pending() {
            UploadStanding::Client
        } else {
            UploadStanding::Instance
        });
        if polled.is_pending() {
            let Some(wait) = &mut self.wait else {
                return Poll::Pending;
            };
            ready!(wait.poll_too_slow(context));
            return Poll::Ready(Some(Err(self.too_slow())));
        }

        Poll::Ready(match ready!(polled) {
            Some(Ok(frame)) => Some(self.count(frame)),
            Some(Err(error)) => {
                self.stand(UploadStanding::Broken);
                self.end();
                Some(Err(error.into()))
            }
            None => {
                self.end();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.client == Client::Sends
            && let Some(incoming) = self.incoming.take()
        {
            linger(incoming);
        }
    }
}

/// Reads on for a while after an answer that did not need the body. A connection that is closed
/// with unread bytes is reset, and the client would lose the answer (RFC 9112 §9.6).
fn linger(mut incoming: Incoming) {
    if incoming.is_end_stream() {
        return;
    }
    // A runtime that ends drops its tasks, and their bodies, from outside of it.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    runtime.spawn(tokio::time::timeout(LINGER, async move {
        let mut left = LINGER_BYTES;
        while let Some(Ok(frame)) = incoming.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }));
}
