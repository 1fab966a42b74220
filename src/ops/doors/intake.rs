//! What comes through the doors: webhooks, pushes that a Git hook tells of, and commands.

use std::collections::BTreeSet;

use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::counts::count;
use super::{Asker, DoorError, Doors};
use crate::jobs::{Route, Routed, is_glob, key_of_body, route, route_together};
use crate::model::client::Verb;
use crate::model::delivery::{Delivery, DeliveryNumber, Verdict};
use crate::model::job::{Job, JobNumber, JobRequest, Lane, Requester, Via};
use crate::model::trigger::{Trigger, is_object_id, is_reference, is_zero};
use crate::model::{ContentHash, EnvironmentName, ProjectName};
use crate::port::queue::JobQuery;
use crate::receiver::{DeliveryKey, Door, Incoming, Message, Received};

/// The longest name of a person, in characters.
const LONGEST_NAME: usize = 100;

/// How many of the newest jobs of a lane are looked through for where a ref was since.
const NEWEST: usize = 1_000;

/// The most refs of one push.
const MOST_REFS: usize = 1_000;

/// What became of what came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The delivery's number.
    pub delivery: DeliveryNumber,
    /// Whether it had come before.
    pub is_repeated: bool,
    /// The jobs that do it.
    pub jobs: Vec<TakenJob>,
    /// Why it, or a part of it, means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
}

/// A job that does what came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenJob {
    /// Its number.
    pub number: JobNumber,
    /// Its environment.
    pub lane: Lane,
    /// Whether it is a new one; else one that was there does the same.
    pub is_new: bool,
}

/// What became of a webhook.
#[derive(Debug)]
pub enum Hooked {
    /// It is authentic, and stable storage has it.
    Taken(Taken),
    /// A test that means nothing.
    Ping,
    /// It is not authentic.
    Refused,
}

/// A push, as a Git hook tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// The project.
    pub project: ProjectName,
    /// What tells it apart.
    pub key: String,
    /// On whose behalf, as the hook's program says.
    pub by: String,
    /// What was pushed.
    pub refs: Vec<PushedRef>,
}

/// A ref that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushedRef {
    /// Its full name.
    pub name: String,
    /// What it points at now; zeros when it was deleted.
    pub new: String,
}

/// A command for one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The project.
    pub project: ProjectName,
    /// The environment; the only one without it.
    #[serde(default)]
    pub environment: Option<EnvironmentName>,
    /// The branch or tag, `refs/heads/staging` or `staging`; the one that the environment is
    /// deployed on without it.
    #[serde(default)]
    pub reference: Option<String>,
}

/// The body limit of a receiver, in bytes.
///
/// # Errors
/// There is no such receiver.
pub fn body_limit(doors: &Doors, project: &str, receiver: &str) -> Result<u64, DoorError> {
    let found = doors
        .config
        .projects
        .iter()
        .find(|(name, _)| name.as_str() == project);
    let found = found.and_then(|(_, project)| project.receivers.get(receiver));
    let found = found.ok_or_else(|| DoorError::Unknown("there is no such receiver".to_owned()))?;
    Ok(found.body.bytes())
}

