//! What an engine says is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use jiff::Timestamp;

use crate::model::certificate::ServedCertificate;
use crate::model::drift::MovedField;
use crate::model::loss::{Claim, Held};
use crate::model::object::Drift;
use crate::model::outcome::Url;
use crate::model::port::{PortName, Protocol};
use crate::model::release::{Actor, Label};
use crate::model::route::{Listeners, Route};
use crate::model::workload::Workload;
use crate::model::{
    ContentHash, Digest, Fingerprint, LiveTraffic, ObjectKey, ReleaseNumber, Role, ServiceName,
    Slot,
};

/// One environment as an engine sees it at one moment. Empty ([`Facts::default`]) when nothing was
/// ever placed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// The lineage of the state that owns the environment; none when nobody does.
    pub lineage: Option<String>,
    /// The highest fencing number that acted here.
    pub fence: u64,
    /// Who acted here last.
    pub changed_by: Option<Actor>,
    /// When.
    pub changed_at: Option<Timestamp>,
    /// Where live traffic goes.
    #[serde(rename = "active")]
    pub traffic: LiveTraffic,
    /// When traffic was last switched.
    pub switched_at: Option<Timestamp>,
    /// What stands in the slots; an empty slot is not in the map.
    pub slots: BTreeMap<Slot, SlotFacts>,
    /// The listeners.
    pub routes: BTreeMap<ServiceName, Route>,
    /// Where the objects of an entry point are not as they were applied.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub route_drift: BTreeMap<ServiceName, Vec<Drift>>,
    /// Files of proxies and keys of etcd that are not as an agent has written them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub route_files: BTreeMap<ServiceName, Vec<MovedField>>,
    /// The certificates that listeners show, the first one to whoever names no host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<ServiceName, Vec<ServedCertificate>>,
    /// Services whose listeners an agent that was started again could not open, with the reason:
    /// nothing listens there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unopened: BTreeMap<ServiceName, String>,
    /// What could not be looked at, with the reason: whether it has moved is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
    /// The objects of entry points that say of themselves that they must never be deleted or
    /// replaced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub protected_entries: BTreeMap<ServiceName, BTreeSet<ObjectKey>>,
    /// The pods of commands that people run by themselves, or have left: nothing of a release.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub commands: BTreeSet<ObjectKey>,
    /// The claims of storage in the environment's namespaces, where something asks for storage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
}

/// What stands where: of [`Facts`] what can be known without looking into the slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    /// The lineage of the state that owns the environment; none when nobody does.
    pub lineage: Option<String>,
    /// Where live traffic goes.
    pub traffic: LiveTraffic,
    /// The release in each slot; an empty slot is not in the map.
    pub labels: BTreeMap<Slot, Label>,
    /// When what is retained in a slot is stopped; not of one that has no end.
    pub stops: BTreeMap<Slot, Timestamp>,
    /// Who acted here last.
    pub changed_by: Option<Actor>,
    /// When.
    pub changed_at: Option<Timestamp>,
}

impl From<&Facts> for Overview {
    fn from(facts: &Facts) -> Self {
        let slots = facts.slots.iter();
        let stops = slots.clone();
        let stops = stops.filter_map(|(slot, there)| Some((*slot, there.stops_at?)));
        Self {
            lineage: facts.lineage.clone(),
            traffic: facts.traffic,
            labels: slots
                .map(|(slot, there)| (*slot, there.label.clone()))
                .collect(),
            stops: stops.collect(),
            changed_by: facts.changed_by.clone(),
            changed_at: facts.changed_at,
        }
    }
}

impl Overview {
    /// The number of the release in a slot.
    #[must_use]
    pub fn number(&self, slot: Slot) -> Option<ReleaseNumber> {
        self.labels.get(&slot).map(|label| label.number)
    }
}

