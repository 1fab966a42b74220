//! Interim responses on their way to a client: a proxy passes on what an instance says before its
//! response (RFC 9110 §15.2), as `103 Early Hints`. hyper has no way to send them, so the wire
//! does, at a moment when hyper has nothing of its own to write.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode, header};
use tokio::sync::Notify;

use crate::agent::router::request::hop_by_hop;

/// How many bytes of interim responses wait for a client at the most; what is beyond them is left
/// out, as a client may do without.
const MOST: usize = 64 << 10;

/// The interim responses of one HTTP/1.1 connection that were not written yet.
#[derive(Debug, Default)]
pub struct Interim {
    waiting: Mutex<Vec<u8>>,
    /// Which request is being answered; changed while `waiting` is held.
    request: AtomicU64,
    is_waiting: AtomicBool,
    /// The task of the connection, which writes them.
    writer: AtomicWaker,
    written: Notify,
}

impl Interim {
    /// The request that is being answered now.
    pub fn request(&self) -> u64 {
        self.request.load(Ordering::Relaxed)
    }

    /// Passes on one from an instance, but for those that concern the connection to it alone. What
    /// comes for a request that has its response by now, from an instance that was given up, would
    /// stand behind that.
    pub fn pass_on(&self, request: u64, status: StatusCode, headers: &HeaderMap) {
        if matches!(
            status,
            StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS
        ) {
            return;
        }
        let head = head(status, headers.clone());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.request() != request || waiting.len() + head.len() > MOST {
            return;
        }
        waiting.extend_from_slice(&head);
        self.is_waiting.store(true, Ordering::Release);
        drop(waiting);
        self.writer.wake();
    }

    /// Who is woken when there is something to write.
    pub fn write_by(&self, waker: &Waker) {
        self.writer.register(waker);
    }

    /// What has to be written next; none when all of it is written.
    pub fn next(&self) -> Option<Bytes> {
        if !self.is_waiting.load(Ordering::Acquire) {
            return None;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            self.is_waiting.store(false, Ordering::Release);
            self.written.notify_waiters();
            return None;
        }
        Some(std::mem::take(&mut *waiting).into())
    }

    /// The request has its response: takes nothing more for it, and waits until nothing waits. No
    /// response may overtake what was said before it, or be overtaken by it.
    pub async fn end(&self) {
        {
            let _held = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.request.fetch_add(1, Ordering::Relaxed);
        }
        self.all_written().await;
    }

    async fn all_written(&self) {
        while self.is_waiting.load(Ordering::Acquire) {
            let mut written = std::pin::pin!(self.written.notified());
            written.as_mut().enable();
            if !self.is_waiting.load(Ordering::Acquire) {
                return;
            }
            written.await;
        }
    }
}

/// As it is written.
fn head(status: StatusCode, mut headers: HeaderMap) -> Vec<u8> {
    hop_by_hop::remove_named(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_for_one_connection_alone_is_not_passed_on() {
        let headers = HeaderMap::from_iter([
            (header::LINK, HeaderValue::from_static("</a.css>")),
            (header::LINK, HeaderValue::from_static("</b.css>")),
            (header::CONNECTION, HeaderValue::from_static("x-own")),
            (header::CONTENT_LENGTH, HeaderValue::from_static("5")),
            ("x-own".parse().unwrap(), HeaderValue::from_static("1")),
        ]);
        let interim = Interim::default();
        interim.pass_on(0, StatusCode::CONTINUE, &headers);
        assert_eq!(interim.next(), None);

        interim.pass_on(0, StatusCode::EARLY_HINTS, &headers);
        let wanted = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nlink: </b.css>\r\n\r\n";
        assert_eq!(interim.next().as_deref(), Some(wanted.as_bytes()));
        assert_eq!(interim.next(), None);
    }

    #[tokio::test]
    async fn what_comes_for_a_request_that_was_answered_is_left_out() {
        let interim = Interim::default();
        let given_up = interim.request();
        interim.end().await;

        interim.pass_on(given_up, StatusCode::EARLY_HINTS, &HeaderMap::new());
        assert_eq!(interim.next(), None);
        interim.pass_on(
            interim.request(),
            StatusCode::EARLY_HINTS,
            &HeaderMap::new(),
        );
        assert!(interim.next().is_some());
    }

    #[test]
    fn no_more_waits_than_fits_and_what_fits_is_whole() {
        let long = HeaderValue::from_str(&"a".repeat(20 << 10)).unwrap();
        let headers = HeaderMap::from_iter([(header::LINK, long)]);
        let interim = Interim::default();
        for _ in 0..10 {
            interim.pass_on(0, StatusCode::EARLY_HINTS, &headers);
        }
        let waiting = interim.next().unwrap();
        assert!(waiting.len() <= MOST && waiting.ends_with(b"a\r\n\r\n"));
    }
}