/// Takes a webhook.
///
/// # Errors
/// There is no such receiver, or the queue cannot store it.
pub async fn receive(
    doors: &Doors,
    (project, receiver): (&str, &str),
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Hooked, DoorError> {
    let unknown = || DoorError::Unknown("there is no such receiver".to_owned());
    let project: ProjectName = project.parse().map_err(|_| unknown())?;
    let configured = doors.config.projects.get(&project).ok_or_else(unknown)?;
    let kind = configured.receivers.get(receiver).ok_or_else(unknown)?.kind;
    let secrets = doors.secrets.get(&(project.clone(), receiver.to_owned()));
    let door = Door {
        kind,
        secrets: secrets.map(Vec::as_slice).unwrap_or_default(),
    };

    let now = Timestamp::now();
    let incoming = Incoming { headers, body, now };
    let message = match crate::receiver::receive(&door, &incoming) {
        Received::Authentic(message) => message,
        Received::Ping => return Ok(Hooked::Ping),
        Received::Refused { reason } => {
            count(&doors.counts.refused);
            tracing::warn!(%project, receiver, reason, "a webhook was refused");
            return Ok(Hooked::Refused);
        }
    };

    let via = Via::Webhook {
        receiver: receiver.to_owned(),
    };
    let door = format!("{project}/{receiver}");
    let taken = take(doors, &project, (door, via), message, body).await?;
    Ok(Hooked::Taken(taken))
}

/// Takes a push.
///
/// # Errors
/// There is no such project, or the queue cannot store it.
pub async fn push(doors: &Doors, push: &Push) -> Result<Taken, DoorError> {
    if !doors.config.projects.contains_key(&push.project) {
        return Err(unknown_project(doors, &push.project));
    }
    let mut message = Message {
        key: DeliveryKey::Id(push.key.clone()),
        event: "push".to_owned(),
        triggers: Vec::new(),
        ignored: Vec::new(),
    };
    for pushed in push.refs.iter().take(MOST_REFS) {
        let PushedRef { name, new } = pushed;
        if !is_reference(name) {
            message
                .ignored
                .push("a ref is not a branch or a tag that can be deployed".to_owned());
        } else if is_zero(new) {
            message.ignored.push(format!("{name} was deleted"));
        } else if is_object_id(new) {
            message.triggers.push(Trigger::Ref {
                name: name.clone(),
                commit: new.to_ascii_lowercase(),
                by: spoken_for(&push.by),
            });
        }
    }
    let body = serde_json::to_vec(push).unwrap_or_default();
    let door = (format!("{}/git", push.project), Via::GitHook);
    take(doors, &push.project, door, message, &body).await
}

/// Takes a ref that moved, and that nobody told of, with the jobs that it means.
///
/// # Errors
/// The queue cannot store it.
pub(super) async fn polled(
    doors: &Doors,
    project: &ProjectName,
    (moved, key): (&PushedRef, &str),
    jobs: &[Routed],
) -> Result<Taken, DoorError> {
    let by = Requester {
        name: String::new(),
        via: Via::Poll,
    };
    let requests = jobs.iter().map(|one| requested(project, one.clone(), &by));
    let requests = requests.collect();
    let body = serde_json::to_vec(moved).unwrap_or_default();
    let delivery = delivery(format!("{project}/poll"), key.to_owned(), "push", &body);
    store(doors, delivery, requests, Vec::new()).await
}

/// A name that a program says, as far as it can stand in a line.
fn spoken_for(name: &str) -> String {
    let may_stand = |c: &char| c.is_alphanumeric() || "-_./@+".contains(*c);
    name.chars().filter(may_stand).take(LONGEST_NAME).collect()
}

fn unknown_project(doors: &Doors, project: &ProjectName) -> DoorError {
    let known: Vec<&str> = doors
        .config
        .projects
        .keys()
        .map(ProjectName::as_str)
        .collect();
    DoorError::Unknown(format!(
        "the server has no project {project}; it has {}",
        known.join(", ")
    ))
}

/// Takes what somebody of this machine asks for.
///
/// # Errors
/// It cannot be asked for, or the queue cannot store it.
pub async fn command(
    doors: &Doors,
    command: &Command,
    asker: &Asker<'_>,
) -> Result<Taken, DoorError> {
    let project = &command.project;
    // Who may not is told that, and nothing of what there is.
    if let Some(environment) = &command.environment {
        asker.may(Verb::Deploy, &lane(project, environment))?;
    }
    let configured = doors.config.projects.get(project);
    let environments = &configured
        .ok_or_else(|| unknown_project(doors, project))?
        .environments;
    let (environment, rule) = match &command.environment {
        Some(name) => environments.get_key_value(name),
        None if environments.len() == 1 => environments.first_key_value(),
        None => None,
    }
    .ok_or_else(|| {
        let known: Vec<&str> = environments.keys().map(EnvironmentName::as_str).collect();
        DoorError::Unknown(format!(
            "{project} has {}: name one with --env",
            known.join(", ")
        ))
    })?;

    let of_rule = rule.on.branch.as_ref().filter(|branch| !is_glob(branch));
    let reference = match (&command.reference, of_rule) {
        (Some(name), _) if name.starts_with("refs/") => name.clone(),
        (Some(name), _) => format!("refs/heads/{name}"),
        (None, Some(branch)) => format!("refs/heads/{branch}"),
        (None, None) => {
            return Err(DoorError::Impossible(format!(
                "{environment} is not deployed on one branch: name a branch or a tag with --ref"
            )));
        }
    };
    let routed = routed_by_hand(doors, project, environment, &reference)?;
    asker.may(Verb::Deploy, &lane(project, environment))?;
    let request = requested(project, routed, &asker.requester());
    let body = serde_json::to_vec(command).unwrap_or_default();
    let delivery = delivery(
        "command".to_owned(),
        uuid::Uuid::new_v4().to_string(),
        "trigger",
        &body,
    );
    store(doors, delivery, vec![request], Vec::new()).await
}

fn lane(project: &ProjectName, environment: &EnvironmentName) -> Lane {
    Lane {
        project: project.clone(),
        environment: environment.clone(),
    }
}

/// Nobody gets a ref into an environment by hand that `server.yaml` does not let into it.
fn routed_by_hand(
    doors: &Doors,
    project: &ProjectName,
    environment: &EnvironmentName,
    reference: &str,
) -> Result<Routed, DoorError> {
    if !is_reference(reference) {
        return Err(DoorError::Impossible("this is no branch or tag".to_owned()));
    }
    let trigger = Trigger::Ref {
        name: reference.to_owned(),
        commit: String::new(),
        by: String::new(),
    };
    let routed = route(&trigger, &doors.routes(project));
    let mut routed = routed
        .into_iter()
        .filter(|one| one.environment == *environment);
    let routed = routed.next().map(|one| Routed {
        commit: None,
        ..one
    });
    routed.ok_or_else(|| {
        DoorError::Impossible(format!(
            "{environment} is not deployed on {reference}: `on` in server.yaml says on what"
        ))
    })
}

/// Stores what is authentic, with the jobs that it means.
async fn take(
    doors: &Doors,
    project: &ProjectName,
    (door, via): (String, Via),
    message: Message,
    body: &[u8],
) -> Result<Taken, DoorError> {
    let routes = doors.routes(project);
    let (mut requests, mut ignored) = (Vec::new(), message.ignored);
    let jobs = route_together(&message.triggers, &routes);
    for (trigger, found) in message.triggers.iter().zip(jobs) {
        if found.is_empty() {
            ignored.push(nowhere(trigger, &routes));
        }
        let (Trigger::Ref { by, .. } | Trigger::Image { by, .. }) = trigger;
        let by = Requester {
            name: by.clone(),
            via: via.clone(),
        };
        requests.extend(found.into_iter().map(|one| requested(project, one, &by)));
    }
    let key = match message.key {
        DeliveryKey::Id(id) => id,
        DeliveryKey::Body(hash) => {
            let jobs = of_lanes(doors, &requests).await?;
            key_of_body(&hash, &requests, &jobs, Timestamp::now())
        }
    };
    let delivery = delivery(door, key, &message.event, body);
    store(doors, delivery, requests, ignored).await
}

/// The newest jobs of the lanes of requests.
async fn of_lanes(doors: &Doors, requests: &[JobRequest]) -> Result<Vec<Job>, DoorError> {
    let lanes: BTreeSet<&Lane> = requests.iter().map(|request| &request.lane).collect();
    let mut jobs = Vec::new();
    for lane in lanes {
        let query = JobQuery {
            lane: Some(lane.clone()),
            last: NEWEST,
            ..JobQuery::default()
        };
        jobs.extend(doors.queue.jobs(query).await?);
    }
    Ok(jobs)
}

/// Why nothing is deployed on a trigger.
fn nowhere(trigger: &Trigger, routes: &[Route]) -> String {
    match trigger {
        Trigger::Ref { name, .. } if !route(trigger, routes).is_empty() => {
            format!("{name}: a tag of a newer version was pushed with it")
        }
        Trigger::Ref { name, .. } => format!("no environment is deployed on {name}"),
        Trigger::Image {
            repository, tag, ..
        } => {
            let tag = tag.as_deref().unwrap_or("no tag");
            format!("no environment is deployed on the image {repository} ({tag})")
        }
    }
}

fn requested(project: &ProjectName, routed: Routed, by: &Requester) -> JobRequest {
    JobRequest {
        lane: Lane {
            project: project.clone(),
            environment: routed.environment,
        },
        kind: routed.kind,
        reference: routed.reference,
        commit: routed.commit,
        by: by.clone(),
        retry_of: None,
    }
}

pub(super) fn delivery(door: String, key: String, event: &str, body: &[u8]) -> Delivery {
    Delivery {
        door,
        key,
        received: Timestamp::now(),
        event: event.to_owned(),
        size: body.len() as u64,
        sha256: ContentHash::of(body).to_string(),
        verdict: Verdict::Accepted,
    }
}

/// Stores a delivery with its jobs. It is on stable storage when this returns.
pub(super) async fn store(
    doors: &Doors,
    mut delivery: Delivery,
    requests: Vec<JobRequest>,
    ignored: Vec<String>,
) -> Result<Taken, DoorError> {
    if requests.is_empty() {
        delivery.verdict = Verdict::Ignored {
            reason: ignored.join("; "),
        };
    }
    let lanes: Vec<Lane> = requests
        .iter()
        .map(|request| request.lane.clone())
        .collect();
    let accepted = doors.queue.accept(delivery, requests).await?;

    let counter = match (accepted.is_repeated, accepted.jobs.is_empty()) {
        (true, _) => &doors.counts.repeated,
        (false, true) => &doors.counts.ignored,
        (false, false) => &doors.counts.accepted,
    };
    count(counter);
    doors.wake.notify_one();

    let mut jobs = Vec::new();
    for (index, placed) in accepted.jobs.iter().enumerate() {
        let lane = match lanes.get(index).filter(|_| !accepted.is_repeated) {
            Some(lane) => lane.clone(),
            None => match doors.queue.job(placed.number).await? {
                Some(job) => job.request.lane,
                None => continue,
            },
        };
        jobs.push(TakenJob {
            number: placed.number,
            lane,
            is_new: placed.is_new,
        });
    }
    Ok(Taken {
        delivery: accepted.delivery,
        is_repeated: accepted.is_repeated,
        jobs,
        ignored,
    })
}
