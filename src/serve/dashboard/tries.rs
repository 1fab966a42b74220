//! How often an address may try to sign in. A token has 256 random bits, which nobody guesses; this
//! bounds what guessing costs the server, and keeps its log legible.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::model::trusted_proxies::TrustedProxies;

/// How many tries an address has at once.
const AT_ONCE: u32 = 10;

/// How long it takes until it has another one.
const ANOTHER: Duration = Duration::from_secs(10);

/// How many addresses are remembered.
const ADDRESSES: usize = 4_096;

/// The tries of each address.
#[derive(Debug, Default)]
pub(super) struct Tries(Mutex<HashMap<IpAddr, Tried>>);

#[derive(Debug, Clone, Copy)]
struct Tried {
    count: u32,
    /// Up to when tries were given back.
    since: Instant,
}

impl Tried {
    /// What is left of the tries by now.
    fn forgiven(mut self, now: Instant) -> Self {
        let gone = now.saturating_duration_since(self.since);
        let back = u32::try_from(gone.as_secs() / ANOTHER.as_secs()).unwrap_or(u32::MAX);
        self.count = self.count.saturating_sub(back);
        self.since += ANOTHER * back;
        if self.count == 0 {
            self.since = now;
        }
        self
    }
}

impl Tries {
    /// Counts a try that failed.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES {
            all.retain(|_, tried| tried.forgiven(now).count > 0);
        }
        if all.len() >= ADDRESSES {
            // Whoever has this many addresses is bounded by the connections.
            all.clear();
        }
        let new = Tried {
            count: 0,
            since: now,
        };
        let tried = all.entry(network(address)).or_insert(new);
        *tried = tried.forgiven(now);
        tried.count += 1;
    }

    /// Whether an address may try.
    pub fn may(&self, address: IpAddr, now: Instant) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tried = all.get(&network(address));
        tried.is_none_or(|tried| tried.forgiven(now).count < AT_ONCE)
    }
}

/// What belongs to one subscriber: an address of IPv4, the upper half of one of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

/// From where somebody comes: what a proxy that is trusted says, else the other end of the
/// connection.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, proxies: &TrustedProxies) -> IpAddr {
    let mut address = peer;
    let values = headers.get_all("x-forwarded-for").into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = texts.flat_map(|text| text.split(',')).collect();
    for text in named.into_iter().rev() {
        if !proxies.contains(address) {
            break;
        }
        let Ok(before) = text.trim().parse() else {
            break;
        };
        address = before;
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trusted_proxies::Network;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_so_many_tries_and_gets_them_back_with_time() {
        let (tries, now) = (Tries::default(), Instant::now());
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        for _ in 0..AT_ONCE {
            assert!(tries.may(one, now));
            tries.failed(one, now);
        }
        assert!(!tries.may(one, now) && tries.may(other, now));
        assert!(!tries.may(ip("::ffff:192.0.2.1"), now));
        assert!(!tries.may(one, now + ANOTHER / 2));
        assert!(tries.may(one, now + ANOTHER));
        tries.failed(one, now + ANOTHER);
        assert!(!tries.may(one, now + ANOTHER));
        assert!(tries.may(one, now + ANOTHER * (AT_ONCE + 1)));
    }

    #[test]
    fn a_subscriber_of_ipv6_has_one_count_and_many_addresses_take_no_memory() {
        let (tries, now) = (Tries::default(), Instant::now());
        for host in 0..AT_ONCE {
            tries.failed(ip(&format!("2001:db8:0:1::{host:x}")), now);
        }
        assert!(!tries.may(ip("2001:db8:0:1::ffff"), now));
        assert!(tries.may(ip("2001:db8:0:2::1"), now));
        for number in 0..3 * u32::try_from(ADDRESSES).expect("small") {
            tries.failed(std::net::Ipv4Addr::from(number).into(), now);
        }
        assert!(tries.0.lock().expect("whole").len() <= ADDRESSES);
    }

    #[test]
    fn a_proxys_word_counts_as_far_as_it_is_trusted() {
        let trusted: TrustedProxies = ["10.0.0.0/8".parse::<Network>().expect("a network")]
            .into_iter()
            .collect();
        let of = |peer: &str, said: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in said {
                headers.append("x-forwarded-for", value.parse().expect("a value"));
            }
            address(ip(peer), &headers, &trusted).to_string()
        };
        assert_eq!(of("192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        // What stands before was said by whoever came to the first proxy that is trusted.
        assert_eq!(
            of("10.0.0.1", &["203.0.113.9, 198.51.100.1", "10.0.0.2"]),
            "198.51.100.1"
        );
        assert_eq!(of("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
    }
}
