//! What traffic may have of this process: connections from clients, connections to instances, and
//! each one's part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::agent::Descriptors;
use crate::agent::router::Listener;
use crate::agent::router::connection::activity::Activity;
use crate::agent::router::connection::clients::{Client, Share, Taken};
use crate::agent::router::connection::open::Open;

/// How long a connection waits for a place.
const WAIT: Duration = Duration::from_secs(2);
/// Which part of all one client or one instance has when no limit says otherwise.
const PART: u32 = 4;
/// Which part of all those have together that speak no HTTP: such a connection stays open while it
/// does nothing, and makes no room for others.
const STREAMS: usize = 2;

/// What all listeners share.
#[derive(Debug)]
pub struct Budget {
    live: Side,
    inside: Side,
    numbers: AtomicU64,
    /// How long a connection waits for a place before it is refused.
    wait: Duration,
}

/// What the live listeners share, or the others.
#[derive(Debug)]
pub struct Side {
    part: u32,
    at_instance: u32,
    clients: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    instances: Arc<Semaphore>,
    open: Open,
}

/// Why a connection has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// This client has as many as one may have.
    #[error("the client has {0} connections, as many as one may have")]
    Client(u32),
    /// All are taken.
    #[error("the router has as many connections as it may have")]
    Router,
    /// All that those may have that speak no HTTP.
    #[error("the router has as many TCP connections as it may have: half of all")]
    Streams,
}

impl Budget {
    /// Of these descriptors.
    pub fn new(descriptors: Descriptors) -> Self {
        Self {
            live: Side::new(descriptors.live(), descriptors.at_instance()),
            inside: Side::new(descriptors.inside(), descriptors.at_instance()),
            numbers: AtomicU64::new(0),
            wait: WAIT,
        }
    }

    /// What the listener has a part of.
    pub const fn side(&self, listener: Listener) -> &Side {
        match listener {
            Listener::Live | Listener::Redirect => &self.live,
            Listener::Preview | Listener::Slot(_) => &self.inside,
        }
    }

    /// A place for a client's connection, of which it may have so many. Whoever does nothing makes
    /// room: of the same client when that has too many, else the oldest of all.
    pub async fn place(
        self: &Arc<Self>,
        listener: Listener,
        limit: u32,
        client: Arc<Client>,
        activity: Arc<Activity>,
    ) -> Result<Reservation, Full> {
        let side = self.side(listener);
        let taken = client.take(Share::Connection, limit).or_else(|| {
            // The one that makes room has it until it hears of it.
            let more = client.open().retire_one();
            more.then(|| client.take(Share::Connection, u32::MAX))
                .flatten()
        });
        let taken = taken.ok_or(Full::Client(limit))?;
        let permit = side.client(self.wait).await.ok_or(Full::Router)?;

        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        side.open.add(number, Arc::clone(&activity));
        client.open().add(number, activity);
        Ok(Reservation {
            budget: Arc::clone(self),
            listener,
            client,
            number,
            _taken: taken,
            _permit: permit,
        })
    }
}

impl Budget {
    /// A place for a client's connection that speaks no HTTP, of which it may have so many. None of
    /// those makes room for it; an HTTP connection that does nothing may.
    pub async fn stream(
        &self,
        listener: Listener,
        limit: u32,
        client: &Arc<Client>,
    ) -> Result<StreamPlace, Full> {
        let side = self.side(listener);
        let taken = client.take(Share::Stream, limit);
        let taken = taken.ok_or(Full::Client(limit))?;
        let stream = Arc::clone(&side.streams).try_acquire_owned();
        let stream = stream.map_err(|_| Full::Streams)?;
        let permit = side.client(self.wait).await.ok_or(Full::Router)?;
        Ok(StreamPlace {
            _taken: taken,
            _permits: [stream, permit],
        })
    }
}

