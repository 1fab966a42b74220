//! Services that never run twice at once: at no step of a plan, of its rollback from wherever it
//! was left, or of what comes after a run that was killed.

use super::*;
use crate::model::plan::DeployMode;
use crate::plan::abort;

/// A service that runs beside one that it must not run with: another release of it, or one of any
/// name that has its volume.
fn twice(facts: &Facts) -> Option<ServiceName> {
    let slots = facts.slots.iter();
    let workloads = slots.flat_map(|(slot, there)| {
        let running = there.workloads.iter().filter(|(_, it)| it.running);
        running.map(move |(name, it)| ((*slot, name), &it.spec))
    });
    let running: Vec<_> = workloads.collect();
    let meets = running.iter().find(|(at, one)| {
        let mut others = running.iter().filter(|(other, _)| other != at);
        others.any(|(_, other)| one.excludes(other))
    });
    meets.map(|((_, name), _)| (*name).clone())
}

/// Whether a step starts a release of a service beside the one that runs in the same slot.
fn rolls(step: &Step, facts: &Facts) -> bool {
    let (
        Action::Deploy {
            mode: DeployMode::Rolling,
            workload,
            running: true,
            ..
        },
        Address::Workload(slot, name),
    ) = (&step.action, &step.address)
    else {
        return false;
    };
    let there = facts.slots.get(slot);
    let there = there.and_then(|there| there.workloads.get(name));
    there.is_some_and(|there| {
        let is_exclusive = there.spec.is_exclusive() || workload.is_exclusive();
        there.running && there.spec != *workload && is_exclusive
    })
}

/// Carries steps out one after the other, and looks after each of them.
fn walk(plan: &Plan, steps: &[Step], facts: &Facts) -> Result<Facts, TestCaseError> {
    let mut facts = facts.clone();
    for step in steps {
        prop_assert!(
            !rolls(step, &facts),
            "{} in {:?}",
            step.address,
            words(plan)
        );
        let one = std::slice::from_ref(step);
        facts = simulate(plan, one, &facts, Timestamp::UNIX_EPOCH);
        prop_assert_eq!(
            twice(&facts),
            None,
            "after `{} {}` of {:?}, back by {:?}",
            step.action.title(),
            step.address,
            words(plan),
            back(plan)
        );
    }
    Ok(facts)
}

/// What takes back the steps that were begun.
fn taken_back(plan: &Plan, begun: &[Step]) -> Vec<Step> {
    let is_begun = |step: &&Step| begun.iter().any(|one| Some(one.id) == step.undoes);
    plan.reverse.iter().filter(is_begun).cloned().collect()
}

/// No service runs twice that must not: on the way, and on the way back from each step.
pub(super) fn nothing_runs_twice(plan: &Plan, before: &Facts) -> Result<(), TestCaseError> {
    let steps = in_order(&plan.steps);
    walk(plan, &steps, before)?;
    for begun in 0..=steps.len() {
        let done = &steps[..begun];
        let there = simulate(plan, done, before, Timestamp::UNIX_EPOCH);
        walk(plan, &taken_back(plan, done), &there)?;
    }
    Ok(())
}

fn back(plan: &Plan) -> Vec<String> {
    let back = plan.reverse.iter();
    back.map(|step| format!("{} {}", step.action.title(), step.address))
        .collect()
}

/// `web` beside the live one, and `worker`, which never runs twice at once.
fn both(version: u8) -> Wanted {
    Wanted {
        services: BTreeMap::from([("web", version), ("worker", version)]),
        own: BTreeMap::from([("worker", ServiceStrategy::Recreate)]),
        ..Wanted::web(version)
    }
}

fn manual(version: u8) -> Wanted {
    Wanted {
        mode: Mode::Manual,
        ..both(version)
    }
}

fn live_world() -> World {
    let mut world = World::new();
    world.carry_out(&world.apply(&both(1)));
    world
}

/// Where `worker` runs.
fn runs(world: &World) -> Vec<Slot> {
    let slots = world.facts.slots.iter();
    let running =
        slots.filter(|(_, there)| there.workloads.get("worker").is_some_and(|it| it.running));
    running.map(|(slot, _)| *slot).collect()
}

fn is_sound(plan: &Plan, facts: &Facts) {
    assert_eq!(verify(plan), [], "{:?}", words(plan));
    assert_eq!(stale(plan, facts), []);
    nothing_runs_twice(plan, facts).expect("nothing runs twice");
    live_traffic_is_always_on_something_ready(plan, facts).expect("live traffic is safe");
}

