//! Stories about single plans, and properties that hold for every plan of a random history.

mod exclusive;
pub(crate) mod images;
mod infrastructure;
mod listeners;
mod losses;
mod secrets;
mod tampering;
pub(crate) mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{PlanFault, apply, promote, rollback, simulate, stale, verify};
use crate::model::build::{Base, BuildSpec, Inputs, PackSpec};
use crate::model::desired::{Desired, DesiredService, ImageSource};
use crate::model::facts::{Facts, SlotFacts};
use crate::model::health::Health;
use crate::model::limits::Limits;
use crate::model::loss::{Claim, Held, Holding, can_hold};
use crate::model::object::{ObjectFacts, ObjectState};
use crate::model::observed::{ImageFacts, Observed};
use crate::model::plan::{Action, Plan, Step, StepId};
use crate::model::promotion::{Mode, Promotion, ServiceStrategy, Strategy as Rollout};
use crate::model::release::{Actor, ReleaseStatus};
use crate::model::resource::{Resource, ResourceFacts, Settings};
use crate::model::route::{Listeners, Route};
use crate::model::source::Source;
use crate::model::state::State;
use crate::model::task::Task;
use crate::model::workload::{EnvValue, Known, Process, SlotObjects, Workload, WorkloadKind};
use crate::model::{
    Address, ContentHash, Digest, Fingerprint, LiveTraffic, Manifest, ObjectKey, Period,
    ReleaseNumber, ServiceName, Slot, TaskName,
};
use crate::plan::graph::waves;
use crate::rollout::record::{Ended, record};
use crate::rollout::{End, Impact};

/// A configuration to be planned: which version of which services.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) services: BTreeMap<&'static str, u8>,
    pub(crate) log_level: u8,
    pub(crate) strategy: Rollout,
    /// What services say of themselves.
    pub(crate) own: BTreeMap<&'static str, ServiceStrategy>,
    /// Volumes, and who has them.
    pub(crate) volumes: Vec<(&'static str, Holder)>,
    pub(crate) mode: Mode,
    /// Where listeners are.
    pub(crate) places: Places,
    /// Tasks, by their names.
    pub(crate) tasks: BTreeMap<TaskName, Task>,
    /// Objects of the environment, as they were found; those that are not gone are wanted.
    pub(crate) objects: Vec<ObjectFacts>,
}

impl Wanted {
    pub(crate) fn web(version: u8) -> Self {
        let services = BTreeMap::from([("web", version)]);
        Self {
            objects: Vec::new(),
            services,
            places: Places::Usual,
            log_level: 0,
            strategy: Rollout::BlueGreen,
            own: BTreeMap::new(),
            volumes: Vec::new(),
            mode: Mode::Auto,
            tasks: BTreeMap::new(),
        }
    }

    pub(crate) fn desired(&self) -> Desired {
        let services = self.services.keys().map(|name| {
            let name: ServiceName = name.parse().expect("a name");
            let mut service = service(&name, self.log_level, self.places);
            service.workload.strategy = self.own.get(name.as_str()).copied();
            mount(&mut service.workload, &self.volumes);
            (name, service)
        });
        Desired {
            resources: Vec::new(),
            unrotated: BTreeSet::new(),
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
            source: Source {
                commit: Some("3f2c1ab".to_owned()),
                ..Source::default()
            },
            promoted_from: None,
            strategy: self.strategy,
            promotion: Promotion {
                mode: self.mode,
                ..Promotion::default()
            },
            ready_within: Period::from_secs(60),
            objects: self
                .objects
                .iter()
                .filter(|object| object.state != ObjectState::Gone)
                .map(|object| manifest(&object.key))
                .collect(),
            services: services.collect(),
            tasks: self.tasks.clone(),
        }
    }
}

/// Who has a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// This service, and nobody at the same time.
    Only(&'static str),
    /// Every service that runs as processes.
    Shared,
}

