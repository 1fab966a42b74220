//! Clients by their address, and what each has open: so that one cannot take what is there for all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::agent::router::connection::open::Open;

/// In how many parts the list is, so that two connections seldom meet in it.
const SHARDS: usize = 16;

/// What one client is: an address, of IPv6 the whole /64, of which it has all addresses.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
    }
}

/// What a client has of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Connections.
    Connection,
    /// Requests in flight.
    Request,
    /// Connections that have left HTTP.
    Upgrade,
    /// Connections that never were HTTP's.
    Stream,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connections",
            Self::Request => "requests in flight",
            Self::Upgrade => "connections that have left HTTP",
            Self::Stream => "TCP connections",
        })
    }
}

/// All clients that have something open.
#[derive(Debug, Default)]
pub struct Clients {
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, Listed>>; SHARDS],
}

/// A client in the list, as long as there is a [`Client`] of it.
#[derive(Debug, Default)]
struct Listed {
    counts: Arc<Counts>,
    known_by: usize,
}

/// What one client has open.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU32,
    requests: AtomicU32,
    upgrades: AtomicU32,
    streams: AtomicU32,
    open: Open,
}

impl Counts {
    const fn of(&self, share: Share) -> &AtomicU32 {
        match share {
            Share::Connection => &self.connections,
            Share::Request => &self.requests,
            Share::Upgrade => &self.upgrades,
            Share::Stream => &self.streams,
        }
    }
}

impl Clients {
    /// The client with this address.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Arc<Client> {
        let key = network(address);
        let counts = {
            let mut shard = self.shard(key);
            let listed = shard.entry(key).or_default();
            listed.known_by += 1;
            Arc::clone(&listed.counts)
        };
        Arc::new(Client {
            clients: Arc::clone(self),
            key,
            counts,
        })
    }

    fn shard(&self, key: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, Listed>> {
        #[allow(clippy::cast_possible_truncation)] // any bits will do
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How many clients have something open.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum()
    }
}

/// A client that has something open, or is about to.
#[derive(Debug)]
pub struct Client {
    clients: Arc<Clients>,
    key: IpAddr,
    counts: Arc<Counts>,
}

impl Client {
    /// One more, unless it has so many.
    pub fn take(self: &Arc<Self>, share: Share, limit: u32) -> Option<Taken> {
        let count = self.counts.of(share);
        let taken = Taken {
            client: Arc::clone(self),
            share,
        };
        // Dropping it counts it out again.
        (count.fetch_add(1, Ordering::Relaxed) < limit).then_some(taken)
    }

    /// Its connections.
    pub fn open(&self) -> &Open {
        &self.counts.open
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.clients.shard(self.key).entry(self.key) {
            let listed = entry.get_mut();
            listed.known_by -= 1;
            if listed.known_by == 0 {
                entry.remove();
            }
        }
    }
}

/// One of a client's share, until this is dropped.
#[derive(Debug)]
pub struct Taken {
    client: Arc<Client>,
    share: Share,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.client
            .counts
            .of(self.share)
            .fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_no_more_and_another_one_its_own() {
        let clients = Arc::new(Clients::default());
        let enter = |text: &str| clients.enter(text.parse().unwrap());
        let (one, same, other) = (enter("1.2.3.4"), enter("::ffff:1.2.3.4"), enter("1.2.3.5"));
        let first = one.take(Share::Request, 1);
        assert!(first.is_some());
        assert!(
            same.take(Share::Request, 1).is_none(),
            "in either form of its address"
        );
        assert!(
            same.take(Share::Connection, 1).is_some(),
            "of something else"
        );
        assert!(other.take(Share::Request, 1).is_some());
        drop(first);
        assert!(
            same.take(Share::Request, 1).is_some(),
            "what was refused counts for nothing"
        );
    }

    #[test]
    fn all_addresses_of_one_ipv6_network_are_one_client() {
        let clients = Arc::new(Clients::default());
        let enter = |text: &str| clients.enter(text.parse().unwrap());
        let _first = enter("2001:db8::1").take(Share::Request, 1).unwrap();
        assert!(enter("2001:db8::ffff:1").take(Share::Request, 1).is_none());
        assert!(enter("2001:db8:0:1::1").take(Share::Request, 1).is_some());
    }

    #[test]
    fn a_client_that_has_nothing_open_is_forgotten() {
        let clients = Arc::new(Clients::default());
        let client = clients.enter("1.2.3.4".parse().unwrap());
        let taken = client.take(Share::Connection, 1);
        drop(client);
        assert_eq!(clients.count(), 1, "it has a connection");
        drop(taken);
        assert_eq!(clients.count(), 0);
    }

    #[test]
    fn a_client_that_closes_two_connections_at_once_is_forgotten() {
        let clients = Arc::new(Clients::default());
        let together = std::sync::Barrier::new(2);
        let address: IpAddr = "1.2.3.4".parse().unwrap();
        for _ in 0..5_000 {
            let pair = [clients.enter(address), clients.enter(address)];
            std::thread::scope(|scope| {
                for one in pair {
                    scope.spawn(|| {
                        together.wait();
                        drop(one);
                    });
                }
            });
            assert_eq!(clients.count(), 0);
        }
    }
}
