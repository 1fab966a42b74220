//! The way of one request: checked, rewritten, sent to a ready instance, its response passed on.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version, request};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::agent::router::Listener;
use crate::agent::router::access::AccessEntry;
use crate::agent::router::config::ListenerConfig;
use crate::agent::router::connection::activity::Activity;
use crate::agent::router::connection::clients::{Share, Taken};
use crate::agent::router::connection::serve::Peer;
use crate::agent::router::request::answer::Refusal;
use crate::agent::router::request::download::{Download, Exchange};
use crate::agent::router::request::replay::Replay;
use crate::agent::router::request::upgrade::{self, Tunnel};
use crate::agent::router::request::upload::{Client, Upload, UploadProgress, UploadStanding};
use crate::agent::router::request::{framing, headers, hop_by_hop, host, redirect};
use crate::agent::router::upstream::active_table::NoEndpoint;
use crate::agent::router::upstream::pool::{Reuse, Sender};
use crate::agent::router::upstream::{Connection, Failure, InFlight};

/// How long the first bytes of a response's body are waited for before its head is passed on: as
/// long as nothing was sent, one that is broken can still be answered with 502.
const FIRST_BYTES: Duration = Duration::from_millis(10);

/// How many instances are asked for a connection before the client is told that there is none.
const MOST_TRIES: usize = 3;

/// Answers one request.
pub async fn handle(
    config: Arc<ListenerConfig>,
    peer: Arc<Peer>,
    mut request: Request<Incoming>,
) -> Response<Download> {
    let id = headers::request_id(request.headers()).cloned();
    let id = id.unwrap_or_else(|| config.shared.request_id());
    let address = peer.origin.client(request.headers(), &config.trusted);
    let mut entry = AccessEntry::begin(&config, &peer, address, &request, &id);
    let change = headers::upgrade(request.version(), request.headers())
        .map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
    // What is older has no interim responses, and over HTTP/2 hyper can send none.
    let hears_interim = request.version() == Version::HTTP_11;
    let sends = Client::of(request.headers());
    let (mut parts, body) = request.into_parts();
    let upload = Upload::new(body, &config.limits, sends);

    let admitted = Admitted::by(&config, &peer, address, change.is_some());
    let checked = admitted
        .and_then(|admitted| check(&config, &peer, &parts, &upload).map(|host| (admitted, host)));
    let (admitted, host) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return refusal.response(id, entry),
    };

    if config.listener == Listener::Redirect {
        drop(admitted);
        return redirect::to_live(&config, &parts.uri, &host, id, entry);
    }
    headers::towards_instance(&mut parts, host, &peer.origin, &config.trusted, id.clone());
    let hears = hears_interim.then(|| Arc::clone(&peer.activity));
    let attempt = Attempt::new(&config, parts, upload, hears);
    let replied = attempt.run(&mut entry).await;
    let checked = match replied.and_then(|reply| reply.checked(&config, change.is_some())) {
        Ok(reply) => reply.begun(&config).await,
        Err(refusal) => Err(refusal),
    };
    match checked {
        Ok(reply) => reply.pass_on(change, admitted, &config, &peer, entry),
        Err(refusal) => refusal.response(id, entry),
    }
}

/// A request's part of what its client may have.
struct Admitted {
    request: Taken,
    upgrade: Option<Taken>,
}

impl Admitted {
    /// Unless its client has too much already.
    fn by(
        config: &ListenerConfig,
        peer: &Peer,
        address: IpAddr,
        asks_for_change: bool,
    ) -> Result<Self, Refusal> {
        let client = if address == peer.origin.address() {
            Arc::clone(&peer.client)
        } else {
            config.shared.clients.enter(address)
        };
        let limit = config.most_requests();
        let request = client
            .take(Share::Request, limit)
            .ok_or(Refusal::TooMany(Share::Request, limit))?;
        if !asks_for_change {
            return Ok(Self {
                request,
                upgrade: None,
            });
        }

        let limit = config.most_upgrades();
        let upgrade = client
            .take(Share::Upgrade, limit)
            .ok_or(Refusal::TooMany(Share::Upgrade, limit))?;
        Ok(Self {
            request,
            upgrade: Some(upgrade),
        })
    }
}