/// The steps on slots, after their first words.
fn moves(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter();
    let steps = steps.filter(|step| {
        let is_about_a_slot = matches!(step.address, Address::Slot(_) | Address::Workload(..));
        is_about_a_slot || step.address == Address::Traffic
    });
    steps
        .map(|step| format!("{} {}", step.action.title(), step.address))
        .collect()
}

#[test]
fn it_stops_in_the_live_slot_before_it_starts_in_the_other_and_traffic_follows() {
    let mut world = live_world();
    assert_eq!(
        runs(&world),
        [Slot::Blue],
        "nothing else runs it, so it starts at once"
    );
    let plan = world.apply(&both(2));
    is_sound(&plan, &world.facts);
    assert_eq!(
        moves(&plan),
        [
            "deploy workload.green/web",
            "deploy (stopped) workload.green/worker",
            "wait until ready slot.green",
            "stop workload.blue/worker",
            "deploy workload.green/worker",
            "wait until ready slot.green",
            "switch blue → green traffic",
            "check after (0) traffic",
            "retain for 10m slot.blue",
        ]
    );
    assert_eq!(
        back(&plan),
        [
            "stop workload.green/worker",
            "deploy workload.blue/worker",
            "wait until ready slot.blue",
            "switch green → blue traffic",
            "undeploy workload.green/worker",
            "undeploy workload.green/web",
        ]
    );
    let note = "worker never runs twice at once: it stops in blue before it starts in green; \
                nothing of it runs in between";
    assert_eq!(plan.notes, [note]);

    world.carry_out(&plan);
    assert_eq!(
        (world.live(), runs(&world)),
        (Some((Slot::Green, 2)), vec![Slot::Green])
    );
    assert!(world.apply(&both(2)).is_empty());
}

#[test]
fn a_release_that_waits_has_it_stopped_until_it_is_promoted() {
    let mut world = live_world();
    world.carry_out(&world.apply(&manual(2)));
    assert_eq!(runs(&world), [Slot::Blue]);
    assert!(world.apply(&manual(2)).is_empty(), "it waits, and is ready");

    let desired = manual(2).desired();
    let plan = promote(&desired, &world.facts, &world.state, Slot::Green).expect("a plan");
    is_sound(&plan, &world.facts);
    world.carry_out(&plan);
    assert_eq!(runs(&world), [Slot::Green]);

    let plan = rollback(&desired, &world.facts, &world.state, None).expect("a plan");
    is_sound(&plan, &world.facts);
    world.carry_out(&plan);
    assert_eq!(
        (world.live(), runs(&world)),
        (Some((Slot::Blue, 1)), vec![Slot::Blue])
    );
}

#[test]
fn one_that_leaves_and_one_that_comes_run_in_one_slot_only() {
    let mut world = live_world();
    let plan = world.apply(&Wanted::web(2));
    is_sound(&plan, &world.facts);
    world.carry_out(&plan);
    assert_eq!(runs(&world), [], "what is retained does not run it");

    let plan = world.apply(&both(3));
    is_sound(&plan, &world.facts);
    assert!(!moves(&plan).iter().any(|step| step.starts_with("stop")));
    world.carry_out(&plan);
    assert_eq!(runs(&world), [Slot::Blue]);
}

#[test]
fn either_of_two_releases_says_that_it_must_not_run_beside_the_other() {
    let plain = |version| Wanted {
        own: BTreeMap::new(),
        ..both(version)
    };
    for (first, second) in [(plain(1), both(2)), (both(1), plain(2))] {
        let mut world = World::new();
        world.carry_out(&world.apply(&first));
        let next = world.apply(&second);
        is_sound(&next, &world.facts);
        world.carry_out(&next);
        assert_eq!(runs(&world), [Slot::Green]);
    }
}

#[test]
fn in_place_it_follows_its_own_strategy() {
    let mut world = live_world();
    let rolling = Wanted {
        strategy: Rollout::Rolling,
        ..both(2)
    };
    world.carry_out(&world.apply(&Wanted {
        strategy: Rollout::Rolling,
        ..both(1)
    }));
    let plan = world.apply(&rolling);
    is_sound(&plan, &world.facts);
    assert_eq!(
        moves(&plan)[..2],
        [
            "deploy (rolling) workload.blue/web",
            "deploy (recreate) workload.blue/worker"
        ]
    );

    let other = Wanted {
        strategy: Rollout::Recreate,
        own: BTreeMap::from([("web", ServiceStrategy::Rolling)]),
        services: BTreeMap::from([("web", 2)]),
        ..both(2)
    };
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted {
        services: BTreeMap::from([("web", 1)]),
        ..other.clone()
    }));
    let plan = world.apply(&other);
    assert_eq!(moves(&plan)[0], "deploy (rolling) workload.blue/web");
}

