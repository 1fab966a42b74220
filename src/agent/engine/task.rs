//! Tasks: each runs once, whoever waits for it. What became of it is recorded, so that a client
//! that comes later, or another agent, finds it.

mod reading;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::engine::command::{self, refused};
use crate::agent::engine::record::{SlotRecord, TaskFile, WorkloadRecord};
use crate::agent::engine::task::reading::Reading;
use crate::agent::engine::{Agent, failed, images};
use crate::agent::instance::InstanceSpec;
use crate::model::task::{TaskExit, TaskId};
use crate::model::{Digest, Period};
use crate::port::Progress;
use crate::port::engine::{
    EngineError, Permit, RunningCommand, Scope, TaskBegan, TaskEnd, TaskImage, TaskPlace, TaskRun,
};

/// How many bytes of a task's output are kept: the last ones.
const LOG: usize = 64 << 10;
/// What tells a task.
type Key = (Scope, TaskId);

/// The tasks of an agent that have not ended.
#[derive(Default)]
pub(super) struct Tasks {
    running: AsyncMutex<HashMap<Key, Arc<Running>>>,
    images: Mutex<Images>,
}

/// The images that nobody may delete for the sake of tasks.
#[derive(Default)]
struct Images {
    /// Those that tasks run in.
    of: HashMap<Key, Digest>,
    /// Those that are fetched for tasks that are not begun yet.
    coming: Vec<Digest>,
}

impl Tasks {
    /// The images that tasks run in, or are about to.
    pub fn images(&self) -> Vec<Digest> {
        let images = self.lock();
        images.of.values().chain(&images.coming).cloned().collect()
    }

    /// Those that run.
    pub async fn running(&self) -> Vec<(Scope, TaskId)> {
        let running = self.running.lock().await;
        let open = running
            .iter()
            .filter(|(_, task)| task.seen.borrow().1.is_none());
        open.map(|(key, _)| key.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an image kept until what is given back is dropped.
    pub(super) fn expect(&self, image: &Digest) -> Coming<'_> {
        self.lock().coming.push(image.clone());
        Coming {
            tasks: self,
            image: image.clone(),
        }
    }
}

impl Agent {
    /// Fails while a task runs, which ends with the agent.
    ///
    /// # Errors
    /// [`EngineError::Refused`], with each of them.
    pub(in crate::agent) async fn has_no_task(&self) -> Result<(), EngineError> {
        let running = self.tasks.running().await;
        if running.is_empty() {
            return Ok(());
        }
        let each = running.iter().map(|(scope, id)| format!("{id} of {scope}"));
        Err(EngineError::Refused {
            reason: format!(
                "tasks run, and would end with the agent: {}",
                each.collect::<Vec<_>>().join(", ")
            ),
            help: "wait for them, or end them with --end-tasks".to_owned(),
        })
    }
}

/// An image that is kept for a task that is not begun yet.
pub(super) struct Coming<'a> {
    tasks: &'a Tasks,
    image: Digest,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut images = self.tasks.lock();
        if let Some(at) = images.coming.iter().position(|it| *it == self.image) {
            images.coming.swap_remove(at);
        }
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
    fn new(running: &Arc<Running>, began: TaskBegan) -> Self {
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

    /// Waits for its end.
    async fn ended(&self) {
        let mut seen = self.seen.subscribe();
        // It is kept by this, and so is who tells.
        let _ = seen.wait_for(|seen| seen.1.is_some()).await;
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
    let before = begun_before(agent, &*agent.tasks.running.lock().await, &key);
    if let Some(followed) = before {
        return Ok(followed);
    }

    // An image takes its time, and no other task waits for it. What was begun meanwhile, or by
    // whom, is looked at once more.
    let _coming = fetch(agent, &run).await?;
    drop(agent.enter(&environment, permit).await?);
    // What an earlier run has left running ends first: two migrations are no friends.
    let mut waited = Vec::new();
    let mut tasks = loop {
        let tasks = agent.tasks.running.lock().await;
        if let Some(followed) = begun_before(agent, &tasks, &key) {
            return Ok(followed);
        }
        let mut beside = tasks.iter().filter(|((scope, _), _)| *scope == key.0);
        let Some(((_, other), running)) = beside.next() else {
            break tasks;
        };
        waited.push(format!(
            "waited for {other}, which an earlier run has begun"
        ));
        let running = Arc::clone(running);
        drop(tasks);
        running.ended().await;
    };

    let begun = start(agent, &key, &run).await;
    let command = begun.inspect_err(|_| forget(agent, &key))?;
    let running = Arc::new(Running::new());
    waited.dedup();
    for line in waited {
        running.push(line);
    }
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
    Ok(Followed::new(&running, TaskBegan::Now))
}

/// A task that was begun before: one that runs, or what was recorded of it. One that is being
/// stopped is none: it counts as never begun once it has ended.
fn begun_before(agent: &Agent, tasks: &HashMap<Key, Arc<Running>>, key: &Key) -> Option<Followed> {
    if let Some(running) = tasks.get(key) {
        let goes_on = !running.stop.is_cancelled();
        return goes_on.then(|| Followed::new(running, TaskBegan::Before));
    }
    let file = TaskFile::load(agent.folder(), &key.0, &key.1)?;
    // The agent that had begun it is gone, and the task with it.
    let exit = file.exit.unwrap_or(TaskExit::Unseen);
    Some(Followed::new(
        &Arc::new(Running::of(file, exit)),
        TaskBegan::Ended,
    ))
}

/// Fetches the image of a task by itself, which is kept until the task is begun.
async fn fetch<'a>(
    agent: &'a Arc<Agent>,
    run: &TaskRun,
) -> Result<Option<Coming<'a>>, EngineError> {
    let TaskPlace::OneOff(image) = &run.place else {
        return Ok(None);
    };
    let coming = image.workload.image.value();
    let coming = coming.map(|digest| agent.tasks.expect(digest));
    images::fetch(agent, &image.workload, &image.pull, &|_| {}).await?;
    Ok(coming)
}

