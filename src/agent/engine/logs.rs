//! What the instances of an environment wrote, and what comes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};

use crate::agent::engine::Agent;
use crate::agent::log::reader::{Part, Reader};
use crate::model::facts::Facts;
use crate::model::release::ReleaseNumber;
use crate::port::engine::{EngineError, LogLine, LogQuery, Scope};
use crate::redact::LineStream;

/// How often a followed log is looked at.
const FOLLOW: Duration = Duration::from_millis(200);

/// One instance's log, as far as it was not read yet.
struct Log {
    /// Whose it is, without a text.
    line: LogLine,
    path: PathBuf,
    part: Part,
    /// None until it is looked at, and while there is none.
    reader: Option<Reader>,
    shown: LineStream,
}

/// All logs that are asked for.
struct Reading {
    /// Those whose past is not read to its end.
    past: VecDeque<Log>,
    /// Those that are followed.
    followed: Vec<Log>,
    follow: bool,
    /// Whether the last look at what comes found any more.
    is_more: bool,
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
    let logs = asked(query, facts).into_iter().map(|(line, release)| {
        let directory = agent.folder();
        let path = directory.instance_log(scope, line.slot, release, &line.service, line.instance);
        let part = Part {
            last: query.tail,
            since: query.since,
        };
        Log {
            line,
            path,
            part,
            reader: None,
            shown: agent.redactor.stream(),
        }
    });

    let reading = Reading {
        past: logs.collect(),
        followed: Vec::new(),
        follow: query.follow,
        is_more: true,
    };
    stream::unfold(Some(reading), |reading| async move {
        let reading = reading?;
        if reading.past.is_empty() && !reading.is_more {
            tokio::time::sleep(FOLLOW).await;
        }
        let step = tokio::task::spawn_blocking(move || reading.step());
        let (lines, rest) = step.await.ok()?;
        Some((stream::iter(lines), rest))
    })
    .flatten()
    .boxed()
}

impl Reading {
    /// The next lines, and what is left to read.
    fn step(mut self) -> (Shown, Option<Self>) {
        // What comes to one while others are read is read behind them.
        if self.follow {
            self.past.iter_mut().for_each(Log::open);
        }

        let Some(mut log) = self.past.pop_front() else {
            if !self.follow {
                return (Vec::new(), None);
            }
            let lines = self.coming();
            return (lines, Some(self));
        };

        let (lines, is_whole) = log.past(self.follow);
        match (is_whole, self.follow) {
            (false, _) => self.past.push_front(log),
            (true, true) => self.followed.push(log),
            (true, false) => {}
        }
        (lines, Some(self))
    }

    /// What came to any of them.
    fn coming(&mut self) -> Shown {
        let mut shown = Vec::new();
        self.is_more = false;
        for log in &mut self.followed {
            let (lines, is_more) = log.coming();
            self.is_more |= is_more;
            shown.extend(lines);
        }
        shown
    }
}

impl Log {
    fn open(&mut self) {
        if self.reader.is_none() {
            self.reader = Reader::open(&self.path, self.part).ok();
        }
    }

    fn reader(&mut self) -> Option<&mut Reader> {
        self.open();
        self.reader.as_mut()
    }

    /// The lines of the next piece of its past, and whether that was the last one.
    fn past(&mut self, follow: bool) -> (Shown, bool) {
        let piece = self
            .reader()
            .and_then(|reader| reader.past().ok().flatten());
        let is_whole = piece.is_none();
        let mut texts = Vec::new();
        for line in piece.unwrap_or_default() {
            texts.extend(self.shown.push(line));
        }

        // What is followed goes on with the line that has no end yet.
        if is_whole && !follow {
            let last = self.reader.as_mut().and_then(Reader::finish);
            texts.extend(last.into_iter().flat_map(|line| self.shown.push(line)));
            texts.extend(self.shown.finish());
        }
        (self.with(texts), is_whole)
    }

    /// What came to it, and whether there may be more.
    fn coming(&mut self) -> (Shown, bool) {
        let read = self.reader().and_then(|reader| reader.coming().ok());
        let (lines, is_more) = read.unwrap_or_default();
        let mut texts = Vec::new();
        for line in lines {
            texts.extend(self.shown.push(line));
        }
        (self.with(texts), is_more)
    }

    fn with(&self, texts: Vec<String>) -> Shown {
        let lines = texts.into_iter().map(|text| {
            Ok(LogLine {
                text,
                ..self.line.clone()
            })
        });
        lines.collect()
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
