//! A task that runs, and whoever follows it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::engine::record::TaskFile;
use crate::model::task::TaskExit;
use crate::model::test_report::TestReport;
use crate::port::engine::{EngineError, TaskBegan, TaskEnd};

/// How many bytes of a task's output are kept: the last ones.
const LOG: usize = 64 << 10;

/// A task that runs, or has just ended.
pub(in crate::agent) struct Running {
    log: Mutex<Log>,
    /// How many lines there were, and how it ended.
    pub(super) seen: watch::Sender<(u64, Option<Ended>)>,
    pub(super) stop: CancellationToken,
}

/// How a task left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) enum Ended {
    /// It came to an end of its own, or its time was over; and what its tests say.
    With(TaskExit, Option<TestReport>),
    /// Somebody stopped it.
    Stopped,
}

/// The last lines of a task.
#[derive(Default)]
struct Log {
    lines: VecDeque<String>,
    /// The number of the first line that is kept.
    first: u64,
    bytes: usize,
}

impl Log {
    fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > LOG {
            let Some(gone) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= gone.len() + 1;
            self.first += 1;
        }
    }

    fn count(&self) -> u64 {
        self.first + u64::try_from(self.lines.len()).unwrap_or(u64::MAX)
    }

    /// The lines from this number on, and the number of the next one.
    fn since(&self, from: u64) -> (Vec<String>, u64) {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        (
            self.lines.iter().skip(skip).cloned().collect(),
            self.count(),
        )
    }
}

/// A task that somebody waits for.
pub(in crate::agent) struct Followed {
    running: Arc<Running>,
    began: TaskBegan,
    next: u64,
}

impl Followed {
    pub(super) fn new(running: &Arc<Running>, began: TaskBegan) -> Self {
        Self {
            running: Arc::clone(running),
            began,
            next: 0,
        }
    }

    /// The next lines; how it ended once there are no more.
    pub async fn next(&mut self) -> Result<Vec<String>, Result<TaskEnd, EngineError>> {
        let mut seen = self.running.seen.subscribe();
        loop {
            let ended = seen.borrow_and_update().1.clone();
            let (lines, next) = self.running.lines(self.next);
            self.next = next;
            if !lines.is_empty() {
                return Ok(lines);
            }
            match ended {
                Some(Ended::With(exit, tests)) => {
                    let began = self.began;
                    return Err(Ok(TaskEnd { exit, began, tests }));
                }
                Some(Ended::Stopped) => return Err(Err(stopped())),
                None => {}
            }
            if seen.changed().await.is_err() {
                return Err(Err(stopped()));
            }
        }
    }
}

fn stopped() -> EngineError {
    EngineError::Failed {
        what: "the task".to_owned(),
        reason: "somebody stopped it".to_owned(),
    }
}

impl Running {
    /// One that has ended before, as it was recorded.
    pub(super) fn of(file: TaskFile, exit: TaskExit) -> Self {
        let mut log = Log::default();
        file.log.into_iter().for_each(|line| log.push(line));
        let seen = (log.count(), Some(Ended::With(exit, file.tests)));
        Self {
            log: Mutex::new(log),
            seen: watch::Sender::new(seen),
            stop: CancellationToken::new(),
        }
    }

    pub(in crate::agent) fn new() -> Self {
        Self {
            log: Mutex::default(),
            seen: watch::Sender::new((0, None)),
            stop: CancellationToken::new(),
        }
    }

    pub(in crate::agent) fn lines(&self, from: u64) -> (Vec<String>, u64) {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.since(from)
    }

    pub(super) fn push(&self, line: String) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(line);
        let count = log.count();
        self.seen.send_modify(|seen| seen.0 = count);
    }

    pub(super) fn end(&self, ended: Ended) {
        self.seen.send_modify(|seen| seen.1 = Some(ended));
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) {
        let mut seen = self.seen.subscribe();
        // It is kept by this, and so is who tells.
        let _ = seen.wait_for(|seen| seen.1.is_some()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_task_are_kept_and_counted() {
        let running = Running::new();
        let push = |line: &str| running.push(line.to_owned());
        push("one");
        push("two");
        assert_eq!(
            running.lines(0),
            (vec!["one".to_owned(), "two".to_owned()], 2)
        );
        assert_eq!(running.lines(1).0, ["two"]);

        (0..6).for_each(|_| push(&"x".repeat(16 << 10)));
        let (kept, count) = running.lines(0);
        assert_eq!((kept.len(), count), (3, 8), "no more than is kept");
    }
}
