//! What happens while somebody looks at a page, as server-sent events.
//!
//! Each stream is bounded: in how many there are, in how long it lasts (a browser comes back by
//! itself, with where it was), and in how long a reader that takes nothing is waited for.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::Instant;

use super::pages::steps;
use super::session::Use;
use super::{Dashboard, Visitor, foreign};
use crate::model::client::Client;
use crate::model::job::JobNumber;
use crate::ops::doors::jobs::{self, LogText, Patience};
use crate::ops::doors::{Asker, Doors, lists};
use crate::serve::answer::{self, Answer};

/// The most streams at once, and of one token.
const OF_ALL: usize = 200;
const OF_ONE: usize = 16;

/// How long a stream lasts.
const LASTS: Duration = Duration::from_mins(10);

/// How long a reader may take nothing.
pub(super) const SLOW: Duration = Duration::from_secs(30);

/// How often it is looked whether jobs have changed.
const LOOK: Duration = Duration::from_secs(1);

/// How often something is sent, so that nobody in between takes the connection for dead.
const SILENCE: Duration = Duration::from_secs(15);

/// How many pieces wait for a reader.
const AHEAD: usize = 4;

/// The streams there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<String, usize>>>);

/// A place for a stream, given back when it is dropped.
#[derive(Debug)]
struct Place {
    streams: Streams,
    of: String,
}

impl Streams {
    fn enter(&self, of: &str) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().sum::<usize>() >= OF_ALL {
            return None;
        }
        let count = all.entry(of.to_owned()).or_default();
        if *count >= OF_ONE {
            return None;
        }
        *count += 1;
        Some(Place {
            streams: self.clone(),
            of: of.to_owned(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self
            .streams
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.of);
            }
        }
    }
}

/// A stream, from its server's side.
struct Stream {
    dashboard: Arc<Dashboard>,
    doors: Arc<Doors>,
    /// By what the session is known.
    session: String,
    send: Sender<Bytes>,
    until: Instant,
    _place: Place,
}

impl Stream {
    /// Whoever looks on, as long as that is somebody who is signed in.
    fn visitor(&self) -> Option<Client> {
        let now = std::time::Instant::now();
        let sessions = &self.dashboard.sessions;
        let session = sessions.known(&self.session, Use::OfPage, now)?;
        self.dashboard.client(&self.doors, &session)
    }

    /// Whether it went to the reader in time.
    async fn send(&self, text: String) -> bool {
        let sent = self.send.send_timeout(Bytes::from(text), SLOW).await;
        sent.is_ok() && Instant::now() < self.until
    }
}

/// Opens a stream that `follow` fills.
fn open<F, Fut>(dashboard: &Arc<Dashboard>, doors: &Arc<Doors>, by: &Visitor, follow: F) -> Answer
where
    F: FnOnce(Stream) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let Some(place) = dashboard.streams.enter(&by.client.name) else {
        let reason = "there are too many pages open that show what happens";
        return answer::failure(StatusCode::SERVICE_UNAVAILABLE, reason);
    };
    let (send, pieces) = mpsc::channel(AHEAD);
    tokio::spawn(follow(Stream {
        dashboard: Arc::clone(dashboard),
        doors: Arc::clone(doors),
        session: by.session.key.clone(),
        send,
        until: Instant::now() + LASTS,
        _place: place,
    }));
    let mut answer = answer::streamed("text/event-stream", pieces);
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    answer
        .headers_mut()
        .insert(unbuffered, HeaderValue::from_static("no"));
    answer
}

/// What a page shows of a job already.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub number: JobNumber,
    /// How the job stood, in a word.
    pub word: String,
    /// Where the rest of the log begins, in bytes.
    pub from: u64,
}

/// What a job writes and does besides.
pub(super) fn job(
    dashboard: &Arc<Dashboard>,
    doors: &Arc<Doors>,
    by: &Visitor,
    page: Shown,
) -> Answer {
    open(dashboard, doors, by, |stream| follow_job(stream, page))
}

/// That one of the jobs has changed since a page had this stamp.
pub(super) fn changes(
    dashboard: &Arc<Dashboard>,
    doors: &Arc<Doors>,
    by: &Visitor,
    stamp: String,
) -> Answer {
    open(dashboard, doors, by, |stream| follow_changes(stream, stamp))
}

async fn follow_job(stream: Stream, page: Shown) {
    let (number, mut from) = (page.number, page.from);
    let mut steps_shown = String::new();
    if !stream.send("retry: 2000\n\n".to_owned()).await {
        return;
    }
    while let Some(client) = stream.visitor() {
        let asker = Asker::Client(&client);
        let said = jobs::log(&stream.doors, number, from, &asker, Patience::Waits).await;
        let Ok(said) = said else { return };
        let (text, next) = lines(&said, from);
        from = next;

        let mut events = String::new();
        if text.is_empty() {
            events.push_str(":\n\n");
        } else {
            let data = json!(foreign::log(text));
            let _ = write!(events, "event: log\nid: {from}\ndata: {data}\n\n");
        }
        if let Ok(report) = lists::report(&stream.doors, number, &asker).await {
            let now = Timestamp::now();
            let steps = json!(steps::shown(&report, said.job.job.is_open(), now)).to_string();
            if steps != steps_shown {
                let _ = write!(events, "event: steps\ndata: {steps}\n\n");
                steps_shown = steps;
            }
        }
        // The page is another one once the job is begun, and once it is over and all is read.
        let job = &said.job.job;
        let is_other = job.word() != page.word && (job.is_open() || text.is_empty());
        if is_other {
            events.push_str("event: changed\ndata: 1\n\n");
        }
        if !stream.send(events).await || is_other {
            return;
        }
    }
}

/// The whole lines of a piece, and where the next piece begins. A line that goes on behind the piece
/// is left for that, unless there is no other.
fn lines(said: &LogText, from: u64) -> (&str, u64) {
    let is_whole = said.text.len() as u64 == said.next - from;
    match said.text.rfind('\n') {
        Some(end) if is_whole => (&said.text[..=end], from + end as u64 + 1),
        _ => (&said.text, said.next),
    }
}

async fn follow_changes(stream: Stream, before: String) {
    let mut silent = Instant::now();
    if !stream.send("retry: 5000\n\n".to_owned()).await {
        return;
    }
    while let Some(client) = stream.visitor() {
        let asker = Asker::Client(&client);
        let Ok(stamp) = lists::stamp(&stream.doors, &asker).await else {
            return;
        };
        if stamp != before {
            let _ = stream.send("event: changed\ndata: 1\n\n".to_owned()).await;
            return;
        }
        if silent.elapsed() >= SILENCE {
            silent = Instant::now();
            if !stream.send(":\n\n".to_owned()).await {
                return;
            }
        }
        tokio::select! {
            () = stream.send.closed() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_bounds_and_give_their_places_back() {
        let streams = Streams::default();
        let of = |name: &str| {
            let name = name.to_owned();
            let all = std::iter::repeat_with(|| streams.enter(&name));
            all.map_while(|place| place).collect::<Vec<Place>>()
        };
        let kim = of("kim");
        assert_eq!(kim.len(), OF_ONE);
        let others: Vec<Place> = (0..20).flat_map(|other| of(&other.to_string())).collect();
        assert_eq!(kim.len() + others.len(), OF_ALL);
        drop(kim);
        assert!(streams.enter("kim").is_some());
        drop(others);
        assert_eq!(streams.0.lock().expect("whole").len(), 0);
    }
}
