//! What an earlier agent left: processes are taken back, traffic goes where it went, and what
//! nobody knows is removed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::engine::environment_state::InstanceKey;
use crate::agent::engine::record::{EnvironmentRecord, ProcessRecord, Processes};
use crate::agent::engine::{Agent, Environment, Work};
use crate::agent::front::nginx::{self, Mark};
use crate::agent::instance::{InstanceSpec, Supervisor};
use crate::agent::launch::{end_stray_commands, remove_stray_files};
use crate::agent::router::RouteKey;
use crate::model::facts::HealthState;
use crate::model::route::Route;
use crate::model::{Fingerprint, ServiceName, Slot};
use crate::port::engine::EngineError;

/// How often a listener is tried again whose address somebody has.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes an environment back as it was recorded.
pub(in crate::agent) async fn resume(
    agent: &Arc<Agent>,
    record: EnvironmentRecord,
) -> Result<(), EngineError> {
    let scope = record.scope.clone();
    let environment = agent.insert(record.clone());
    let mut work = environment.work.lock().await;
    let mut processes = Processes::load(agent.folder(), &scope);
    let (mut services, mut ending) = (Vec::new(), Vec::new());
    for (slot, there) in &record.slots {
        for (service, workload) in &there.workloads {
            let mine = |p: &mut ProcessRecord| p.slot == *slot && p.service == *service;
            let mine: Vec<ProcessRecord> = processes.extract_if(.., mine).collect();
            if !workload.running && mine.is_empty() {
                continue;
            }
            // An image that cannot be read any more keeps this service down, and nothing else.
            let Ok(spec) = agent.instance_spec(&scope, there, service, BTreeMap::new()) else {
                continue;
            };
            let found = if workload.running {
                &mut services
            } else {
                &mut ending
            };
            found.push(classify(&mut work.generation, spec, *slot, mine));
        }
        if let Some(until) = there.stops_at {
            agent.stop_later(&scope, *slot, until);
        }
    }

    environment.state.expect(
        services
            .iter()
            .flat_map(|service| service.old.iter().chain(&service.new))
            .cloned(),
    );
    for service in services {
        adopt(agent, &environment, &mut work, service);
    }
    drop(work);
    end_first(&environment, ending).await;
    // A run that was killed in the middle of a switch may have left the proxy leading elsewhere.
    if let Err(error) = nginx::lead(&record.routes, &Mark::of(&record), record.traffic).await {
        tracing::error!(%error, "the proxy could not be pointed at the active slot");
    }

    for (service, route) in &record.routes {
        let Some(listeners) = route.listeners() else {
            continue;
        };
        let key = RouteKey {
            scope: scope.clone(),
            service: service.clone(),
        };
        if let Err(error) = agent.router().open(key.clone(), listeners).await {
            // The other listeners are worth having; this one is tried again until it is there.
            tracing::error!(%error, "a listener could not be opened again");
            agent.router().is_unopened(&key, &error);
            let (agent, environment) = (Arc::clone(agent), Arc::clone(&environment));
            tokio::spawn(open_later(agent, environment, key, route.clone()));
        }
    }
    Ok(())
}

/// Opens a service's listeners once their addresses are free: whoever has one may leave it. It ends
/// when the environment has other ones.
async fn open_later(agent: Arc<Agent>, environment: Arc<Environment>, key: RouteKey, route: Route) {
    loop {
        tokio::time::sleep(AGAIN).await;
        // Nobody opens other ones meanwhile.
        let _work = environment.work.lock().await;
        let record = environment.state.record();
        let Some(listeners) = route.listeners() else {
            return;
        };
        if record.routes.get(&key.service) != Some(&route) {
            return;
        }
        match agent.router().open(key.clone(), listeners).await {
            Ok(()) => {
                tracing::info!(service = %key.service, "its listeners are open again");
                return;
            }
            Err(error) => agent.router().is_unopened(&key, &error),
        }
    }
}

/// Ends what an earlier agent was stopping when it died. Nobody changes the environment before that
/// is done: what it was stopped for must not start beside it.
async fn end_first(environment: &Arc<Environment>, services: Vec<Service>) {
    if services.is_empty() {
        return;
    }
    let environment = Arc::clone(environment);
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let work = environment.work.lock().await;
        let _ = locked.send(());
        let ends = services.into_iter().flat_map(|service| {
            let found = service.old.into_iter().chain(service.new);
            let state = Arc::clone(&environment.state);
            found.filter_map(move |(key, process)| {
                let state = Arc::clone(&state);
                Some(Supervisor::end(service.spec.clone(), key, state, process?))
            })
        });
        futures_util::future::join_all(ends).await;
        drop(work);
    });
    let _ = is_locked.await;
}

