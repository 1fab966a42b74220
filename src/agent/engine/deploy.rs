//! Deploying a workload into its slot.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::agent::engine::environment_state::{InstanceKey, Serving};
use crate::agent::engine::held::Held;
use crate::agent::engine::images::{self, fetch};
use crate::agent::engine::moved::units;
use crate::agent::engine::record::{EnvironmentRecord, SlotRecord, WorkloadRecord};
use crate::agent::engine::{Agent, Environment, Work, failed, moved};
use crate::agent::instance::{InstanceSpec, Supervisor};
use crate::agent::log::instances;
use crate::model::facts::HealthState;
use crate::model::plan::DeployMode;
use crate::model::workload::Workload;
use crate::model::{Address, Fingerprint, ServiceName, Slot};
use crate::port::Progress;
use crate::port::engine::{EngineError, NotReady, Permit, Placement};

/// Puts a workload into its slot. Until its image is there nothing has changed, and when `gone` is
/// cancelled before that, for nobody waits any more, nothing does.
pub(in crate::agent) async fn deploy(
    agent: &Arc<Agent>,
    permit: &Permit,
    placement: Placement,
    progress: Progress<'_>,
    gone: &CancellationToken,
) -> Result<(), EngineError> {
    let environment = agent.environment(&permit.scope);
    let before = environment.state.record();
    let mut work = agent.enter(&environment, permit).await?;
    let record = environment.state.record();
    let (slot, service) = (placement.slot, placement.workload.service.clone());
    let there = record.slots.get(&slot);
    let there = there.and_then(|there| there.workloads.get(&service));

    let is_same = there.is_some_and(|there| {
        (&there.spec, there.running) == (&placement.workload, placement.running)
    });
    let given = agent.hashes(&placement.secrets);
    let is_given = |there: &WorkloadRecord| {
        let mut given = given.iter();
        given.all(|(name, hash)| there.secrets.get(name) == Some(hash))
    };
    let unchanged = there.filter(|there| is_same && is_given(there));
    if let Some(there) = unchanged
        && !is_down(&environment, slot, &service)
        && !is_changed(agent, &environment, slot, there).await
    {
        let held = work.secrets.entry((slot, service)).or_default();
        held.renew(&placement.workload, &placement.secrets);
        return relabel(agent, &environment, &placement);
    }
    let found = there.map(|there| Fingerprint::of_json(&(&there.spec, there.running)));
    if !is_same && found != placement.expects {
        return Err(moved(Address::Workload(slot, service), &before));
    }
    let is_stopped = there.is_some_and(|there| !there.running);
    if placement.mode == DeployMode::Fresh && record.traffic.reaches(slot) && !is_stopped {
        return Err(EngineError::Refused {
            reason: format!("{slot} has live traffic: {service} cannot be placed into it afresh"),
            help: "look at a new plan with `shipit plan`".to_owned(),
        });
    }

    let secrets = Secrets::of(&work, &placement)?;
    // No slot names it yet: it is not taken away meanwhile.
    let image = placement.workload.image.value().cloned();
    let _coming = image.map(|image| agent.tasks.expect(&image));
    let fetched = fetch(agent, &placement.workload, &placement.pull, progress);
    let fetched = gone.run_until_cancelled(fetched).await;
    fetched.unwrap_or_else(|| {
        Err(failed(
            "fetching the image",
            &"nobody waits for it any more",
        ))
    })?;
    instances::forget_oldest(&agent.folder().slot_logs(&permit.scope, slot));
    let swap = Swap {
        agent,
        permit,
        environment: &environment,
        work: &mut work,
        secrets,
        placement,
    };
    let deployed = swap.run(&record, there, progress).await;
    drop(work);

    agent.sweep().await;
    images::prune_sent(agent, &permit.scope).await;
    deployed
}

/// Whether the files that it runs from are not its image's any more, or its units' not as they were.
async fn is_changed(
    agent: &Agent,
    environment: &Environment,
    slot: Slot,
    workload: &WorkloadRecord,
) -> bool {
    let damage = agent.runtimes().damage(agent.folder(), &workload.spec);
    if damage.await.is_some() {
        return true;
    }
    let altered = units(agent, environment, slot, &workload.spec).await;
    !altered.is_empty()
}

fn is_down(environment: &Environment, slot: Slot, service: &ServiceName) -> bool {
    let facts = environment.state.facts();
    let workload = facts
        .slots
        .get(&slot)
        .and_then(|there| there.workloads.get(service));
    workload.is_some_and(|workload| workload.health().is_down())
}

fn no_value(name: &str, service: &ServiceName) -> EngineError {
    EngineError::Refused {
        reason: format!("the agent holds no value of the secret `{name}` of {service}"),
        help: "set it where shipit reads it from, and run `shipit apply` again".to_owned(),
    }
}

/// The same workload under another release's number: nothing is restarted.
fn relabel(
    agent: &Agent,
    environment: &Environment,
    placement: &Placement,
) -> Result<(), EngineError> {
    let (slot, label) = (placement.slot, placement.label.clone());
    agent.write(environment, |record| {
        if let Some(there) = record.slots.get_mut(&slot) {
            there.label = label;
        }
    })
}