/// Gives a workload its volumes.
fn mount(workload: &mut Workload, volumes: &[(&'static str, Holder)]) {
    let WorkloadKind::Process(process) = &mut workload.kind else {
        return;
    };
    for (from, holder) in volumes {
        let inside = PathBuf::from(format!("/mnt/{from}"));
        match holder {
            Holder::Only(service) if *service != workload.service.as_str() => continue,
            Holder::Only(_) => {}
            Holder::Shared => {
                let container = process.container.get_or_insert_default();
                container.shared.insert(inside.clone());
            }
        }
        let container = process.container.get_or_insert_default();
        container.volumes.insert(inside, (*from).to_owned());
    }
}

/// Where the listeners of the services are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    Usual,
    /// One port further.
    Moved,
    /// On all addresses.
    Everywhere,
    /// Each service has the other's.
    Swapped,
    /// What is live was the preview, and the other way round.
    Turned,
}

impl Places {
    fn of(self, name: &ServiceName) -> (std::net::SocketAddr, std::net::SocketAddr) {
        let at = |port: u16| ([127, 0, 0, 1], port).into();
        let is_web = name.as_str() == "web";
        let port = 8000 + u16::from(name.as_str().as_bytes()[0]);
        let others = 8000 + u16::from(if is_web { b'a' } else { b'w' });
        match self {
            Self::Usual => (at(port), at(port + 1000)),
            Self::Moved => (at(port + 1), at(port + 1000)),
            Self::Everywhere => (([0, 0, 0, 0], port).into(), at(port + 1000)),
            Self::Swapped => (at(others), at(others + 1000)),
            Self::Turned => (at(port + 1000), at(port)),
        }
    }
}

fn service(name: &ServiceName, log_level: u8, places: Places) -> DesiredService {
    let port = 8000 + u16::from(name.as_str().as_bytes()[0]);
    let (live, preview) = places.of(name);
    let route = (name.as_str() != "worker").then(|| {
        Route::of_listeners(
            name.clone(),
            Listeners::plain(live, preview, Limits::default()),
        )
    });
    let kind = match name.as_str() {
        "worker" => WorkloadKind::Objects(SlotObjects {
            slots: Slot::ALL
                .map(|slot| (slot, of_worker(slot, log_level)))
                .into(),
            secrets: BTreeMap::new(),
        }),
        _ => WorkloadKind::Process(Box::new(Process {
            env: BTreeMap::from([(
                "LOG_LEVEL".to_owned(),
                EnvValue::Plain(log_level.to_string()),
            )]),
            ..Process::default()
        })),
    };
    let workload = Workload {
        service: name.clone(),
        image: Known::After(Address::Image(name.clone())),
        repository: None,
        port: route.as_ref().map(|_| port),
        replicas: 2,
        health: Health::default(),
        strategy: None,
        kind,
    };
    DesiredService {
        image: ImageSource::Build(BuildSpec::Pack(pack())),
        workload,
        route,
    }
}

fn listeners_of(service: &mut DesiredService) -> &mut Listeners {
    let route = service.route.as_mut().expect("a route");
    route.listeners_mut().expect("listeners")
}

/// A worker has a claim of its own in each slot.
fn of_worker(slot: Slot, log_level: u8) -> Vec<Manifest> {
    let mut settings = manifest(&key(&format!("v1/ConfigMap/shop/worker-{slot}")));
    settings.edit(|body| body["data"]["LOG_LEVEL"] = log_level.to_string().into());
    vec![manifest(&claim_of(slot)), settings]
}

fn claim_of(slot: Slot) -> ObjectKey {
    key(&format!("v1/PersistentVolumeClaim/shop/data-{slot}"))
}

fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

fn manifest(key: &ObjectKey) -> Manifest {
    let mut body = serde_json::json!({"apiVersion": key.api_version, "kind": key.kind,
        "metadata": {"name": key.name, "namespace": key.namespace}});
    if key.kind == "CustomResourceDefinition" {
        body["spec"] = serde_json::json!({"group": "example.com", "names": {"kind": "Delta"}});
    }
    Manifest::try_from(body).expect("a manifest")
}

pub(crate) fn data(what: &str) -> Holding {
    Holding::Data {
        what: what.to_owned(),
        size: Some("1Gi".to_owned()),
        policy: None,
    }
}

/// What was found of an object; one that is there has a fingerprint.
pub(crate) fn object(text: &str, state: ObjectState, holds: &[Holding]) -> ObjectFacts {
    let is_there = state != ObjectState::Absent;
    ObjectFacts {
        fingerprint: is_there.then(|| Fingerprint::of_json(&text)),
        before: is_there.then(|| manifest(&key(text))),
        holds: holds.to_vec(),
        ..ObjectFacts::plain(key(text), state)
    }
}

pub(crate) fn replaced() -> ObjectState {
    ObjectState::Replace {
        reason: "a field cannot be changed".to_owned(),
    }
}

pub(crate) fn pack() -> PackSpec {
    PackSpec {
        context: ".".into(),
        inputs: Vec::new(),
        leave_out: Vec::new(),
        run: vec!["make".to_owned()],
        copy: BTreeMap::new(),
        base: Base::Scratch,
        entrypoint: vec!["/app".to_owned()],
        user: None,
        workdir: None,
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        port: None,
        within: crate::model::build::an_hour(),
        platforms: Vec::new(),
    }
}

/// The world between plans.
pub(crate) struct World {
    pub(crate) facts: Facts,
    pub(crate) state: State,
    built: BTreeMap<ContentHash, Digest>,
}

impl World {
    pub(crate) fn new() -> Self {
        let state = State::empty(
            "shop".parse().expect("a name"),
            "staging".parse().expect("a name"),
        );
        Self {
            facts: Facts::default(),
            state,
            built: BTreeMap::new(),
        }
    }

    pub(crate) fn observed(&self, wanted: &Wanted) -> Observed {
        let images = wanted.services.iter().map(|(name, version)| {
            let hash = ContentHash::of(format!("{name} {version}").as_bytes());
            let found = self.built.get(&hash).cloned();
            let inputs = Inputs {
                hash,
                files: BTreeMap::new(),
                bases: BTreeMap::new(),
            };
            (
                name.parse().expect("a name"),
                ImageFacts {
                    inputs,
                    found,
                    changed_files: None,
                    ignored_files: Vec::new(),
                    rebuild: false,
                },
            )
        });
        Observed {
            facts: self.facts.clone(),
            images: images.collect(),
            named: BTreeMap::new(),
            objects: wanted.objects.clone(),
            resources: Vec::new(),
            secrets: BTreeMap::new(),
            left: None,
        }
    }

    pub(crate) fn apply(&self, wanted: &Wanted) -> Plan {
        apply(&wanted.desired(), &self.observed(wanted), &self.state)
    }

    /// The plan, where a run of this state has left a release.
    pub(crate) fn apply_where(&self, wanted: &Wanted, left: Option<ReleaseNumber>) -> Plan {
        let observed = Observed {
            left,
            ..self.observed(wanted)
        };
        apply(&wanted.desired(), &observed, &self.state)
    }

    /// Carries a plan out, as if all went well.
    pub(crate) fn carry_out(&mut self, plan: &Plan) {
        for step in &plan.steps {
            if let Action::Build { inputs, .. } = &step.action {
                self.built
                    .insert(inputs.clone(), Digest::of(inputs.as_str().as_bytes()));
            }
        }
        let now = Timestamp::from_second(i64::try_from(self.state.serial).expect("small"))
            .expect("in range");
        self.facts = simulate(plan, &in_order(&plan.steps), &self.facts, now);
        let workloads = plan
            .target
            .as_ref()
            .and_then(|target| self.facts.slots.get(&target.slot))
            .map(|slot| {
                slot.workloads
                    .iter()
                    .map(|(name, w)| (name.clone(), w.spec.clone()))
                    .collect()
            })
            .unwrap_or_default();
        let actor = Actor {
            user: "u".to_owned(),
            host: "h".to_owned(),
            run: "r".to_owned(),
            ci: None,
        };
        let end = Ended {
            plan,
            end: &End::Done,
            workloads: &workloads,
            probe: None,
            tasks: &tasks::records(plan),
            actor: &actor,
            outside_window: None,
            approvals: &[],
            now,
        };
        self.state = record(&self.state, &end);
        self.fill_claims();
    }

    /// What stands in a slot has written something.
    fn fill_claims(&mut self) {
        for (slot, there) in &mut self.facts.slots {
            for workload in there.workloads.values_mut() {
                let objects = workload.spec.objects(*slot).iter();
                let held = objects.map(|object| Held {
                    key: object.key(),
                    holds: vec![data(object.name())],
                    is_protected: false,
                });
                workload.held = held.collect();
            }
        }
    }

    fn live(&self) -> Option<(Slot, u64)> {
        self.facts
            .live()
            .map(|(slot, there)| (slot, there.label.number.0))
    }
}

/// The steps in an order in which they may run.
fn in_order(steps: &[Step]) -> Vec<Step> {
    let by_id: BTreeMap<StepId, &Step> = steps.iter().map(|step| (step.id, step)).collect();
    waves(steps)
        .expect("no cycle")
        .into_iter()
        .flatten()
        .map(|id| by_id[&id].clone())
        .collect()
}

/// What the world is, without when it came to be so.
fn essence(facts: &Facts) -> impl PartialEq + std::fmt::Debug {
    let slots: BTreeMap<_, _> = facts
        .slots
        .iter()
        .map(|(slot, there)| {
            let workloads: BTreeMap<_, _> = there
                .workloads
                .iter()
                .map(|(name, w)| (name.clone(), (w.spec.clone(), w.running)))
                .collect();
            (*slot, (there.label.clone(), workloads))
        })
        .collect();
    (facts.traffic, slots, facts.routes.clone())
}

fn words(plan: &Plan) -> Vec<String> {
    let word = |step: &Step| {
        let json = serde_json::to_value(&step.action).expect("json");
        format!("{} {}", json["do"].as_str().expect("a tag"), step.address)
    };
    plan.steps.iter().map(word).collect()
}

#[test]
fn the_first_release_goes_to_blue_and_has_only_off_as_its_way_back() {
    let plan = World::new().apply(&Wanted::web(1));
    assert_eq!(
        words(&plan),
        [
            "build image.web",
            "listen route.web",
            "deploy workload.blue/web",
            "wait_until_ready slot.blue",
            "switch traffic",
            "check traffic"
        ]
    );
    let back: Vec<_> = plan
        .reverse
        .iter()
        .map(|step| step.address.to_string())
        .collect();
    assert_eq!(back, ["traffic", "workload.blue/web", "route.web"]);
}

#[test]
fn a_code_change_goes_beside_the_live_release_and_keeps_it() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let plan = world.apply(&Wanted::web(2));
    assert_eq!(
        words(&plan),
        [
            "build image.web",
            "deploy workload.green/web",
            "wait_until_ready slot.green",
            "switch traffic",
            "check traffic",
            "retain slot.blue"
        ]
    );
    world.carry_out(&plan);
    assert_eq!(world.live(), Some((Slot::Green, 2)));
    assert_eq!(
        world.state.release(ReleaseNumber(1)).expect("kept").status,
        ReleaseStatus::Superseded
    );
}