impl Facts {
    /// What a switch is bound to: where live traffic goes now.
    #[must_use]
    pub fn traffic_fingerprint(&self) -> Fingerprint {
        Fingerprint::of_json(&self.traffic)
    }

    /// What a step on a workload is bound to; none when the slot has no such service.
    #[must_use]
    pub fn workload_fingerprint(&self, slot: Slot, service: &ServiceName) -> Option<Fingerprint> {
        self.slots
            .get(&slot)?
            .workloads
            .get(service)
            .map(WorkloadFacts::fingerprint)
    }

    /// What emptying a slot is bound to: the release in it and all of its workloads; none when it
    /// is empty.
    #[must_use]
    pub fn slot_fingerprint(&self, slot: Slot) -> Option<Fingerprint> {
        let is_live = self.traffic.reaches(slot);
        let slot = self.slots.get(&slot)?;
        let workloads: Vec<_> = slot
            .workloads
            .iter()
            .map(|(name, w)| (name, w.fingerprint_as(w.running || !is_live)))
            .collect();
        Some(Fingerprint::of_json(&(&slot.label, workloads)))
    }

    /// What a change of a service's listeners is bound to; none when it has none.
    #[must_use]
    pub fn route_fingerprint(&self, service: &ServiceName) -> Option<Fingerprint> {
        let route = self.routes.get(service)?;
        match self.route_drift.get(service) {
            None => Some(Fingerprint::of_json(route)),
            Some(drift) => Some(Fingerprint::of_json(&(route, drift))),
        }
    }

    /// What a change of the listeners of several services is bound to. Of one service it is the
    /// route's own.
    #[must_use]
    pub fn routes_fingerprint<'a>(
        &self,
        services: impl IntoIterator<Item = &'a ServiceName>,
    ) -> Option<Fingerprint> {
        let services: Vec<&ServiceName> = services.into_iter().collect();
        let of = |service: &&ServiceName| self.route_fingerprint(service);
        match services[..] {
            [ref only] => of(only),
            _ => Some(Fingerprint::of_json(
                &services.iter().map(of).collect::<Vec<_>>(),
            )),
        }
    }

    /// Where services answer: through the live listener, or through the preview one.
    #[must_use]
    pub fn urls(&self, role: Role) -> Vec<Url> {
        let slot = self.slot_with(role);
        let Some(slot) = slot.filter(|slot| self.slots.contains_key(slot)) else {
            return Vec::new();
        };

        let there = self.slots.get(&slot);
        let has = |route: &&Route| {
            let workload = there.and_then(|there| there.workloads.get(&route.service));
            workload.is_some_and(|workload| workload.running)
        };
        let routes = self.routes.values().filter(has);
        let urls = routes.flat_map(|route| {
            let listeners = route.listeners().into_iter();
            listeners.flat_map(move |listeners| {
                let entries = entries(listeners, role).into_iter();
                entries.map(move |(port, protocol, address)| Url {
                    service: route.service.clone(),
                    port: port.cloned(),
                    slot,
                    url: format!("{}://{address}", listeners.scheme(protocol)),
                    trust: self.trust(&route.service),
                })
            })
        });
        urls.collect()
    }

    /// The certificates that a service's listeners show, by which whoever asks knows them.
    fn trust(&self, service: &ServiceName) -> Vec<String> {
        let shown = self.certificates.get(service).into_iter().flatten();
        shown.map(|one| one.chain.clone()).collect()
    }

    /// Where the instances of a service in the slot with this role answer at one of its ports
    /// besides the one with the traffic.
    #[must_use]
    pub fn port_addresses(
        &self,
        role: Role,
        service: &ServiceName,
        port: &PortName,
    ) -> Vec<SocketAddr> {
        let slot = self.slot_with(role).and_then(|slot| self.slots.get(&slot));
        let workload = slot.and_then(|slot| slot.workloads.get(service));
        let instances = workload.into_iter().flat_map(|one| &one.instances);
        let ports = instances.filter_map(|instance| instance.ports.get(port));
        ports
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
            .collect()
    }

    /// The slot with a role. Before anything is live the first slot is the preview.
    fn slot_with(&self, role: Role) -> Option<Slot> {
        match role {
            Role::Active => self.traffic.slot(),
            Role::Preview => match self.traffic.slot() {
                Some(slot) => Some(slot.other()),
                None => self.slots.keys().next().copied(),
            },
        }
    }

    /// The services of the live release that never run beside what comes next: the one or the other
    /// says so, something of it gets their volume, or they stand stopped for that very reason.
    #[must_use]
    pub fn exclusive(&self, next: &BTreeMap<ServiceName, Workload>) -> BTreeSet<ServiceName> {
        let Some((_, live)) = self.live() else {
            return BTreeSet::new();
        };
        let is_exclusive = |(_, there): &(&ServiceName, &WorkloadFacts)| {
            there.spec.is_exclusive()
                || !there.running
                || next.values().any(|next| next.excludes(&there.spec))
        };
        let live = live.workloads.iter().filter(is_exclusive);
        live.map(|(name, _)| name.clone()).collect()
    }

    /// The services of what comes next that wait until those stop. What has nothing of the live
    /// release to wait for starts at once.
    #[must_use]
    pub fn waiting(&self, next: &BTreeMap<ServiceName, Workload>) -> BTreeSet<ServiceName> {
        let Some((_, live)) = self.live() else {
            return BTreeSet::new();
        };
        let stops = self.exclusive(next);
        let waits = |(name, next): &(&ServiceName, &Workload)| {
            let mut live = live.workloads.values();
            stops.contains(*name) || live.any(|live| next.excludes(&live.spec))
        };
        let waiting = next.iter().filter(waits);
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// The release in the active slot.
    #[must_use]
    pub fn live(&self) -> Option<(Slot, &SlotFacts)> {
        let slot = self.traffic.slot()?;
        self.slots.get(&slot).map(|facts| (slot, facts))
    }
}

