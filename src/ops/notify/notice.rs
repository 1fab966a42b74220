//! What is told of a run.

use jiff::Timestamp;

use crate::model::notice::{Notice, NoticeEvent};
use crate::model::outcome::Ending;
use crate::model::plan::{Intent, Plan};
use crate::model::release::Actor;
use crate::ops::{Session, report_status};
use crate::rollout::record::goes_live;

/// That a run has begun to carry out its plan.
pub(super) fn started(plan: &Plan, actor: &Actor) -> Notice {
    notice(plan, actor, NoticeEvent::Started)
}

/// How it ended; none where there was nothing to do.
pub(super) fn ended(
    plan: &Plan,
    actor: &Actor,
    ending: &Ending,
    notes: Vec<String>,
) -> Option<Notice> {
    let event = match NoticeEvent::of(ending)? {
        NoticeEvent::Done if waits(plan) => NoticeEvent::Waiting,
        event => event,
    };
    let reason = match ending {
        Ending::Failed { reason }
        | Ending::Refused { reason }
        | Ending::Reverted { reason }
        | Ending::Stale { reason } => Some(reason.clone()),
        Ending::RollbackFailed { reason, back } => Some(format!("{reason}; rollback: {back}")),
        Ending::Done
        | Ending::NoChanges
        | Ending::LockLost
        | Ending::Killed
        | Ending::Interrupted { .. } => None,
    };
    Some(Notice {
        reason,
        notes,
        ..notice(plan, actor, event)
    })
}

/// A test of whether anything arrives.
pub(super) fn test(session: &Session, actor: &Actor) -> Notice {
    Notice {
        id: format!("{}-0-test", actor.run),
        at: Timestamp::now(),
        project: session.project.name.clone(),
        environment: session.environment.clone(),
        event: NoticeEvent::Test,
        command: "notify --test".to_owned(),
        summary: "this is a test of the notifications".to_owned(),
        release: None,
        commit: session.source.commit.clone(),
        branch: session.source.branch.clone(),
        actor: named(actor),
        run: actor.run.clone(),
        page: page(),
        reason: None,
        notes: Vec::new(),
    }
}

fn notice(plan: &Plan, actor: &Actor, event: NoticeEvent) -> Notice {
    let number = if event == NoticeEvent::Started { 1 } else { 2 };
    let target = plan.target.as_ref();
    let source = target.map_or(&plan.source, |target| &target.source);
    Notice {
        id: format!("{}-{number}-{}", actor.run, word(number)),
        at: Timestamp::now(),
        project: plan.project.clone(),
        environment: plan.environment.clone(),
        event,
        command: command(&plan.intent).to_owned(),
        summary: summary(plan, event),
        release: target.map(|target| target.release),
        commit: source.commit.clone(),
        branch: source.branch.clone(),
        actor: named(actor),
        run: actor.run.clone(),
        page: page(),
        reason: None,
        notes: Vec::new(),
    }
}

const fn word(number: u8) -> &'static str {
    match number {
        1 => "started",
        _ => "ended",
    }
}

fn named(actor: &Actor) -> String {
    let ci = actor.ci.iter().map(|job| format!(", {job}"));
    format!("{}@{}{}", actor.user, actor.host, ci.collect::<String>())
}

fn page() -> Option<String> {
    report_status::page(&|name| std::env::var(name).ok())
}

const fn command(intent: &Intent) -> &'static str {
    match intent {
        Intent::Apply => "apply",
        Intent::Promote(_) | Intent::PromoteFrom(_) => "promote",
        Intent::Rollback(_) => "rollback",
        Intent::Abort => "abort",
        Intent::Destroy | Intent::DestroyInfrastructure => "destroy",
        Intent::Task(_) => "task",
        Intent::Settle => "settle",
    }
}

/// Whether the release of a plan that is done waits for its promotion.
fn waits(plan: &Plan) -> bool {
    let is_deployed = matches!(plan.intent, Intent::Apply | Intent::PromoteFrom(_));
    is_deployed && plan.target.as_ref().is_some_and(|target| target.new) && !goes_live(plan)
}

fn summary(plan: &Plan, event: NoticeEvent) -> String {
    match event {
        NoticeEvent::Started => being_done(plan),
        NoticeEvent::Done | NoticeEvent::Waiting => done(plan, event),
        _ => {
            let subject = subject(plan);
            let what = match event {
                NoticeEvent::Failed => "has failed; live traffic was not touched",
                NoticeEvent::Refused => "was refused; live traffic was not touched",
                NoticeEvent::Reverted => "has failed, and traffic was moved back",
                NoticeEvent::RollbackFailed => "has failed, and so did the rollback",
                NoticeEvent::Stale => "was stopped: what the plan saw has changed",
                NoticeEvent::LockLost => "was stopped: another run has the lock",
                NoticeEvent::Killed => "was stopped at once; the same command goes on",
                _ => "was interrupted",
            };
            format!("{subject} {what}")
        }
    }
}

fn being_done(plan: &Plan) -> String {
    let release = plan.target.as_ref().map(|target| target.release);
    match (&plan.intent, release) {
        (Intent::Apply | Intent::PromoteFrom(_), Some(it)) => {
            format!("release {it} is being deployed")
        }
        (Intent::Promote(_), Some(it)) => format!("release {it} is being promoted"),
        (Intent::Rollback(it), _) => format!("the rollback to release {it} has begun"),
        (Intent::Abort, Some(it)) => format!("release {it} is being given up"),
        (Intent::Destroy, _) => "the environment is being deleted".to_owned(),
        (Intent::DestroyInfrastructure, _) => {
            "the environment is being deleted with its infrastructure".to_owned()
        }
        (Intent::Task(name), _) => format!("the task {name} has begun"),
        (Intent::Settle, _) => "what has come due is being done".to_owned(),
        (_, None) => "changes are being made".to_owned(),
    }
}

fn done(plan: &Plan, event: NoticeEvent) -> String {
    let target = plan.target.as_ref();
    let release = target.map(|target| target.release);
    match (&plan.intent, release) {
        (Intent::Rollback(it), _) => format!("release {it} is live again"),
        (Intent::Abort, Some(it)) => format!("release {it} was given up"),
        (Intent::Destroy, _) => "the environment was deleted".to_owned(),
        (Intent::DestroyInfrastructure, _) => {
            "the environment was deleted with its infrastructure".to_owned()
        }
        (Intent::Task(name), _) => format!("the task {name} is done"),
        (Intent::Settle, _) => "what had come due is done".to_owned(),
        (_, Some(it)) if event == NoticeEvent::Waiting => {
            format!("release {it} is ready, and waits for `shipit promote`")
        }
        (_, Some(it)) => format!("release {it} is live"),
        (_, None) => "the changes are made".to_owned(),
    }
}

fn subject(plan: &Plan) -> String {
    let release = plan.target.as_ref().map(|target| target.release);
    match (&plan.intent, release) {
        (Intent::Rollback(it), _) => format!("the rollback to release {it}"),
        (Intent::Abort, Some(it)) => format!("giving up release {it}"),
        (Intent::Destroy | Intent::DestroyInfrastructure, _) => {
            "the deletion of the environment".to_owned()
        }
        (Intent::Task(name), _) => format!("the task {name}"),
        (Intent::Settle, _) => "what had come due".to_owned(),
        (_, Some(it)) => format!("release {it}"),
        (_, None) => "the change".to_owned(),
    }
}