#[test]
fn a_manual_promotion_ends_before_the_switch_and_promote_takes_it_from_there() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let manual = Wanted {
        mode: Mode::Manual,
        ..Wanted::web(2)
    };
    let plan = world.apply(&manual);
    assert!(!plan.switches());
    world.carry_out(&plan);
    assert_eq!(world.live(), Some((Slot::Blue, 1)));
    assert!(
        world.apply(&manual).is_empty(),
        "a release that waits is not placed again"
    );

    let waiting = super::waiting(&world.facts, &world.state);
    assert_eq!(waiting, Some(Slot::Green));
    let plan = promote(&manual.desired(), &world.facts, &world.state, Slot::Green).expect("a plan");
    assert_eq!(
        words(&plan),
        [
            "wait_until_ready slot.green",
            "switch traffic",
            "check traffic",
            "retain slot.blue"
        ]
    );
    world.carry_out(&plan);
    assert_eq!(world.live(), Some((Slot::Green, 2)));
    assert_eq!(super::waiting(&world.facts, &world.state), None);
}

#[test]
fn what_a_dead_run_left_beside_the_live_release_is_taken_out_by_the_next_apply() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let recorded = world.state.clone();
    let manual = Wanted {
        mode: Mode::Manual,
        ..Wanted::web(2)
    };
    world.carry_out(&world.apply(&manual));
    assert!(
        world.apply(&Wanted::web(1)).is_empty(),
        "a release that waits for its promotion stays"
    );

    world.state = recorded;
    let plan = world.apply_where(&Wanted::web(1), Some(ReleaseNumber(2)));
    assert_eq!(words(&plan), ["clear slot.green"]);
    let reason = &plan.steps[0].reason;
    assert!(reason.contains("release 2 was left by a run"), "{reason}");
    world.carry_out(&plan);
    assert!(!world.facts.slots.contains_key(&Slot::Green));
}

#[test]
fn what_another_checkout_has_beside_the_live_release_stays() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let recorded = world.state.clone();
    let manual = Wanted {
        mode: Mode::Manual,
        ..Wanted::web(2)
    };
    world.carry_out(&world.apply(&manual));

    world.state = recorded;
    for left in [None, Some(ReleaseNumber(3))] {
        let plan = world.apply_where(&Wanted::web(1), left);
        assert!(plan.is_empty(), "a release that waits there: {left:?}");
    }

    let green = world.facts.slots.get_mut(&Slot::Green).expect("there");
    green.stops_at = Some(Timestamp::UNIX_EPOCH);
    let plan = world.apply_where(&Wanted::web(1), Some(ReleaseNumber(2)));
    assert!(plan.is_empty(), "what is retained had live traffic");
}

#[test]
fn each_slot_that_cannot_be_promoted_has_its_own_answer() {
    let mut world = World::new();
    let wanted = Wanted::web(1);
    let promote =
        |world: &World, slot| promote(&wanted.desired(), &world.facts, &world.state, slot);
    assert!(
        promote(&world, Slot::Green)
            .expect_err("empty")
            .to_string()
            .contains("holds no release")
    );
    world.carry_out(&world.apply(&wanted));
    let already = promote(&world, Slot::Blue).expect("a plan");
    assert!(
        already.is_empty() && already.notes[0].contains("active already"),
        "{:?}",
        already.notes
    );
    world.carry_out(&world.apply(&Wanted::web(2)));
    let web: ServiceName = "web".parse().expect("a name");
    let blue = world.facts.slots.get_mut(&Slot::Blue).expect("there");
    blue.workloads.get_mut(&web).expect("there").instances[0].health =
        crate::model::facts::HealthState::Failed;
    assert!(
        promote(&world, Slot::Blue)
            .expect_err("unready")
            .to_string()
            .contains("web is failed")
    );
}

/// A run that was killed behind its switch has recorded nothing: the release before is the one that
/// the history still takes for live.
#[test]
fn rollback_from_what_the_history_does_not_know_goes_to_the_release_before() {
    let mut world = World::new();
    for version in 1..=2 {
        world.carry_out(&world.apply(&Wanted::web(version)));
    }
    let before = world.state.clone();
    world.carry_out(&world.apply(&Wanted::web(3)));
    let desired = Wanted::web(3).desired();
    let plan = rollback(&desired, &world.facts, &before, None).expect("a plan");
    assert_eq!(
        plan.intent,
        crate::model::plan::Intent::Rollback(ReleaseNumber(2))
    );
}

