//! The pages for people: how environments and jobs stand, and what may be done about them.
//!
//! Every page is made here and is whole without a script. Who looks is known by a token of `shipit
//! token issue`; what that may is looked up at each request, by the rules that every other door has.
//! `pages` is pure, `gate` lets people in, `views` and `actions` call the use cases of `ops::doors`.

mod actions;
mod assets;
mod browser;
mod events;
mod foreign;
mod gate;
mod pages;
mod session;
mod tries;
mod views;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;

use self::browser::{Cookie, Place, html, secured, to};
use self::events::Streams;
use self::pages::{Frame, login, message};
use self::session::{Limits, Session, Sessions, Use};
use self::tries::Tries;
use super::answer::{self, Answer};
use crate::model::client::{Client, Proof};
use crate::model::trusted_proxies::TrustedProxies;
use crate::ops::doors::clients::Clients;
use crate::ops::doors::{DoorError, Doors};

/// The pages, and who is signed in.
pub(super) struct Dashboard {
    place: Place,
    proxies: TrustedProxies,
    sessions: Sessions,
    tries: Tries,
    streams: Streams,
}

/// Somebody who is signed in.
#[derive(Debug, Clone)]
struct Visitor {
    session: Session,
    client: Client,
}

impl Visitor {
    fn frame(&self) -> Frame<'_> {
        Frame {
            who: &self.client.name,
            form: &self.session.form,
            now: Timestamp::now(),
        }
    }
}

impl Dashboard {
    /// The pages of a server; none where its configuration asks for none.
    pub fn of(doors: &Doors) -> Option<Arc<Self>> {
        let config = doors.config.dashboard.as_ref()?;
        let limits = Limits {
            whole: config.session.get(),
            idle: config.idle.get(),
        };
        Some(Arc::new(Self {
            place: Place::of(&doors.config),
            proxies: config.proxies.clone(),
            sessions: Sessions::new(limits),
            tries: Tries::default(),
            streams: Streams::default(),
        }))
    }

    /// Answers a request of a browser.
    pub async fn answer(
        self: &Arc<Self>,
        doors: &Arc<Doors>,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> Answer {
        secured(self.routed(doors, peer, request).await)
    }

    async fn routed(
        self: &Arc<Self>,
        doors: &Arc<Doors>,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let is_post = match head.method {
            Method::GET | Method::HEAD => false,
            Method::POST => true,
            _ => return nothing(None, StatusCode::METHOD_NOT_ALLOWED),
        };
        let path = head.uri.path();
        if !is_post && let Some(asset) = assets::find(path) {
            return asset;
        }
        if path == "/login" {
            let address = tries::address(peer, &head.headers, &self.proxies);
            return if is_post {
                gate::sign_in(self, doors, address, &head, body).await
            } else {
                gate::form(self, &head, login::Said::Nothing)
            };
        }

        let Some(visitor) = self.visitor(doors, &head) else {
            return self.stranger(&head);
        };
        if is_post {
            actions::answer(self, doors, &visitor, &head, body).await
        } else {
            views::answer(self, doors, &visitor, &head).await
        }
    }

    /// Who has asked, if that is somebody who is signed in.
    fn visitor(&self, doors: &Doors, head: &Parts) -> Option<Visitor> {
        let cookie = self.place.cookie(Cookie::Session, &head.headers)?;
        let by = match views::value(head, "auto") {
            Some(_) => Use::OfPage,
            None => Use::Own,
        };
        let session = self.sessions.find(cookie, by, Instant::now())?;
        let client = self.client(doors, &session)?;
        Some(Visitor { session, client })
    }

    /// Whose session it is: nobody's from the moment on when the token is not valid.
    fn client(&self, doors: &Doors, session: &Session) -> Option<Client> {
        let clients = Clients::of(&doors.config.data);
        let found = clients.valid(Proof::Token, &session.token).ok().flatten();
        if found.is_none() {
            self.sessions.end(&session.key);
        }
        found
    }

    /// What somebody is told who is not signed in.
    fn stranger(&self, head: &Parts) -> Answer {
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let asked = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let next = browser::own_path(asked).unwrap_or("/");
        if head.method == Method::POST {
            return self.lost("The session is over. Sign in, and do it again.");
        }
        // No page: whoever asks would take the form for what it has asked for.
        let is_page = text("sec-fetch-dest").is_none_or(|dest| dest == "document");
        if !is_page || head.uri.path().ends_with("/events") {
            return answer::failure(StatusCode::UNAUTHORIZED, "sign in first");
        }
        if text("sec-fetch-site") == Some("cross-site") {
            return html(StatusCode::OK, login::bounce(next));
        }
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("next", next)
            .finish();
        to(&format!("/login?{query}"))
    }

    fn lost(&self, text: &str) -> Answer {
        let mut answer = html(
            StatusCode::UNAUTHORIZED,
            message(None, "You are signed out", text),
        );
        self.place.give(&mut answer, Cookie::Session, "", None);
        answer
    }
}

/// That there is no such page.
fn nothing(visitor: Option<&Visitor>, status: StatusCode) -> Answer {
    let frame = visitor.map(Visitor::frame);
    let text = "There is nothing here, or nothing that this token may look at.";
    html(status, message(frame.as_ref(), "Nothing here", text))
}

/// What a use case could not do.
fn trouble(visitor: &Visitor, error: &DoorError) -> Answer {
    let (status, title, text) = match error {
        DoorError::Unknown(_) => return nothing(Some(visitor), StatusCode::NOT_FOUND),
        DoorError::Forbidden(reason) => (StatusCode::FORBIDDEN, "Not allowed", reason.clone()),
        DoorError::Impossible(reason) => (StatusCode::CONFLICT, "Not possible", reason.clone()),
        DoorError::Queue(_) | DoorError::Runner(_) | DoorError::Setup { .. } => {
            tracing::error!(%error, "a page was not served");
            let text = "The server's log says why. Try again in a moment.".to_owned();
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "It does not work now",
                text,
            )
        }
    };
    html(status, message(Some(&visitor.frame()), title, &text))
}
