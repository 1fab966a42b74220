//! What is asked through the socket.

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{self, Answer};
use super::socket::Peer;
use crate::ops::doors::intake::{Command, Push, command, push};
use crate::ops::doors::jobs::{self, Patience};
use crate::ops::doors::{Asker, DoorError, Doors};

/// The largest body.
const LARGEST: u64 = 1 << 20;

/// How many are listed where nobody says how many.
const LAST: usize = 20;

pub(super) async fn routed(doors: &Doors, peer: &Peer, request: Request<Incoming>) -> Answer {
    let asker = Asker::Machine(&peer.name);
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (request.method(), parts.as_slice()) {
        (&Method::POST, ["push"]) => pushed(doors, peer, request).await,
        (&Method::POST, ["trigger"]) => triggered(doors, peer, request).await,
        (&Method::GET, ["jobs"]) => {
            let last = number_of(&query, "last").unwrap_or(LAST);
            shown(jobs::list(doors, last, &asker).await)
        }
        (&Method::GET, ["jobs", number]) => match number.parse() {
            Ok(number) => shown(jobs::show(doors, number, &asker).await),
            Err(_) => no_job(),
        },
        (&Method::GET, ["jobs", number, "log"]) => match number.parse() {
            Ok(number) => {
                let from = number_of(&query, "from").unwrap_or(0);
                let patience = match value_of(&query, "wait") {
                    Some(_) => Patience::Waits,
                    None => Patience::None,
                };
                shown(jobs::log(doors, number, from, &asker, patience).await)
            }
            Err(_) => no_job(),
        },
        (&Method::POST, ["jobs", number, "cancel"]) => match number.parse() {
            Ok(number) => shown(jobs::cancel(doors, number, &asker).await),
            Err(_) => no_job(),
        },
        (&Method::POST, ["jobs", number, "retry"]) => match number.parse() {
            Ok(number) => shown(jobs::retry(doors, number, &asker).await),
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
        Ok(asked) => shown(command(doors, &asked, &Asker::Machine(&peer.name)).await),
        Err(answer) => answer,
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
