//! Tasks: each runs once, whoever waits for it. What became of it is recorded, so that a client
//! that comes later, or another agent, finds it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::StreamExt as _;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::engine::command::{self, refused};
use crate::agent::engine::record::{SlotRecord, TaskFile, WorkloadRecord};
use crate::agent::engine::{Agent, deploy, failed};
use crate::agent::instance::InstanceSpec;
use crate::model::command::CommandPlace;
use crate::model::task::{TaskExit, TaskId};
use crate::model::{Digest, Period};
use crate::port::Progress;
use crate::port::engine::{
    CommandInput, CommandOutput, CommandRequest, EngineError, Permit, RunningCommand, Scope,
    TaskBegan, TaskEnd, TaskImage, TaskPlace, TaskRun,
};

/// How many bytes of a task's output are kept: the last ones.
const LOG: usize = 64 << 10;
/// How long a line may be.
const LINE: usize = 16 << 10;
/// How long a task has to end once it is asked to.
const GRACE: Duration = Duration::from_secs(10);
/// The signal that asks for it.
const SIGTERM: i32 = 15;
/// How much longer than the task itself its command may take: its time is told here.
const SLACK: Duration = Duration::from_mins(1);

/// The tasks of an agent that have not ended.
#[derive(Default)]
pub(super) struct Tasks(AsyncMutex<HashMap<(Scope, TaskId), Arc<Running>>>, Images);

/// The images that tasks run in, by the tasks.
type Images = Mutex<HashMap<(Scope, TaskId), Digest>>;

impl Tasks {
    /// The images that tasks run in.
    pub fn images(&self) -> Vec<Digest> {
        let images = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        images.values().cloned().collect()
    }
}

/// A task that runs, or has just ended.
pub(in crate::agent) struct Running {
    log: Mutex<Log>,
    /// How many lines there were, and how it ended.
    seen: watch::Sender<(u64, Option<Ended>)>,
    stop: CancellationToken,
}

