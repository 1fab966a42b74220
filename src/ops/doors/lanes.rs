//! The environments that the server knows, and how each stands as far as its jobs have reported it.

use jiff::Timestamp;

use super::jobs::{JobView, open, viewed};
use super::{Asker, DoorError, Doors};
use crate::config::server::EnvironmentRule;
use crate::jobs::is_glob;
use crate::model::client::Verb;
use crate::model::job::{Job, JobEnding, JobKind, JobState, Lane};
use crate::model::job_report::JobReport;
use crate::port::queue::JobQuery;

/// How many of a lane's newest jobs are looked through for the last deployment.
const NEWEST: usize = 200;

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneView {
    /// Which.
    pub lane: Lane,
    /// What it is deployed on, in words: `branch staging`, `tags v*`.
    pub on: Vec<String>,
    /// What is done then.
    pub then: JobKind,
    /// The branch that a deployment by hand takes without a ref; none where `on` names no single
    /// one.
    pub branch: Option<String>,
    /// Its newest job; none when there was never one, or it is forgotten.
    pub latest: Option<JobView>,
    /// Its last deployment that succeeded; none when there is none among its newest jobs.
    pub deployed: Option<Deployed>,
}

/// A deployment that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The job.
    pub job: Job,
    /// When it ended.
    pub at: Timestamp,
    /// What it reported.
    pub report: JobReport,
}

/// The environments that whoever asks may look at, by project and name.
///
/// # Errors
/// The queue cannot be read.
pub async fn all(doors: &Doors, asker: &Asker<'_>) -> Result<Vec<LaneView>, DoorError> {
    let open = open(doors).await?;
    let mut found = Vec::new();
    for (lane, rule) in configured(doors) {
        if asker.allows(Verb::View, &lane) {
            found.push(view(doors, lane, rule, &open).await?);
        }
    }
    Ok(found)
}

/// An environment by the names of its project and its own.
///
/// # Errors
/// There is none that whoever asks may look at, or the queue cannot be read.
pub async fn one(
    doors: &Doors,
    (project, environment): (&str, &str),
    asker: &Asker<'_>,
) -> Result<LaneView, DoorError> {
    let is_it = |(lane, _): &(Lane, &EnvironmentRule)| {
        lane.project.as_str() == project && lane.environment.as_str() == environment
    };
    // Who may not look at it is told as much as of one that is not there.
    let found = configured(doors)
        .find(is_it)
        .filter(|(lane, _)| asker.allows(Verb::View, lane));
    let none = || DoorError::Unknown("there is no such environment".to_owned());
    let (lane, rule) = found.ok_or_else(none)?;
    let open = open(doors).await?;
    view(doors, lane, rule, &open).await
}

/// The environments of `server.yaml`, each with its rule.
pub(super) fn configured(doors: &Doors) -> impl Iterator<Item = (Lane, &EnvironmentRule)> {
    let projects = doors.config.projects.iter();
    projects.flat_map(|(project, configured)| {
        let environments = configured.environments.iter();
        environments.map(|(environment, rule)| {
            let lane = Lane {
                project: project.clone(),
                environment: environment.clone(),
            };
            (lane, rule)
        })
    })
}

async fn view(
    doors: &Doors,
    lane: Lane,
    rule: &EnvironmentRule,
    open: &[Job],
) -> Result<LaneView, DoorError> {
    let query = JobQuery {
        lane: Some(lane.clone()),
        last: NEWEST,
        ..JobQuery::default()
    };
    let jobs = doors.queue.jobs(query).await?;
    let deployed = match jobs.iter().find_map(deployment) {
        None => None,
        Some((job, at)) => {
            let report = doors.runner.report(job.number, job.attempt).await?;
            let job = job.clone();
            Some(Deployed { job, at, report })
        }
    };
    let latest = jobs.into_iter().next();
    let branch = rule.on.branch.clone().filter(|branch| !is_glob(branch));
    Ok(LaneView {
        on: words(rule),
        then: rule.then,
        branch,
        latest: latest.map(|job| viewed(doors, job, open)),
        deployed,
        lane,
    })
}

/// A job that has deployed, and when it had.
fn deployment(job: &Job) -> Option<(&Job, Timestamp)> {
    match &job.state {
        JobState::Ended {
            at,
            ending: JobEnding::Succeeded,
        } if job.request.kind == JobKind::Apply => Some((job, *at)),
        _ => None,
    }
}

fn words(rule: &EnvironmentRule) -> Vec<String> {
    let on = &rule.on;
    let glob = |one: &str, many: &str, name: &String| {
        let kind = if is_glob(name) { many } else { one };
        format!("{kind} {name}")
    };
    let branch = on.branch.iter();
    let branch = branch.map(|name| glob("branch", "branches", name));
    let tag = on.tag.iter().map(|name| glob("tag", "tags", name));
    let image = on.image.iter();
    let image = image.map(|image| format!("image {}:{}", image.repository, image.tags));
    branch.chain(tag).chain(image).collect()
}
