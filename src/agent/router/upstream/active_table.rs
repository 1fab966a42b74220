//! One environment's switchboard: the table that is in force, and the choice of an endpoint from
//! it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::agent::router::upstream::{InFlight, Upstream};
use crate::agent::router::{Backend, Listener};
use crate::model::Slot;

/// Ready instances by what they are behind.
pub type Backends = BTreeMap<Backend, Vec<Arc<Upstream>>>;

/// A table whose addresses have become endpoints with their connections.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Behind the live listeners.
    pub live: Backends,
    /// Behind the preview listeners.
    pub preview: Backends,
    /// Behind the slots' own listeners.
    pub slots: BTreeMap<Slot, Backends>,
}

impl Resolved {
    fn of(&self, listener: Listener) -> &Backends {
        static NONE: Backends = Backends::new();
        match listener {
            Listener::Live => &self.live,
            Listener::Preview => &self.preview,
            Listener::Slot(slot) => self.slots.get(&slot).unwrap_or(&NONE),
            Listener::Redirect => &NONE,
        }
    }
}

/// Why there is no endpoint for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEndpoint {
    /// No instance is ready.
    NoneReady,
    /// Every ready instance was tried already.
    AllTried,
}

/// One environment's table in force.
#[derive(Debug)]
pub struct ActiveTable {
    table: ArcSwap<Resolved>,
    changes: watch::Sender<()>,
    turn: AtomicUsize,
}

impl ActiveTable {
    /// A table that routes nowhere yet.
    pub fn new() -> Self {
        Self {
            table: ArcSwap::default(),
            changes: watch::Sender::new(()),
            turn: AtomicUsize::new(0),
        }
    }

    /// The switch: one assignment. Requests that wait for an instance look again.
    pub fn set(&self, table: Resolved) {
        self.table.store(Arc::new(table));
        self.changes.send_replace(());
    }

    /// Takes an endpoint for one request, and waits until then while none is ready. `tried` are
    /// left out.
    pub async fn choose(
        &self,
        listener: Listener,
        backend: &Backend,
        tried: &[SocketAddr],
        until: Instant,
    ) -> Result<Arc<InFlight>, NoEndpoint> {
        let mut changes = None;
        loop {
            match self.try_lease(listener, backend, tried) {
                Err(NoEndpoint::NoneReady) => {}
                taken => return taken,
            }

            match &mut changes {
                // Looks once more after subscribing: a switch in between would be missed otherwise.
                None => changes = Some(self.changes.subscribe()),
                Some(changes) => match tokio::time::timeout_at(until, changes.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return Err(NoEndpoint::NoneReady),
                },
            }
        }
    }

    /// Whether an instance is behind a listener now.
    pub fn leads_to(&self, listener: Listener, backend: &Backend, address: SocketAddr) -> bool {
        let table = self.table.load();
        let endpoints = table.of(listener).get(backend).into_iter().flatten();
        endpoints
            .map(|endpoint| endpoint.address())
            .any(|it| it == address)
    }

    /// Hears of each change of the table from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// How many requests wait for an instance.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.changes.receiver_count()
    }

    /// Counts the request in before it looks whether the table still holds. Whoever sets a table
    /// and then reads the count sees either the count, or this request leaves again: no endpoint is
    /// seen as idle while a request is on its way to it. The fences pair with those of
    /// [`Upstream::begin_request`].
    fn try_lease(
        &self,
        listener: Listener,
        backend: &Backend,
        tried: &[SocketAddr],
    ) -> Result<Arc<InFlight>, NoEndpoint> {
        loop {
            let table = self.table.load();
            let endpoints = table
                .of(listener)
                .get(backend)
                .filter(|endpoints| !endpoints.is_empty());
            let endpoints = endpoints.ok_or(NoEndpoint::NoneReady)?;
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let in_flight = least_busy(endpoints, tried, turn)
                .ok_or(NoEndpoint::AllTried)?
                .begin_request();
            fence(Ordering::SeqCst);
            if Arc::ptr_eq(&table, &self.table.load()) {
                return Ok(in_flight);
            }
        }
    }
}

/// The endpoint with the fewest requests in flight; among equals each has its turn.
fn least_busy<'a>(
    endpoints: &'a [Arc<Upstream>],
    tried: &[SocketAddr],
    turn: usize,
) -> Option<&'a Arc<Upstream>> {
    let (before, after) = endpoints.split_at(turn % endpoints.len());
    let untried = after
        .iter()
        .chain(before)
        .filter(|endpoint| !tried.contains(&endpoint.address()));
    untried.min_by_key(|endpoint| endpoint.in_flight())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServiceName;

    fn endpoints(count: u16) -> Vec<Arc<Upstream>> {
        (1..=count)
            .map(|port| Arc::new(Upstream::new(SocketAddr::from(([127, 0, 0, 1], port)))))
            .collect()
    }

    #[test]
    fn equals_take_turns_and_the_least_busy_wins() {
        let endpoints = endpoints(3);
        let port = |turn| least_busy(&endpoints, &[], turn).unwrap().address().port();
        assert_eq!([port(0), port(1), port(2), port(3)], [1, 2, 3, 1]);
        let busy = [endpoints[0].begin_request(), endpoints[1].begin_request()];
        assert_eq!([port(0), port(1)], [3, 3]);
        drop(busy);
        assert_eq!(port(0), 1, "a request that ended counts no more");
    }

    #[test]
    fn an_instance_that_was_seen_idle_after_a_switch_gets_no_request() {
        use std::sync::atomic::AtomicBool;

        let [blue, green] = <[_; 2]>::try_from(endpoints(2)).unwrap();
        let backend = Backend::from("web".parse::<ServiceName>().unwrap());
        let leads_to = |endpoint: &Arc<Upstream>| Resolved {
            live: [(backend.clone(), vec![Arc::clone(endpoint)])].into(),
            ..Resolved::default()
        };
        let active_table = ActiveTable::new();
        active_table.set(leads_to(&blue));
        let stopped = [const { AtomicBool::new(false) }; 2];
        let (done, chosen, wrong) = (
            AtomicBool::new(false),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let in_flight = active_table
                        .try_lease(Listener::Live, &backend, &[])
                        .unwrap();
                    let index = usize::from(in_flight.upstream().address().port()) - 1;
                    chosen.fetch_add(1, Ordering::SeqCst);
                    wrong.fetch_add(
                        usize::from(stopped[index].load(Ordering::SeqCst)),
                        Ordering::SeqCst,
                    );
                }
            });
            // Both must have had their share of the processor for this to prove anything.
            let enough = |round| round > 20_000 && chosen.load(Ordering::SeqCst) > 200_000;
            for round in (0..).take_while(|round| !enough(*round)) {
                let (old, new) = if round % 2 == 0 {
                    (&blue, &green)
                } else {
                    (&green, &blue)
                };
                active_table.set(leads_to(new));
                while old.in_flight() > 0 {
                    std::thread::yield_now();
                }
                let stopped = &stopped[usize::from(old.address().port()) - 1];
                stopped.store(true, Ordering::SeqCst);
                std::thread::yield_now();
                stopped.store(false, Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
        });
        assert_eq!(wrong.into_inner(), 0);
    }

    #[test]
    fn what_was_tried_is_left_out() {
        let endpoints = endpoints(2);
        let tried = [endpoints[0].address(), endpoints[1].address()];
        assert_eq!(
            least_busy(&endpoints, &tried[..1], 0).unwrap().address(),
            tried[1]
        );
        assert!(least_busy(&endpoints, &tried, 0).is_none());
    }
}
