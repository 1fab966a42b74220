//! Who is signed in: kept in memory, so a server that is started again knows nobody.
//!
//! A session is known by the hash of its cookie, and names a token by its hash: what a client may is
//! looked up at each request, and one that is revoked is none from then on.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::ops::doors::clients::fingerprint;

/// The most sessions of one token, and of all; the oldest makes room.
const OF_ONE: usize = 20;
const OF_ALL: usize = 10_000;

/// How long somebody stays signed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// In all.
    pub whole: Duration,
    /// Without a request.
    pub idle: Duration,
}

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// By what it is found: the hash of its cookie.
    pub key: String,
    /// The hash of the token.
    pub token: String,
    /// What the forms of its pages have in them.
    pub form: String,
    began: Instant,
    seen: Instant,
}

/// Whether a request is somebody's doing: a page that renews itself keeps nobody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Somebody asked for it.
    Own,
    /// The page did.
    OfPage,
}

/// The sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    all: Mutex<HashMap<String, Session>>,
    limits: Limits,
}

impl Sessions {
    pub fn new(limits: Limits) -> Self {
        Self {
            all: Mutex::default(),
            limits,
        }
    }

    /// How long a cookie is kept at the most.
    pub const fn whole(&self) -> Duration {
        self.limits.whole
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs somebody in. The cookie's value; none without randomness.
    pub fn begin(&self, token: &str, now: Instant) -> Option<String> {
        let (cookie, form) = (secret()?, secret()?);
        let key = fingerprint(cookie.as_bytes());
        let mut all = self.all();
        all.retain(|_, session| self.is_valid(session, now));
        while all.values().filter(|one| one.token == token).count() >= OF_ONE {
            remove_oldest(&mut all, |one| one.token == token);
        }
        while all.len() >= OF_ALL {
            remove_oldest(&mut all, |_| true);
        }

        let session = Session {
            key: key.clone(),
            token: token.to_owned(),
            form,
            began: now,
            seen: now,
        };
        all.insert(key, session);
        Some(cookie)
    }

    /// Whose cookie this is, as long as the session lasts.
    pub fn find(&self, cookie: &str, by: Use, now: Instant) -> Option<Session> {
        self.known(&fingerprint(cookie.as_bytes()), by, now)
    }

    /// The session with this key, as long as it lasts.
    pub fn known(&self, key: &str, by: Use, now: Instant) -> Option<Session> {
        let mut all = self.all();
        let session = all.get_mut(key)?;
        if !self.is_valid(session, now) {
            all.remove(key);
            return None;
        }
        if by == Use::Own {
            session.seen = now;
        }
        Some(session.clone())
    }

    fn is_valid(&self, session: &Session, now: Instant) -> bool {
        now.saturating_duration_since(session.began) < self.limits.whole
            && now.saturating_duration_since(session.seen) < self.limits.idle
    }

    /// Signs somebody out.
    pub fn end(&self, key: &str) {
        self.all().remove(key);
    }
}

fn remove_oldest(all: &mut HashMap<String, Session>, of: impl Fn(&Session) -> bool) {
    let candidates = all.values().filter(|one| of(one));
    let oldest = candidates.min_by_key(|one| one.began);
    if let Some(key) = oldest.map(|one| one.key.clone()) {
        all.remove(&key);
    }
}

/// 256 random bits, as they may stand in a cookie and in a form; none without randomness.
pub(super) fn secret() -> Option<String> {
    let mut random = [0; 32];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(random))
}

/// Whether two texts are the same, in a time that says nothing of where they differ.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        whole: Duration::from_mins(100),
        idle: Duration::from_mins(10),
    };

    fn minutes(count: u64) -> Duration {
        Duration::from_mins(count)
    }

    #[test]
    fn a_session_ends_when_nothing_is_done_and_after_its_time_whatever_is_done() {
        let (sessions, start) = (Sessions::new(LIMITS), Instant::now());
        let cookie = sessions.begin("t", start).expect("a cookie");
        for minute in (5..100).step_by(5) {
            let found = sessions.find(&cookie, Use::Own, start + minutes(minute));
            assert!(found.is_some(), "{minute}");
        }
        assert_eq!(sessions.find(&cookie, Use::Own, start + minutes(100)), None);

        let cookie = sessions.begin("t", start).expect("a cookie");
        let found = sessions.find(&cookie, Use::Own, start + minutes(9));
        assert!(found.is_some());
        // A page that renews itself is not somebody.
        let found = sessions.find(&cookie, Use::OfPage, start + minutes(15));
        assert!(found.is_some());
        assert_eq!(sessions.find(&cookie, Use::Own, start + minutes(19)), None);
        // It is gone, and not only hidden.
        assert_eq!(sessions.find(&cookie, Use::Own, start), None);
    }

    #[test]
    fn a_session_is_its_cookies_alone_and_is_over_once_signed_out() {
        let (sessions, now) = (Sessions::new(LIMITS), Instant::now());
        let one = sessions.begin("t", now).expect("a cookie");
        let two = sessions.begin("t", now).expect("a cookie");
        assert_ne!(one, two);
        let first = sessions.find(&one, Use::Own, now).expect("signed in");
        let second = sessions.find(&two, Use::Own, now).expect("signed in");
        assert_ne!(first.form, second.form);
        assert!(!one.contains(&first.key) && first.key != one);
        for other in ["", "x", first.key.as_str(), &one[1..]] {
            assert_eq!(sessions.find(other, Use::Own, now), None, "{other}");
        }
        sessions.end(&first.key);
        assert_eq!(sessions.find(&one, Use::Own, now), None);
        assert!(sessions.find(&two, Use::Own, now).is_some());
    }

    #[test]
    fn a_token_has_so_many_sessions_and_takes_none_of_another() {
        let (sessions, now) = (Sessions::new(LIMITS), Instant::now());
        let other = sessions.begin("other", now).expect("a cookie");
        let at = |number: usize| now + Duration::from_millis(number as u64);
        let begun = (0..=OF_ONE).map(|number| sessions.begin("t", at(number)));
        let begun: Vec<String> = begun.collect::<Option<_>>().expect("cookies");
        let is_known = |cookie: &String| sessions.find(cookie, Use::Own, now).is_some();
        assert!(!is_known(&begun[0]) && begun[1..].iter().all(is_known));
        assert!(is_known(&other));
    }
}