/// One placement under way.
pub(super) struct Swap<'a> {
    pub agent: &'a Arc<Agent>,
    pub permit: &'a Permit,
    pub environment: &'a Environment,
    pub work: &'a mut Work,
    pub secrets: Secrets,
    pub placement: Placement,
}

/// The values of the secrets of what was there, and of what comes.
pub(super) struct Secrets {
    before: Held,
    held: Held,
}

impl Secrets {
    /// Nothing is stopped for what could not be started: every value has to be there.
    pub fn of(work: &Work, placement: &Placement) -> Result<Self, EngineError> {
        let workload = &placement.workload;
        let key = (placement.slot, workload.service.clone());
        let before = work.secrets.get(&key).cloned().unwrap_or_default();
        let held = before.replaced_by(workload, &placement.secrets);
        match held.missing(workload) {
            Some(name) => Err(no_value(name, &workload.service)),
            None => Ok(Self { before, held }),
        }
    }
}

impl Swap<'_> {
    pub async fn run(
        mut self,
        record: &EnvironmentRecord,
        there: Option<&WorkloadRecord>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        match self.placement.mode {
            DeployMode::Fresh => self.fresh(record).await,
            DeployMode::Rolling => self.rolling(there, progress).await,
            DeployMode::Recreate => self.recreate(there).await,
        }
    }

    fn service(&self) -> &ServiceName {
        &self.placement.workload.service
    }

    fn keys(&self) -> Vec<InstanceKey> {
        let mine =
            |key: &&InstanceKey| key.slot == self.placement.slot && key.service == *self.service();
        self.work.instances.keys().filter(mine).cloned().collect()
    }

    /// Nobody uses the slot: what is there goes, the new comes.
    async fn fresh(&mut self, record: &EnvironmentRecord) -> Result<(), EngineError> {
        let slot = self.placement.slot;
        let other_release = record
            .slots
            .get(&slot)
            .is_some_and(|there| there.label != self.placement.label);
        let gone: Vec<InstanceKey> = if other_release {
            self.work
                .instances
                .keys()
                .filter(|key| key.slot == slot)
                .cloned()
                .collect()
        } else {
            self.keys()
        };

        let drain = Agent::drain(self.environment, self.service());
        self.agent
            .retire(self.environment, self.work, &gone, drain)
            .await;
        if other_release {
            self.agent.write(self.environment, |record| {
                record.slots.remove(&slot);
            })?;
        }

        self.persist()?;
        self.begin(Serving::Yes)?;
        Ok(())
    }

    /// Instance by instance: the new one is ready before the old one goes.
    async fn rolling(
        &mut self,
        there: Option<&WorkloadRecord>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let old = self.keys();
        let (slot, service) = (self.placement.slot, self.service().clone());
        let (previous, drain) = (
            self.environment.state.record(),
            Agent::drain(self.environment, &service),
        );
        self.persist()?;
        let mut waiting = old.clone();
        let new = self.begin(Serving::No)?;
        for (at, key) in new.iter().enumerate() {
            if let Err(not_ready) = self.await_ready(key).await {
                self.agent
                    .retire(self.environment, self.work, &new, drain)
                    .await;
                self.go_back(&previous, there, &old)?;
                return Err(EngineError::NotReady { slot, not_ready });
            }
            self.environment
                .state
                .set(key, |entry| entry.serving = Serving::Yes);
            progress(&format!("{service}.{at} is replaced"));
            if !waiting.is_empty() {
                let first = waiting.remove(0);
                self.agent
                    .retire(self.environment, self.work, &[first], drain)
                    .await;
            }
        }

        self.agent
            .retire(self.environment, self.work, &waiting, drain)
            .await;
        Ok(())
    }

    /// The old one goes first; the router holds requests meanwhile.
    async fn recreate(&mut self, there: Option<&WorkloadRecord>) -> Result<(), EngineError> {
        let old = self.keys();
        let previous = self.environment.state.record();
        let drain = Agent::drain(self.environment, self.service());
        self.persist()?;
        self.agent
            .retire(self.environment, self.work, &old, drain)
            .await;
        let new = self.begin(Serving::Yes)?;
        for key in &new {
            if let Err(not_ready) = self.await_ready(key).await {
                self.agent
                    .retire(self.environment, self.work, &new, drain)
                    .await;
                self.go_back(&previous, there, &[])?;
                return Err(EngineError::NotReady {
                    slot: self.placement.slot,
                    not_ready,
                });
            }
        }

        Ok(())
    }

    fn persist(&self) -> Result<(), EngineError> {
        let Placement {
            slot,
            label,
            workload,
            running,
            ..
        } = self.placement.clone();
        let secrets = self.agent.hashes(&self.secrets.held.values());
        self.agent.write(self.environment, |record| {
            let there = record.slots.entry(slot).or_insert_with(|| SlotRecord {
                label: label.clone(),
                placed_at: Timestamp::now(),
                stops_at: None,
                workloads: std::collections::BTreeMap::new(),
            });
            there.label = label;
            there.stops_at = None;
            there.workloads.insert(
                workload.service.clone(),
                WorkloadRecord {
                    spec: workload,
                    running,
                    secrets,
                },
            );
        })
    }

    /// Starts the instances that the record asks for now.
    fn begin(&mut self, serving: Serving) -> Result<Vec<InstanceKey>, EngineError> {
        let (slot, service) = (self.placement.slot, self.service().clone());
        let held = self.secrets.held.clone();
        let secrets = held.values();
        self.work.secrets.insert((slot, service.clone()), held);
        if !self.placement.running {
            return Ok(Vec::new());
        }
        let record = self.environment.state.record();
        let missing = || failed("starting a service", &format!("{service} is not in {slot}"));
        let there = record.slots.get(&slot).ok_or_else(missing)?;
        let spec = self
            .agent
            .instance_spec(&self.permit.scope, there, &service, secrets)?;
        let replicas = spec.workload.replicas;
        Ok((0..replicas)
            .map(|index| self.start(&spec, index, serving))
            .collect())
    }

    fn start(&mut self, spec: &InstanceSpec, index: u16, serving: Serving) -> InstanceKey {
        if index == 0 {
            self.work.generation += 1;
        }
        let generation = self.work.generation;
        let key = InstanceKey {
            slot: self.placement.slot,
            service: self.service().clone(),
            generation,
            index,
        };

        self.environment
            .state
            .set(&key, |entry| entry.serving = serving);
        let supervised = Supervisor::begin(
            spec.clone(),
            key.clone(),
            self.environment.state.clone(),
            None,
        );
        self.work.instances.insert(key.clone(), supervised);
        key
    }

    /// Waits for one instance. The supervisor sets the limit: past it the instance has failed. What
    /// is the machine's own trouble counts for nothing there, and is waited for a little longer.
    async fn await_ready(&self, key: &InstanceKey) -> Result<(), NotReady> {
        let state = &self.environment.state;
        let workload: &Workload = &self.placement.workload;
        let ended = state.wait(|_| match board_health(state, key)? {
            (HealthState::Ready, _) => Some(Ok(())),
            (HealthState::Failed, exit) => Some(Err(exit.unwrap_or_default())),
            _ => None,
        });
        let ended = tokio::time::timeout(longest(workload), ended).await;
        let ended = ended.unwrap_or_else(|_| {
            let (_, why) = board_health(state, key).unwrap_or((HealthState::Starting, None));
            Err(why.unwrap_or_else(|| "it was not ready in time".to_owned()))
        });

        ended.map_err(|why| {
            let release = self.placement.label.number;
            let directory = self.agent.folder();
            let log = directory.instance_log(
                &self.permit.scope,
                key.slot,
                release,
                &workload.service,
                key.index,
            );
            let reason = format!("{}.{} failed: {why}", workload.service, key.index);
            NotReady {
                reason,
                log: instances::tail(&log, 20),
            }
        })
    }

    /// Puts the record back, and starts again what of the old is gone.
    fn go_back(
        &mut self,
        previous: &EnvironmentRecord,
        there: Option<&WorkloadRecord>,
        old: &[InstanceKey],
    ) -> Result<(), EngineError> {
        let (slot, service) = (self.placement.slot, self.service().clone());
        let held = self.secrets.before.clone();
        let secrets = held.values();
        self.work.secrets.insert((slot, service.clone()), held);

        let stands = previous.slots.get(&slot).cloned();
        self.agent.write(self.environment, |record| {
            match stands {
                Some(stands) => record.slots.insert(slot, stands),
                None => record.slots.remove(&slot),
            };
        })?;
        let Some(there) = there.filter(|there| there.running) else {
            return Ok(());
        };
        let record = self.environment.state.record();
        let Some(slot_record) = record.slots.get(&slot) else {
            return Ok(());
        };
        let spec = self
            .agent
            .instance_spec(&self.permit.scope, slot_record, &service, secrets)?;
        let standing: Vec<u16> = old
            .iter()
            .filter(|key| self.work.instances.contains_key(*key))
            .map(|key| key.index)
            .collect();
        self.work.generation += 1;
        for index in (0..there.spec.replicas).filter(|index| !standing.contains(index)) {
            let generation = self.work.generation;
            let key = InstanceKey {
                slot,
                service: service.clone(),
                generation,
                index,
            };
            let supervised = Supervisor::begin(
                spec.clone(),
                key.clone(),
                self.environment.state.clone(),
                None,
            );
            self.work.instances.insert(key, supervised);
        }
        Ok(())
    }
}

/// How long an instance may take until it is ready, with all that the supervisor gives it, and some
/// more.
fn longest(workload: &Workload) -> Duration {
    let health = &workload.health;
    let grace = workload.process().map(|process| process.stop_grace.get());
    let once = health.start_within.get() + grace.unwrap_or_default();
    once.saturating_mul(health.failures.clamp(1, 5) + 1) + Duration::from_mins(1)
}

fn board_health(
    state: &crate::agent::engine::environment_state::EnvironmentState,
    key: &InstanceKey,
) -> Option<(HealthState, Option<String>)> {
    state
        .instance(key)
        .map(|instance| (instance.health, instance.last_exit))
}