/// Where the slot with a role is reached, by the port; the one with the traffic comes first.
fn entries(listeners: &Listeners, role: Role) -> Vec<(Option<&PortName>, Protocol, SocketAddr)> {
    let main = match role {
        Role::Active => listeners.live,
        Role::Preview => listeners.preview,
    };
    let ports = listeners.ports.iter().filter_map(|(name, port)| {
        let address = match role {
            Role::Active => port.live?,
            Role::Preview => port.preview?,
        };
        Some((Some(name), port.protocol, address))
    });
    std::iter::once((None, listeners.protocol, main))
        .chain(ports)
        .collect()
}

/// What stands in one slot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SlotFacts {
    /// Which release.
    pub label: Label,
    /// Its workloads.
    pub workloads: BTreeMap<ServiceName, WorkloadFacts>,
    /// When the slot was placed.
    pub placed_at: Timestamp,
    /// When it will be stopped, for a previous release that is retained.
    pub stops_at: Option<Timestamp>,
}

impl SlotFacts {
    /// Whether every workload runs and every instance of it can take traffic.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.workloads.is_empty()
            && self
                .workloads
                .values()
                .all(|w| w.health() == HealthState::Ready)
    }

    /// Whether every instance of what is meant to run can take traffic. What stands stopped does
    /// not count: it is started before the slot gets traffic.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let mut workloads = self.workloads.values();
        !self.workloads.is_empty()
            && workloads.all(|w| !w.running || w.health() == HealthState::Ready)
    }

    /// The image of a service, when a run of this project has made it from these inputs.
    #[must_use]
    pub fn made_from(&self, service: &ServiceName, inputs: &ContentHash) -> Option<&Digest> {
        if self.label.inputs.get(service) != Some(inputs) {
            return None;
        }
        self.workloads.get(service)?.spec.image.value()
    }

    /// Whether its instances are meant to run.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.workloads.values().any(|workload| workload.running)
    }
}

