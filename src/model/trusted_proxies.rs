//! Whose word about a client is taken: the proxies in front of a router.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// The proxies in front of a router, as networks. What anybody else says about where a request came
/// from is dropped. Empty: nobody's word is taken, not even of a process on the same machine.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// Nobody.
    #[must_use]
    pub const fn nobody() -> Self {
        Self(Vec::new())
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address belongs to one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.0.contains(&address))
    }

    /// One network after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

impl FromIterator<Network> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// One network or one address: `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", example = &"10.0.0.0/8", example = &"192.0.2.7")]
pub struct Network(IpNet);

impl Network {
    /// Where processes of the same machine connect from.
    #[must_use]
    pub fn this_machine() -> [Self; 2] {
        let network = |address: IpAddr, length| IpNet::new_assert(address, length);
        [
            Self(network(Ipv4Addr::new(127, 0, 0, 0).into(), 8)),
            Self(network(Ipv6Addr::LOCALHOST.into(), 128)),
        ]
    }
}

/// Why a text is no network of proxies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor a network.
    #[error("`{0}` is no network: write an address and a length, as `10.0.0.0/8`, or one address")]
    NotOne(String),
    /// Bits are set behind the network's length, so that it is not clear what was meant.
    #[error("`{text}` has bits behind its length: write `{network}` for the network")]
    HostBits {
        /// As it was written.
        text: String,
        /// The network that it is in.
        network: IpNet,
    },
    /// Everybody would be believed.
    #[error("`{0}` is everybody: name the networks of the proxies in front of the router")]
    Everybody(String),
    /// The router takes such an address for the IPv4 one, and would never find it here.
    #[error("`{0}` is an IPv4 address in the form of IPv6: write it as IPv4")]
    Mapped(String),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network: IpNet = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| NetworkError::NotOne(text.to_owned()))?;
        if network.prefix_len() == 0 {
            return Err(NetworkError::Everybody(text.to_owned()));
        }
        if network.addr().to_canonical() != network.addr() {
            return Err(NetworkError::Mapped(text.to_owned()));
        }
        if network.trunc() != network {
            return Err(NetworkError::HostBits {
                text: text.to_owned(),
                network: network.trunc(),
            });
        }
        Ok(Self(network))
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_its_network_in_either_form_of_its_address() {
        let trusted: TrustedProxies = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]
            .into_iter()
            .map(|text| text.parse::<Network>().unwrap())
            .collect();
        for inside in ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8::1"] {
            assert!(trusted.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::1", "127.0.0.1", "::1"] {
            assert!(!trusted.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(!TrustedProxies::nobody().contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_or_everybody_is_refused_with_what_to_write() {
        let cases = [
            ("proxy.example.com", "is no network"),
            ("10.0.0.0/33", "is no network"),
            ("10.0.0.7/8", "write `10.0.0.0/8`"),
            ("0.0.0.0/0", "is everybody"),
            ("::/0", "is everybody"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
        ];
        for (text, expected) in cases {
            let said = text.parse::<Network>().unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
