//! Bodies on their way through.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::agent::router::access::Entry;
use crate::agent::router::endpoint::Flight;

/// Any error on the way.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body is larger than the router allows.
#[derive(Debug, thiserror::Error)]
#[error("the body is too large")]
pub(super) struct TooLarge;

/// A request's body: bounded, and given back if nothing of it was ever asked for, so that the request can go
/// to another instance.
pub(super) struct RequestBody {
    inner: Option<Incoming>,
    left: u64,
    touched: bool,
    back: Reclaim,
}

/// Where an untouched body comes back to.
#[derive(Clone, Default)]
pub(super) struct Reclaim(Arc<Mutex<Option<Incoming>>>);

impl Reclaim {
    pub fn take(&self) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl RequestBody {
    pub fn new(inner: Incoming, limit: u64, back: &Reclaim) -> Self {
        Self { inner: Some(inner), left: limit, touched: false, back: back.clone() }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.touched {
            *self.back.0.lock().unwrap_or_else(PoisonError::into_inner) = self.inner.take();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        this.touched = true;
        let frame = std::task::ready!(Pin::new(inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let size = frame.data_ref().map_or(0, |data| data.len() as u64);
            match this.left.checked_sub(size) {
                Some(left) => this.left = left,
                None => return Poll::Ready(Some(Err(TooLarge.into()))),
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// A response's body: the instance's, or the router's own words. The request is under way until it ends.
pub(super) struct ResponseBody {
    kind: Kind,
    log: Option<Entry>,
    _flight: Option<Flight>,
}

enum Kind {
    Instance(Incoming),
    Own(Option<Bytes>),
}

impl ResponseBody {
    pub const fn instance(inner: Incoming, log: Entry, flight: Flight) -> Self {
        Self { kind: Kind::Instance(inner), log: Some(log), _flight: Some(flight) }
    }

    pub const fn own(text: Bytes, log: Entry) -> Self {
        Self { kind: Kind::Own(Some(text)), log: Some(log), _flight: None }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(log) = self.log.take() {
            log.write();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let frame = match &mut this.kind {
            Kind::Instance(inner) => std::task::ready!(Pin::new(inner).poll_frame(cx)),
            Kind::Own(text) => text.take().map(|text| Ok(Frame::data(text))),
        };
        if let (Some(Ok(frame)), Some(log)) = (&frame, &mut this.log) {
            log.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Instance(inner) => inner.is_end_stream(),
            Kind::Own(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Instance(inner) => inner.size_hint(),
            Kind::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}