#[test]
fn rollback_goes_to_the_release_before_or_to_the_one_that_is_named() {
    let mut world = World::new();
    for version in 1..=3 {
        world.carry_out(&world.apply(&Wanted::web(version)));
    }
    let desired = Wanted::web(3).desired();
    let plan = rollback(&desired, &world.facts, &world.state, None).expect("a plan");
    assert_eq!(
        words(&plan),
        [
            "wait_until_ready slot.green",
            "switch traffic",
            "check traffic",
            "retain slot.blue"
        ]
    );
    let plan =
        rollback(&desired, &world.facts, &world.state, Some(ReleaseNumber(1))).expect("a plan");
    world.carry_out(&plan);
    assert_eq!(world.live().map(|(_, number)| number), Some(1));
    // Release 2 was live after 3; the clock of whoever brought 3 to live traffic was ahead.
    let plan =
        rollback(&desired, &world.facts, &world.state, Some(ReleaseNumber(2))).expect("a plan");
    world.carry_out(&plan);
    let plan =
        rollback(&desired, &world.facts, &world.state, Some(ReleaseNumber(1))).expect("a plan");
    world.carry_out(&plan);
    world.state.releases[2].live_since = Timestamp::from_second(1 << 30).ok();
    let plan = rollback(&desired, &world.facts, &world.state, None).expect("a plan");
    assert_eq!(
        plan.target.map(|target| target.release),
        Some(ReleaseNumber(2))
    );
    let unknown =
        rollback(&desired, &world.facts, &world.state, Some(ReleaseNumber(9))).expect_err("none");
    assert!(unknown.to_string().contains("no release 9"), "{unknown}");
}

#[test]
fn a_changed_world_is_named_before_anything_is_done() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let plan = world.apply(&Wanted::web(2));
    assert_eq!(stale(&plan, &world.facts), []);
    world.carry_out(&world.apply(&Wanted::web(3)));
    let stale = stale(&plan, &world.facts);
    assert!(stale.contains(&Address::Traffic), "{stale:?}");
}

/// A release that is kept stops when its time is up, and a build may take longer than that.
#[test]
fn a_kept_release_that_stops_meanwhile_is_what_the_plan_saw() {
    let mut world = World::new();
    for version in [1, 2] {
        world.carry_out(&world.apply(&Wanted::web(version)));
    }
    let plan = world.apply(&Wanted::web(3));
    assert!(
        words(&plan).contains(&"clear slot.blue".to_owned()),
        "{plan:?}"
    );
    let there = world.facts.slots.get_mut(&Slot::Blue).expect("a release");
    for workload in there.workloads.values_mut() {
        workload.running = !workload.running;
    }
    assert_eq!(stale(&plan, &world.facts), []);

    let there = world.facts.slots.get_mut(&Slot::Blue).expect("a release");
    there.label.number = there.label.number.next();
    assert_eq!(stale(&plan, &world.facts), [Address::Slot(Slot::Blue)]);
}

#[test]
fn an_edited_plan_is_caught() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let plan = world.apply(&Wanted::web(2));
    let mut eager = plan.clone();
    for step in &mut eager.steps {
        if matches!(step.action, Action::Switch { .. }) {
            step.needs.clear();
        }
    }
    assert!(matches!(
        verify(&eager)[..],
        [PlanFault::UnreadySwitch(_), ..]
    ));
    let mut one_way = plan.clone();
    one_way.reverse.clear();
    assert!(
        verify(&one_way)
            .iter()
            .any(|fault| matches!(fault, PlanFault::NoRollback(_)))
    );
    let mut circular = plan;
    circular.steps[0].needs.push(StepId(6));
    assert!(matches!(verify(&circular)[..], [PlanFault::Order(_), ..]));
}

fn forgotten(plan: &Plan) -> Vec<String> {
    let forgets = plan
        .steps
        .iter()
        .filter(|step| step.action == Action::Forget);
    forgets.map(|step| step.address.to_string()).collect()
}

fn lost(plan: &Plan) -> Vec<(&str, Vec<String>)> {
    let losses = plan.losses.iter().filter(|loss| loss.is_loss());
    losses
        .map(|loss| {
            let holds = loss.holds.iter().map(ToString::to_string).collect();
            (loss.name.as_str(), holds)
        })
        .collect()
}

fn with_objects(objects: Vec<ObjectFacts>) -> Plan {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    world.apply(&Wanted {
        objects,
        ..Wanted::web(1)
    })
}

#[test]
fn what_leaves_with_data_in_it_is_declared_by_its_name() {
    let plan = with_objects(vec![
        object(
            "v1/PersistentVolumeClaim/shop/data",
            ObjectState::Gone,
            &[data("claim data")],
        ),
        object("v1/ConfigMap/shop/settings", ObjectState::Gone, &[]),
        object("apps/v1/StatefulSet/shop/db", replaced(), &[]),
    ]);
    assert_eq!(verify(&plan), []);
    assert_eq!(
        lost(&plan),
        [(
            "PersistentVolumeClaim/data",
            vec!["claim data, 1Gi".to_owned()]
        )]
    );
}

#[test]
fn where_live_traffic_arrives_is_closed_by_name_only() {
    let mut world = World::new();
    let both = Wanted {
        services: BTreeMap::from([("web", 1), ("api", 1), ("worker", 1)]),
        ..Wanted::web(1)
    };
    world.carry_out(&world.apply(&both));

    // A service goes; what nothing arrives at closes nothing.
    let without = world.apply(&Wanted::web(1));
    assert_eq!(verify(&without), []);
    let closed = lost(&without)
        .into_iter()
        .filter(|(name, _)| name.starts_with("route."));
    let arrives = vec!["live traffic arrives at 127.0.0.1:8097".to_owned()];
    assert_eq!(closed.collect::<Vec<_>>(), [("route.api", arrives)]);

    // Its address moves; that of the preview may.
    let mut desired = both.desired();
    for (name, move_live) in [("web", true), ("api", false)] {
        let service = desired.services.get_mut(name).expect("a service");
        let listeners = listeners_of(service);
        listeners.preview.set_port(1);
        if move_live {
            listeners.live.set_port(2);
        }
    }
    let moved = apply(&desired, &world.observed(&both), &world.state);
    assert_eq!(verify(&moved), []);
    let arrives = vec!["live traffic arrives at 127.0.0.1:8119".to_owned()];
    assert_eq!(lost(&moved), [("route.web", arrives)]);

    // A plan that keeps it back is no plan.
    let mut silent = moved;
    silent.losses.clear();
    assert!(matches!(verify(&silent)[..], [PlanFault::Undeclared(..)]));
}

