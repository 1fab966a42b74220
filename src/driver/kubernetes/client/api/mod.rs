//! The API server, asked for objects as plain JSON: bounded in flight, retried with jitter within a
//! budget, and every refusal typed.

mod attach;
mod behind;
mod call;
mod discovery;
mod fault;
mod kind;
mod objects;
mod stream;
mod terminating;

pub(in crate::driver) use fault::{ANOTHER_NAME, ApiError, is_permission};
pub(in crate::driver) use kind::Kind;
pub(in crate::driver) use objects::{How, Propagation, Selector};
pub(in crate::driver) use terminating::{fault as terminating_fault, waits as namespace_waits};

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use tokio::sync::{OnceCell, Semaphore};

use crate::driver::kubernetes::client::connect::{ClusterLogin, Connected, Upgrading};
use crate::port::hold::Hold;

/// The name under which shipit's fields are recorded at the server.
pub(in crate::driver) const MANAGER: &str = "shipit";
/// Requests side by side.
const IN_FLIGHT: usize = 32;

pub(in crate::driver) struct Api {
    client: Client,
    /// A client whose connections can become streams: they speak no HTTP/2.
    upgrading: Upgrading,
    login: Option<Arc<dyn ClusterLogin>>,
    pub server: String,
    kinds: Mutex<HashMap<(String, String), Option<Kind>>>,
    /// Every kind, for who asks what was meant by one that is not there.
    served: OnceCell<Vec<Kind>>,
    width: Semaphore,
    /// Who reads an answer that is larger than others.
    large: Semaphore,
    /// Whether it ever answered: one that did is waited for when it goes away.
    answered: Arc<AtomicBool>,
    requests: AtomicU64,
    /// What the server warned of, by the path of the request.
    heard: Mutex<Vec<(String, String)>>,
    /// What it warned of when objects were applied, or would have been.
    warned: Mutex<BTreeSet<String>>,
    /// The lock under which things are changed; none for who only looks, and for the lock itself.
    hold: Mutex<Option<Hold>>,
}

impl Api {
    pub fn new(connected: Connected) -> Self {
        Self {
            client: connected.client,
            upgrading: connected.upgrading,
            login: connected.login,
            server: connected.server,
            kinds: Mutex::default(),
            served: OnceCell::new(),
            width: Semaphore::new(IN_FLIGHT),
            large: Semaphore::new(1),
            answered: connected.answered,
            requests: AtomicU64::new(0),
            heard: Mutex::default(),
            warned: Mutex::default(),
            hold: Mutex::default(),
        }
    }

    /// From now on every request that changes something asks first whether this lock is held.
    pub fn under(&self, hold: &Hold) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold.clone());
    }

    /// How many requests were sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// What the server warned of since this was asked last, of objects that were applied or would
    /// have been.
    pub fn warnings(&self) -> BTreeSet<String> {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *warned)
    }
}

/// A text as it may stand in a query, or as one segment of a path.
pub(in crate::driver) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
