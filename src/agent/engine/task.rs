//! Tasks: each runs once, whoever waits for it. What became of it is recorded, so that a client
//! that comes later, or another agent, finds it.

mod reading;
mod reports;
mod running;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use crate::agent::engine::command::{self, refused};
use crate::agent::engine::record::{SlotRecord, TaskFile, WorkloadRecord};
use crate::agent::engine::task::reading::Reading;
use crate::agent::engine::task::reports::ReportsFolder;
use crate::agent::engine::task::running::Followed;
use crate::agent::engine::{Agent, failed, images};
use crate::agent::instance::InstanceSpec;
use crate::model::task::{TaskExit, TaskId};
use crate::model::{Digest, Period, ServiceName};
use crate::port::Progress;
use crate::port::engine::{
    EngineError, Permit, RunningCommand, Scope, TaskBegan, TaskEnd, TaskImage, TaskPlace, TaskRun,
};

pub(super) use running::{Ended, Running};

/// What tells a task.
type Key = (Scope, TaskId);

/// What a task does, whoever has begun it: a command, in the image of a service.
pub(super) type Program = (ServiceName, Vec<String>);

/// The tasks of an agent that have not ended.
#[derive(Default)]
pub(super) struct Tasks {
    running: AsyncMutex<HashMap<Key, Arc<Running>>>,
    images: Mutex<Images>,
}

/// The images that nobody may delete for the sake of tasks, and what these do.
#[derive(Default)]
struct Images {
    /// Those that tasks run in.
    of: HashMap<Key, Digest>,
    /// Those that are fetched for tasks that are not begun yet.
    coming: Vec<Digest>,
    /// What runs, of which service.
    programs: HashMap<Key, Program>,
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

    /// Whether a task runs that does the same.
    pub fn runs(&self, scope: &Scope, program: &Program) -> bool {
        let images = self.lock();
        let mut programs = images.programs.iter();
        programs.any(|((its, _), one)| its == scope && one == program)
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
        let each = running.iter().map(|(scope, id)| format!("{id} of {scope}"));
        let each: Vec<String> = each.chain(self.schedules.names()).collect();
        if each.is_empty() {
            return Ok(());
        }
        Err(EngineError::Refused {
            reason: format!(
                "tasks run, and would end with the agent: {}",
                each.join(", ")
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

    let program = (run.service.clone(), run.command.clone());
    let begins = || {
        let mut tasks = agent.tasks.lock();
        tasks.programs.insert(key.clone(), program.clone());
    };
    if let Err(due) = agent.schedules.beside_none(&key.0, &program, begins) {
        return Err(refused(
            format!("it runs already, by its schedule: the run of {due:.0} is not over"),
            "wait for its end: `shipit status` shows it, and `shipit logs --task NAME` what it \
             writes",
        ));
    }

    let begun = start(agent, &key, &run).await;
    let (command, reports) = begun.inspect_err(|_| forget(agent, &key))?;
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
        (command, reports),
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
) -> Result<(RunningCommand, Option<ReportsFolder>), EngineError> {
    let (scope, id) = key;
    let written = TaskFile::default().save(agent.folder(), scope, id);
    written.map_err(|error| failed("writing the task down", &error))?;

    let request = run.as_command();
    let mut spec = match &run.place {
        TaskPlace::Instance => command::spec(agent, scope, &request).await?,
        TaskPlace::OneOff(image) => spec(agent, key, run, image).await?,
    };
    let reports = ReportsFolder::make(agent.folder(), &run.junit);
    let reports = reports.map_err(|error| failed("making the folder of its reports", &error))?;
    spec.reports = reports.as_ref().map(|it| it.files().clone());
    let command = command::run_as(agent, scope, spec, request).await?;
    Ok((command, reports))
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
    agent.tasks.lock().remove(key);
}

impl Images {
    /// A task has ended, or was never begun.
    fn remove(&mut self, key: &Key) {
        self.of.remove(key);
        self.programs.remove(key);
    }
}

/// Reads what a task writes, until it has ended, its time is over or it is stopped.
pub(super) async fn read_to_its_end(
    running: &Running,
    mut command: RunningCommand,
    within: Period,
) -> Ended {
    let mut reading = Reading::of(running);
    let ended = tokio::select! {
        biased;
        exit = reading.read(&mut command) => Ended::With(exit, None),
        () = running.stop.cancelled() => {
            // However it ends now, it was stopped.
            reading.read_its_last(&mut command).await;
            Ended::Stopped
        }
        () = tokio::time::sleep(within.get()) => {
            reading.read_its_last(&mut command).await;
            Ended::With(TaskExit::TimedOut, None)
        }
    };
    reading.finish();
    // With its output, what is left of it ends.
    let RunningCommand { input, output } = command;
    drop(output);
    input.closed().await;
    ended
}

/// Looks after a task until it has ended, and records how.
async fn carry(
    agent: Arc<Agent>,
    key: Key,
    running: Arc<Running>,
    (command, reports): (RunningCommand, Option<ReportsFolder>),
    within: Period,
) {
    let ended = read_to_its_end(&running, command, within).await;
    let ended = match (ended, reports) {
        (Ended::With(exit, _), Some(reports)) => {
            Ended::With(exit, Some(reports.collect(&agent.redactor).await))
        }
        (ended, _) => ended,
    };

    let mut tasks = agent.tasks.running.lock().await;
    match &ended {
        Ended::With(exit, tests) => {
            let file = TaskFile {
                exit: Some(*exit),
                log: running.lines(0).0,
                tests: tests.clone(),
            };
            if let Err(error) = file.save(agent.folder(), &key.0, &key.1) {
                tracing::error!(task = %key.1, %error, "how it ended cannot be written down");
            }
            agent.tasks.lock().remove(&key);
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
