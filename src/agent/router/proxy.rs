//! The way of one request: checked, rewritten, sent to a ready instance, its response passed on.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, request};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::agent::router::access::Entry;
use crate::agent::router::answer::Refusal;
use crate::agent::router::board::NoEndpoint;
use crate::agent::router::download::{Download, Exchange};
use crate::agent::router::front::Front;
use crate::agent::router::headers;
use crate::agent::router::pool::{Reuse, Sender};
use crate::agent::router::replay::Replay;
use crate::agent::router::serve::Peer;
use crate::agent::router::upgrade;
use crate::agent::router::upload::{Client, Progress, Standing, Upload};
use crate::agent::router::upstream::{Connection, Failure, Lease};

/// How many instances are asked for a connection before the client is told that there is none.
const MOST_TRIES: usize = 3;

/// Answers one request.
pub async fn handle(
    front: Arc<Front>,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Response<Download> {
    let id = headers::request_id(request.headers()).cloned();
    let id = id.unwrap_or_else(|| front.shared.request_id());
    let mut entry = Entry::begin(&front, peer.client, &request, &id);
    let change = headers::upgrade(request.version(), request.headers())
        .map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
    let sends = Client::of(request.headers());
    let (mut parts, body) = request.into_parts();
    let upload = Upload::new(body, front.limits.body, sends);
    let host = match check(&front, &peer, &parts, &upload) {
        Ok(host) => host,
        Err(refusal) => return refusal.response(entry),
    };
    headers::towards_instance(&mut parts, host, peer.client.ip(), id);
    match Attempt::new(&front, parts, upload).run(&mut entry).await {
        Ok(reply) => pass_on(reply, change, &front, &peer, entry),
        Err(refusal) => refusal.response(entry),
    }
}

/// Refuses what can be refused by the head alone; gives the host that the request is for.
fn check(
    front: &Front,
    peer: &Peer,
    parts: &request::Parts,
    upload: &Upload,
) -> Result<HeaderValue, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if upload.size_hint().lower() > front.limits.body.bytes() {
        return Err(Refusal::TooLarge(front.limits.body));
    }
    Ok(headers::host(
        parts.version,
        &parts.uri,
        &parts.headers,
        peer.local,
    )?)
}

/// What an instance answered.
struct Reply {
    response: Response<Incoming>,
    exchange: Exchange,
}

/// One request on its way to an instance.
struct Attempt<'a> {
    front: &'a Front,
    request: Request<Upload>,
    progress: Option<Arc<Progress>>,
    replay: Option<Replay>,
    reuse: Reuse,
    tried: Vec<SocketAddr>,
    reason: Option<String>,
}