/// The plan's world after so many steps of it and so many of its rollback.
fn killed(world: &mut World, plan: &Plan, begun: usize, back: Option<usize>) {
    let steps = in_order(&plan.steps);
    let done = &steps[..begun.min(steps.len())];
    for step in done {
        if let Action::Build { inputs, .. } = &step.action {
            let digest = Digest::of(inputs.as_str().as_bytes());
            world.built.insert(inputs.clone(), digest);
        }
    }
    world.facts = simulate(plan, done, &world.facts, Timestamp::UNIX_EPOCH);
    if let Some(back) = back {
        let taken = taken_back(plan, done);
        let taken = &taken[..back.min(taken.len())];
        world.facts = simulate(plan, taken, &world.facts, Timestamp::UNIX_EPOCH);
    }
    world.fill_claims();
}

#[test]
fn a_run_that_was_killed_in_the_gap_is_finished_or_given_up_by_the_next() {
    let plan = live_world().apply(&both(2));
    for begun in 0..plan.steps.len() {
        for end in [
            "apply",
            "abort",
            "the live release again",
            "another release",
        ] {
            let mut world = live_world();
            killed(&mut world, &plan, begun, None);
            let next = match end {
                "apply" => world.apply(&both(2)),
                "abort" => match abort(&both(2).desired(), &world.facts, &world.state) {
                    Ok(plan) => plan,
                    Err(_) => continue,
                },
                "another release" => world.apply(&both(3)),
                _ => world.apply(&both(1)),
            };
            is_sound(&next, &world.facts);
            world.carry_out(&next);
            let live = world.facts.traffic.slot().expect("something is live");
            assert_eq!(runs(&world), [live], "{end} after {begun}");
        }
    }
}

#[test]
fn to_promote_what_is_live_starts_what_a_killed_run_has_stopped_there() {
    let plan = live_world().apply(&both(2));
    for begun in 0..plan.steps.len() {
        let mut world = live_world();
        killed(&mut world, &plan, begun, None);
        let Some((live, number)) = world.live() else {
            continue;
        };
        let desired = both(2).desired();
        let promoted = promote(&desired, &world.facts, &world.state, live);
        let number = ReleaseNumber(number);
        let back = rollback(&desired, &world.facts, &world.state, Some(number));
        for next in [promoted, back].into_iter().flatten() {
            is_sound(&next, &world.facts);
            let mut world = World {
                facts: world.facts.clone(),
                state: world.state.clone(),
                built: BTreeMap::new(),
            };
            let is_stopped = !runs(&world).contains(&live);
            assert_eq!(!next.is_empty(), is_stopped, "killed after {begun}");
            world.carry_out(&next);
            assert_eq!(runs(&world), [live], "killed after {begun}");
        }
    }
}

#[test]
fn a_rollback_that_comes_to_its_end_leaves_it_running_where_traffic_is() {
    let plan = live_world().apply(&both(2));
    for died in 0..plan.steps.len() {
        let mut world = live_world();
        killed(&mut world, &plan, died, None);
        let next = world.apply(&both(2));
        for begun in 1..=next.steps.len() {
            let done = &in_order(&next.steps)[..begun];
            let there = simulate(&next, done, &world.facts, Timestamp::UNIX_EPOCH);
            let stops = |step: &Step| step.action == Action::Stop;
            if !done.iter().any(stops) {
                continue;
            }
            let back = taken_back(&next, done);
            let facts = simulate(&next, &back, &there, Timestamp::UNIX_EPOCH);
            let live = facts.live().expect("something is live").1;
            assert!(live.is_ready(), "died at {died}, and back from {begun}");
        }
    }
}

/// `db`, which has a volume for itself, called so or otherwise, beside `web`.
fn storing(name: &'static str, version: u8) -> Wanted {
    Wanted {
        services: BTreeMap::from([(name, version), ("web", version)]),
        volumes: vec![("data", Holder::Only(name))],
        ..Wanted::web(version)
    }
}

fn in_place(strategy: Rollout, wanted: Wanted) -> Wanted {
    Wanted { strategy, ..wanted }
}

