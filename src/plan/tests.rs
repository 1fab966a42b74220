//! Stories about single plans, and properties that hold for every plan of a random history.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{apply, promote, rollback, simulate, stale, verify};
use crate::model::build::{Base, BuildSpec, Inputs, PackSpec};
use crate::model::desired::{Desired, DesiredService};
use crate::model::facts::{Facts, SlotFacts};
use crate::model::health::Health;
use crate::model::observed::{ImageFacts, Observed};
use crate::model::plan::{Action, Plan, Step, StepId};
use crate::model::promotion::{Mode, Promotion, Strategy as Rollout};
use crate::model::release::{Actor, Status};
use crate::model::route::{Limits, Route};
use crate::model::source::Source;
use crate::model::state::State;
use crate::model::workload::{EnvValue, Known, Socket, Workload};
use crate::model::{Address, ContentHash, Digest, Period, ReleaseNumber, ServiceName, Slot};
use crate::plan::graph::waves;
use crate::rollout::End;
use crate::rollout::record::{Ended, record};

/// A configuration to be planned: which version of which services.
#[derive(Debug, Clone)]
struct Wanted {
    services: BTreeMap<&'static str, u8>,
    log_level: u8,
    strategy: Rollout,
    mode: Mode,
}

impl Wanted {
    fn web(version: u8) -> Self {
        let services = BTreeMap::from([("web", version)]);
        Self {
            services,
            log_level: 0,
            strategy: Rollout::BlueGreen,
            mode: Mode::Auto,
        }
    }

    fn desired(&self) -> Desired {
        let services = self.services.keys().map(|name| {
            let name: ServiceName = name.parse().expect("a name");
            (name.clone(), service(&name, self.log_level))
        });
        Desired {
            resources: Vec::new(),
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
            source: Source {
                commit: Some("3f2c1ab".to_owned()),
                ..Source::default()
            },
            carried_from: None,
            strategy: self.strategy,
            promotion: Promotion {
                mode: self.mode,
                ..Promotion::default()
            },
            ready_within: Period::from_secs(60),
            objects: Vec::new(),
            services: services.collect(),
        }
    }
}

fn service(name: &ServiceName, log_level: u8) -> DesiredService {
    let port = 8000 + u16::from(name.as_str().as_bytes()[0]);
    let route = (name.as_str() != "worker").then(|| {
        let at = |port: u16| ([127, 0, 0, 1], port).into();
        Route::plain(name.clone(), at(port), at(port + 1000), Limits::default())
    });
    let workload = Workload {
        service: name.clone(),
        image: Known::After(Address::Image(name.clone())),
        command: Vec::new(),
        env: BTreeMap::from([(
            "LOG_LEVEL".to_owned(),
            EnvValue::Plain(log_level.to_string()),
        )]),
        port: route.as_ref().map(|route| route.live.port()),
        socket: Socket::Own,
        replicas: 2,
        health: Health::default(),
        stop_grace: Period::from_secs(10),
        container: None,
        objects: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    DesiredService {
        build: BuildSpec::Pack(pack()),
        workload,
        route,
    }
}

fn pack() -> PackSpec {
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
struct World {
    facts: Facts,
    state: State,
    built: BTreeMap<ContentHash, Digest>,
}

impl World {
    fn new() -> Self {
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

    fn observed(&self, wanted: &Wanted) -> Observed {
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
                    rebuild: false,
                },
            )
        });
        Observed {
            facts: self.facts.clone(),
            images: images.collect(),
            objects: Vec::new(),
            resources: Vec::new(),
        }
    }

    fn apply(&self, wanted: &Wanted) -> Plan {
        apply(&wanted.desired(), &self.observed(wanted), &self.state)
    }

    /// Carries a plan out, as if all went well.
    fn carry_out(&mut self, plan: &Plan) {
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
            actor: &actor,
            now,
        };
        self.state = record(&self.state, &end);
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
    (facts.active, slots, facts.routes.clone())
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
            "route route.web",
            "place workload.blue/web",
            "ready slot.blue",
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
            "place workload.green/web",
            "ready slot.green",
            "switch traffic",
            "check traffic",
            "keep slot.blue"
        ]
    );
    world.carry_out(&plan);
    assert_eq!(world.live(), Some((Slot::Green, 2)));
    assert_eq!(
        world.state.release(ReleaseNumber(1)).expect("kept").status,
        Status::Superseded
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

    let plan = promote(&manual.desired(), &world.facts, &world.state, Slot::Green).expect("a plan");
    assert_eq!(
        words(&plan),
        [
            "ready slot.green",
            "switch traffic",
            "check traffic",
            "keep slot.blue"
        ]
    );
    world.carry_out(&plan);
    assert_eq!(world.live(), Some((Slot::Green, 2)));
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
            "ready slot.green",
            "switch traffic",
            "check traffic",
            "keep slot.blue"
        ]
    );
    let plan =
        rollback(&desired, &world.facts, &world.state, Some(ReleaseNumber(1))).expect("a plan");
    world.carry_out(&plan);
    assert_eq!(world.live().map(|(_, number)| number), Some(1));
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
        [super::Fault::UnreadySwitch(_), ..]
    ));
    let mut one_way = plan.clone();
    one_way.reverse.clear();
    assert!(
        verify(&one_way)
            .iter()
            .any(|fault| matches!(fault, super::Fault::NoWayBack(_)))
    );
    let mut circular = plan;
    circular.steps[0].needs.push(StepId(6));
    assert!(matches!(
        verify(&circular)[..],
        [super::Fault::Order(_), ..]
    ));
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let name = prop_oneof![Just("api"), Just("web"), Just("worker")];
    let strategy = prop_oneof![4 => Just(Rollout::BlueGreen), 1 => Just(Rollout::Rolling), 1 => Just(Rollout::Recreate)];
    let mode = prop_oneof![3 => Just(Mode::Auto), 1 => Just(Mode::Manual)];
    (
        proptest::collection::btree_map(name, 0..4u8, 1..=3),
        0..2u8,
        strategy,
        mode,
    )
        .prop_map(|(services, log_level, strategy, mode)| Wanted {
            services,
            log_level,
            strategy,
            mode,
        })
}