impl<'a> Attempt<'a> {
    fn new(front: &'a Front, mut parts: request::Parts, upload: Upload) -> Self {
        if upload.size_hint().exact().is_none() {
            // hyper would leave out the body of a GET that does not say this.
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
        let replay = Replay::of(&parts, &upload);
        let reuse = if replay.is_some() {
            Reuse::Any
        } else {
            Reuse::Recent
        };
        let progress = upload.progress();
        let request = Request::from_parts(parts, upload);
        Self {
            front,
            request,
            progress,
            replay,
            reuse,
            tried: Vec::new(),
            reason: None,
        }
    }

    async fn run(mut self, entry: &mut Entry) -> Result<Reply, Refusal> {
        loop {
            let lease = self.lease().await?;
            entry.sent_to(lease.upstream().address());
            self.request.body_mut().hold(Arc::clone(&lease));
            let request = std::mem::replace(&mut self.request, Request::new(Upload::empty()));
            match self.send(&lease, request).await? {
                Ok((response, sender)) => {
                    return Ok(Reply {
                        response,
                        exchange: Exchange { lease, sender },
                    });
                }
                Err(failure) => self.recover(&lease, failure)?,
            }
        }
    }

    async fn lease(&self) -> Result<Arc<Lease>, Refusal> {
        let Front {
            key,
            listener,
            limits,
            board,
            ..
        } = self.front;
        if self.tried.len() >= MOST_TRIES {
            return Err(Refusal::unreachable(key, self.reason.clone()));
        }
        let leased = board
            .lease(*listener, &key.service, &self.tried, limits.hold.get())
            .await;
        leased.map_err(|error| match error {
            NoEndpoint::NoneReady => Refusal::NoneReady {
                service: key.service.clone(),
                listener: *listener,
            },
            NoEndpoint::AllTried => Refusal::unreachable(key, self.reason.clone()),
        })
    }

    /// Sends, within the route's time to a response. While the client sends a body, the time counts from
    /// when it last moved: a long upload is no slow instance.
    async fn send(
        &self,
        lease: &Lease,
        request: Request<Upload>,
    ) -> Result<Result<(Response<Incoming>, Sender), Failure>, Refusal> {
        let limit = self.front.limits.response_timeout.get();
        let mut sending = std::pin::pin!(lease.upstream().send(request, self.reuse));
        let mut deadline = Instant::now() + limit;
        loop {
            if let Ok(sent) = tokio::time::timeout_at(deadline, &mut sending).await {
                return Ok(sent);
            }
            let moved = self
                .progress
                .as_ref()
                .map(|progress| progress.moved() + limit);
            match moved.filter(|later| *later > deadline) {
                Some(later) => deadline = later,
                None => return Err(self.overdue()),
            }
        }
    }

    fn overdue(&self) -> Refusal {
        let limits = &self.front.limits;
        match self.progress.as_ref().map(|progress| progress.standing()) {
            Some(Standing::Client) => Refusal::Stalled(limits.response_timeout),
            _ => Refusal::TooSlow {
                service: self.front.key.service.clone(),
                within: limits.response_timeout,
            },
        }
    }

    /// Makes the next attempt ready, or says why there is none.
    fn recover(&mut self, lease: &Lease, failure: Failure) -> Result<(), Refusal> {
        match failure {
            Failure::Unsent { request, reason } => {
                self.request = *request;
                self.request.body_mut().let_go();
                self.tried.push(lease.upstream().address());
                self.reason = Some(reason);
                Ok(())
            }
            Failure::Lost {
                connection: Connection::Reused,
                error,
            } if died(&error) => {
                let replay = self.replay.take().ok_or_else(|| self.lost(&error))?;
                self.request = replay.request();
                self.reuse = Reuse::Never;
                Ok(())
            }
            Failure::Lost { error, .. } => Err(self.lost(&error)),
        }
    }

    fn lost(&self, error: &hyper::Error) -> Refusal {
        match self.progress.as_ref().map(|progress| progress.standing()) {
            Some(Standing::TooLarge) => Refusal::TooLarge(self.front.limits.body),
            Some(Standing::Broken) => Refusal::Broken,
            _ => Refusal::Invalid {
                service: self.front.key.service.clone(),
                reason: error.to_string(),
            },
        }
    }
}

/// Whether the connection ended, rather than that the instance said something wrong.
fn died(error: &hyper::Error) -> bool {
    !error.is_parse() && !error.is_user()
}

fn pass_on(
    reply: Reply,
    change: Option<(HeaderValue, OnUpgrade)>,
    front: &Front,
    peer: &Peer,
    mut entry: Entry,
) -> Response<Download> {
    let Reply {
        mut response,
        exchange,
    } = reply;
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let Some((protocol, client)) = change else {
            let reason = "it changed the protocol without being asked".to_owned();
            return Refusal::Invalid {
                service: front.key.service.clone(),
                reason,
            }
            .response(entry);
        };
        return upgrade::join(response, protocol, client, exchange.lease, peer, entry);
    }
    entry.answered(status);
    headers::remove_hop_by_hop(response.headers_mut());
    if response.body().size_hint().exact().is_none() {
        // Chunks win over a length that was sent besides (RFC 9112 §6.3); the client must see only one.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response.map(|incoming| Download::proxied(incoming, exchange, entry))
}