/// Refuses what can be refused by the head alone; gives the host that the request is for.
fn check(
    config: &ListenerConfig,
    peer: &Peer,
    parts: &request::Parts,
    upload: &Upload,
) -> Result<HeaderValue, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if upload.size_hint().lower() > config.limits.body.bytes() {
        return Err(Refusal::TooLarge(config.limits.body));
    }

    framing::check(&parts.method, &parts.uri, &parts.headers)?;
    Ok(host::host(
        parts.version,
        &parts.uri,
        &parts.headers,
        peer.local,
    )?)
}

/// What an instance answered.
struct Reply {
    response: Response<Incoming>,
    /// What has come of its body.
    first: Option<Frame<Bytes>>,
    exchange: Exchange,
}

impl Reply {
    /// Refuses what cannot be passed on as it is.
    fn checked(mut self, config: &ListenerConfig, change_was_asked: bool) -> Result<Self, Refusal> {
        let response = &mut self.response;
        let changes = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let reason = if changes && !change_was_asked {
            "it changed the protocol without being asked".to_owned()
        } else if let Err(error) = framing::codings(response.headers())
            .and_then(|()| framing::one_length(response.status(), response.headers_mut()))
        {
            error.to_string()
        } else {
            return Ok(self);
        };
        Err(Refusal::Invalid {
            service: config.key.service.clone(),
            reason,
        })
    }

    /// Waits a moment for the beginning of the body, and refuses one that is broken there.
    async fn begun(mut self, config: &ListenerConfig) -> Result<Self, Refusal> {
        let body = self.response.body_mut();
        if body.is_end_stream() || self.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self);
        }
        match tokio::time::timeout(FIRST_BYTES, self.response.body_mut().frame()).await {
            Ok(Some(Ok(frame))) => self.first = Some(frame),
            Ok(Some(Err(error))) => {
                return Err(Refusal::Invalid {
                    service: config.key.service.clone(),
                    reason: format!("its body is broken: {error}"),
                });
            }
            Ok(None) | Err(_) => {}
        }
        Ok(self)
    }

    fn pass_on(
        self,
        change: Option<(HeaderValue, OnUpgrade)>,
        admitted: Admitted,
        config: &ListenerConfig,
        peer: &Peer,
        mut entry: AccessEntry,
    ) -> Response<Download> {
        let Self {
            mut response,
            first,
            exchange,
        } = self;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS
            && let (Some((protocol, client)), Some(taken)) = (change, admitted.upgrade)
        {
            let tunnel = Tunnel {
                client,
                in_flight: exchange.in_flight,
                idle: config.limits.upgrade_idle.get(),
                entry,
                taken: [admitted.request, taken],
            };
            return upgrade::join(response, protocol, tunnel, peer);
        }

        entry.answered(status);
        hop_by_hop::remove_named(response.headers_mut());
        // A version is a connection's own: the client's stays open whatever the instance speaks.
        *response.version_mut() = Version::HTTP_11;
        if response.body().size_hint().exact().is_none() {
            // Chunks win over a length that was sent besides (RFC 9112 §6.3); the client must see
            // only one.
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        response
            .map(|incoming| Download::proxied((first, incoming), exchange, admitted.request, entry))
    }
}

/// One request on its way to an instance.
struct Attempt<'a> {
    config: &'a ListenerConfig,
    request: Request<Upload>,
    progress: Option<Arc<UploadProgress>>,
    replay: Option<Replay>,
    /// The connection of a client that hears of interim responses.
    hears: Option<Arc<Activity>>,
    reuse: Reuse,
    tried: Vec<SocketAddr>,
    /// How long it may wait for an instance with room.
    held_until: Instant,
    reason: Option<String>,
}

