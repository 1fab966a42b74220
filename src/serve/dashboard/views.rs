//! What is fetched for the pages.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use maud::Markup;
use tokio::sync::mpsc::{self, Sender};

use super::browser::html;
use super::events::{self, Shown};
use super::pages::environments::{self, LanePage};
use super::pages::job::{self, JobPage};
use super::pages::{deliveries, jobs as list};
use super::{Dashboard, Visitor, foreign, nothing, trouble};
use crate::model::client::{Client, Verb};
use crate::model::delivery::DeliveryNumber;
use crate::model::job::{JobNumber, Lane};
use crate::ops::doors::jobs::{self, Patience};
use crate::ops::doors::lists::{self, JobsPage, Wanted};
use crate::ops::doors::{Asker, DoorError, Doors, lanes};
use crate::serve::answer::{self, Answer};

/// How much of a log stands on a page, in bytes.
const TAIL: usize = 256 << 10;

/// How many jobs stand below the environments.
const RECENT: usize = 8;

/// How many jobs stand on the page of an environment.
const OF_LANE: usize = 25;

/// A value of the query.
pub(super) fn value(head: &Parts, name: &str) -> Option<String> {
    let query = head.uri.query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let found = pairs.find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned())
}

fn number<T: std::str::FromStr>(head: &Parts, name: &str) -> Option<T> {
    value(head, name)?.parse().ok()
}

/// Answers who is signed in and wants to look at something.
pub(super) async fn answer(
    dashboard: &Arc<Dashboard>,
    doors: &Arc<Doors>,
    visitor: &Visitor,
    head: &Parts,
) -> Answer {
    let path = head.uri.path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let page = match parts.as_slice() {
        [""] => overview(doors, visitor).await,
        ["jobs"] => jobs_page(doors, visitor, head).await,
        ["deliveries"] => deliveries_page(doors, visitor, head).await,
        ["p", project, environment] => lane(doors, visitor, (project, environment)).await,
        ["events"] => {
            let stamp = value(head, "from").unwrap_or_default();
            return events::changes(dashboard, doors, visitor, stamp);
        }
        ["jobs", number, rest @ ..] => match (number.parse(), rest) {
            (Ok(number), []) => one(doors, visitor, number).await,
            (Ok(number), ["log"]) => return whole_log(doors, visitor, number).await,
            (Ok(number), ["events"]) => {
                return follow(dashboard, doors, visitor, (head, number)).await;
            }
            _ => return nothing(Some(visitor), StatusCode::NOT_FOUND),
        },
        _ => return nothing(Some(visitor), StatusCode::NOT_FOUND),
    };
    match page {
        Ok(page) => html(StatusCode::OK, page),
        Err(error) => hidden(visitor, &error),
    }
}

/// Who may not look at something is told as much as of what is not there.
fn hidden(visitor: &Visitor, error: &DoorError) -> Answer {
    match error {
        DoorError::Forbidden(_) => nothing(Some(visitor), StatusCode::NOT_FOUND),
        other => trouble(visitor, other),
    }
}

async fn overview(doors: &Doors, visitor: &Visitor) -> Result<Markup, DoorError> {
    let asker = Asker::Client(&visitor.client);
    let stamp = lists::stamp(doors, &asker).await?;
    let found = lanes::all(doors, &asker).await?;
    let mut recent = lists::jobs(doors, &Wanted::default(), &asker).await?;
    recent.jobs.truncate(RECENT);
    let frame = visitor.frame();
    Ok(environments::overview(&frame, &found, &recent, &stamp))
}

async fn jobs_page(doors: &Doors, visitor: &Visitor, head: &Parts) -> Result<Markup, DoorError> {
    let asker = Asker::Client(&visitor.client);
    let wanted = Wanted {
        lane: value(head, "lane").and_then(|text| lane_of(&text)),
        before: number(head, "before"),
    };
    let stamp = lists::stamp(doors, &asker).await?;
    let found = lists::jobs(doors, &wanted, &asker).await?;
    let frame = visitor.frame();
    Ok(list::page(&frame, wanted.lane.as_ref(), &found, &stamp))
}

