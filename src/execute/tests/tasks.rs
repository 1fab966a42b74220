//! Tasks while a plan is carried out: what their failures mean, and what is kept of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::{Rollout, World, desired, draw, live};
use crate::driver::host::fake::FakeEngine;
use crate::execute::{Finished, Gate, Job, Stops, execute};
use crate::model::approval::Approval;
use crate::model::event::Event;
use crate::model::facts::Facts;
use crate::model::plan::Plan;
use crate::model::release::Actor;
use crate::model::task::{
    OnFailure, Once, Task, TaskClass, TaskExit, TaskMoment, TaskProgram, TaskSlot,
};
use crate::model::{Period, TaskName};
use crate::port::Ports;
use crate::port::engine::{Engine as _, Permit, Scope};
use crate::port::hold::Hold;
use crate::port::provider::NoProvider;
use crate::redact::Redactor;
use crate::rollout::End;

fn task(program: TaskProgram, when: TaskMoment) -> Task {
    Task {
        service: "web".parse().expect("a name"),
        program,
        when,
        once: Once::Release,
        timeout: Period::from_secs(60),
        on_failure: OnFailure::Stop,
        class: TaskClass::Expand,
    }
}

/// A migration, an index that is filled, and a mail.
pub(super) fn of(strategy: Rollout) -> BTreeMap<TaskName, Task> {
    let words = |word: &str| vec![word.to_owned()];
    let exec = |word: &str, inside| TaskProgram::Exec {
        command: words(word),
        inside,
    };
    let inside = if strategy.has_preview() {
        TaskSlot::New
    } else {
        TaskSlot::Live
    };
    let tasks = [
        (
            "migrate",
            task(TaskProgram::Run(words("migrate")), TaskMoment::BeforeSwitch),
        ),
        ("fill", task(exec("fill", inside), TaskMoment::BeforeSwitch)),
        (
            "mail",
            task(exec("mail", TaskSlot::Live), TaskMoment::AfterSwitch),
        ),
    ];
    let named = tasks.into_iter();
    named
        .map(|(name, task)| (name.parse().expect("a name"), task))
        .collect()
}

/// What came of the second release, whose tasks end and are as these say.
struct Told {
    finished: Finished,
    before: Facts,
    after: Facts,
    events: Vec<Event>,
}

async fn tell(exits: &[(&str, TaskExit)], change: impl Fn(&mut Plan)) -> Told {
    tell_at(exits, change, None).await
}

/// The same, with something that is asked before live traffic is touched by the second one.
async fn tell_at(
    exits: &[(&str, TaskExit)],
    change: impl Fn(&mut Plan),
    gate: Option<Gate>,
) -> Told {
    let stops = Stops {
        interrupted: CancellationToken::new(),
        killed: CancellationToken::new(),
    };
    let world = Arc::new(World {
        engine: FakeEngine::default(),
        moments: Mutex::default(),
        stops: stops.clone(),
        hold: Hold::none(),
        unheard: 0.into(),
    });
    let all = desired(1, Rollout::BlueGreen);
    let scope = Scope {
        project: all.project,
        environment: all.environment,
    };
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let sink = Arc::clone(&events);
    let job = |plan, gate| Job {
        plan,
        approval: Approval::InAdvance,
        ports: Ports {
            engine: world.clone(),
            provider: Arc::new(NoProvider),
            registry: world.clone(),
            builder: world.clone(),
            store: world.clone(),
            checker: world.clone(),
            secrets: world.clone(),
            redactor: Redactor::default(),
        },
        permit: Permit {
            scope: scope.clone(),
            lineage: "l".to_owned(),
            fence: 1,
            actor: Actor {
                user: "u".to_owned(),
                host: "h".to_owned(),
                run: "r".to_owned(),
                ci: None,
            },
            hold: Hold::none(),
        },
        root: "/".into(),
        stops: stops.clone(),
        gate,
        outside_window: None,
        sink: {
            let sink = Arc::clone(&sink);
            Arc::new(move |event| sink.lock().expect("events").push(event))
        },
    };

    let first = execute(job(draw(1, Rollout::BlueGreen, Facts::default()), None)).await;
    assert_eq!(first.end, End::Done, "the first release");
    let before = world.engine.observe(&scope).await.expect("facts");
    for (program, exit) in exits {
        world.engine.task_ends(program, *exit);
    }
    events.lock().expect("events").clear();

    let mut plan = draw(2, Rollout::BlueGreen, before.clone());
    change(&mut plan);
    let finished = execute(job(plan, gate)).await;
    let after = world.engine.observe(&scope).await.expect("facts");
    let events = events.lock().expect("events").clone();
    Told {
        finished,
        before,
        after,
        events,
    }
}