#[test]
fn a_service_that_is_renamed_stops_before_its_volume_is_mounted_again() {
    let mut world = World::new();
    world.carry_out(&world.apply(&storing("db", 1)));
    let plan = world.apply(&storing("store", 2));
    is_sound(&plan, &world.facts);
    assert_eq!(
        moves(&plan),
        [
            "deploy (stopped) workload.green/store",
            "deploy workload.green/web",
            "wait until ready slot.green",
            "stop workload.blue/db",
            "deploy workload.green/store",
            "wait until ready slot.green",
            "switch blue → green traffic",
            "check after (0) traffic",
            "retain for 10m slot.blue",
        ]
    );
    let note = "store has the volume data of db: db stops in blue before store starts in \
                green; requests to it are held in between";
    assert!(plan.notes.contains(&note.to_owned()), "{:?}", plan.notes);
    let stop = plan.steps.iter().find(|step| step.action == Action::Stop);
    assert_eq!(
        stop.expect("a step").reason,
        "store in green has its volume data: stops before that starts"
    );

    world.carry_out(&plan);
    let back = rollback(
        &storing("store", 2).desired(),
        &world.facts,
        &world.state,
        None,
    );
    let back = back.expect("a plan");
    is_sound(&back, &world.facts);
    assert_eq!(
        moves(&back)[1..3],
        ["stop workload.green/store", "deploy workload.blue/db"]
    );
}

#[test]
fn a_renamed_service_that_waits_for_its_promotion_does_not_run() {
    let manual = |name, version| Wanted {
        mode: Mode::Manual,
        ..storing(name, version)
    };
    let mut world = World::new();
    world.carry_out(&world.apply(&storing("db", 1)));
    world.carry_out(&world.apply(&manual("store", 2)));
    let green = &world.facts.slots[&Slot::Green].workloads;
    assert!(!green[&"store".parse::<ServiceName>().expect("a name")].running);
    assert!(world.apply(&manual("store", 2)).is_empty());

    let desired = manual("store", 2).desired();
    let plan = promote(&desired, &world.facts, &world.state, Slot::Green).expect("a plan");
    is_sound(&plan, &world.facts);
    let stop = moves(&plan)
        .iter()
        .position(|it| it == "stop workload.blue/db");
    let start = moves(&plan)
        .iter()
        .position(|it| it == "deploy workload.green/store");
    assert!(stop.expect("a stop") < start.expect("a start"));
}

#[test]
fn in_place_a_service_stops_before_another_one_gets_its_volume() {
    for strategy in [Rollout::Rolling, Rollout::Recreate] {
        let mut world = World::new();
        world.carry_out(&world.apply(&in_place(strategy, storing("db", 1))));
        let plan = world.apply(&in_place(strategy, storing("store", 2)));
        is_sound(&plan, &world.facts);
        assert_eq!(moves(&plan)[0], "stop workload.blue/db");
        let note = "store gets the volume data of db: db stops before store starts";
        assert!(plan.notes.contains(&note.to_owned()), "{:?}", plan.notes);
        world.carry_out(&plan);

        // Two services exchange their volumes.
        let both = |data: &'static str, more: &'static str| Wanted {
            services: BTreeMap::from([("api", 3), ("web", 3)]),
            volumes: vec![("data", Holder::Only(data)), ("more", Holder::Only(more))],
            ..in_place(strategy, Wanted::web(3))
        };
        let mut world = World::new();
        world.carry_out(&world.apply(&both("api", "web")));
        let plan = world.apply(&both("web", "api"));
        is_sound(&plan, &world.facts);
        the_way_back_restores_the_world(&plan, &world.facts).expect("all of it");
        let stops = moves(&plan);
        assert_eq!(
            stops[..2],
            ["stop workload.blue/api", "stop workload.blue/web"]
        );
    }
}

#[test]
fn a_shared_volume_stops_nobody() {
    let shared = |name, version| Wanted {
        volumes: vec![("data", Holder::Shared)],
        ..storing(name, version)
    };
    let mut world = World::new();
    world.carry_out(&world.apply(&shared("db", 1)));
    let plan = world.apply(&shared("store", 2));
    assert!(!moves(&plan).iter().any(|step| step.starts_with("stop")));
}