/// How a task left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It came to an end of its own, or its time was over.
    With(TaskExit),
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
    /// The next lines; how it ended once there are no more.
    pub async fn next(&mut self) -> Result<Vec<String>, Result<TaskEnd, EngineError>> {
        let mut seen = self.running.seen.subscribe();
        loop {
            let ended = seen.borrow_and_update().1;
            let (lines, next) = self.running.lines(self.next);
            self.next = next;
            if !lines.is_empty() {
                return Ok(lines);
            }
            match ended {
                Some(Ended::With(exit)) => {
                    let began = self.began;
                    return Err(Ok(TaskEnd { exit, began }));
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
    fn of(file: TaskFile, exit: TaskExit) -> Self {
        let mut log = Log::default();
        file.log.into_iter().for_each(|line| log.push(line));
        let seen = (log.count(), Some(Ended::With(exit)));
        Self {
            log: Mutex::new(log),
            seen: watch::Sender::new(seen),
            stop: CancellationToken::new(),
        }
    }

    fn new() -> Self {
        Self {
            log: Mutex::default(),
            seen: watch::Sender::new((0, None)),
            stop: CancellationToken::new(),
        }
    }

    fn lines(&self, from: u64) -> (Vec<String>, u64) {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.since(from)
    }

    fn push(&self, line: String) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(line);
        let count = log.count();
        self.seen.send_modify(|seen| seen.0 = count);
    }

    fn end(&self, ended: Ended) {
        self.seen.send_modify(|seen| seen.1 = Some(ended));
    }
}

/// Begins a task, or finds what was begun before.
pub(in crate::agent) async fn begin(
    agent: &Arc<Agent>,
    permit: &Permit,
    run: TaskRun,
) -> Result<Followed, EngineError> {
    let environment = agent.environment(&permit.scope);
    drop(agent.enter(&environment, permit).await?);

    let key = (permit.scope.clone(), run.id.clone());
    let mut tasks = agent.tasks.0.lock().await;
    let follow = |running: &Arc<Running>, began| Followed {
        running: Arc::clone(running),
        began,
        next: 0,
    };
    if let Some(running) = tasks.get(&key) {
        return Ok(follow(running, TaskBegan::Before));
    }
    if let Some(file) = TaskFile::load(agent.folder(), &key.0, &key.1) {
        // The agent that had begun it is gone, and the task with it.
        let exit = file.exit.unwrap_or(TaskExit::Unseen);
        let running = Arc::new(Running::of(file, exit));
        return Ok(follow(&running, TaskBegan::Ended));
    }

    let begun = start(agent, &key, &run).await;
    let command = begun.inspect_err(|_| forget(agent, &key))?;
    let running = Arc::new(Running::new());
    tasks.insert(key.clone(), Arc::clone(&running));
    drop(tasks);
    let carrying = carry(
        Arc::clone(agent),
        key,
        Arc::clone(&running),
        command,
        run.within,
    );
    tokio::spawn(carrying);
    Ok(follow(&running, TaskBegan::Now))
}

/// That it is begun is recorded before it is.
async fn start(
    agent: &Arc<Agent>,
    key: &(Scope, TaskId),
    run: &TaskRun,
) -> Result<RunningCommand, EngineError> {
    let (scope, id) = key;
    let written = TaskFile::default().save(agent.folder(), scope, id);
    written.map_err(|error| failed("writing the task down", &error))?;

    let place = match &run.place {
        TaskPlace::Instance => CommandPlace::Instance,
        TaskPlace::OneOff(_) => CommandPlace::OneOff,
    };
    let request = CommandRequest {
        slot: run.slot,
        service: run.service.clone(),
        place,
        command: run.command.clone(),
        terminal: None,
        reads: false,
        within: Period::from_secs(run.within.get().saturating_add(SLACK).as_secs()),
        secrets: std::collections::BTreeMap::new(),
    };
    match &run.place {
        TaskPlace::Instance => command::run(agent, scope, request).await,
        TaskPlace::OneOff(image) => {
            let spec = spec(agent, key, run, image).await?;
            command::run_as(agent, scope, spec, request).await
        }
    }
}

/// What a task by itself is, whether its service is in the slot or not.
async fn spec(
    agent: &Arc<Agent>,
    key: &(Scope, TaskId),
    run: &TaskRun,
    image: &TaskImage,
) -> Result<InstanceSpec, EngineError> {
    if let Some(digest) = image.workload.image.value() {
        let mut images = agent.tasks.1.lock().unwrap_or_else(PoisonError::into_inner);
        images.insert(key.clone(), digest.clone());
    }
    deploy::fetch(agent, &image.workload, &image.pull, &|_| {}).await?;
    let workload = WorkloadRecord {
        spec: image.workload.clone(),
        running: false,
        secrets: std::collections::BTreeMap::new(),
    };
    let there = SlotRecord {
        label: image.label.clone(),
        placed_at: jiff::Timestamp::now(),
        stops_at: None,
        workloads: [(run.service.clone(), workload)].into(),
    };
    let environment = agent.environment(&key.0);
    let mut secrets = command::held(&environment, run.slot, &run.service).await?;
    secrets.extend(image.secrets.clone());
    agent.instance_spec(&key.0, &there, &run.service, secrets)
}

/// What was not begun leaves nothing behind.
fn forget(agent: &Agent, key: &(Scope, TaskId)) {
    TaskFile::remove(agent.folder(), &key.0, &key.1);
    let mut images = agent.tasks.1.lock().unwrap_or_else(PoisonError::into_inner);
    images.remove(key);
}

/// Looks after a task until it has ended, and records how.
async fn carry(
    agent: Arc<Agent>,
    key: (Scope, TaskId),
    running: Arc<Running>,
    mut command: RunningCommand,
    within: Period,
) {
    let ended = tokio::select! {
        biased;
        exit = read(&running, &mut command) => Ended::With(exit),
        () = running.stop.cancelled() => {
            // However it ends now, it was stopped.
            let _ = command.input.send(CommandInput::Signal(SIGTERM)).await;
            let _ = tokio::time::timeout(GRACE, read(&running, &mut command)).await;
            Ended::Stopped
        }
        () = tokio::time::sleep(within.get()) => {
            let _ = command.input.send(CommandInput::Signal(SIGTERM)).await;
            let _ = tokio::time::timeout(GRACE, read(&running, &mut command)).await;
            Ended::With(TaskExit::TimedOut)
        }
    };
    // With its output, what is left of it ends.
    let RunningCommand { input, output } = command;
    drop(output);
    input.closed().await;

    let mut tasks = agent.tasks.0.lock().await;
    match ended {
        Ended::With(exit) => {
            let file = TaskFile {
                exit: Some(exit),
                log: running.lines(0).0,
            };
            if let Err(error) = file.save(agent.folder(), &key.0, &key.1) {
                tracing::error!(task = %key.1, %error, "how it ended cannot be written down");
            }
            let mut images = agent.tasks.1.lock().unwrap_or_else(PoisonError::into_inner);
            images.remove(&key);
        }
        Ended::Stopped => forget(&agent, &key),
    }
    tasks.remove(&key);
    running.end(ended);
}

/// Reads what a task writes, line by line, to its end.
async fn read(running: &Running, command: &mut RunningCommand) -> TaskExit {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match command.output.next().await {
            Some(Ok(CommandOutput::Out(bytes))) => lines(running, &mut out, &bytes),
            Some(Ok(CommandOutput::Err(bytes))) => lines(running, &mut err, &bytes),
            last => {
                for rest in [out, err] {
                    if !rest.is_empty() {
                        running.push(String::from_utf8_lossy(&rest).into_owned());
                    }
                }
                return match last {
                    Some(Ok(CommandOutput::Ended(code))) => TaskExit::Code(code),
                    _ => TaskExit::Unseen,
                };
            }
        }
    }
}

/// Takes bytes in, and lets go of the lines that are complete.
fn lines(running: &Running, rest: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            rest.push(*byte);
        }
        if *byte == b'\n' || rest.len() >= LINE {
            let line = String::from_utf8_lossy(rest)
                .trim_end_matches('\r')
                .to_owned();
            running.push(line);
            rest.clear();
        }
    }
}