/// The place of a connection that speaks no HTTP, until this is dropped.
#[derive(Debug)]
pub struct StreamPlace {
    _taken: Taken,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Side {
    fn new(count: usize, at_instance: u32) -> Self {
        let part = (u32::try_from(count).unwrap_or(u32::MAX) / PART).max(1);
        Self {
            part,
            at_instance: part.min(at_instance),
            clients: Arc::new(Semaphore::new(count)),
            streams: Arc::new(Semaphore::new(count.div_ceil(STREAMS))),
            instances: Arc::new(Semaphore::new(count)),
            open: Open::default(),
        }
    }

    /// How many requests or connections one client may have when no limit says otherwise.
    pub const fn part(&self) -> u32 {
        self.part
    }

    /// How many requests an instance is given at a time when no limit says otherwise.
    pub const fn at_instance(&self) -> u32 {
        self.at_instance
    }

    async fn client(&self, within: Duration) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.clients).try_acquire_owned() {
            return Some(permit);
        }
        self.open.retire_one();
        let waiting = Arc::clone(&self.clients).acquire_owned();
        tokio::time::timeout(within, waiting).await.ok()?.ok()
    }

    /// A place for a connection to an instance, if there is one now.
    pub fn instance_now(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.instances).try_acquire_owned().ok()
    }

    /// A place for a connection to an instance, when there is one in this time.
    pub async fn instance(&self, until: Instant) -> Option<OwnedSemaphorePermit> {
        let waiting = Arc::clone(&self.instances).acquire_owned();
        tokio::time::timeout_at(until, waiting).await.ok()?.ok()
    }
}

/// A connection's place, until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    listener: Listener,
    client: Arc<Client>,
    number: u64,
    _taken: Taken,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.side(self.listener).open.remove(self.number);
        self.client.open().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::router::connection::clients::Clients;

    /// As few places as there can be: 28 for live listeners, 4 for the others; a client has 7.
    fn budget() -> Arc<Budget> {
        let mut budget = Budget::new(Descriptors::limited_to(128));
        budget.wait = Duration::from_millis(50);
        Arc::new(budget)
    }

    async fn enter(
        budget: &Arc<Budget>,
        clients: &Arc<Clients>,
        address: &str,
    ) -> Result<(Reservation, Arc<Activity>), Full> {
        let activity = Arc::new(Activity::default());
        let place = budget.place(
            Listener::Live,
            budget.side(Listener::Live).part(),
            clients.enter(address.parse().unwrap()),
            Arc::clone(&activity),
        );
        Ok((place.await?, activity))
    }

    #[tokio::test]
    async fn a_client_that_has_too_many_gives_up_one_of_its_own_that_does_nothing() {
        let (budget, clients) = (budget(), Arc::default());
        let (_others, other) = enter(&budget, &clients, "1.1.1.1").await.unwrap();
        let mut mine = Vec::new();
        for _ in 0..7 {
            mine.push(enter(&budget, &clients, "2.2.2.2").await.unwrap());
        }
        assert!(enter(&budget, &clients, "2.2.2.2").await.is_ok());
        mine[0].1.retired().await;
        assert!(other.retire(), "nobody else was asked");

        let _busy: Vec<_> = mine.iter().map(|(_, activity)| activity.begin()).collect();
        let refused = enter(&budget, &clients, "2.2.2.2").await;
        assert_eq!(refused.err(), Some(Full::Client(7)));
    }

    #[tokio::test]
    async fn when_all_places_are_taken_the_oldest_that_does_nothing_makes_room() {
        let (budget, clients) = (budget(), Arc::default());
        let mut all = Vec::new();
        for client in 0..28 {
            let address = format!("3.3.3.{client}");
            all.push(enter(&budget, &clients, &address).await.unwrap());
        }
        let busy = all[0].1.begin();
        let (place, oldest) = all.remove(1);
        let leaving = async {
            oldest.retired().await;
            drop(place);
        };
        let (entered, ()) = tokio::join!(enter(&budget, &clients, "4.4.4.4"), leaving);
        all.push(entered.unwrap());

        let _busy: Vec<_> = all.iter().map(|(_, activity)| activity.begin()).collect();
        let refused = enter(&budget, &clients, "5.5.5.5").await;
        assert_eq!(refused.err(), Some(Full::Router));
        let inside = budget.side(Listener::Preview).clients.available_permits();
        assert_eq!(inside, 4, "the other listeners have their own");
        drop(busy);
    }
}
