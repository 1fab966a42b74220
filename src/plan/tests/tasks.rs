//! Tasks in plans: between which steps they are, that none runs twice for a release, and what they
//! say of the rollback.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Wanted, World, in_order, verify, words};
use crate::model::facts::{Facts, SlotFacts};
use crate::model::plan::{Action, Plan, Step};
use crate::model::promotion::{Mode, Strategy as Rollout};
use crate::model::task::{
    OnFailure, Once, Reports, Task, TaskClass, TaskExit, TaskMoment, TaskProgram, TaskRecord,
    TaskSlot,
};
use crate::model::workload::Known;
use crate::model::{Address, Period, ReleaseNumber, Slot, TaskName};
use crate::plan::tasks::{Again, settle, task};
use crate::plan::{PlanFault, promote, rollback, simulate};

/// What ran: which release, which task, which attempt.
pub(super) type Ran = BTreeSet<(ReleaseNumber, TaskName, u32)>;

fn name(text: &str) -> TaskName {
    text.parse().expect("a name")
}

fn of(program: TaskProgram, when: TaskMoment, class: TaskClass) -> Task {
    Task {
        service: "web".parse().expect("a name"),
        program,
        when,
        schedule: None,
        once: Once::Release,
        timeout: Period::from_secs(60),
        on_failure: OnFailure::Stop,
        class,
        reports: Reports::default(),
        network: None,
    }
}

fn run(when: TaskMoment, class: TaskClass) -> Task {
    of(TaskProgram::Run(vec!["migrate".to_owned()]), when, class)
}

fn exec(when: TaskMoment, inside: TaskSlot) -> Task {
    let command = vec!["load".to_owned()];
    let program = TaskProgram::Exec { command, inside };
    of(program, when, TaskClass::Expand)
}

