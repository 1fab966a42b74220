//! The state of an environment: one environment's record and its instances as they are now. Every
//! change of either sets the router's table under the same lock, so that traffic never sees one
//! that this did not have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::agent::Directory;
use crate::agent::engine::record::{EnvironmentRecord, ProcessRecord, Processes};
use crate::agent::router::{Backend, Router, Table};
use crate::model::facts::{Facts, HealthState, Instance, SlotFacts, WorkloadFacts};
use crate::model::port::PortName;
use crate::model::{Digest, LiveTraffic, ServiceName, Slot};
use crate::port::engine::Scope;

/// Which instance. The generation tells a rolling replacement from what it replaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::agent) struct InstanceKey {
    pub slot: Slot,
    pub service: ServiceName,
    pub generation: u64,
    pub index: u16,
}

/// An instance as it is now.
#[derive(Debug, Clone)]
pub(in crate::agent) struct InstanceEntry {
    pub facts: Instance,
    /// Whether it may get traffic when it is ready.
    pub serving: Serving,
    pub process: Option<ProcessRecord>,
}

/// Whether an instance may get traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) enum Serving {
    Yes,
    No,
}

/// One environment's record and instances.
pub struct EnvironmentState {
    scope: Scope,
    directory: Directory,
    router: Router,
    inner: Mutex<Inner>,
    changed: Notify,
}

struct Inner {
    record: EnvironmentRecord,
    entries: BTreeMap<InstanceKey, InstanceEntry>,
}

impl InstanceEntry {
    /// One that nothing is known of yet.
    fn new(index: u16) -> Self {
        let facts = Instance {
            index,
            pid: None,
            port: None,
            ports: BTreeMap::new(),
            health: HealthState::Starting,
            restarts: 0,
            last_exit: None,
            since: Timestamp::now(),
        };
        Self {
            facts,
            serving: Serving::Yes,
            process: None,
        }
    }
}