#[test]
fn a_promotion_that_ends_a_service_says_so() {
    let mut world = World::new();
    let both = Wanted {
        services: BTreeMap::from([("web", 1), ("api", 1)]),
        ..Wanted::web(1)
    };
    world.carry_out(&world.apply(&both));
    let manual = Wanted {
        mode: Mode::Manual,
        ..Wanted::web(2)
    };
    let waits = world.apply(&manual);
    assert_eq!(lost(&waits), []);
    let said = "api is not in this release: its live traffic ends when this is promoted";
    assert!(
        waits.notes.iter().any(|note| note == said),
        "{:?}",
        waits.notes
    );
    world.carry_out(&waits);

    let ends = promote(&manual.desired(), &world.facts, &world.state, Slot::Green).expect("a plan");
    assert_eq!(verify(&ends), []);
    let arrives = vec!["live traffic arrives at 127.0.0.1:8097".to_owned()];
    assert_eq!(lost(&ends), [("route.api", arrives)]);
}

#[test]
fn a_listener_at_every_address_answers_where_the_old_one_did() {
    let route = |live: &str| {
        let preview = "127.0.0.1:1".parse().expect("an address");
        let live = live.parse().expect("an address");
        let listeners = Listeners::plain(live, preview, Limits::default());
        Route::of_listeners("web".parse().expect("a name"), listeners)
    };
    let lost = |from, to| route(from).entries_lost(Some(&route(to)));
    assert_eq!(lost("127.0.0.1:80", "0.0.0.0:80"), Vec::<String>::new());
    assert_eq!(lost("[::1]:80", "[::]:80"), Vec::<String>::new());
    for to in ["0.0.0.0:81", "[::]:80", "127.0.0.2:80"] {
        assert_eq!(lost("127.0.0.1:80", to), ["127.0.0.1:80"], "{to}");
    }
    assert_eq!(lost("0.0.0.0:80", "127.0.0.1:80"), ["0.0.0.0:80"]);
}

#[test]
fn what_gets_no_traffic_may_move() {
    let world = World::new();
    let mut desired = Wanted::web(1).desired();
    for service in desired.services.values_mut() {
        listeners_of(service).live.set_port(2);
    }
    let plan = apply(&desired, &world.observed(&Wanted::web(1)), &world.state);
    assert_eq!(plan.losses, []);
}

#[test]
fn a_name_that_two_objects_have_is_written_with_its_namespace() {
    let gone = |text| object(text, ObjectState::Gone, &[data("claim")]);
    let plan = with_objects(vec![
        gone("v1/PersistentVolumeClaim/a/data"),
        gone("v1/PersistentVolumeClaim/b/data"),
    ]);
    let names: Vec<&str> = lost(&plan).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "PersistentVolumeClaim/a/data",
            "PersistentVolumeClaim/b/data"
        ]
    );
}

#[test]
fn a_namespace_and_what_others_are_in_is_let_go_of_and_never_deleted() {
    let theirs = Holding::Others {
        what: "Delta/theirs in team".to_owned(),
        owner: "kubectl".to_owned(),
    };
    let plan = with_objects(vec![
        object("v1/Namespace//shop", ObjectState::Gone, &[]),
        object(
            "apiextensions.k8s.io/v1/CustomResourceDefinition//deltas.example.com",
            ObjectState::Gone,
            &[data("claim"), theirs],
        ),
    ]);
    assert_eq!(verify(&plan), []);
    assert_eq!(plan.losses, []);
    assert_eq!(
        forgotten(&plan),
        [
            "object.apiextensions.k8s.io/v1/CustomResourceDefinition//deltas.example.com",
            "object.v1/Namespace//shop"
        ]
    );
    let reasons: Vec<&str> = plan.steps.iter().map(|step| step.reason.as_str()).collect();
    assert!(
        reasons[0].contains("Delta/theirs in team, of kubectl, and 1 more"),
        "{reasons:?}"
    );
}

#[test]
fn the_place_of_the_record_is_made_before_all_others_and_deleted_after_them() {
    let home = |state| ObjectFacts {
        is_home: true,
        ..object("v1/Namespace//shop", state, &[])
    };
    let step = |plan: &Plan, key: &str| {
        let address = format!("object.{key}");
        let found = plan.steps.iter();
        let mut found = found.filter(|step| step.address.to_string() == address);
        found.next().cloned().expect("a step")
    };
    let (first, role) = (
        "v1/Namespace//a",
        "rbac.authorization.k8s.io/v1/ClusterRole//a",
    );

    let plan = with_objects(vec![
        object(role, ObjectState::Absent, &[]),
        object(first, ObjectState::Absent, &[]),
        home(ObjectState::Absent),
    ]);
    assert_eq!(verify(&plan), []);
    let made = step(&plan, "v1/Namespace//shop").id;
    for other in [first, role] {
        assert!(step(&plan, other).needs.contains(&made), "{other}");
    }

    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let found = [
        object(first, ObjectState::Gone, &[]),
        object(role, ObjectState::Gone, &[]),
        home(ObjectState::Gone),
    ];
    let wanted = Wanted::web(1).desired();
    let plan = super::destroy(&wanted, &world.facts, &found, &world.state);
    assert_eq!(verify(&plan), []);
    let deleted = step(&plan, "v1/Namespace//shop").needs;
    for other in [first, role] {
        assert!(deleted.contains(&step(&plan, other).id), "{other}");
    }
}

#[test]
fn destroy_deletes_a_namespace_only_when_nothing_of_others_is_in_it() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let destroyed = |holds: &[Holding]| {
        let found = [object("v1/Namespace//shop", ObjectState::Gone, holds)];
        super::destroy(
            &Wanted::web(1).desired(),
            &world.facts,
            &found,
            &world.state,
        )
    };
    let own = Holding::Own {
        what: "Delta/own".to_owned(),
    };
    let plan = destroyed(std::slice::from_ref(&own));
    assert_eq!((forgotten(&plan), lost(&plan)), (vec![], vec![]));
    let plan = destroyed(&[own, data("claim data")]);
    assert_eq!(
        lost(&plan),
        [("Namespace/shop", vec!["claim data, 1Gi".to_owned()])]
    );
    let state = Holding::State {
        what: "the history of shop/staging".to_owned(),
    };
    let plan = destroyed(&[state]);
    assert_eq!(forgotten(&plan), ["object.v1/Namespace//shop"]);
    assert_eq!(verify(&plan), []);
}