fn all() -> [(&'static str, Task); 8] {
    use TaskMoment::{AfterKeepPrevious, AfterSwitch, BeforeRemove, BeforeSwitch, Preview};
    [
        ("migrate", run(BeforeSwitch, TaskClass::Expand)),
        ("break", run(BeforeSwitch, TaskClass::Breaking)),
        ("load", exec(BeforeSwitch, TaskSlot::New)),
        ("warn", exec(BeforeSwitch, TaskSlot::Live)),
        ("try", run(Preview, TaskClass::Expand)),
        ("mail", exec(AfterSwitch, TaskSlot::Live)),
        ("drop", run(AfterKeepPrevious, TaskClass::Contract)),
        ("dump", run(BeforeRemove, TaskClass::Expand)),
    ]
}

pub(crate) fn tasks(which: &[&str]) -> BTreeMap<TaskName, Task> {
    let all = all().into_iter();
    all.filter(|(text, _)| which.contains(text))
        .map(|(text, task)| (name(text), task))
        .collect()
}

/// Some of them.
pub(super) fn some() -> impl Strategy<Value = BTreeMap<TaskName, Task>> {
    proptest::sample::subsequence(all().to_vec(), 0..=3).prop_map(|some| {
        let some = some.into_iter();
        some.map(|(text, task)| (name(text), task)).collect()
    })
}

fn of_task(step: &Step) -> Option<(&TaskName, &crate::model::task::ReleaseTask)> {
    match (&step.action, &step.address) {
        (Action::Task(of), Address::Task(_, name)) => Some((name, of)),
        _ => None,
    }
}

/// Whether it waited until no earlier release is kept.
pub(super) fn is_contract(step: &Step) -> bool {
    of_task(step).is_some_and(|(_, of)| of.task.when == TaskMoment::AfterKeepPrevious)
}

/// What is kept of a plan's tasks when all of them did well.
pub(super) fn records(plan: &Plan) -> Vec<TaskRecord> {
    let tasks = plan.steps.iter().filter_map(of_task);
    let records = tasks.map(|(name, of)| TaskRecord {
        name: name.clone(),
        release: of.release,
        class: of.task.class,
        on_failure: of.task.on_failure,
        exit: TaskExit::Code(0),
        at: Timestamp::UNIX_EPOCH,
        log: Vec::new(),
        tests: None,
    });
    records.collect()
}

/// No task of a release is in two plans of a history in which all went well.
pub(super) fn none_runs_twice(plan: &Plan, ran: &mut Ran) -> Result<(), TestCaseError> {
    for (name, of) in plan.steps.iter().filter_map(of_task) {
        let is_new = ran.insert((of.release, name.clone(), of.attempt));
        prop_assert!(is_new, "{name} of release {} again", of.release);
        prop_assert_eq!(of.attempt, 0, "nothing has failed");
    }
    Ok(())
}

/// When a task begins, what it runs in is there: its release, placed in the slot, of a `run` one
/// not running before the switch; an instance for `exec`.
pub(super) fn each_runs_in_what_is_there(plan: &Plan, facts: &Facts) -> Result<(), TestCaseError> {
    let mut facts = facts.clone();
    let mut built = BTreeSet::new();
    for step in in_order(&plan.steps) {
        if let (Some((name, of)), Address::Task(slot, _)) = (of_task(&step), &step.address) {
            let there = facts.slots.get(slot);
            let own = there.and_then(|there| there.workloads.get(&of.task.service));
            let is_in_place = !plan.strategy.has_preview() && facts.traffic.reaches(*slot);
            match &of.task.program {
                TaskProgram::Run(_) => {
                    let image = of.workload.as_ref().map(|workload| &workload.image);
                    let is_built = match image {
                        Some(Known::After(address)) => built.contains(address),
                        Some(Known::Value(_)) => true,
                        None => false,
                    };
                    prop_assert!(is_built, "{name} before its image is there");
                    prop_assert!(own.is_some() || is_in_place, "{name} before {slot} has it");
                }
                TaskProgram::Exec { .. } => {
                    let runs = own.is_some_and(|own| own.running);
                    let is_up = there.is_some_and(SlotFacts::is_up);
                    prop_assert!(runs || is_up, "{name} in {slot}, where nothing runs");
                }
            }
        }
        if let Action::Build { .. } = step.action {
            built.insert(step.address.clone());
        }
        let one = std::slice::from_ref(&step);
        facts = simulate(plan, one, &facts, Timestamp::UNIX_EPOCH);
    }
    Ok(())
}

fn wanted(version: u8, which: &[&str]) -> Wanted {
    Wanted {
        tasks: tasks(which),
        ..Wanted::web(version)
    }
}

/// A world with release 1 live, without tasks.
fn live() -> World {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    world
}

#[test]
fn what_is_run_ends_before_anything_starts_and_what_is_exec_begins_when_all_is_ready() {
    let plan = live().apply(&wanted(
        2,
        &["migrate", "load", "warn", "mail", "drop", "dump"],
    ));
    assert_eq!(verify(&plan), []);
    assert_eq!(
        words(&plan),
        [
            "build image.web",
            "deploy workload.green/web",
            "task task.green/migrate",
            "deploy workload.green/web",
            "wait_until_ready slot.green",
            "task task.green/load",
            "task task.blue/warn",
            "switch traffic",
            "check traffic",
            "task task.green/mail",
            "retain slot.blue",
        ]
    );
    let running = |step: &Step| matches!(step.action, Action::Deploy { running: true, .. });
    let starts: Vec<bool> = plan.steps.iter().map(running).collect();
    assert!(!starts[1] && starts[3], "it starts behind its task");
    for (earlier, later) in [(1, 2), (2, 3), (4, 5), (5, 6), (6, 7), (8, 9)] {
        let (earlier, later) = (&plan.steps[earlier], &plan.steps[later]);
        assert!(later.needs.contains(&earlier.id), "{later:?}");
    }
}

#[test]
fn a_release_that_waits_has_run_its_tasks_and_its_promotion_runs_the_rest() {
    let mut world = live();
    let manual = Wanted {
        mode: Mode::Manual,
        ..wanted(2, &["migrate", "break", "mail"])
    };
    let waits = world.apply(&manual);
    let ran = |plan: &Plan| -> Vec<String> {
        let tasks = plan.steps.iter().filter_map(of_task);
        tasks.map(|(name, _)| name.to_string()).collect()
    };
    assert_eq!(ran(&waits), ["migrate"]);
    assert_eq!(waits.rollback_blockers, Vec::<String>::new());
    world.carry_out(&waits);

    let live = promote(&manual.desired(), &world.facts, &world.state, Slot::Green);
    let live = live.expect("a plan");
    assert_eq!(verify(&live), []);
    assert_eq!(ran(&live), ["break", "mail"]);
    assert_eq!(
        live.rollback_blockers.len(),
        1,
        "{:?}",
        live.rollback_blockers
    );
}

#[test]
fn contract_waits_until_the_previous_release_is_not_kept_any_more() {
    let mut world = live();
    let wanted = wanted(2, &["drop"]);
    world.carry_out(&world.apply(&wanted));
    let blue = world.facts.slots.get_mut(&Slot::Blue).expect("there");
    blue.stops_at = Some(Timestamp::from_second(600).expect("a time"));

    let early = world.apply(&wanted);
    assert!(early.is_empty(), "{:?}", words(&early));
    let due = "task drop (contract) is due at 1970-01-01T00:10:00Z, when release 1 is not kept any \
               more: `shipit settle` or the next apply runs it";
    assert_eq!(early.notes, [due]);
    let settled = settle(&wanted.desired(), &world.facts, &world.state);
    assert!(settled.is_empty());

    let blue = world.facts.slots.get_mut(&Slot::Blue).expect("there");
    for workload in blue.workloads.values_mut() {
        workload.running = false;
        workload.instances.clear();
    }
    let settled = settle(&wanted.desired(), &world.facts, &world.state);
    assert_eq!(words(&settled), ["task task.green/drop"]);
    assert_eq!(words(&world.apply(&wanted)), ["task task.green/drop"]);
    world.carry_out(&settled);
    assert!(world.apply(&wanted).is_empty());
    assert!(settle(&wanted.desired(), &world.facts, &world.state).is_empty());
}

/// A checkout may be ahead of what is live, and a rollback leaves it so: what a later release would
/// take away is not taken from the one that needs it.
#[test]
fn settle_runs_only_what_the_live_release_was_placed_with() {
    let mut world = live();
    let ahead = wanted(2, &["drop", "mail"]).desired();
    assert!(settle(&ahead, &world.facts, &world.state).is_empty());

    world.carry_out(&world.apply(&wanted(2, &["drop"])));
    let back = rollback(&ahead, &world.facts, &world.state, None).expect("a plan");
    world.carry_out(&back);
    world.facts.slots.remove(&Slot::Green);
    assert!(settle(&ahead, &world.facts, &world.state).is_empty());

    // Nobody knows any more what it was placed with.
    for release in &mut world.state.releases {
        release.declared = None;
    }
    let unknown = settle(&ahead, &world.facts, &world.state);
    assert!(unknown.is_empty());
    assert!(
        unknown.notes[0].contains("is not in the history"),
        "{:?}",
        unknown.notes
    );
}

#[test]
fn settle_and_promote_keep_to_what_a_release_was_placed_with() {
    let mut world = live();
    let manual = Wanted {
        mode: Mode::Manual,
        ..wanted(2, &["mail", "drop"])
    };
    world.carry_out(&world.apply(&manual));
    let since = wanted(2, &["break"]).desired();
    let live = promote(&since, &world.facts, &world.state, Slot::Green).expect("a plan");
    let tasks = live.steps.iter().filter_map(of_task);
    let tasks: Vec<&str> = tasks.map(|(name, _)| name.as_str()).collect();
    assert_eq!(tasks, ["mail"]);

    world.carry_out(&live);
    world.facts.slots.remove(&Slot::Blue);
    let settled = settle(&since, &world.facts, &world.state);
    assert_eq!(words(&settled), ["task task.green/drop"]);
}

#[test]
fn contract_by_hand_says_which_release_it_takes_away() {
    let mut world = live();
    let wanted = wanted(2, &["drop", "migrate"]);
    world.carry_out(&world.apply(&wanted));
    let blue = world.facts.slots.get_mut(&Slot::Blue).expect("there");
    blue.stops_at = Some(Timestamp::from_second(600).expect("a time"));
    let desired = wanted.desired();
    let by_hand = |world: &World, text: &str| {
        let plan = task(
            &desired,
            &world.facts,
            &world.state,
            &name(text),
            Again::Yes,
        );
        plan.expect("a plan").rollback_blockers
    };
    let said = "the task drop is `contract`, and release 1 is kept until 1970-01-01T00:10:00Z: it \
                may not work any more once the task has begun";
    assert_eq!(by_hand(&world, "drop"), [said]);
    assert_eq!(by_hand(&world, "migrate"), Vec::<String>::new());

    world.facts.slots.remove(&Slot::Blue);
    assert_eq!(by_hand(&world, "drop"), Vec::<String>::new());
}

#[test]
fn a_rollback_says_what_later_releases_took_away() {
    let mut world = live();
    let wanted = wanted(2, &["drop", "migrate"]);
    world.carry_out(&world.apply(&wanted));
    let back = |world: &World| {
        rollback(&wanted.desired(), &world.facts, &world.state, None).expect("a plan")
    };
    assert_eq!(back(&world).rollback_blockers, Vec::<String>::new());

    let blue = world.facts.slots.get_mut(&Slot::Blue).expect("there");
    blue.workloads
        .values_mut()
        .for_each(|it| it.running = false);
    world.carry_out(&settle(&wanted.desired(), &world.facts, &world.state));
    let said = "release 2 ran the task drop, which is `contract`: release 1 may not work any more";
    assert_eq!(back(&world).rollback_blockers, [said]);
}

/// A release that is taken out of the history takes nothing back that its tasks did.
#[test]
fn what_a_removed_release_took_away_stays_known() {
    let mut world = live();
    let wanted = wanted(2, &["drop", "migrate"]);
    world.carry_out(&world.apply(&wanted));
    world.facts.slots.remove(&Slot::Blue);
    world.carry_out(&settle(&wanted.desired(), &world.facts, &world.state));

    let state = world.state.clone().without(ReleaseNumber(2));
    let first = ReleaseNumber(1);
    let back = rollback(&wanted.desired(), &world.facts, &state, Some(first));
    let said = "release 2 ran the task drop, which is `contract`: release 1 may not work any more";
    assert_eq!(back.expect("a plan").rollback_blockers, [said]);
    let kept = state.release(first).expect("it is there");
    assert!(!kept.has_settled(&name("drop")), "it is not its own");
}

#[test]
fn in_place_a_task_runs_before_the_live_release_is_replaced() {
    let mut world = live();
    let rolling = Wanted {
        strategy: Rollout::Rolling,
        ..wanted(2, &["migrate", "mail"])
    };
    let plan = world.apply(&rolling);
    assert_eq!(verify(&plan), []);
    assert_eq!(
        words(&plan),
        [
            "build image.web",
            "task task.blue/migrate",
            "deploy workload.blue/web",
            "wait_until_ready slot.blue",
            "check traffic",
            "task task.blue/mail",
        ]
    );
    world.carry_out(&plan);
    assert!(world.apply(&rolling).is_empty());
}

#[test]
fn a_failed_attempt_is_followed_by_another_and_a_noted_one_is_not() {
    let mut world = live();
    let wanted = wanted(2, &["drop"]);
    world.carry_out(&world.apply(&wanted));
    world.facts.slots.remove(&Slot::Blue);
    let plan = settle(&wanted.desired(), &world.facts, &world.state);
    let [record] = &records(&plan)[..] else {
        panic!("one task: {:?}", words(&plan));
    };

    let failed = TaskRecord {
        exit: TaskExit::Code(1),
        ..record.clone()
    };
    let noted = TaskRecord {
        on_failure: OnFailure::Note,
        ..failed.clone()
    };
    let with = |record: TaskRecord| {
        let mut state = world.state.clone();
        state.releases[1].tasks.push(record);
        settle(&wanted.desired(), &world.facts, &state)
    };
    let again = with(failed);
    let attempts = again.steps.iter().filter_map(of_task);
    let attempts: Vec<u32> = attempts.map(|(_, of)| of.attempt).collect();
    assert_eq!(attempts, [1]);
    assert!(with(noted).is_empty());
}

#[test]
fn by_hand_a_task_runs_once_more_only_when_that_is_said() {
    let mut world = live();
    let wanted = wanted(2, &["migrate"]);
    let desired = wanted.desired();
    world.carry_out(&world.apply(&wanted));
    let by_hand = |world: &World, text: &str, again| {
        task(&desired, &world.facts, &world.state, &name(text), again)
    };

    let done = by_hand(&world, "migrate", Again::No).expect("a plan");
    assert!(
        done.is_empty() && done.notes[0].contains("--again"),
        "{:?}",
        done.notes
    );
    let again = by_hand(&world, "migrate", Again::Yes).expect("a plan");
    assert_eq!(words(&again), ["task task.green/migrate"]);
    assert_eq!(verify(&again), []);
    let unknown = by_hand(&world, "migrat", Again::No).expect_err("no such task");
    assert_eq!(
        unknown.to_string(),
        "there is no task migrat; the tasks are: migrate"
    );
}

#[test]
fn an_edited_plan_with_a_task_is_caught() {
    let plan = live().apply(&wanted(2, &["migrate", "break"]));
    assert_eq!(verify(&plan), []);

    let mut silent = plan.clone();
    silent.rollback_blockers.clear();
    assert!(matches!(verify(&silent)[..], [PlanFault::TaskBreaks(..)]));

    let mut eager = plan.clone();
    let tasks = eager
        .steps
        .iter_mut()
        .filter(|step| of_task(step).is_some());
    tasks.for_each(|step| step.needs.clear());
    let faults = verify(&eager);
    assert!(
        matches!(faults[..], [PlanFault::TaskTooEarly(..), ..]),
        "{faults:?}"
    );

    let mut twice = plan;
    let first = twice.steps.iter().position(|step| of_task(step).is_some());
    let first = first.expect("a task");
    twice.steps[first].address = twice.steps[first + 1].address.clone();
    let faults = verify(&twice);
    assert!(
        matches!(faults[..], [PlanFault::TaskTwice(..)]),
        "{faults:?}"
    );
}

#[test]
fn what_looks_at_the_preview_runs_once_its_slot_is_ready_and_before_the_switch() {
    let plan = live().apply(&wanted(2, &["try", "migrate", "load"]));
    assert_eq!(verify(&plan), []);
    let words = words(&plan);
    let ready = words
        .iter()
        .position(|it| it == "wait_until_ready slot.green");
    let ready = ready.expect("a step");
    assert_eq!(
        words[ready + 1..=ready + 3],
        [
            "task task.green/load",
            "task task.green/try",
            "switch traffic"
        ]
    );

    let mut eager = plan.clone();
    let deployed = eager.steps[ready - 1].id;
    eager.steps[ready + 2].needs = vec![deployed];
    let faults = verify(&eager);
    assert!(
        faults
            .iter()
            .any(|it| matches!(it, PlanFault::TaskTooEarly(..))),
        "{faults:?}"
    );
}
