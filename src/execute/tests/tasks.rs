//! Tasks while a plan is carried out: what their failures mean, and what is kept of them.

use std::sync::{Arc, Mutex};

use super::{Rollout, Stage, live};
use crate::execute::{Finished, Gate, Job, execute};
use crate::model::TaskName;
use crate::model::event::Event;
use crate::model::facts::Facts;
use crate::model::plan::Plan;
use crate::model::task::{OnFailure, Task, TaskClass, TaskExit};
use crate::model::test_report::{TestReport, junit};
use crate::rollout::End;
use crate::simulate::samples::scenario;
use crate::simulate::{Runner, actor};

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
    let say = |stage: &Stage| {
        for (program, exit) in exits {
            stage.world().engine.task_ends(program, *exit);
        }
    };
    tell_with(&say, change, gate).await
}

/// The same, of a stage that is told how tasks end.
async fn tell_with(say: &dyn Fn(&Stage), change: impl Fn(&mut Plan), gate: Option<Gate>) -> Told {
    let stage = Stage::new(false, None);
    let first = stage.carry_out(1, Rollout::BlueGreen).await;
    assert_eq!(first.end, End::Done, "the first release");
    let before = stage.world().engine.facts();
    say(&stage);

    let second = scenario(2, Rollout::BlueGreen);
    let mut plan = second.draw(stage.world()).await.expect("a plan");
    change(&mut plan);
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let sink = Arc::clone(&events);
    let runner = Runner {
        actor: actor("2"),
        ..stage.runner.clone()
    };
    let job = Job {
        gate,
        sink: Arc::new(move |event| sink.lock().expect("events").push(event)),
        ..stage.job(&runner, 2, second.scope(), plan)
    };
    let finished = execute(job).await;
    let after = stage.world().engine.facts();
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
    assert_eq!(told.after.traffic, told.before.traffic);
    assert_eq!(
        told.after.slots, told.before.slots,
        "what was deployed is undeployed"
    );
}

#[tokio::test]
async fn tests_that_failed_are_named_where_a_task_failed() {
    let xml = br#"<testsuite><testcase name="one"/><testcase name="two"><failure message="no"/>
        </testcase></testsuite>"#;
    let mut report = TestReport::default();
    junit::read(&mut report, "a.xml", xml);
    let reports = |plan: &mut Plan| with(plan, "migrate", |it| it.reports.junit = vec!["*".into()]);
    let say = |stage: &Stage| {
        let engine = &stage.world().engine;
        engine.task_ends("migrate", TaskExit::Code(1));
        engine.task_reports("migrate", report.clone());
    };
    let told = tell_with(&say, reports, None).await;
    let End::Failed(reason) = &told.finished.end else {
        panic!("{:?}", told.finished.end);
    };
    assert_eq!(
        reason,
        "task.green/migrate: exit code 1: 1 of 2 tests failed: two"
    );
    let tests = told.finished.tasks[0].tests.as_ref().expect("tests");
    assert_eq!((tests.total, tests.failed), (2, 1));
    let all = |event: &Event| matches!(event, Event::Tested { report, .. } if report.total == 2);
    assert!(told.events.iter().any(all), "{:?}", told.events);
    let named = |event: &Event| {
        let Event::StepFailed { detail, .. } = event else {
            return false;
        };
        detail.last().is_some_and(|line| line == "failed: two: no")
    };
    assert!(told.events.iter().any(named), "{:?}", told.events);
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
    assert_ne!(told.after.traffic, told.before.traffic);

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
