//! What became of the last times of tasks that run by themselves, by the Jobs that are left.

use futures_util::StreamExt as _;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::of_slot;
use crate::driver::kubernetes::client::api::{Api, ApiError, Selector};
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::logs::{self, Part};
use crate::driver::kubernetes::engine::owner::is_owned_by;
use crate::driver::kubernetes::engine::task::exit_of;
use crate::driver::kubernetes::engine::{KubernetesEngine, observe};
use crate::model::object::mark;
use crate::model::schedule::{Schedule, ScheduleFacts, ScheduledOutcome, ScheduledRun};
use crate::model::task::TaskExit;
use crate::model::{Manifest, ReleaseNumber, ServiceName, Slot, TaskName};
use crate::port::engine::{EngineError, Scope};

/// How many of the last lines of each run are shown.
const LINES: usize = 200;
/// For which time a Job was begun, as the cluster writes it.
const DUE: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// The tasks that run by themselves in the slot with live traffic; one that is named with its
/// output.
pub(in super::super) async fn schedules(
    engine: &KubernetesEngine,
    scope: &Scope,
    named: Option<&TaskName>,
) -> Result<Vec<ScheduleFacts>, EngineError> {
    let Some(api) = engine.try_api().await? else {
        return Ok(Vec::new());
    };
    let read = engine.record(api, scope).await;
    let read = read.map_err(|fault| fault.while_(format!("looking at {scope}")))?;
    let traffic = read.record.traffic;
    let Some(slot) = traffic.slot() else {
        return Ok(Vec::new());
    };

    let mut all = Vec::new();
    for manifest in of_slot(engine, api, scope, &read, (slot, traffic)).await? {
        let is_meant = named.is_none_or(|named| manifest.scheduled_task() == Some(named.as_str()));
        if !is_meant {
            continue;
        }
        let of = facts(engine, api, scope, &manifest, named.is_some()).await;
        let failed =
            |fault: ApiError| fault.while_(format!("looking at {}", said(&manifest.key())));
        all.extend(of.map_err(failed)?);
    }
    Ok(all)
}

async fn facts(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    manifest: &Manifest,
    with_log: bool,
) -> Result<Option<ScheduleFacts>, ApiError> {
    let live = api.get(&manifest.key()).await?.unwrap_or_default();
    let Some((task, service, schedule)) = read(&live) else {
        return Ok(None);
    };
    let is_suspended = live["spec"]["suspend"] == true;
    let next = schedule
        .next_after(Timestamp::now())
        .filter(|_| !is_suspended);

    let mut runs = Vec::new();
    for job in jobs(engine, api, scope, &task).await? {
        let pods = pods(api, &job).await?;
        let Some(mut run) = run(&job, &pods) else {
            continue;
        };
        if with_log {
            run.log = log(api, &pods).await;
        }
        runs.push(run);
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.due));
    Ok(Some(ScheduleFacts {
        task,
        service,
        schedule,
        next,
        runs,
    }))
}

/// What a CronJob says of itself.
fn read(live: &Value) -> Option<(TaskName, ServiceName, Schedule)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let labels = &live["metadata"]["labels"];
    let zone = text(&live["spec"]["timeZone"]).filter(|zone| zone != "Etc/UTC");
    let schedule = Schedule {
        at: text(&live["spec"]["schedule"])?.parse().ok()?,
        timezone: zone.and_then(|zone| zone.parse().ok()),
    };
    let task = text(&labels[mark::TASK])?.parse().ok()?;
    Some((task, text(&labels[mark::SERVICE])?.parse().ok()?, schedule))
}

/// The Jobs that CronJobs have begun for a task, of either slot.
async fn jobs(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    task: &TaskName,
) -> Result<Vec<Value>, ApiError> {
    let kind = api.must(("batch/v1", "Job")).await?;
    let labels = format!("{},{}={task}", observe::of_scope(scope), mark::TASK);
    let mut namespaces: Vec<&String> = engine.settings.namespaces.slots.values().collect();
    namespaces.dedup();
    let mut jobs = Vec::new();
    for namespace in namespaces {
        let selector = Selector::Labels(labels.clone());
        let listed = api
            .list(&kind, Some(namespace), &selector, |job| jobs.push(job))
            .await;
        match listed {
            // Who may not see them knows nothing of their ends.
            Err(fault) if fault.is(StatusCode::FORBIDDEN) => {}
            other => drop(other?),
        }
    }
    Ok(jobs)
}

async fn pods(api: &Api, job: &Value) -> Result<Vec<Value>, ApiError> {
    let kind = api.must(("v1", "Pod")).await?;
    let name = job["metadata"]["name"].as_str().unwrap_or_default();
    let selector = Selector::Labels(format!("batch.kubernetes.io/job-name={name}"));
    let mut pods = Vec::new();
    let namespace = job["metadata"]["namespace"].as_str();
    api.list(&kind, namespace, &selector, |pod| pods.push(pod))
        .await?;
    pods.retain(|pod| is_owned_by(pod, &job["metadata"]["uid"]));
    Ok(pods)
}

/// One Job as a run; none of one that does not say for when it was begun.
fn run(job: &Value, pods: &[Value]) -> Option<ScheduledRun> {
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let metadata = &job["metadata"];
    let due =
        time(&metadata["annotations"][DUE]).or_else(|| time(&metadata["creationTimestamp"]))?;
    let (slot, _) = metadata["labels"][mark::COMMAND]
        .as_str()?
        .split_once('.')?;
    let release = pods.iter().find_map(|pod| {
        let number = pod["metadata"]["labels"][mark::RELEASE].as_str()?;
        number.parse().ok().map(ReleaseNumber)
    });

    let outcome = exit_of(job, pods);
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let last = conditions
        .filter_map(|one| time(&one["lastTransitionTime"]))
        .max();
    Some(ScheduledRun {
        due,
        slot: slot.parse::<Slot>().ok()?,
        release,
        began: time(&job["status"]["startTime"]),
        ended: outcome.and(last),
        outcome: outcome.map(|exit: TaskExit| ScheduledOutcome::Ended(exit)),
        log: Vec::new(),
    })
}

/// The last lines of what pods have written; nothing where that cannot be read.
async fn log(api: &Api, pods: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for pod in pods {
        let container = pod["spec"]["containers"][0]["name"].as_str();
        let part = Part {
            tail: Some(LINES),
            ..Part::default()
        };
        let path = logs::path(pod, container.unwrap_or_default(), part);
        if let Ok(read) = api.lines(&path).await {
            let mut read = Box::pin(read);
            while let Some(Ok(line)) = read.next().await {
                lines.push(line);
            }
        }
    }
    lines
}
