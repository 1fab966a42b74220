//! The listener for webhooks. Whoever comes here is a stranger.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer, HEAD};
use crate::ops::doors::intake::{Hooked, Taken, body_limit, receive};
use crate::ops::doors::{Doors, jobs};

/// How many connections there are at once.
const CONNECTIONS: usize = 256;

/// How long to wait when the system has no descriptor for a client.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Lets clients in until it is told to stop.
pub(super) async fn listen(
    doors: Arc<Doors>,
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok(place), Ok((stream, _))) = (place, accepted) else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        let (doors, acceptor, stop) = (Arc::clone(&doors), acceptor.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                () = stop.cancelled() => {}
                () = client(doors, stream, acceptor) => {}
            }
        });
    }
}

async fn client(doors: Arc<Doors>, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let doors = Arc::clone(&doors);
        async move { Ok::<Answer, Infallible>(routed(&doors, request).await) }
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

async fn routed(doors: &Doors, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (request.method(), parts.as_slice()) {
        (&Method::POST, ["hooks", project, receiver]) => {
            hook(doors, project, receiver, request).await
        }
        (&Method::GET, ["healthz"]) => answer::text(StatusCode::OK, "ok\n"),
        (&Method::GET, ["readyz"]) => ready(doors).await,
        (&Method::GET, ["metrics"]) => metrics(doors).await,
        (_, ["hooks", _, _] | ["healthz" | "readyz" | "metrics"]) => answer::failure(
            StatusCode::METHOD_NOT_ALLOWED,
            "this is asked for in another way",
        ),
        _ => answer::failure(StatusCode::NOT_FOUND, "there is nothing here"),
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
        document["url"] = json!(format!("{}/", url.trim_end_matches('/')));
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