impl EnvironmentState {
    /// As the record says.
    #[must_use]
    pub fn new(directory: Directory, router: Router, record: EnvironmentRecord) -> Self {
        let scope = record.scope.clone();
        let inner = Mutex::new(Inner {
            record,
            entries: BTreeMap::new(),
        });
        Self {
            scope,
            directory,
            router,
            inner,
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is recorded.
    #[must_use]
    pub fn record(&self) -> EnvironmentRecord {
        self.lock().record.clone()
    }

    /// Writes a changed record down, then makes it the current one. On a failure nothing has
    /// changed.
    pub fn write(&self, change: impl FnOnce(&mut EnvironmentRecord)) -> std::io::Result<()> {
        let mut inner = self.lock();
        let mut record = inner.record.clone();
        change(&mut record);
        record.save(&self.directory)?;
        inner.record = record;
        self.publish(&inner);
        Ok(())
    }

    /// Moves live traffic, if the slot is ready at this very moment.
    pub(in crate::agent) fn switch(
        &self,
        to: LiveTraffic,
        now: Timestamp,
        change: impl FnOnce(&mut EnvironmentRecord),
    ) -> std::io::Result<Result<(), Slot>> {
        let mut inner = self.lock();
        if let Some(slot) = to.slot()
            && !facts_of(&inner)
                .slots
                .get(&slot)
                .is_some_and(SlotFacts::is_ready)
        {
            return Ok(Err(slot));
        }

        let mut record = inner.record.clone();
        record.traffic = to;
        record.switched_at = Some(now);
        change(&mut record);
        // Written first: an agent that is killed here comes back with the new table, one that is
        // killed before with the old one, and either is a slot that was ready.
        record.save(&self.directory)?;
        inner.record = record;
        self.publish(&inner);
        Ok(Ok(()))
    }

    /// Changes an instance's entry, making one if there is none.
    pub(in crate::agent) fn set(&self, key: &InstanceKey, change: impl FnOnce(&mut InstanceEntry)) {
        let mut inner = self.lock();
        let entry = inner
            .entries
            .entry(key.clone())
            .or_insert_with(|| InstanceEntry::new(key.index));
        let (health, process) = (entry.facts.health, entry.process.clone());
        change(entry);
        if entry.facts.health != health {
            entry.facts.since = Timestamp::now();
        }
        let moved = entry.process != process;
        if moved {
            self.save_processes(&inner);
        }
        self.publish(&inner);
    }

    /// Takes in what an earlier agent wrote down, all at once: whatever is recorded from now on has
    /// it.
    pub(in crate::agent) fn expect(
        &self,
        instances: impl IntoIterator<Item = (InstanceKey, Option<ProcessRecord>)>,
    ) {
        let mut inner = self.lock();
        for (key, process) in instances {
            let entry = InstanceEntry {
                process,
                ..InstanceEntry::new(key.index)
            };
            inner.entries.insert(key, entry);
        }
    }

    /// The images whose files a process may be reading.
    pub(in crate::agent) fn images(&self) -> Vec<Digest> {
        let inner = self.lock();
        let processes = inner
            .entries
            .values()
            .filter_map(|entry| entry.process.as_ref());
        processes
            .filter_map(|process| process.image.clone())
            .collect()
    }

    /// Forgets an instance that has ended.
    pub(in crate::agent) fn drop_entry(&self, key: &InstanceKey) {
        let mut inner = self.lock();
        if inner.entries.remove(key).is_some() {
            self.save_processes(&inner);
            self.publish(&inner);
        }
    }

    /// A disk that does not take this costs a restarted process at the next agent's start, no more.
    fn save_processes(&self, inner: &Inner) {
        let processes: Vec<ProcessRecord> = inner
            .entries
            .values()
            .filter_map(|entry| entry.process.clone())
            .collect();
        if let Err(error) = Processes::save(&self.directory, &self.scope, &processes) {
            tracing::warn!(%error, scope = %self.scope, "the processes could not be recorded");
        }
    }

    fn publish(&self, inner: &Inner) {
        let mut table = Table::default();
        for (key, instance) in in_traffic(&inner.entries) {
            let side = if inner.record.traffic.reaches(key.slot) {
                &mut table.live
            } else {
                &mut table.preview
            };
            let own = table.slots.entry(key.slot).or_default();
            for (port, address) in endpoints(instance) {
                let backend = Backend {
                    service: key.service.clone(),
                    port,
                };
                side.entry(backend.clone()).or_default().push(address);
                own.entry(backend).or_default().push(address);
            }
        }
        self.router.set(&self.scope, table);
        self.changed.notify_waiters();
    }

    /// Waits until `done` says something about the facts.
    pub(in crate::agent) async fn wait<T>(&self, mut done: impl FnMut(&Facts) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(result) = done(&self.facts()) {
                return result;
            }
            changed.await;
        }
    }

    /// What an observer sees.
    #[must_use]
    pub fn facts(&self) -> Facts {
        facts_of(&self.lock())
    }

    /// One instance's state.
    pub(in crate::agent) fn instance(&self, key: &InstanceKey) -> Option<Instance> {
        self.lock()
            .entries
            .get(key)
            .map(|entry| entry.facts.clone())
    }

    /// An instance of a service that runs, one that is ready if there is one.
    pub(in crate::agent) fn running(
        &self,
        slot: Slot,
        service: &ServiceName,
    ) -> Option<(InstanceKey, ProcessRecord)> {
        let inner = self.lock();
        let of_it = inner.entries.iter().filter_map(|(key, entry)| {
            let is_it = key.slot == slot && key.service == *service;
            let process = entry.process.as_ref().filter(|_| is_it)?;
            Some((key, process))
        });
        let best = of_it.max_by_key(|(key, process)| (process.ready, std::cmp::Reverse(key.index)));
        best.map(|(key, process)| (key.clone(), process.clone()))
    }

    /// The containers or units of the instances that run.
    pub(in crate::agent) fn contained(&self) -> Vec<(Slot, ServiceName, String)> {
        let inner = self.lock();
        let named = inner.entries.iter().filter_map(|(key, entry)| {
            let name = entry.process.as_ref()?.container.clone()?;
            Some((key.slot, key.service.clone(), name))
        });
        named.collect()
    }

    /// Where these instances listen, at all of their ports.
    pub(in crate::agent) fn addresses(&self, keys: &[InstanceKey]) -> Vec<SocketAddr> {
        let inner = self.lock();
        let entries = keys.iter().filter_map(|key| inner.entries.get(key));
        let each = entries.flat_map(|entry| endpoints(&entry.facts));
        each.map(|(_, address)| address).collect()
    }
}

/// Where an instance listens, by the port; the one with the traffic has no name.
fn endpoints(instance: &Instance) -> Vec<(Option<PortName>, SocketAddr)> {
    let main = instance.port.map(|port| (None, local(port)));
    let others = instance.ports.iter();
    let others = others.map(|(name, port)| (Some(name.clone()), local(*port)));
    main.into_iter().chain(others).collect()
}

/// An instance's address on this machine.
pub(in crate::agent) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The instances that get traffic: those that are ready. Of a service that
/// has none in a slot it is those that were ready and still run: what makes all of them slow at
/// once is the load, or something that all of them need, and an answer that is slow is better than
/// none.
fn in_traffic(entries: &BTreeMap<InstanceKey, InstanceEntry>) -> Vec<(&InstanceKey, &Instance)> {
    let serving = |health: HealthState| {
        let is_meant = move |entry: &InstanceEntry| {
            entry.serving == Serving::Yes && entry.facts.health == health
        };
        entries
            .iter()
            .filter(move |(_, entry)| is_meant(entry))
            .map(|(key, entry)| (key, &entry.facts))
    };

    let mut chosen: Vec<(&InstanceKey, &Instance)> = serving(HealthState::Ready).collect();
    let has_one: BTreeSet<(Slot, &ServiceName)> = chosen
        .iter()
        .map(|(key, _)| (key.slot, &key.service))
        .collect();
    chosen.extend(
        serving(HealthState::Unhealthy)
            .filter(|(key, _)| !has_one.contains(&(key.slot, &key.service))),
    );
    chosen
}

fn facts_of(inner: &Inner) -> Facts {
    let record = &inner.record;
    let slots = record.slots.iter().map(|(slot, there)| {
        let workloads = there.workloads.iter().map(|(name, workload)| {
            let mine = inner
                .entries
                .iter()
                .filter(|(key, _)| key.slot == *slot && key.service == *name);
            let instances = mine.map(|(_, entry)| entry.facts.clone()).collect();
            let facts = WorkloadFacts {
                spec: workload.spec.clone(),
                running: workload.running,
                instances,
                drift: Vec::new(),
                changed_on_disk: None,
                unit_files: Vec::new(),
                verdict: None,
                held: Vec::new(),
                secrets: workload.secrets.clone(),
            };
            (name.clone(), facts)
        });
        let facts = SlotFacts {
            label: there.label.clone(),
            workloads: workloads.collect(),
            placed_at: there.placed_at,
            stops_at: there.stops_at,
        };
        (*slot, facts)
    });

    Facts {
        lineage: record.owner().cloned(),
        fence: record.fence,
        changed_by: record.changed_by.clone(),
        changed_at: record.changed_at,
        traffic: record.traffic,
        switched_at: record.switched_at,
        slots: slots.collect(),
        routes: record.routes.clone(),
        route_drift: BTreeMap::new(),
        route_files: BTreeMap::new(),
        certificates: BTreeMap::new(),
        unopened: BTreeMap::new(),
        unseen: Vec::new(),
        protected_entries: BTreeMap::new(),
        commands: BTreeSet::new(),
        claims: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instances of `web` in blue, by how they are; each listens at its number.
    fn entries(health: &[HealthState]) -> BTreeMap<InstanceKey, InstanceEntry> {
        let entry = |(index, health): (u16, &HealthState)| {
            let mut entry = InstanceEntry::new(index);
            (entry.facts.health, entry.facts.port) = (*health, Some(index));
            let key = InstanceKey {
                slot: Slot::Blue,
                service: "web".parse().unwrap(),
                generation: 1,
                index,
            };
            (key, entry)
        };
        (0..).zip(health).map(entry).collect()
    }

    fn ports(entries: &BTreeMap<InstanceKey, InstanceEntry>) -> Vec<u16> {
        let chosen = in_traffic(entries).into_iter();
        chosen.filter_map(|(_, instance)| instance.port).collect()
    }

    #[test]
    fn what_is_unhealthy_is_out_of_traffic_while_another_is_ready() {
        use HealthState::{Ready, Starting, Unhealthy};

        assert_eq!(ports(&entries(&[Ready, Unhealthy, Starting])), [0]);
    }

    #[test]
    fn a_service_never_loses_every_instance_to_slow_answers() {
        use HealthState::{BackingOff, Starting, Unhealthy};

        let all = entries(&[Unhealthy, BackingOff, Unhealthy, Starting]);
        assert_eq!(
            ports(&all),
            [0, 2],
            "what has ended or never was ready is no help"
        );
    }

    #[test]
    fn what_is_not_meant_to_serve_never_does() {
        let mut all = entries(&[HealthState::Unhealthy]);
        for entry in all.values_mut() {
            entry.serving = Serving::No;
        }
        assert_eq!(ports(&all), [0; 0]);
    }
}
