//! The listener for webhooks and pages. Whoever comes here is a stranger.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer, HEAD};
use super::dashboard::Dashboard;
use crate::model::client::{Client, Proof};
use crate::ops::doors::clients::{Clients, TOKEN, fingerprint};
use crate::ops::doors::intake::{Command, Hooked, Taken, body_limit, command, receive};
use crate::ops::doors::{Asker, Doors, jobs};

/// The largest body of a command.
const TRIGGER: u64 = 4 << 10;

/// What a command names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRef {
    #[serde(rename = "ref")]
    reference: Option<String>,
}

/// How many connections there are at once, and of one address.
const CONNECTIONS: usize = 4096;
const OF_ONE: usize = 256;

/// How long to wait when the system has no descriptor for a client.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How many connections each address has.
#[derive(Debug, Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Addresses {
    /// A place, if the address may have one more.
    fn enter(&self, address: IpAddr) -> Option<OwnPlace> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count >= OF_ONE {
            return None;
        }
        *count += 1;
        Some(OwnPlace {
            addresses: self.clone(),
            address,
        })
    }
}

/// A place of an address, given back when it is dropped.
#[derive(Debug)]
struct OwnPlace {
    addresses: Addresses,
    address: IpAddr,
}

impl Drop for OwnPlace {
    fn drop(&mut self) {
        let mut all = self
            .addresses
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// Lets clients in until it is told to stop.
pub(super) async fn listen(
    doors: Arc<Doors>,
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let addresses = Addresses::default();
    let dashboard = Dashboard::of(&doors);
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok(place), Ok((stream, peer))) = (place, accepted) else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        // Who takes all the places that one may have leaves those of others.
        let Some(own) = addresses.enter(peer.ip()) else {
            continue;
        };
        let to = Routes {
            doors: Arc::clone(&doors),
            dashboard: dashboard.clone(),
            peer: peer.ip(),
        };
        let (acceptor, stop) = (acceptor.clone(), stop.clone());
        tokio::spawn(async move {
            let _places = (place, own);
            tokio::select! {
                () = stop.cancelled() => {}
                () = client(to, stream, acceptor) => {}
            }
        });
    }
}

/// Where the requests of a connection go.
#[derive(Clone)]
struct Routes {
    doors: Arc<Doors>,
    /// The pages, if there are any.
    dashboard: Option<Arc<Dashboard>>,
    peer: IpAddr,
}

async fn client(to: Routes, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let to = to.clone();
        async move { Ok::<Answer, Infallible>(routed(&to, request).await) }
    });
    match acceptor {
        None => answer::connection(stream, service).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(HEAD, acceptor.accept(stream)).await {
                answer::connection(stream, service).await;
            }
        }
    }
}

async fn routed(to: &Routes, request: Request<Incoming>) -> Answer {
    let doors = &*to.doors;
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (request.method(), parts.as_slice()) {
        (&Method::POST, ["hooks", project, receiver]) => {
            hook(doors, project, receiver, request).await
        }
        (&Method::POST, ["trigger", project, environment]) => {
            triggered(doors, project, environment, request).await
        }
        (&Method::GET, ["healthz"]) => answer::text(StatusCode::OK, "ok\n"),
        (&Method::GET, ["readyz"]) => ready(doors).await,
        (&Method::GET, ["metrics"]) => metrics(doors).await,
        (_, ["hooks" | "trigger", _, _] | ["healthz" | "readyz" | "metrics"]) => answer::failure(
            StatusCode::METHOD_NOT_ALLOWED,
            "this is asked for in another way",
        ),
        _ => match &to.dashboard {
            Some(dashboard) => dashboard.answer(&to.doors, to.peer, request).await,
            None => answer::failure(StatusCode::NOT_FOUND, "there is nothing here"),
        },
    }
}