impl<'a> Attempt<'a> {
    fn new(
        config: &'a ListenerConfig,
        mut parts: request::Parts,
        upload: Upload,
        hears: Option<Arc<Activity>>,
    ) -> Self {
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
            config,
            request,
            progress,
            replay,
            hears,
            reuse,
            tried: Vec::new(),
            held_until: Instant::now() + config.limits.hold.get(),
            reason: None,
        }
    }

    async fn run(mut self, entry: &mut AccessEntry) -> Result<Reply, Refusal> {
        loop {
            let in_flight = self.choose().await?;
            if !in_flight
                .enter(self.config.most_at_instance(), self.held_until)
                .await
            {
                return Err(self.busy());
            }

            entry.sent_to(in_flight.upstream().address());
            self.request.body_mut().hold(Arc::clone(&in_flight));
            let mut request = std::mem::replace(&mut self.request, Request::new(Upload::empty()));
            if let Some(activity) = self.hears.clone() {
                let asked = activity.interim.request();
                hyper::ext::on_informational(&mut request, move |said| {
                    let interim = &activity.interim;
                    interim.pass_on(asked, said.status(), said.headers());
                });
            }
            match self.send(&in_flight, request).await? {
                Ok((response, sender)) => {
                    return Ok(Reply {
                        response,
                        first: None,
                        exchange: Exchange { in_flight, sender },
                    });
                }
                Err(failure) => self.recover(&in_flight, failure)?,
            }
        }
    }

    async fn choose(&self) -> Result<Arc<InFlight>, Refusal> {
        let ListenerConfig {
            key,
            backend,
            listener,
            active_table,
            ..
        } = self.config;
        if self.tried.len() >= MOST_TRIES {
            return Err(Refusal::unreachable(key, self.reason.clone()));
        }

        let leased = active_table
            .choose(*listener, backend, &self.tried, self.held_until)
            .await;
        leased.map_err(|error| match error {
            NoEndpoint::NoneReady => Refusal::NoneReady {
                service: key.service.clone(),
                listener: *listener,
            },
            NoEndpoint::AllTried => Refusal::unreachable(key, self.reason.clone()),
        })
    }

    /// Sends, within the route's time to a response. While the client sends a body, the time counts
    /// from when it last moved: a long upload is no slow instance.
    async fn send(
        &self,
        in_flight: &InFlight,
        request: Request<Upload>,
    ) -> Result<Result<(Response<Incoming>, Sender), Failure>, Refusal> {
        let limit = self.config.limits.response_timeout.get();
        let sending = in_flight
            .upstream()
            .send(request, self.reuse, self.config, self.held_until);
        let mut sending = std::pin::pin!(sending);
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
        let limits = &self.config.limits;
        match self.progress.as_ref().map(|progress| progress.standing()) {
            Some(UploadStanding::Client) => Refusal::Stalled(limits.response_timeout),
            _ => Refusal::TooSlow {
                service: self.config.key.service.clone(),
                within: limits.response_timeout,
            },
        }
    }

    /// Makes the next attempt ready, or says why there is none.
    fn recover(&mut self, in_flight: &InFlight, failure: Failure) -> Result<(), Refusal> {
        match failure {
            Failure::Unsent { request, reason } => {
                self.request = *request;
                self.request.body_mut().let_go();
                self.tried.push(in_flight.upstream().address());
                self.reason = Some(reason);
                Ok(())
            }
            Failure::NoRoom => Err(self.busy()),
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

    fn busy(&self) -> Refusal {
        Refusal::Busy {
            service: self.config.key.service.clone(),
            within: self.config.limits.hold,
        }
    }

    fn lost(&self, error: &hyper::Error) -> Refusal {
        match self.progress.as_ref().map(|progress| progress.standing()) {
            Some(UploadStanding::TooLarge) => Refusal::TooLarge(self.config.limits.body),
            Some(UploadStanding::Broken) => Refusal::Broken,
            Some(UploadStanding::TooSlow) => Refusal::Slow,
            _ => Refusal::Invalid {
                service: self.config.key.service.clone(),
                reason: error.to_string(),
            },
        }
    }
}

/// Whether the connection ended, rather than that the instance said something wrong.
fn died(error: &hyper::Error) -> bool {
    !error.is_parse() && !error.is_user()
}
