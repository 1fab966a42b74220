//! Signing in and out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;

use super::browser::{Cookie, has_form, html, own_path, to};
use super::pages::login::{self, Said};
use super::session::secret;
use super::{Dashboard, Visitor, views};
use crate::model::client::{Client, Proof};
use crate::ops::doors::Doors;
use crate::ops::doors::clients::{Clients, TOKEN, fingerprint};
use crate::serve::answer::{self, Answer};

/// The largest form, in bytes.
pub(super) const FORM: u64 = 8 << 10;

/// How long the form for signing in may be left open.
const OPEN: Duration = Duration::from_hours(1);

/// The page where somebody signs in.
pub(super) fn form(dashboard: &Dashboard, head: &Parts, said: Said) -> Answer {
    let next = views::value(head, "next");
    let next = next.as_deref().and_then(own_path).unwrap_or("/");
    shown(dashboard, head, next, said)
}

fn shown(dashboard: &Dashboard, head: &Parts, next: &str, said: Said) -> Answer {
    let known = dashboard.place.cookie(Cookie::Form, &head.headers);
    let is_one = |text: &&str| text.len() == 43 && text.bytes().all(is_sign);
    // The same for every form that is open in this browser.
    let Some(word) = known.filter(is_one).map(str::to_owned).or_else(secret) else {
        return answer::failure(StatusCode::SERVICE_UNAVAILABLE, "there is no randomness");
    };
    let status = match said {
        Said::Nothing => StatusCode::OK,
        Said::NoToken | Said::OldForm => StatusCode::FORBIDDEN,
        Said::TooOften => StatusCode::TOO_MANY_REQUESTS,
    };
    let mut answer = html(status, login::page(&word, next, said));
    let place = &dashboard.place;
    place.give(&mut answer, Cookie::Form, &word, Some(OPEN));
    answer
}

const fn is_sign(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Signs somebody in.
pub(super) async fn sign_in(
    dashboard: &Dashboard,
    doors: &Doors,
    address: IpAddr,
    head: &Parts,
    body: Incoming,
) -> Answer {
    let form = match Form::read(body).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    let next = form.value("next").and_then(own_path).unwrap_or("/");
    let again = |said| shown(dashboard, head, next, said);
    let expected = dashboard.place.cookie(Cookie::Form, &head.headers);
    if !dashboard.place.is_own(&head.headers) || !has_form(form.value("form"), expected) {
        return again(Said::OldForm);
    }
    let now = Instant::now();
    if !dashboard.tries.may(address, now) {
        return again(Said::TooOften);
    }

    let token = form.value("token").unwrap_or_default().trim();
    let Some(client) = client(doors, token) else {
        dashboard.tries.failed(address, now);
        tracing::warn!(%address, "somebody could not sign in: the token is none");
        return again(Said::NoToken);
    };
    let Some(cookie) = dashboard.sessions.begin(&client.fingerprint, now) else {
        return answer::failure(StatusCode::SERVICE_UNAVAILABLE, "there is no randomness");
    };
    tracing::info!(client = client.name, %address, "somebody signed in");
    // One that was signed in here before is so no more.
    if let Some(before) = dashboard.place.cookie(Cookie::Session, &head.headers) {
        dashboard.sessions.end(&fingerprint(before.as_bytes()));
    }
    let mut answer = to(next);
    let lasts = Some(dashboard.sessions.whole());
    let place = &dashboard.place;
    place.give(&mut answer, Cookie::Session, &cookie, lasts);
    place.give(&mut answer, Cookie::Form, "", None);
    answer
}

/// The client whose token this is. It is looked for by its hash: how long that takes says nothing of
/// the token.
fn client(doors: &Doors, token: &str) -> Option<Client> {
    if !token.starts_with(TOKEN) {
        return None;
    }
    let clients = Clients::of(&doors.config.data);
    let found = clients.valid(Proof::Token, &fingerprint(token.as_bytes()));
    found.ok().flatten()
}

/// Signs somebody out.
pub(super) fn sign_out(dashboard: &Dashboard, visitor: &Visitor) -> Answer {
    dashboard.sessions.end(&visitor.session.key);
    tracing::info!(client = visitor.client.name, "somebody signed out");
    let mut answer = to("/login");
    dashboard.place.give(&mut answer, Cookie::Session, "", None);
    answer
}

/// What a form has in it.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads it.
    ///
    /// # Errors
    /// What the browser is told: it is too large, or does not come.
    pub async fn read(body: Incoming) -> Result<Self, Answer> {
        let bytes = answer::body(body, FORM).await?;
        let pairs = url::form_urlencoded::parse(&bytes);
        Ok(Self(pairs.into_owned().collect()))
    }

    /// A field.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Whether a form is from a page that this visitor was given.
pub(super) fn is_visitors(
    dashboard: &Arc<Dashboard>,
    visitor: &Visitor,
    (head, form): (&Parts, &Form),
) -> bool {
    dashboard.place.is_own(&head.headers)
        && has_form(form.value("form"), Some(&visitor.session.form))
}