/// One command of a random history.
#[derive(Debug, Clone)]
enum Command {
    Apply(Wanted),
    Promote(Slot),
    Rollback(Option<u64>),
    Abort,
    Destroy,
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        6 => wanted().prop_map(Command::Apply),
        2 => prop_oneof![Just(Slot::Blue), Just(Slot::Green)].prop_map(Command::Promote),
        2 => proptest::option::of(1..6u64).prop_map(Command::Rollback),
        1 => Just(Command::Abort),
        1 => Just(Command::Destroy),
    ]
}

fn plan_of(command: &Command, last: &Wanted, world: &World) -> Option<Plan> {
    let desired = last.desired();
    let (facts, state) = (&world.facts, &world.state);
    match command {
        Command::Apply(wanted) => Some(world.apply(wanted)),
        Command::Promote(slot) => promote(&desired, facts, state, *slot).ok(),
        Command::Rollback(to) => rollback(&desired, facts, state, to.map(ReleaseNumber)).ok(),
        Command::Abort => super::abort(&desired, facts, state).ok(),
        Command::Destroy => Some(super::destroy(&desired, facts, &[], state)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_of_every_history_keeps_the_rules(commands in proptest::collection::vec(command(), 1..12)) {
        let mut world = World::new();
        let mut last = Wanted::web(0);
        for command in &commands {
            if let Command::Apply(wanted) = command {
                last = wanted.clone();
            }
            let Some(plan) = plan_of(command, &last, &world) else { continue };
            let again = plan_of(command, &last, &world);
            prop_assert_eq!(Some(&plan), again.as_ref(), "the same every time");
            prop_assert_eq!(verify(&plan), vec![], "{:?}", words(&plan));
            prop_assert_eq!(stale(&plan, &world.facts), vec![], "{:?}", words(&plan));
            live_traffic_is_always_on_something_ready(&plan, &world.facts)?;
            the_way_back_restores_the_world(&plan, &world.facts)?;
            every_image_is_known_before_a_service_is_placed(&plan)?;
            world.carry_out(&plan);
            if let Command::Apply(wanted) = command {
                let again = world.apply(wanted);
                prop_assert!(again.is_empty(), "planned again: {:?}", words(&again));
            }
        }
    }
}

/// Rules 1 and 4: at every moment live traffic is on a slot whose workloads all run, and a slot is emptied
/// only while another has the traffic.
fn live_traffic_is_always_on_something_ready(
    plan: &Plan,
    facts: &Facts,
) -> Result<(), TestCaseError> {
    let mut facts = facts.clone();
    for step in in_order(&plan.steps) {
        if let Action::Switch { to: Some(to), .. } = step.action {
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
        if let Some(active) = facts.active {
            let ready = facts.slots.get(&active).is_some_and(SlotFacts::is_ready);
            prop_assert!(
                ready,
                "after {} live traffic is on an unready {active}",
                step.address
            );
        }
    }
    Ok(())
}

/// All its images are what a release is: a service that was placed before the last of them was built would stand in the
/// slot under another release's label.
fn every_image_is_known_before_a_service_is_placed(plan: &Plan) -> Result<(), TestCaseError> {
    let builds = |step: &&Step| matches!(step.action, Action::Build { .. });
    let builds: Vec<&Step> = plan.steps.iter().filter(builds).collect();
    for placed in plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::Place { .. }))
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