/// The environment that a text names.
pub(super) fn lane_of(text: &str) -> Option<Lane> {
    let (project, environment) = text.split_once('/')?;
    Some(Lane {
        project: project.parse().ok()?,
        environment: environment.parse().ok()?,
    })
}

async fn deliveries_page(
    doors: &Doors,
    visitor: &Visitor,
    head: &Parts,
) -> Result<Markup, DoorError> {
    let before = number(head, "before").map(DeliveryNumber);
    let asker = Asker::Client(&visitor.client);
    let found = lists::deliveries(doors, before, &asker).await?;
    Ok(deliveries::page(&visitor.frame(), &found))
}

async fn lane(doors: &Doors, visitor: &Visitor, names: (&str, &str)) -> Result<Markup, DoorError> {
    let asker = Asker::Client(&visitor.client);
    let stamp = lists::stamp(doors, &asker).await?;
    let view = lanes::one(doors, names, &asker).await?;
    let wanted = Wanted {
        lane: Some(view.lane.clone()),
        before: None,
    };
    let mut jobs: JobsPage = lists::jobs(doors, &wanted, &asker).await?;
    jobs.jobs.truncate(OF_LANE);
    let page = LanePage {
        may_deploy: asker.allows(Verb::Deploy, &view.lane),
        view,
        jobs,
    };
    Ok(environments::lane(&visitor.frame(), &page, &stamp))
}

async fn one(doors: &Doors, visitor: &Visitor, number: JobNumber) -> Result<Markup, DoorError> {
    let asker = Asker::Client(&visitor.client);
    // First the log: what the job says afterwards comes by the stream.
    let tail = lists::tail(doors, number, TAIL, &asker).await?;
    let report = lists::report(doors, number, &asker).await?;
    let view = jobs::show(doors, number, &asker).await?;
    let lane = &view.job.request.lane;
    let page = JobPage {
        may_cancel: asker.allows(Verb::Cancel, lane),
        may_retry: asker.allows(Verb::Deploy, lane),
        view,
        report,
        tail,
    };
    Ok(job::page(&visitor.frame(), &page))
}

async fn follow(
    dashboard: &Arc<Dashboard>,
    doors: &Arc<Doors>,
    visitor: &Visitor,
    (head, number_of_job): (&Parts, JobNumber),
) -> Answer {
    let asker = Asker::Client(&visitor.client);
    if let Err(error) = jobs::show(doors, number_of_job, &asker).await {
        return hidden(visitor, &error);
    }
    // A browser that comes back says where it was.
    let last = head.headers.get("last-event-id");
    let last = last.and_then(|value| value.to_str().ok()?.parse().ok());
    let page = Shown {
        number: number_of_job,
        word: value(head, "is").unwrap_or_default(),
        from: last.or_else(|| number(head, "from")).unwrap_or(0),
    };
    events::job(dashboard, doors, visitor, page)
}

/// A log as plain text, sent piece by piece: it is never whole in memory.
async fn whole_log(doors: &Arc<Doors>, visitor: &Visitor, number: JobNumber) -> Answer {
    let asker = Asker::Client(&visitor.client);
    if let Err(error) = jobs::show(doors, number, &asker).await {
        return hidden(visitor, &error);
    }
    let (send, pieces) = mpsc::channel(2);
    let (doors, client) = (Arc::clone(doors), visitor.client.clone());
    tokio::spawn(async move { send_log(&doors, &client, number, &send).await });
    answer::streamed("text/plain; charset=utf-8", pieces)
}

async fn send_log(doors: &Doors, client: &Client, number: JobNumber, send: &Sender<Bytes>) {
    let (asker, mut from) = (Asker::Client(client), 0);
    // What is written meanwhile is not waited for.
    let Ok(size) = lists::log_size(doors, number, &asker).await else {
        return;
    };
    while from < size {
        let piece = jobs::log(doors, number, from, &asker, Patience::None).await;
        let Ok(piece) = piece else { return };
        if piece.next == from {
            return;
        }
        from = piece.next;
        let text = Bytes::from(foreign::log(&piece.text));
        if send.send_timeout(text, events::SLOW).await.is_err() {
            return;
        }
    }
}