#[test]
fn the_objects_of_a_replaced_definition_are_made_again_after_it() {
    let definition = "apiextensions.k8s.io/v1/CustomResourceDefinition//deltas.example.com";
    let plan = with_objects(vec![
        object(definition, replaced(), &[data("Delta/one")]),
        object("example.com/v1/Delta/shop/one", ObjectState::Same, &[]),
    ]);
    assert_eq!(
        words(&plan),
        [
            format!("apply object.{definition}"),
            "apply object.example.com/v1/Delta/shop/one".to_owned()
        ]
    );
    assert_eq!(plan.steps[1].needs, [StepId(1)]);
    assert_eq!(plan.steps[1].expects, None);
    assert_eq!(plan.reverse, [], "what it held does not come back");
}

#[test]
fn the_way_back_deletes_nothing_that_may_hold_data_by_then() {
    let absent = |text| object(text, ObjectState::Absent, &[]);
    let plan = with_objects(vec![
        absent("v1/PersistentVolumeClaim/shop/data"),
        absent("apps/v1/StatefulSet/shop/db"),
        absent("v1/ConfigMap/shop/settings"),
    ]);
    let back: Vec<String> = plan
        .reverse
        .iter()
        .map(|step| step.address.to_string())
        .collect();
    assert_eq!(back, ["object.v1/ConfigMap/shop/settings"]);
    let mut edited = plan.clone();
    edited.reverse[0].address = Address::Object(key("v1/PersistentVolumeClaim/shop/data"));
    assert!(
        matches!(verify(&edited)[..], [PlanFault::Undeclared(..)]),
        "{:?}",
        verify(&edited)
    );
}

#[test]
fn a_set_that_shrinks_and_deletes_its_claims_is_declared() {
    let mut set = object(
        "apps/v1/StatefulSet/shop/db",
        ObjectState::Differs,
        &[data("claim data-db-1")],
    );
    set.changes = vec![crate::model::plan::Change {
        field: "spec.replicas".to_owned(),
        before: Some("2".to_owned()),
        after: Some("1".to_owned()),
        origin: None,
        by: None,
    }];
    let plan = with_objects(vec![set]);
    assert_eq!(lost(&plan).len(), 1);
    let mut scaled = plan.clone();
    scaled.losses.clear();
    if let Action::Apply { manifest, .. } = &mut scaled.steps[0].action {
        manifest.edit(|body| {
            body["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] = "Delete".into();
        });
    }
    assert!(matches!(verify(&scaled)[..], [PlanFault::Undeclared(..)]));

    // A field that is taken out gets its default.
    let change =
        |field: &str, before: Option<&str>, after: Option<&str>| crate::model::plan::Change {
            field: field.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
            origin: None,
            by: None,
        };
    for (changes, is_declared) in [
        (vec![change("spec.replicas", Some("3"), None)], true),
        (vec![change("spec.replicas", Some("1"), None)], false),
        (vec![change("spec.ordinals.start", Some("5"), None)], true),
        (vec![change("spec.ordinals.start", None, Some("1"))], true),
        (
            vec![
                change("spec.ordinals.start", Some("5"), None),
                change("spec.replicas", Some("1"), Some("6")),
            ],
            false,
        ),
    ] {
        scaled.steps[0].changes = changes.clone();
        let faults = verify(&scaled);
        let is_found = matches!(faults[..], [PlanFault::Undeclared(..)]);
        assert_eq!(is_found, is_declared, "{changes:?}: {faults:?}");
    }
}

#[test]
fn a_set_in_a_slot_is_said_to_find_the_data_of_the_release_before() {
    let set = serde_json::json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "db-blue", "namespace": "shop"},
        "spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"},
            "spec": {"resources": {"requests": {"storage": "2Gi"}}}}]}});
    let set = Manifest::try_from(set).expect("a manifest");
    let claim = |name: &str, expands| Claim {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        size: Some("1Gi".to_owned()),
        class: Some("fast".to_owned()),
        expands,
    };
    let notes = super::losses::remarks(
        &set,
        &[
            claim("data-db-blue-0", Some(true)),
            claim("data-db-green-0", None),
        ],
    );
    assert_eq!(
        notes[0],
        "StatefulSet/db-blue starts with the data that is in its claims already: data-db-blue-0 \
         (1Gi)"
    );
    assert!(
        notes[1].contains("asks for 2Gi")
            && notes[1].contains("kubectl -n shop patch pvc data-db-blue-0"),
        "{notes:?}"
    );
    let notes = super::losses::remarks(&set, &[claim("data-db-blue-0", Some(false))]);
    assert!(notes[1].contains("fast lets no claim grow"), "{notes:?}");
}

/// Whether a step deletes or replaces what can hold something, told without the plan's own rules.
fn is_destructive(plan: &Plan, facts: &Facts, step: &Step) -> bool {
    match (&step.action, &step.address) {
        (Action::Delete | Action::Apply { replace: true, .. }, Address::Object(key)) => {
            can_hold(key)
        }
        (Action::Clear, Address::Slot(slot)) => facts.slots.get(slot).is_some_and(|there| {
            let mut workloads = there.workloads.values();
            workloads.any(|workload| !workload.held.is_empty())
        }),
        (Action::Undeploy, Address::Workload(slot, service)) => {
            let emptied = |step: &Step| step.address == Address::Slot(*slot);
            let there = facts
                .slots
                .get(slot)
                .and_then(|slot| slot.workloads.get(service));
            !plan.steps.iter().any(emptied) && there.is_some_and(|there| !there.held.is_empty())
        }
        _ => false,
    }
}

/// Nothing that can hold something goes without an account; a plan without its accounts is caught
/// at every such step; and nothing of others, of the state or with live traffic is in any account.
fn nothing_is_destroyed_by_surprise(plan: &Plan, facts: &Facts) -> Result<(), TestCaseError> {
    let destructive: Vec<StepId> = plan
        .steps
        .iter()
        .filter(|step| is_destructive(plan, facts, step))
        .map(|step| step.id)
        .collect();
    for id in &destructive {
        prop_assert!(
            plan.losses.iter().any(|loss| loss.step == *id),
            "{id} in {:?}",
            words(plan)
        );
    }
    for loss in &plan.losses {
        prop_assert!(loss.holds.iter().all(Holding::may_go), "{loss:?}");
    }
    let silent = Plan {
        losses: Vec::new(),
        ..plan.clone()
    };
    let caught: Vec<StepId> = verify(&silent)
        .iter()
        .filter_map(|fault| match fault {
            PlanFault::Undeclared(id, _) => Some(*id),
            _ => None,
        })
        .collect();
    for id in &destructive {
        prop_assert!(
            caught.contains(id),
            "{id} of {:?} is not caught",
            words(plan)
        );
    }
    Ok(())
}

