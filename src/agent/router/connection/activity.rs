//! What goes on on one client's connection, as those around it see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::agent::router::connection::interim::Interim;

/// A connection's requests, counted by who serves them.
#[derive(Debug)]
pub struct Activity {
    /// What instances said before their responses.
    pub interim: Interim,
    begun: AtomicU64,
    ended: AtomicU64,
    answered: AtomicU64,
    /// The request with whose answer the connection ends.
    last: AtomicU64,
    left_http: AtomicBool,
    retiring: AtomicBool,
    retired: Notify,
    finishing: Notify,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            interim: Interim::default(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            last: AtomicU64::new(u64::MAX),
            left_http: AtomicBool::new(false),
            retiring: AtomicBool::new(false),
            retired: Notify::new(),
            finishing: Notify::new(),
        }
    }
}

/// What follows an answer on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Another request may.
    Requests,
    /// Nothing may.
    Nothing,
}

impl Activity {
    /// A request's head has come.
    pub fn begin(self: &Arc<Self>) -> Request {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Request(Arc::clone(self))
    }

    /// What comes from now on is no HTTP: it counts as a request that never ends.
    pub fn leave_http(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.left_http.store(true, Ordering::Relaxed);
    }

    /// Whether what comes is no HTTP any more.
    pub fn has_left_http(&self) -> bool {
        self.left_http.load(Ordering::Relaxed)
    }

    /// The connection ends with the answer to this request, counted from one.
    pub fn end_with(&self, request: u64) {
        self.last.fetch_min(request, Ordering::Relaxed);
    }

    /// A request has its answer, which is one of HTTP.
    pub fn answer(&self) -> Follows {
        let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if answered >= self.last.load(Ordering::Relaxed) {
            Follows::Nothing
        } else {
            Follows::Requests
        }
    }

    /// How many requests have been answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many requests have begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether no request is being served.
    pub fn is_idle(&self) -> bool {
        self.begun() == self.ended.load(Ordering::Relaxed)
    }

    /// Asks the connection to end, if it is idle: others need its place. False when it is not, or
    /// was asked before.
    pub fn retire(&self) -> bool {
        let asked = self.is_idle() && !self.retiring.swap(true, Ordering::Relaxed);
        if asked {
            self.retired.notify_one();
        }
        asked
    }

    /// Asks the connection to end after the requests that it has.
    pub fn finish(&self) {
        self.finishing.notify_one();
    }

    /// Waits until the connection is asked to end after its requests.
    pub async fn finishing(&self) {
        self.finishing.notified().await;
    }

    /// Waits until the connection is asked to end, and is idle then.
    pub async fn retired(&self) {
        loop {
            self.retired.notified().await;
            if self.is_idle() {
                return;
            }
            self.retiring.store(false, Ordering::Relaxed);
        }
    }
}

/// A request that is being served, until this is dropped.
#[derive(Debug)]
pub struct Request(Arc<Activity>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}
