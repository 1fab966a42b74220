//! A response's body on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use crate::agent::router::access::AccessEntry;
use crate::agent::router::connection::activity::Request;
use crate::agent::router::connection::clients::Taken;
use crate::agent::router::connection::streams::Turn;
use crate::agent::router::upstream::InFlight;
use crate::agent::router::upstream::pool::Sender;

/// What a proxied response still has: its connection and its place in the count.
#[derive(Debug)]
pub struct Exchange {
    /// The count.
    pub in_flight: Arc<InFlight>,
    /// The connection.
    pub sender: Sender,
}

impl Exchange {
    /// The response was read to its end: its connection is free for the next request.
    fn finish(self) {
        self.in_flight.upstream().give_back(self.sender);
    }
}

#[derive(Debug)]
enum Source {
    /// The router's own words, or what is left of them.
    Text(Bytes),
    /// An instance's response.
    Instance(Incoming, Option<Exchange>),
}

/// A response's body. The request's log line is written when it ends.
#[derive(Debug)]
pub struct Download {
    /// What has come of an instance's body already.
    first: Option<Frame<Bytes>>,
    source: Source,
    entry: AccessEntry,
    serving: Serving,
}

/// What a response holds until its body is done.
#[derive(Debug, Default)]
struct Serving {
    request: Option<Request>,
    _taken: Option<Taken>,
    /// On HTTP/2: whose turn it is.
    turn: Option<Arc<Turn>>,
    /// On HTTP/2: what the client is given next.
    rest: Bytes,
}

/// On HTTP/2, how much a client is given at a time: with more, one that takes its time would look
/// as if it took nothing.
const PIECE: usize = 16 << 10;

impl Download {
    /// The router's own words.
    pub fn text(text: String, entry: AccessEntry) -> Self {
        let mut download = Self {
            first: None,
            source: Source::Text(Bytes::from(text)),
            entry,
            serving: Serving::default(),
        };
        download.finish_if_empty();
        download
    }

    /// No body.
    pub fn empty(entry: AccessEntry) -> Self {
        Self::text(String::new(), entry)
    }

    /// An instance's response, and what has come of its body already.
    pub fn proxied(
        (first, incoming): (Option<Frame<Bytes>>, Incoming),
        exchange: Exchange,
        taken: Taken,
        entry: AccessEntry,
    ) -> Self {
        let turn = Turn::of_this_stream();
        if let Some(turn) = &turn {
            turn.client(0);
        }
        let mut download = Self {
            first,
            source: Source::Instance(incoming, Some(exchange)),
            entry,
            serving: Serving {
                _taken: Some(taken),
                turn,
                ..Serving::default()
            },
        };

        download.finish_if_empty();
        download
    }

    /// The client's request counts as being served until this body is done.
    pub fn during(mut self, request: Request) -> Self {
        self.serving.request = Some(request);
        self
    }

    fn finish_if_empty(&mut self) {
        if self.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Source::Instance(_, exchange) = &mut self.source
            && let Some(exchange) = exchange.take()
        {
            exchange.finish();
        }
        self.entry.complete();
    }

    /// The next bytes of HTTP/2, as many as a client is given at a time.
    fn piece(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Some(turn) = &self.serving.turn else {
            return frame;
        };
        match frame.into_data() {
            Ok(mut data) => {
                self.serving.rest = data.split_off(data.len().min(PIECE));
                turn.client(data.len());
                Frame::data(data)
            }
            Err(frame) => frame,
        }
    }

    fn poll_source(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        match &mut self.source {
            Source::Text(text) if text.is_empty() => Poll::Ready(None),
            Source::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Source::Instance(incoming, _) => Pin::new(incoming).poll_frame(context),
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = if self.serving.rest.is_empty() {
            self.poll_source(context)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(
                &mut self.serving.rest,
            )))))
        };
        if let (Poll::Pending, Some(turn)) = (&polled, &self.serving.turn) {
            turn.instance();
        }

        let polled = ready!(polled).map(|frame| frame.map(|frame| self.piece(frame)));
        match &polled {
            Some(Ok(frame)) => {
                self.entry.add_bytes(frame.data_ref().map_or(0, Bytes::len));
                // With a length, nobody asks again after the last byte.
                self.finish_if_empty();
            }
            Some(Err(_)) => {}
            None => self.finish(),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.serving.rest.is_empty()
            && self.first.is_none()
            && match &self.source {
                Source::Text(text) => text.is_empty(),
                Source::Instance(incoming, _) => incoming.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Instance(incoming, _) => {
                let first = self.first.as_ref().and_then(Frame::data_ref);
                let rest = self.serving.rest.len() + first.map_or(0, Bytes::len);
                let (hint, rest) = (incoming.size_hint(), rest as u64);
                let mut all = SizeHint::new();
                all.set_lower(hint.lower() + rest);
                if let Some(upper) = hint.upper() {
                    all.set_upper(upper + rest);
                }
                all
            }
        }
    }
}