/// That it is begun is recorded before it is.
async fn start(
    agent: &Arc<Agent>,
    key: &Key,
    run: &TaskRun,
) -> Result<RunningCommand, EngineError> {
    let (scope, id) = key;
    let written = TaskFile::default().save(agent.folder(), scope, id);
    written.map_err(|error| failed("writing the task down", &error))?;

    let request = run.as_command();
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
    key: &Key,
    run: &TaskRun,
    image: &TaskImage,
) -> Result<InstanceSpec, EngineError> {
    if let Some(digest) = image.workload.image.value() {
        agent.tasks.lock().of.insert(key.clone(), digest.clone());
    }
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
fn forget(agent: &Agent, key: &Key) {
    TaskFile::remove(agent.folder(), &key.0, &key.1);
    agent.tasks.lock().of.remove(key);
}

/// Looks after a task until it has ended, and records how.
async fn carry(
    agent: Arc<Agent>,
    key: Key,
    running: Arc<Running>,
    mut command: RunningCommand,
    within: Period,
) {
    let mut reading = Reading::of(&running);
    let ended = tokio::select! {
        biased;
        exit = reading.read(&mut command) => Ended::With(exit),
        () = running.stop.cancelled() => {
            // However it ends now, it was stopped.
            reading.read_its_last(&mut command).await;
            Ended::Stopped
        }
        () = tokio::time::sleep(within.get()) => {
            reading.read_its_last(&mut command).await;
            Ended::With(TaskExit::TimedOut)
        }
    };
    reading.finish();
    // With its output, what is left of it ends.
    let RunningCommand { input, output } = command;
    drop(output);
    input.closed().await;

    let mut tasks = agent.tasks.running.lock().await;
    match ended {
        Ended::With(exit) => {
            let file = TaskFile {
                exit: Some(exit),
                log: running.lines(0).0,
            };
            if let Err(error) = file.save(agent.folder(), &key.0, &key.1) {
                tracing::error!(task = %key.1, %error, "how it ended cannot be written down");
            }
            agent.tasks.lock().of.remove(&key);
        }
        Ended::Stopped => forget(&agent, &key),
    }
    tasks.remove(&key);
    running.end(ended);
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
    let running = agent.tasks.running.lock().await.get(&key).cloned();
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