#[test]
fn an_edited_plan_that_would_mount_a_volume_twice_is_caught() {
    let mut world = World::new();
    world.carry_out(&world.apply(&storing("db", 1)));
    let beside = world.apply(&storing("store", 2));
    let mut world = World::new();
    let rolling = |wanted| in_place(Rollout::Rolling, wanted);
    world.carry_out(&world.apply(&rolling(storing("db", 1))));
    let in_place = world.apply(&rolling(storing("store", 2)));

    for plan in [beside, in_place] {
        let stop = plan.steps.iter().find(|step| step.action == Action::Stop);
        let stop = stop.expect("a step").id;
        let mut early = plan.clone();
        for step in &mut early.steps {
            step.needs.retain(|need| *need != stop);
        }
        let is_twice = |fault: &PlanFault| matches!(fault, PlanFault::VolumeTwice(_, _, other) if other.as_str() == "db");
        assert!(verify(&early).iter().any(is_twice), "{:?}", words(&early));

        // Behind the rollback of the one, and not before.
        let mut back = plan;
        let is_of_new = |step: &Step| {
            let of =
                matches!(&step.address, Address::Workload(_, name) if name.as_str() == "store");
            of && matches!(step.action, Action::Stop | Action::Undeploy)
        };
        back.reverse.retain(|step| !is_of_new(step));
        let ids: Vec<StepId> = back.reverse.iter().map(|step| step.id).collect();
        for step in &mut back.reverse {
            step.needs.retain(|need| ids.contains(need));
        }
        let is_twice = |fault: &PlanFault| matches!(fault, PlanFault::VolumeTwice(_, _, other) if other.as_str() == "store");
        assert!(verify(&back).iter().any(is_twice), "{:?}", words(&back));
    }
}

#[test]
fn an_edited_plan_that_would_run_it_twice_is_caught() {
    let world = live_world();
    let plan = world.apply(&both(2));
    let at = |plan: &Plan, title: &str, slot: &str| {
        let found = plan.steps.iter().position(|step| {
            step.action.title() == title
                && step.address.to_string() == format!("workload.{slot}/worker")
        });
        found.expect("a step")
    };

    let mut early = plan.clone();
    let (stop, start) = (at(&plan, "stop", "blue"), at(&plan, "deploy", "green"));
    let stop_id = early.steps[stop].id;
    early.steps[start].needs.retain(|need| *need != stop_id);
    assert!(matches!(verify(&early)[..], [PlanFault::RunsTwice(..)]));

    let mut unready = plan.clone();
    let waits: Vec<StepId> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::WaitUntilReady { .. }))
        .map(|step| step.id)
        .collect();
    for step in &mut unready.steps {
        if matches!(step.action, Action::Switch { .. }) {
            step.needs = vec![waits[0], plan.steps[start].id];
        }
    }
    assert!(matches!(
        verify(&unready)[..],
        [PlanFault::UnreadySwitch(_)]
    ));

    let mut other = plan.clone();
    other.steps[stop].address = Address::Workload(Slot::Blue, "web".parse().expect("a name"));
    let is_live = |fault: &PlanFault| matches!(fault, PlanFault::LiveTouched(..));
    assert!(verify(&other).iter().any(is_live));

    let mut back = plan;
    for step in &mut back.reverse {
        if step.action == Action::Stop {
            step.address = Address::Workload(Slot::Blue, "worker".parse().expect("a name"));
        }
    }
    let is_twice = |fault: &PlanFault| matches!(fault, PlanFault::RunsTwice(..));
    assert!(verify(&back).iter().any(is_twice));
}

/// A command, and where it is killed: after so many steps, and of the rollback so many.
fn deadly() -> impl Strategy<Value = (Command, Option<(usize, Option<usize>)>)> {
    let death = proptest::option::of((0..14usize, proptest::option::of(0..8usize)));
    (command(), death)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_history_of_killed_runs_has_a_service_twice(commands in proptest::collection::vec(deadly(), 1..12)) {
        let mut world = World::new();
        let mut last = Wanted::web(0);
        for (command, death) in &commands {
            if let Command::Apply(wanted) = command {
                last = wanted.clone();
            }
            let Some(plan) = plan_of(command, &last, &world) else { continue };
            prop_assert_eq!(verify(&plan), vec![], "{:?}", words(&plan));
            prop_assert_eq!(stale(&plan, &world.facts), vec![], "{:?}", words(&plan));
            nothing_runs_twice(&plan, &world.facts)?;
            if let Some((begun, back)) = death {
                killed(&mut world, &plan, *begun, *back);
                continue;
            }
            world.carry_out(&plan);
            if let (Command::Apply(_), Some((slot, there))) = (command, world.facts.live()) {
                prop_assert!(there.is_ready(), "{slot} after {:?}", words(&plan));
            }
        }
    }
}