/// One service in a slot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WorkloadFacts {
    /// What runs.
    pub spec: Workload,
    /// Whether it is meant to run; a previous release is kept but stopped after `keep_previous`.
    pub running: bool,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Where its objects are not as they were applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// How the files that it runs from differ from its image, in words; none when they do not, or
    /// when the engine keeps no files of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_on_disk: Option<String>,
    /// Files of its units that are not as they were when its instances were started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unit_files: Vec<MovedField>,
    /// For an engine that knows better than by instances: how it is, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<WorkloadHealth>,
    /// What of its objects can hold something, and what goes with each when it is taken out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// What stands for the values that its secrets were given, by name: keyed hashes of the
    /// engine's ([`HashKey`](crate::model::secret::HashKey)). Not known of a secret that is not
    /// here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
}

/// What an engine says of a workload as a whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WorkloadHealth {
    /// How it is.
    pub health: HealthState,
    /// Why, in one line.
    pub reason: String,
}

impl WorkloadFacts {
    /// Over what a step changes, and what goes with it. Health and process ids move by themselves
    /// and are not in it; neither is the release's number, which moves for all services of a slot
    /// when one of them is replaced.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint_as(self.running)
    }

    fn fingerprint_as(&self, running: bool) -> Fingerprint {
        match (&self.drift[..], &self.held[..]) {
            ([], []) => Fingerprint::of_json(&(&self.spec, running)),
            (drift, []) => Fingerprint::of_json(&(&self.spec, running, drift)),
            (drift, held) => Fingerprint::of_json(&(&self.spec, running, drift, held)),
        }
    }

    /// What of its files, or of its units', somebody else has changed, in words; none when nothing
    /// is known to be.
    #[must_use]
    pub fn altered(&self) -> Option<String> {
        let image = self.changed_on_disk.as_ref();
        let image = image.map(|change| format!("its image changed on disk ({change})"));
        image.or_else(|| {
            let first = self.unit_files.first()?;
            let is = first.is.as_deref().unwrap_or("is gone");
            Some(format!("its unit was changed ({} {is})", first.field))
        })
    }

    /// The worst of its instances.
    #[must_use]
    pub fn health(&self) -> HealthState {
        if !self.running {
            return HealthState::Stopped;
        }
        if let Some(verdict) = &self.verdict {
            return verdict.health;
        }
        let worst = self.instances.iter().map(|instance| instance.health).max();
        let missing = self.instances.len() < usize::from(self.spec.replicas);
        match worst {
            Some(worst) if !missing => worst,
            Some(worst) => worst.max(HealthState::Starting),
            None => HealthState::Starting,
        }
    }
}

/// One running copy of a service.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Instance {
    /// Counts from 0 within the workload.
    pub index: u16,
    /// The process id; none while it is not running.
    pub pid: Option<u32>,
    /// Where it listens for the traffic.
    pub port: Option<u16>,
    /// Where it listens besides, by the port's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<PortName, u16>,
    /// How it is.
    pub health: HealthState,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it last ended, in words: `exit code 1`, `signal 9 (SIGKILL)`.
    pub last_exit: Option<String>,
    /// Since when it has this health.
    pub since: Timestamp,
}

/// How an instance is. Ordered from best to worst.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It can take traffic.
    Ready,
    /// It is meant to be stopped.
    Stopped,
    /// It has not answered well yet.
    Starting,
    /// It was ready and is not any more.
    Unhealthy,
    /// It ended and waits to be started again.
    BackingOff,
    /// It ended and is not started again.
    Failed,
}

impl HealthState {
    /// Whether it has ended and is not there to take traffic.
    #[must_use]
    pub const fn is_down(self) -> bool {
        matches!(self, Self::BackingOff | Self::Failed)
    }

    /// The word for a table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
            Self::BackingOff => "backing off",
            Self::Failed => "failed",
        }
    }
}
