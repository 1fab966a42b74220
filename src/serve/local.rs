//! What is asked through the socket.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::socket::Peer;
use crate::model::job::{JobNumber, Lane};
use crate::ops::doors::intake::{Command, Push, command, push};
use crate::ops::doors::{DoorError, Doors, jobs};

/// The largest body.
const LARGEST: u64 = 1 << 20;

/// The largest piece of a log.
const PIECE: usize = 64 << 10;

/// How long a request waits for a log to go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

/// How many are listed where nobody says how many.
const LAST: usize = 20;

pub(super) async fn routed(doors: &Doors, peer: &Peer, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (request.method(), parts.as_slice()) {
        (&Method::POST, ["push"]) => pushed(doors, peer, request).await,
        (&Method::POST, ["trigger"]) => triggered(doors, peer, request).await,
        (&Method::GET, ["jobs"]) => listed(doors, &query).await,
        (&Method::GET, ["jobs", number]) => match number.parse() {
            Ok(number) => shown(jobs::show(doors, number).await),
            Err(_) => no_job(),
        },
        (&Method::GET, ["jobs", number, "log"]) => match number.parse() {
            Ok(number) => logged(doors, number, &query).await,
            Err(_) => no_job(),
        },
        (&Method::POST, ["jobs", number, "cancel"]) => match number.parse() {
            Ok(number) => shown(jobs::cancel(doors, number, &peer.name).await),
            Err(_) => no_job(),
        },
        (&Method::POST, ["jobs", number, "retry"]) => match number.parse() {
            Ok(number) => shown(jobs::retry(doors, number, &peer.name).await),
            Err(_) => no_job(),
        },
        (&Method::GET, ["deliveries"]) => {
            shown(jobs::deliveries(doors, number_of(&query, "last").unwrap_or(LAST)).await)
        }
        _ => answer::failure(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}

fn no_job() -> Answer {
    answer::failure(StatusCode::NOT_FOUND, "this is no number of a job")
}

fn shown<T: Serialize>(result: Result<T, DoorError>) -> Answer {
    match result {
        Ok(document) => answer::json(StatusCode::OK, &document),
        Err(error) => answer::trouble(&error),
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Answer> {
    let body = answer::body(request.into_body(), LARGEST).await?;
    serde_json::from_slice(&body)
        .map_err(|error| answer::failure(StatusCode::BAD_REQUEST, error.to_string()))
}

async fn pushed(doors: &Doors, peer: &Peer, request: Request<Incoming>) -> Answer {
    let mut told: Push = match read(request).await {
        Ok(told) => told,
        Err(answer) => return answer,
    };
    if told.by.is_empty() || !peer.may_speak_for_others {
        told.by.clone_from(&peer.name);
    }
    shown(push(doors, &told).await)
}

async fn triggered(doors: &Doors, peer: &Peer, request: Request<Incoming>) -> Answer {
    match read::<Command>(request).await {
        Ok(asked) => shown(command(doors, &asked, &peer.name).await),
        Err(answer) => answer,
    }
}

async fn listed(doors: &Doors, query: &str) -> Answer {
    let lane = (value_of(query, "project"), value_of(query, "environment"));
    let lane = match lane {
        (Some(project), Some(environment)) => match (project.parse(), environment.parse()) {
            (Ok(project), Ok(environment)) => Some(Lane {
                project,
                environment,
            }),
            _ => return answer::failure(StatusCode::BAD_REQUEST, "this is no environment"),
        },
        _ => None,
    };
    shown(jobs::list(doors, lane, number_of(query, "last").unwrap_or(LAST)).await)
}

/// A piece of a log and how the job stands. With `wait` it comes when there is something new.
async fn logged(doors: &Doors, number: JobNumber, query: &str) -> Answer {
    let from = number_of(query, "from").unwrap_or(0);
    let deadline = Instant::now() + PATIENCE;
    let waits = value_of(query, "wait").is_some();
    loop {
        let found = async {
            // First the job: what it wrote before it ended is in the log by then.
            let job = jobs::show(doors, number).await?;
            Ok::<_, DoorError>((job, jobs::log(doors, number, from, PIECE).await?))
        };
        let (job, piece) = match found.await {
            Ok(found) => found,
            Err(error) => return answer::trouble(&error),
        };
        if !waits || !piece.bytes.is_empty() || !job.job.is_open() || Instant::now() >= deadline {
            let text = String::from_utf8_lossy(&piece.bytes);
            return answer::json(
                StatusCode::OK,
                &json!({"text": text, "next": piece.next, "job": job}),
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn value_of(query: &str, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn number_of<T: std::str::FromStr>(query: &str, name: &str) -> Option<T> {
    value_of(query, name)?.parse().ok()
}