/// Runs a task to its end.
pub(super) async fn run(
    agent: &Arc<Agent>,
    permit: &Permit,
    run: TaskRun,
    progress: Progress<'_>,
) -> Result<TaskEnd, EngineError> {
    let mut followed = begin(agent, permit, run).await?;
    loop {
        match followed.next().await {
            Ok(lines) => lines.iter().for_each(|line| progress(line)),
            Err(end) => return end,
        }
    }
}

/// Stops a task, and waits until nothing of it is left.
pub(in crate::agent) async fn stop(
    agent: &Arc<Agent>,
    permit: &Permit,
    id: &TaskId,
) -> Result<(), EngineError> {
    let environment = agent.environment(&permit.scope);
    drop(agent.enter(&environment, permit).await?);
    let key = (permit.scope.clone(), id.clone());
    let running = agent.tasks.0.lock().await.get(&key).cloned();
    let Some(running) = running else {
        return Ok(());
    };
    running.stop.cancel();
    let mut seen = running.seen.subscribe();
    let ended = seen.wait_for(|seen| seen.1.is_some()).await;
    ended
        .map(drop)
        .map_err(|_| refused("the agent ends just now", "run the command again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_task_are_kept_and_counted() {
        let running = Running::new();
        let mut rest = Vec::new();
        lines(&running, &mut rest, b"one\r\ntw");
        lines(&running, &mut rest, b"o\nthr");
        assert_eq!(
            running.lines(0),
            (vec!["one".to_owned(), "two".to_owned()], 2)
        );
        assert_eq!(running.lines(1).0, ["two"]);
        assert_eq!(rest, b"thr");

        let long = vec![b'x'; LINE * 6];
        lines(&running, &mut Vec::new(), &long);
        let (kept, count) = running.lines(0);
        assert_eq!((kept.len(), count), (3, 8), "no more than is kept");
    }
}
