//! What the instances of an environment wrote, and what comes.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;

use crate::agent::engine::Agent;
use crate::agent::log::instances::{Follower, Past};
use crate::model::facts::Facts;
use crate::model::release::ReleaseNumber;
use crate::port::engine::{EngineError, LogLine, LogQuery, Scope};
use crate::redact::LineStream;

/// How often a followed log is looked at.
const FOLLOW: Duration = Duration::from_millis(200);

/// One instance's log.
#[derive(Debug)]
struct Log {
    /// Whose it is, without a text.
    line: LogLine,
    path: PathBuf,
    /// How long it was when it was asked for: what comes behind that is read on.
    until: u64,
}

/// A log that is read on.
struct Followed {
    /// Whose it is, without a text.
    line: LogLine,
    follower: Follower,
    shown: LineStream,
}

/// What was written to a log until now, as far as it was not read yet.
struct Reading {
    log: Log,
    tail: Option<usize>,
    since: Option<Timestamp>,
    /// None until it is looked at.
    past: Option<Past>,
    shown: LineStream,
}

type Shown = Vec<Result<LogLine, EngineError>>;

/// The last lines of every log that is asked for, and with `follow` what comes after them. Files
/// are read as the lines are taken, a piece at a time, and by threads that may wait.
pub(super) fn stream(
    agent: &Agent,
    scope: &Scope,
    query: &LogQuery,
    facts: &Facts,
) -> BoxStream<'static, Result<LogLine, EngineError>> {
    let mut logs = Vec::new();
    let mut followed = Vec::new();
    for (line, release) in asked(query, facts) {
        let directory = agent.folder();
        let path = directory.instance_log(scope, line.slot, release, &line.service, line.instance);
        let mut until = u64::MAX;
        // It is opened before its past is read: no line is left out in between.
        if query.follow
            && let Ok(follower) = Follower::open(&path)
        {
            until = follower.length();
            followed.push(Followed {
                line: line.clone(),
                follower,
                shown: agent.redactor.stream(),
            });
        }
        logs.push(Log { line, path, until });
    }

    let readings = logs.into_iter().map(|log| Reading {
        log,
        tail: query.tail,
        since: query.since,
        past: None,
        shown: agent.redactor.stream(),
    });
    let past = stream::iter(readings.collect::<Vec<_>>()).flat_map(read);
    if query.follow {
        past.chain(coming(followed)).boxed()
    } else {
        past.boxed()
    }
}

/// The lines of one log until now.
fn read(reading: Reading) -> BoxStream<'static, Result<LogLine, EngineError>> {
    stream::unfold(Some(reading), |reading| async move {
        let reading = reading?;
        let step = tokio::task::spawn_blocking(move || reading.step());
        let (lines, rest) = step.await.ok()?;
        Some((stream::iter(lines), rest))
    })
    .flatten()
    .boxed()
}

impl Reading {
    /// The lines of the next piece, and what is left; nothing is left of a log that cannot be read.
    fn step(mut self) -> (Shown, Option<Self>) {
        let piece = match &mut self.past {
            Some(past) => past.next(),
            none => Past::open(&self.log.path, self.tail, self.since, self.log.until)
                .and_then(|past| none.insert(past).next()),
        };
        let (texts, is_whole) = match piece {
            Ok(Some(lines)) => {
                let shown = lines.into_iter().flat_map(|line| self.shown.push(line));
                (shown.collect(), false)
            }
            Ok(None) | Err(_) => (self.shown.finish(), true),
        };
        let lines = texts
            .into_iter()
            .map(|text| with_text(&self.log.line, text));
        (lines.collect(), (!is_whole).then_some(self))
    }
}

/// Every instance that is asked for, as a line without a text, and the number of its release.
fn asked(query: &LogQuery, facts: &Facts) -> Vec<(LogLine, ReleaseNumber)> {
    let mut asked = Vec::new();
    let slots = facts.slots.iter();
    for (slot, there) in slots.filter(|(slot, _)| query.slot.is_none_or(|s| s == **slot)) {
        let workloads = there
            .workloads
            .iter()
            .filter(|(name, _)| query.service.as_ref().is_none_or(|s| s == *name));
        for (service, workload) in workloads {
            asked.extend((0..workload.spec.replicas).map(|instance| {
                let line = LogLine {
                    slot: *slot,
                    service: service.clone(),
                    instance,
                    text: String::new(),
                };
                (line, there.label.number)
            }));
        }
    }

    asked
}

/// Looks at every log again and again.
fn coming(
    followed: Vec<Followed>,
) -> impl stream::Stream<Item = Result<LogLine, EngineError>> + Send + 'static {
    stream::unfold(followed, |followed| async move {
        tokio::time::sleep(FOLLOW).await;
        let look = tokio::task::spawn_blocking(move || look(followed));
        let (lines, followed) = look.await.ok()?;
        Some((stream::iter(lines), followed))
    })
    .flatten()
}

/// What came to any of them.
fn look(mut followed: Vec<Followed>) -> (Shown, Vec<Followed>) {
    let mut lines = Vec::new();
    for log in &mut followed {
        for text in log.follower.read().unwrap_or_default() {
            let shown = log.shown.push(text).into_iter();
            lines.extend(shown.map(|text| with_text(&log.line, text)));
        }
    }
    (lines, followed)
}

#[allow(clippy::unnecessary_wraps)]
fn with_text(line: &LogLine, text: String) -> Result<LogLine, EngineError> {
    Ok(LogLine {
        text,
        ..line.clone()
    })
}