fn holding() -> impl Strategy<Value = Holding> {
    prop_oneof![
        6 => Just(data("something")),
        1 => Just(Holding::Others { what: "theirs".to_owned(), owner: "team".to_owned() }),
        1 => Just(Holding::State { what: "the record".to_owned() }),
        1 => Just(Holding::LiveTraffic { what: "2 pods".to_owned() }),
        1 => Just(Holding::Own { what: "our own".to_owned() }),
    ]
}

/// An object of the environment. One that would be replaced holds nothing but data: the policy
/// refuses the rest.
fn found() -> impl Strategy<Value = ObjectFacts> {
    let name = prop_oneof![
        Just("apps/v1/StatefulSet/shop/db"),
        Just("v1/PersistentVolumeClaim/shop/data"),
        Just("v1/PersistentVolume//disk"),
        Just("v1/Namespace//shop"),
        Just("apiextensions.k8s.io/v1/CustomResourceDefinition//deltas.example.com"),
        Just("example.com/v1/Delta/shop/one"),
        Just("v1/ConfigMap/shop/settings"),
    ];
    let state = prop_oneof![
        1 => Just(ObjectState::Same),
        1 => Just(ObjectState::Absent),
        1 => Just(ObjectState::Differs),
        1 => Just(replaced()),
        3 => Just(ObjectState::Gone),
    ];
    (name, state, proptest::collection::vec(holding(), 0..3)).prop_map(
        |(name, state, mut holds)| {
            match state {
                ObjectState::Gone => {}
                ObjectState::Replace { .. } => holds.retain(Holding::may_go),
                _ => holds.clear(),
            }
            object(name, state, &holds)
        },
    )
}

fn founds() -> impl Strategy<Value = Vec<ObjectFacts>> {
    proptest::collection::vec(found(), 0..5).prop_map(|mut objects| {
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        objects.dedup_by(|a, b| a.key == b.key);
        objects
    })
}

/// Volumes that come, go and move; of a folder now and then only a part.
fn volumes() -> impl Strategy<Value = Vec<(&'static str, Holder)>> {
    let holder = || {
        prop_oneof![
            2 => Just(Holder::Only("api")),
            2 => Just(Holder::Only("web")),
            1 => Just(Holder::Shared),
        ]
    };
    let folder = prop_oneof![Just("/srv/data"), Just("/srv/data/part")];
    let named = proptest::option::of((Just("data"), holder()));
    let folder = proptest::option::weighted(0.3, (folder, holder()));
    (named, folder).prop_map(|(named, folder)| named.into_iter().chain(folder).collect())
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let name = prop_oneof![Just("api"), Just("web"), Just("worker")];
    let strategy = prop_oneof![4 => Just(Rollout::BlueGreen), 1 => Just(Rollout::Rolling), 1 => Just(Rollout::Recreate)];
    let mode = prop_oneof![3 => Just(Mode::Auto), 1 => Just(Mode::Manual)];
    let own = proptest::collection::btree_map(name.clone(), Just(ServiceStrategy::Recreate), 0..=2);
    let places = prop_oneof![
        4 => Just(Places::Usual),
        1 => Just(Places::Moved),
        1 => Just(Places::Everywhere),
        1 => Just(Places::Swapped),
        1 => Just(Places::Turned),
    ];
    (
        proptest::collection::btree_map(name, 0..4u8, 1..=3),
        0..2u8,
        (strategy, own),
        mode,
        places,
        (founds(), tasks::some(), volumes()),
    )
        .prop_map(
            |(services, log_level, (strategy, own), mode, places, (objects, tasks, volumes))| {
                Wanted {
                    services,
                    log_level,
                    strategy,
                    own,
                    volumes,
                    mode,
                    places,
                    tasks,
                    objects,
                }
            },
        )
}

/// One command of a random history.
#[derive(Debug, Clone)]
enum Command {
    Apply(Wanted),
    Promote(Slot),
    Rollback(Option<u64>),
    Abort,
    Settle,
    Destroy(Vec<ObjectFacts>),
    DestroyInfrastructure(Vec<ObjectFacts>, Vec<ResourceFacts>),
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        6 => wanted().prop_map(Command::Apply),
        2 => prop_oneof![Just(Slot::Blue), Just(Slot::Green)].prop_map(Command::Promote),
        2 => proptest::option::of(1..6u64).prop_map(Command::Rollback),
        1 => Just(Command::Abort),
        1 => Just(Command::Settle),
        1 => gone().prop_map(Command::Destroy),
        1 => (gone(), infrastructure::some())
            .prop_map(|(gone, found)| Command::DestroyInfrastructure(gone, found)),
    ]
}

/// Objects of an environment that goes.
fn gone() -> impl Strategy<Value = Vec<ObjectFacts>> {
    founds().prop_map(|found| {
        let found = found.into_iter();
        found
            .filter(|object| object.state == ObjectState::Gone)
            .collect()
    })
}