/// Everything that is authentic gets an answer of success: a sender that gets another one too often
/// sends no more.
async fn hook(doors: &Doors, project: &str, receiver: &str, request: Request<Incoming>) -> Answer {
    let most = match body_limit(doors, project, receiver) {
        Ok(most) => most,
        Err(error) => return answer::trouble(&error),
    };
    let (head, body) = request.into_parts();
    let body = match answer::body(body, most).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    match receive(doors, (project, receiver), &head.headers, &body).await {
        Ok(Hooked::Taken(taken)) => accepted(doors, &taken),
        Ok(Hooked::Ping) => answer::json(StatusCode::OK, &json!({"ignored": "it is a ping"})),
        Ok(Hooked::Refused) => answer::failure(
            StatusCode::UNAUTHORIZED,
            "it is not signed with a secret of this receiver",
        ),
        Err(error) => answer::trouble(&error),
    }
}

/// What a client asks for with its token: `{"ref": "refs/tags/v1"}`, or nothing.
async fn triggered(
    doors: &Doors,
    project: &str,
    environment: &str,
    request: Request<Incoming>,
) -> Answer {
    let (head, body) = request.into_parts();
    let client = match bearer(doors, &head.headers) {
        Ok(client) => client,
        Err(answer) => return answer,
    };
    let body = match answer::body(body, TRIGGER).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let asked: Result<AskedRef, _> = if body.is_empty() {
        Ok(AskedRef::default())
    } else {
        serde_json::from_slice(&body)
    };
    let (Ok(project), Ok(environment), Ok(asked)) = (project.parse(), environment.parse(), asked)
    else {
        return answer::failure(
            StatusCode::BAD_REQUEST,
            "write {\"ref\": \"refs/heads/staging\"}, or nothing",
        );
    };
    let asked = Command {
        project,
        environment: Some(environment),
        reference: asked.reference,
    };
    match command(doors, &asked, &Asker::Client(&client)).await {
        Ok(taken) => accepted(doors, &taken),
        Err(error) => answer::trouble(&error),
    }
}

/// The client whose token a request has.
fn bearer(doors: &Doors, headers: &HeaderMap) -> Result<Client, Answer> {
    let refused = || {
        answer::failure(
            StatusCode::UNAUTHORIZED,
            "this needs `Authorization: Bearer TOKEN` with a token of `shipit token issue`",
        )
    };
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = given
        .and_then(|given| given.strip_prefix("Bearer "))
        // What is none is not looked for.
        .filter(|token| token.starts_with(TOKEN))
        .ok_or_else(refused)?;
    // By its hash: how long it is looked for says nothing of the token.
    let found = Clients::of(&doors.config.data).valid(Proof::Token, &fingerprint(token.as_bytes()));
    let found = found.map_err(|error| answer::trouble(&error))?;
    found.ok_or_else(refused)
}

fn accepted(doors: &Doors, taken: &Taken) -> Answer {
    if taken.jobs.is_empty() {
        let ignored = taken.ignored.join("; ");
        return answer::json(
            StatusCode::OK,
            &json!({"delivery": taken.delivery, "ignored": ignored}),
        );
    }
    let mut document = json!(taken);
    if let Some(url) = &doors.config.public_url {
        // The page of the job, where there are pages.
        let page = match (&doors.config.dashboard, taken.jobs.as_slice()) {
            (Some(_), [only]) => format!("jobs/{}", only.number),
            _ => String::new(),
        };
        document["url"] = json!(format!("{}/{page}", url.trim_end_matches('/')));
    }
    answer::json(StatusCode::ACCEPTED, &document)
}

async fn ready(doors: &Doors) -> Answer {
    match jobs::counted(doors).await {
        Ok(_) => answer::text(StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::error!(%error, "the server is not ready");
            answer::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the queue cannot be used\n",
            )
        }
    }
}

async fn metrics(doors: &Doors) -> Answer {
    match jobs::counted(doors).await {
        Ok((waiting, running)) => answer::text(StatusCode::OK, doors.counts.page(waiting, running)),
        Err(error) => answer::trouble(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gives_them_back() {
        let addresses = Addresses::default();
        let one: IpAddr = [192, 0, 2, 1].into();
        let taken: Vec<OwnPlace> = std::iter::repeat_with(|| addresses.enter(one))
            .map_while(|place| place)
            .collect();
        assert_eq!(taken.len(), OF_ONE);
        assert!(addresses.enter([192, 0, 2, 2].into()).is_some());
        drop(taken);
        assert!(addresses.enter(one).is_some());
        assert_eq!(addresses.0.lock().expect("whole").len(), 0);
    }
}
