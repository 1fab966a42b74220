//! The listeners of a service's ports besides the one that gets the traffic, and the list of all
//! addresses that a service listens at.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use crate::model::Slot;
use crate::model::port::{PortName, Protocol};
use crate::model::route::{Listeners, overlap};

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Listener {
    /// Live traffic.
    Live,
    /// Preview traffic.
    Preview,
    /// A slot's own traffic, whichever has the live one.
    Slot(Slot),
    /// Plain HTTP that is sent on to the live listener.
    Redirect,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Live => "live",
            Self::Preview => "preview",
            Self::Slot(slot) => slot.as_str(),
            Self::Redirect => "redirect",
        })
    }
}

/// Where traffic comes to one port of a service besides the one with the traffic. It goes to the
/// same slot as the service's other traffic, and moves with the same switch.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PortListeners {
    /// What is spoken there.
    #[serde(default, skip_serializing_if = "Protocol::is_http")]
    pub protocol: Protocol,
    /// Where live traffic arrives; nowhere without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<SocketAddr>,
    /// Where it arrived before, and still does, until the release that moves it has been verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<SocketAddr>,
    /// Where only the preview slot answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<SocketAddr>,
    /// Where each slot answers by itself, whichever has live traffic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<Slot, SocketAddr>,
}

impl PortListeners {
    /// Where live traffic arrives, the newest address first.
    pub fn live_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.live.into_iter().chain(self.former.iter().copied())
    }

    /// Each address, and what it is for.
    fn each(&self) -> impl Iterator<Item = (Listener, SocketAddr)> {
        let live = self.live_addresses();
        let preview = self.preview.into_iter();
        let slots = self.slots.iter();
        live.map(|address| (Listener::Live, address))
            .chain(preview.map(|address| (Listener::Preview, address)))
            .chain(slots.map(|(slot, address)| (Listener::Slot(*slot), *address)))
    }

    fn is_nowhere(&self) -> bool {
        self.each().next().is_none()
    }

    /// What listens until the release that comes with the `next` ones has live traffic.
    fn until(&self, next: Option<&Self>) -> Self {
        let mut former: Vec<SocketAddr> = self.live_addresses().collect();
        former.retain(|address| next.is_none_or(|next| next.live != Some(*address)));
        former.sort_by_key(|address| Some(*address) == self.live);
        let gone = Self {
            protocol: self.protocol,
            ..Self::default()
        };
        Self {
            former,
            ..next.cloned().unwrap_or(gone)
        }
    }
}

impl fmt::Display for PortListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.each().enumerate();
        for (at, (listener, address)) in each {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{listener} on {address}")?;
        }
        Ok(())
    }
}

/// An address that a service listens at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress<'a> {
    /// Of which port; of the one with the traffic without a name.
    pub port: Option<&'a PortName>,
    /// What is spoken there.
    pub protocol: Protocol,
    /// What it is for.
    pub listener: Listener,
    /// The address.
    pub address: SocketAddr,
}

impl ListenAddress<'_> {
    /// Whether TLS is spoken there, where the service has it: other protocols have their own, and a
    /// redirect is for those who do not speak it.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.protocol.is_http() && self.listener != Listener::Redirect
    }

    /// Whether both lead to the same instances.
    fn means(&self, other: &Self) -> bool {
        (self.port, self.listener) == (other.port, other.listener)
    }
}

impl Listeners {
    /// Every address that is listened at, by whomever, and what it is for.
    #[must_use]
    pub fn each(&self) -> Vec<ListenAddress<'_>> {
        let live = self.live_and_former();
        let slots = self.slots.iter();
        let main = live
            .map(|address| (Listener::Live, address))
            .chain([(Listener::Preview, self.preview)])
            .chain(self.redirect.map(|address| (Listener::Redirect, address)))
            .chain(slots.map(|(slot, address)| (Listener::Slot(*slot), *address)));
        let main = main.map(|(listener, address)| ListenAddress {
            port: None,
            protocol: self.protocol,
            listener,
            address,
        });