fn plan_of(command: &Command, last: &Wanted, world: &World) -> Option<Plan> {
    let desired = last.desired();
    let (facts, state) = (&world.facts, &world.state);
    match command {
        Command::Apply(wanted) => Some(world.apply(wanted)),
        Command::Promote(slot) => promote(&desired, facts, state, *slot).ok(),
        Command::Rollback(to) => rollback(&desired, facts, state, to.map(ReleaseNumber)).ok(),
        Command::Abort => super::abort(&desired, facts, state).ok(),
        Command::Settle => Some(super::settle(&desired, facts, state)),
        Command::Destroy(found) => Some(super::destroy(&desired, facts, found, state)),
        Command::DestroyInfrastructure(objects, resources) => {
            let observed = Observed {
                facts: facts.clone(),
                objects: objects.clone(),
                resources: resources.clone(),
                ..Observed::default()
            };
            let wanted = resources.iter().filter(|facts| facts.wanted);
            let wanted = wanted.map(|facts| Resource {
                key: facts.key.clone(),
                settings: Settings::new(),
            });
            let desired = Desired {
                resources: wanted.collect(),
                ..desired
            };
            Some(super::destroy_infrastructure(&desired, &observed, state))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_of_every_history_keeps_the_rules(commands in proptest::collection::vec(command(), 1..12)) {
        let mut world = World::new();
        let mut last = Wanted::web(0);
        let mut ran = tasks::Ran::new();
        for command in &commands {
            if let Command::Apply(wanted) = command {
                last = wanted.clone();
            }
            let Some(plan) = plan_of(command, &last, &world) else { continue };
            let again = plan_of(command, &last, &world);
            prop_assert_eq!(Some(&plan), again.as_ref(), "the same every time");
            prop_assert_eq!(verify(&plan), vec![], "{:?}", words(&plan));
            prop_assert_eq!(stale(&plan, &world.facts), vec![], "{:?}", words(&plan));
            exclusive::nothing_runs_twice(&plan, &world.facts)?;
            live_traffic_is_always_on_something_ready(&plan, &world.facts)?;
            the_way_back_restores_the_world(&plan, &world.facts)?;
            every_image_is_known_before_a_service_is_placed(&plan)?;
            live_listeners_go_on_until_the_switch(&plan, &world.facts)?;
            nothing_is_destroyed_by_surprise(&plan, &world.facts)?;
            losses::what_is_lost_is_told(&plan)?;
            if let Command::DestroyInfrastructure(_, found) = command {
                infrastructure::only_its_own_goes(&plan, found)?;
            }
            tasks::none_runs_twice(&plan, &mut ran)?;
            tasks::each_runs_in_what_is_there(&plan, &world.facts)?;
            world.carry_out(&plan);
            what_waits_stands_in_its_slot(&world)?;
            if let Command::Apply(wanted) = command {
                let settled = Wanted { objects: Vec::new(), ..wanted.clone() };
                let mut again = world.apply(&settled);
                if again.steps.iter().all(tasks::is_contract) {
                    tasks::none_runs_twice(&again, &mut ran)?;
                    world.carry_out(&again);
                    again = world.apply(&settled);
                }
                prop_assert!(again.is_empty(), "planned again: {:?}", words(&again));
            }
        }
    }
}

/// The history says of no release that it waits when it was cleared, or another stands there.
fn what_waits_stands_in_its_slot(world: &World) -> Result<(), TestCaseError> {
    let releases = world.state.releases.iter();
    for waiting in releases.filter(|release| release.status == ReleaseStatus::Waiting) {
        let there = world.facts.slots.get(&waiting.slot);
        prop_assert_eq!(there.map(|there| there.label.number), Some(waiting.number));
    }
    Ok(())
}

/// Rules 1 and 4: at every moment live traffic is on a slot whose workloads all run, and a slot is
/// emptied only while another has the traffic. What never runs twice at once leaves the live slot
/// before the switch, and is all there in the slot that gets the traffic.
fn live_traffic_is_always_on_something_ready(
    plan: &Plan,
    facts: &Facts,
) -> Result<(), TestCaseError> {
    let mut facts = facts.clone();
    for step in in_order(&plan.steps) {
        if let Action::Switch {
            to: LiveTraffic::All(to),
            ..
        } = step.action
        {
            prop_assert!(
                facts.slots.get(&to).is_some_and(SlotFacts::is_ready),
                "switch to an unready {to}"
            );
        }
        facts = simulate(
            plan,
            std::slice::from_ref(&step),
            &facts,
            Timestamp::UNIX_EPOCH,
        );
        if let Some(active) = facts.traffic.slot() {
            let leaves = |name| {
                let before = plan.active.as_ref().filter(|before| before.slot == active);
                before.is_some_and(|before| before.exclusive.contains(name))
            };
            let ready = facts.slots.get(&active).is_some_and(|there| {
                let mut workloads = there.workloads.iter();
                there.is_up() && workloads.all(|(name, it)| it.running || leaves(name))
            });
            prop_assert!(
                ready,
                "after {} live traffic is on an unready {active}",
                step.address
            );
        }
    }
    Ok(())
}

/// Where live traffic arrives it arrives until a plan that places a release has seen that one live.
fn live_listeners_go_on_until_the_switch(plan: &Plan, before: &Facts) -> Result<(), TestCaseError> {
    let places = |step: &Step| matches!(step.action, Action::Deploy { .. });
    if before.traffic.is_off() || !plan.steps.iter().any(places) {
        return Ok(());
    }
    let mut facts = before.clone();
    for step in in_order(&plan.steps) {
        if Impact::of_step(plan, &step) == Impact::Live {
            break;
        }
        let one = std::slice::from_ref(&step);
        facts = simulate(plan, one, &facts, Timestamp::UNIX_EPOCH);
        for (name, route) in &before.routes {
            let live = facts.routes.get(name).map(Route::live_addresses);
            let live = live.unwrap_or_default();
            let goes_on = |address: &std::net::SocketAddr| live.contains(address);
            prop_assert!(
                route.live_addresses().iter().all(goes_on),
                "{name} after {} of {:?}",
                step.address,
                words(plan)
            );
        }
    }
    Ok(())
}

/// All its images are what a release is: a service that was placed before the last of them was
/// built would stand in the slot under another release's label.
fn every_image_is_known_before_a_service_is_placed(plan: &Plan) -> Result<(), TestCaseError> {
    let builds = |step: &&Step| matches!(step.action, Action::Build { .. });
    let builds: Vec<&Step> = plan.steps.iter().filter(builds).collect();
    for placed in plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::Deploy { .. }))
    {
        let mut needed = placed.needs.clone();
        let mut at = 0;
        while let Some(need) = needed.get(at).copied() {
            needed.extend(
                plan.steps
                    .iter()
                    .filter(|step| step.id == need)
                    .flat_map(|step| step.needs.clone()),
            );
            at += 1;
        }
        for build in &builds {
            prop_assert!(
                needed.contains(&build.id),
                "{} before {}",
                placed.address,
                build.address
            );
        }
    }
    Ok(())
}

/// From wherever a plan was left, taking back what was begun restores the world.
fn the_way_back_restores_the_world(plan: &Plan, before: &Facts) -> Result<(), TestCaseError> {
    let steps = in_order(&plan.steps);
    for begun in 0..=steps.len() {
        let done = &steps[..begun];
        let there = simulate(plan, done, before, Timestamp::UNIX_EPOCH);
        let back: Vec<Step> = plan
            .reverse
            .iter()
            .filter(|step| done.iter().any(|done| Some(done.id) == step.undoes))
            .cloned()
            .collect();
        let restored = simulate(plan, &back, &there, Timestamp::UNIX_EPOCH);
        prop_assert_eq!(
            essence(&restored),
            essence(before),
            "after {} of {:?}",
            begun,
            words(plan)
        );
    }
    Ok(())
}
