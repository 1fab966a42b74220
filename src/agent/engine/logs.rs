//! What the instances of an environment wrote, and what comes.

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};

use crate::agent::engine::Agent;
use crate::agent::log::instances::{self, Follower};
use crate::model::facts::Facts;
use crate::model::release::ReleaseNumber;
use crate::port::engine::{EngineError, LogLine, LogQuery, Scope};
use crate::redact::LineStream;

/// How often a followed log is looked at.
const FOLLOW: Duration = Duration::from_millis(200);

/// A log that is read on.
struct Followed {
    /// Whose it is, without a text.
    line: LogLine,
    follower: Follower,
    shown: LineStream,
}

/// The last lines of every log that is asked for, and with `follow` what comes after them.
pub(super) fn stream(
    agent: &Agent,
    scope: &Scope,
    query: &LogQuery,
    facts: &Facts,
) -> BoxStream<'static, Result<LogLine, EngineError>> {
    let mut past = Vec::new();
    let mut followed = Vec::new();
    for (line, release) in asked(query, facts) {
        let directory = agent.folder();
        let path = directory.instance_log(scope, line.slot, release, &line.service, line.instance);
        // It is opened before its past is read: no line is left out in between.
        if query.follow
            && let Ok(follower) = Follower::open(&path)
        {
            followed.push(Followed {
                line: line.clone(),
                follower,
                shown: agent.redactor.stream(),
            });
        }

        let lines = agent
            .redactor
            .lines(instances::past(&path, query.tail, query.since));
        past.extend(lines.into_iter().map(|text| with_text(&line, text)));
    }

    let past = stream::iter(past);
    if query.follow {
        past.chain(coming(followed)).boxed()
    } else {
        past.boxed()
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
    stream::unfold(followed, |mut followed| async move {
        tokio::time::sleep(FOLLOW).await;
        let mut lines = Vec::new();
        for log in &mut followed {
            for text in log.follower.read().unwrap_or_default() {
                let shown = log.shown.push(text).into_iter();
                lines.extend(shown.map(|text| with_text(&log.line, text)));
            }
        }
        Some((stream::iter(lines), followed))
    })
    .flatten()
}

#[allow(clippy::unnecessary_wraps)]
fn with_text(line: &LogLine, text: String) -> Result<LogLine, EngineError> {
    Ok(LogLine {
        text,
        ..line.clone()
    })
}