        let others = self.ports.iter().flat_map(|(name, port)| {
            port.each().map(move |(listener, address)| ListenAddress {
                port: Some(name),
                protocol: port.protocol,
                listener,
                address,
            })
        });
        main.chain(others).collect()
    }

    /// Those at which the router listens: a proxy in front has the live one of the port with the
    /// traffic.
    #[must_use]
    pub fn routed(&self) -> Vec<ListenAddress<'_>> {
        let is_the_proxys = |it: &ListenAddress<'_>| {
            self.proxy.is_some() && it.port.is_none() && it.listener == Listener::Live
        };
        let mut all = self.each();
        all.retain(|it| !is_the_proxys(it));
        all
    }

    /// Two of its addresses that cannot be had together: they have a part in common, and lead to
    /// different instances.
    #[must_use]
    pub fn claimed_twice(&self) -> Option<(ListenAddress<'_>, ListenAddress<'_>)> {
        let all = self.each();
        all.iter().enumerate().find_map(|(at, it)| {
            let is_other =
                |other: &&ListenAddress<'_>| !other.means(it) && overlap(other.address, it.address);
            let other = all[..at].iter().find(is_other)?;
            Some((other.clone(), it.clone()))
        })
    }

    /// Where live traffic of any port arrived before, and still does.
    #[must_use]
    pub fn all_former(&self) -> Vec<SocketAddr> {
        let ports = self.ports.values().flat_map(|port| &port.former);
        self.former.iter().chain(ports).copied().collect()
    }

    /// Where live traffic of any port arrives now that still arrives elsewhere, too.
    #[must_use]
    pub fn moving(&self) -> Vec<SocketAddr> {
        let main = Some(self.live).filter(|_| !self.former.is_empty());
        let ports = self.ports.values();
        let ports = ports.filter(|port| !port.former.is_empty());
        main.into_iter()
            .chain(ports.filter_map(|port| port.live))
            .collect()
    }

    /// The ports until the release that comes with the `next` listeners has live traffic.
    pub(super) fn ports_until(&self, next: &Self) -> BTreeMap<PortName, PortListeners> {
        let mut ports = next.ports.clone();
        for (name, own) in &self.ports {
            let between = own.until(next.ports.get(name));
            if !between.is_nowhere() {
                ports.insert(name.clone(), between);
            }
        }
        ports
    }

    pub(super) fn settled_ports(&self) -> BTreeMap<PortName, PortListeners> {
        self.changed_ports(|port| port.former.clear())
    }

    pub(super) fn unmoved_ports(&self) -> BTreeMap<PortName, PortListeners> {
        self.changed_ports(|port| {
            port.live = port.former.first().copied().or(port.live);
            port.former.clear();
        })
    }

    fn changed_ports(
        &self,
        change: impl Fn(&mut PortListeners),
    ) -> BTreeMap<PortName, PortListeners> {
        let mut ports = self.ports.clone();
        ports.values_mut().for_each(change);
        ports.retain(|_, port| !port.is_nowhere());
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn listeners(ports: &[(&str, PortListeners)]) -> Listeners {
        let ports = ports.iter();
        Listeners {
            ports: ports
                .map(|(name, port)| (name.parse().expect("a name"), port.clone()))
                .collect(),
            ..Listeners::plain(at(8080), at(8081), crate::model::limits::Limits::default())
        }
    }

    fn tcp(live: u16) -> PortListeners {
        PortListeners {
            protocol: Protocol::Tcp,
            live: Some(at(live)),
            ..PortListeners::default()
        }
    }

    #[test]
    fn a_port_that_moves_has_both_addresses_until_the_release_is_verified() {
        let (old, new) = (
            listeners(&[("sql", tcp(5432))]),
            listeners(&[("sql", tcp(6432))]),
        );
        let between = old.until(&new);
        let sql: PortName = "sql".parse().expect("a name");
        assert_eq!(between.ports[&sql].live, Some(at(6432)));
        assert_eq!(between.all_former(), [at(5432)]);
        assert_eq!(between.moving(), [at(6432)]);
        assert_eq!(between.settled(), new);
        assert_eq!(between.unmoved(), old, "a release that is given up");
        assert_eq!(old.entries_lost(Some(&between)), [] as [&str; 0]);
        assert_eq!(between.entries_lost(Some(&new)), ["127.0.0.1:5432 (sql)"]);
    }

    #[test]
    fn a_port_that_is_taken_out_answers_until_the_release_is_verified() {
        let (old, new) = (listeners(&[("sql", tcp(5432))]), listeners(&[]));
        let between = old.until(&new);
        assert_eq!(between.all_former(), [at(5432)]);
        assert_eq!(between.settled(), new);
        assert_eq!(between.unmoved(), old);
        assert_eq!(new.until(&old), old, "a new one opens at once");
    }

    #[test]
    fn what_cannot_be_had_together_is_seen_whichever_port_it_is_of() {
        let twice = listeners(&[("sql", tcp(8081))]);
        let (preview, sql) = twice.claimed_twice().expect("one address twice");
        assert_eq!((preview.port, preview.listener), (None, Listener::Preview));
        assert_eq!(sql.port.map(PortName::as_str), Some("sql"));
        assert_eq!(listeners(&[("sql", tcp(5432))]).claimed_twice(), None);

        // A live address that goes to another port changes as a whole, behind the switch.
        let (old, new) = (
            listeners(&[("a", tcp(1001)), ("b", tcp(1002))]),
            listeners(&[("a", tcp(1002)), ("b", tcp(1001))]),
        );
        assert_eq!(old.until(&new), old);
    }
}