/// Changes the task of this name.
fn with(plan: &mut Plan, name: &str, change: impl Fn(&mut Task)) {
    let name: TaskName = name.parse().expect("a name");
    for step in &mut plan.steps {
        if let (crate::model::plan::Action::Task(of), crate::model::Address::Task(_, own)) =
            (&mut step.action, &step.address)
            && *own == name
        {
            change(&mut of.task);
        }
    }
}

fn kept(finished: &Finished) -> Vec<(&str, TaskExit)> {
    let tasks = finished.tasks.iter();
    tasks.map(|it| (it.name.as_str(), it.exit)).collect()
}

#[tokio::test]
async fn what_tasks_did_is_kept_with_their_last_lines() {
    let told = tell(&[], |_| ()).await;
    assert_eq!(told.finished.end, End::Done);
    let ok = TaskExit::Code(0);
    assert_eq!(
        kept(&told.finished),
        [("migrate", ok), ("fill", ok), ("mail", ok)]
    );
    assert_eq!(told.finished.tasks[0].log, ["migrate runs"]);
    let said =
        |event: &Event| matches!(event, Event::StepSaid { line, .. } if line == "migrate runs");
    assert!(told.events.iter().any(said), "{:?}", told.events);
}

#[tokio::test]
async fn a_task_that_fails_before_the_switch_leaves_live_traffic_where_it_is() {
    let told = tell(&[("migrate", TaskExit::Code(3))], |_| ()).await;
    let End::Failed(reason) = &told.finished.end else {
        panic!("{:?}", told.finished.end);
    };
    assert_eq!(reason, "task.green/migrate: exit code 3");
    assert_eq!(kept(&told.finished), [("migrate", TaskExit::Code(3))]);
    assert_eq!(told.after.active, told.before.active);
    assert_eq!(
        told.after.slots, told.before.slots,
        "what was deployed is undeployed"
    );
}

#[tokio::test]
async fn a_failure_that_is_only_noted_stops_nothing() {
    let note = |plan: &mut Plan| with(plan, "migrate", |it| it.on_failure = OnFailure::Note);
    let told = tell(&[("migrate", TaskExit::TimedOut)], note).await;
    assert_eq!(told.finished.end, End::Done);
    assert!(told.finished.tasks[0].is_settled());
    let text = "the task migrate has failed, which is noted only: it took longer than its timeout";
    let noted = |event: &Event| matches!(event, Event::Note { text: own } if own == text);
    assert!(told.events.iter().any(noted), "{:?}", told.events);
}

#[tokio::test]
async fn a_task_that_fails_after_the_switch_moves_live_traffic_back() {
    let told = tell(&[("mail", TaskExit::Code(1))], |_| ()).await;
    assert!(
        matches!(told.finished.end, End::Reverted(_)),
        "{:?}",
        told.finished.end
    );
    assert_eq!(live(&told.after), live(&told.before));
}

#[tokio::test]
async fn live_traffic_stays_once_a_breaking_task_has_begun_and_traffic_has_moved() {
    let breaking = |plan: &mut Plan| with(plan, "migrate", |it| it.class = TaskClass::Breaking);
    let told = tell(&[("mail", TaskExit::Code(1))], breaking).await;
    let End::RollbackFailed { back, .. } = &told.finished.end else {
        panic!("{:?}", told.finished.end);
    };
    assert!(back.contains("task.green/migrate is `breaking`"), "{back}");
    assert_ne!(told.after.active, told.before.active);

    // Before the switch nothing is lost by going back.
    let told = tell(&[("migrate", TaskExit::Code(1))], breaking).await;
    assert!(
        matches!(told.finished.end, End::Failed(_)),
        "{:?}",
        told.finished.end
    );
    assert_eq!(told.after.slots, told.before.slots);
}

#[tokio::test]
async fn what_breaks_the_live_release_does_not_begin_once_its_window_has_closed() {
    let closed = || -> Option<Gate> { Some(Arc::new(|| Err("it has closed".to_owned()))) };
    let breaking = |plan: &mut Plan| with(plan, "migrate", |it| it.class = TaskClass::Breaking);
    let told = tell_at(&[], breaking, closed()).await;
    assert_eq!(told.finished.end, End::Refused("it has closed".to_owned()));
    assert!(told.finished.tasks.is_empty(), "{:?}", told.finished.tasks);

    // What keeps the rollback is no part of what the window is for.
    let told = tell_at(&[], |_| (), closed()).await;
    assert_eq!(told.finished.end, End::Refused("it has closed".to_owned()));
    let ok = TaskExit::Code(0);
    assert_eq!(kept(&told.finished), [("migrate", ok), ("fill", ok)]);
}