/// What runs of a service in a slot, and what shall.
struct Service {
    spec: InstanceSpec,
    new: Vec<(InstanceKey, Option<ProcessRecord>)>,
    /// What was started as something else: it is of the release before, which a dead agent was
    /// replacing in place.
    old: Vec<(InstanceKey, Option<ProcessRecord>)>,
}

fn classify(
    generation: &mut u64,
    spec: InstanceSpec,
    slot: Slot,
    mut found: Vec<ProcessRecord>,
) -> Service {
    let fingerprint = Fingerprint::of_json(&spec.workload);
    let key = |index: u16, generation: u64| {
        let service = spec.workload.service.clone();
        InstanceKey {
            slot,
            service,
            generation,
            index,
        }
    };

    let is_old = |p: &mut ProcessRecord| p.spec.as_ref().is_some_and(|its| *its != fingerprint);
    let mut old = Vec::new();
    for process in found.extract_if(.., is_old) {
        *generation += 1;
        old.push((key(process.index, *generation), Some(process)));
    }

    *generation += 1;
    let new = (0..spec.workload.replicas).map(|index| {
        let at = found.iter().position(|process| process.index == index);
        (key(index, *generation), at.map(|at| found.swap_remove(at)))
    });
    let new = new.collect();
    // What a dead agent was restarting is there twice.
    for process in found {
        *generation += 1;
        old.push((key(process.index, *generation), Some(process)));
    }
    Service { spec, new, old }
}

/// Takes back what runs of a service, and starts what is missing. What is old serves until the new
/// instances do.
fn adopt(agent: &Arc<Agent>, environment: &Arc<Environment>, work: &mut Work, service: Service) {
    let Service { spec, new, old } = service;
    let mut begin = |instances: Vec<(InstanceKey, Option<ProcessRecord>)>| -> Vec<InstanceKey> {
        let begun = instances.into_iter().map(|(key, found)| {
            let state = Arc::clone(&environment.state);
            work.instances.insert(
                key.clone(),
                Supervisor::begin(spec.clone(), key.clone(), state, found),
            );
            key
        });
        begun.collect()
    };
    let (old, new) = (begin(old), begin(new));
    if !old.is_empty() {
        retire_later(agent, environment, spec.workload.service, new, old);
    }
}

/// Ends the old instances when all of the new ones are ready; never when one of them fails.
fn retire_later(
    agent: &Arc<Agent>,
    environment: &Arc<Environment>,
    service: ServiceName,
    new: Vec<InstanceKey>,
    old: Vec<InstanceKey>,
) {
    let (agent, environment) = (Arc::downgrade(agent), Arc::clone(environment));
    tokio::spawn(async move {
        let state = Arc::clone(&environment.state);
        let health = |key: &InstanceKey| state.instance(key).map(|instance| instance.health);
        let are_ready = state.wait(|_| {
            let now: Vec<Option<HealthState>> = new.iter().map(health).collect();
            let failed = now
                .iter()
                .any(|state| state.is_none_or(|state| state == HealthState::Failed));
            let ready = now.iter().all(|state| *state == Some(HealthState::Ready));
            (ready || failed).then_some(ready)
        });
        if !are_ready.await {
            return;
        }
        let Some(agent) = agent.upgrade() else { return };
        let mut work = environment.work.lock().await;
        let drain = Agent::drain(&environment, &service);
        agent.retire(&environment, &mut work, &old, drain).await;
    });
}

/// Takes containers and units away that a dead agent left and that nobody knows: one that was made
/// and not yet recorded. A machine whose services are no containers is not asked.
pub(in crate::agent) async fn remove_strays(agent: &Agent, records: &[EnvironmentRecord]) {
    end_stray_commands(&agent.folder().commands()).await;
    let processes = records
        .iter()
        .flat_map(|record| Processes::load(agent.folder(), &record.scope));
    let processes: Vec<ProcessRecord> = processes.collect();
    let files = processes.iter().filter_map(|process| process.files.clone());
    remove_stray_files(agent.folder(), &files.collect::<Vec<_>>());
    let names = processes
        .into_iter()
        .filter_map(|process| process.container);
    let known: Vec<String> = names.collect();
    let (runtimes, folder) = (
        agent.runtimes(),
        agent.folder().path().display().to_string(),
    );
    runtimes.container.remove_strays(&folder, &known).await;
    runtimes.systemd.remove_strays(&folder, &known).await;
    if records.iter().any(EnvironmentRecord::is_dockers) {
        runtimes.docker.remove_strays(&folder, &known).await;
    }
}
