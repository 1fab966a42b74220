//! One supervised process: started, asked how it is, started again when it ends, and stopped.

mod listening;
mod owner;
mod port;
mod prober;
mod readiness;
mod spec;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(super) use prober::Prober;
pub(super) use spec::InstanceSpec;

use crate::agent::engine::environment_state::{EnvironmentState, InstanceKey};
use crate::agent::engine::record::{ProcessRecord, boot};
use crate::agent::instance::port::Ports;
use crate::agent::instance::spec::Missing;
use crate::agent::launch::InstanceFiles;
use crate::agent::log::keeper::LogKeeper;
use crate::agent::runtime::{Launch, Running};
use crate::agent::trouble::Trouble;
use crate::model::Fingerprint;
use crate::model::facts::HealthState;
use crate::model::task::REPORTS_VARIABLE;
use crate::port::pause;

/// The first pause before a process is started again; it doubles each time.
const PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// How long what was killed may take to end.
const KILLED: Duration = Duration::from_secs(10);

/// How long a worker without any health check must stay up to count as ready.
const STAYS_UP: Duration = Duration::from_secs(1);

/// A supervised instance. Dropping it leaves the process alone; [`Supervisor::stop`] ends it.
pub(super) struct Supervisor {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Starts an instance, or takes back one that runs.
    pub fn begin(
        spec: InstanceSpec,
        key: InstanceKey,
        state: Arc<EnvironmentState>,
        found: Option<ProcessRecord>,
    ) -> Self {
        let stop = CancellationToken::new();
        let instance = Instance::new(spec, key, state, stop.clone());
        let task = tokio::spawn(instance.live(found));
        Self { stop, task }
    }

    /// Ends what an earlier agent was stopping, if it still runs, and starts nothing.
    pub async fn end(
        spec: InstanceSpec,
        key: InstanceKey,
        state: Arc<EnvironmentState>,
        found: ProcessRecord,
    ) {
        let stop = CancellationToken::new();
        stop.cancel();
        Instance::new(spec, key, state, stop).see_end(found).await;
    }

    /// Ends the process, and returns when it has ended.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            self.task.abort();
        }
    }
}

struct Instance {
    spec: InstanceSpec,
    key: InstanceKey,
    state: Arc<EnvironmentState>,
    stop: CancellationToken,
    restarts: u32,
    /// How often it could not be started for want of something of the machine's, since it last ran.
    troubles: u32,
    /// How often it ended before it was ready, since it last was.
    failures: u32,
    /// The files that its process finds, while there is one.
    files: Option<InstanceFiles>,
    /// Whether it ever was. One that was is never given up: what keeps it from starting may pass.
    was_ready: bool,
}

/// How a process' life came to its end.
enum End {
    /// It was told to.
    Stopped,
    /// It ended or had to be ended; it was ready before.
    AfterReady(String),
    /// It ended or had to be ended, and was never ready.
    NeverReady(String),
    /// It did not become ready in its time.
    TooLate(String),
    /// It could not be started, or had to be ended, for something that it has no part in.
    Local(String),
}

/// Whether it is started again.
enum Next {
    /// Never.
    GivenUp,
    /// After a pause, as one that has ended.
    Restart,
    /// After a pause, as if nothing had been tried. What an earlier agent left, if it is not known
    /// what became of it.
    Again(Option<Box<ProcessRecord>>),
}

impl Instance {
    const fn new(
        spec: InstanceSpec,
        key: InstanceKey,
        state: Arc<EnvironmentState>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            spec,
            key,
            state,
            stop,
            restarts: 0,
            troubles: 0,
            failures: 0,
            files: None,
            was_ready: false,
        }
    }

    /// Takes back what was told to stop, and sees it end.
    async fn see_end(mut self, found: ProcessRecord) {
        let keeper = LogKeeper::begin(self.log(), self.spec.redactor.clone());
        match self.take_back(&mut Some(found)).await {
            Ok(Some((process, launch, health))) => {
                self.watch(process, &launch, health).await;
                self.remove_files();
            }
            Ok(None) => {}
            Err(Trouble::Local(reason) | Trouble::Instance(reason)) => {
                let reason = self.spec.redactor.text(&reason);
                tracing::error!(scope = %self.spec.scope, service = %self.key.service, slot = %self.key.slot, %reason, "an instance that was to stop could not be looked at");
            }
        }
        keeper.look().await;
        self.state.drop_entry(&self.key);
    }

    async fn live(mut self, mut found: Option<ProcessRecord>) {
        let keeper = LogKeeper::begin(self.log(), self.spec.redactor.clone());
        loop {
            let end = match self.up(&mut found).await {
                Ok((process, launch, ready)) => self.watch(process, &launch, ready).await,
                Err(Trouble::Local(reason)) => End::Local(reason),
                Err(Trouble::Instance(reason)) => End::NeverReady(reason),
            };
            keeper.look().await;
            // What may run on still has them.
            if found.is_none() {
                self.remove_files();
            }
            let (reason, next) = match end {
                End::Stopped => break,
                End::AfterReady(reason) => {
                    (self.failures, self.was_ready) = (0, true);
                    (reason, Next::Restart)
                }
                End::NeverReady(reason) => {
                    self.failures += 1;
                    let most = self.spec.workload.health.failures.max(1);
                    (reason, self.unless_given_up(self.failures >= most))
                }
                End::TooLate(reason) => (reason, self.unless_given_up(true)),
                End::Local(reason) => (reason, Next::Again(found.clone().map(Box::new))),
            };
            if !self.rest(reason, next).await {
                break;
            }
        }

        self.state.drop_entry(&self.key);
    }

    /// One that was ever ready is never given up.
    const fn unless_given_up(&self, has_failed: bool) -> Next {
        if has_failed && !self.was_ready {
            Next::GivenUp
        } else {
            Next::Restart
        }
    }

    /// Takes back what runs, or starts anew. What is found stays so until it is known what became
    /// of it: to start it again before would be to start it twice.
    async fn up(
        &mut self,
        found: &mut Option<ProcessRecord>,
    ) -> Result<(Box<dyn Running>, Launch, HealthState), Trouble> {
        match self.take_back(found).await? {
            Some(adopted) => Ok(adopted),
            None => self.started().await,
        }
    }

    async fn take_back(
        &mut self,
        found: &mut Option<ProcessRecord>,
    ) -> Result<Option<(Box<dyn Running>, Launch, HealthState)>, Trouble> {
        if let Some(record) = found {
            self.restarts = record.restarts;
            let InstanceSpec {
                runtime, directory, ..
            } = &self.spec;
            let adopted = runtime.adopt(directory, record, &self.log()).await?;
            self.files = record.files.clone().map(InstanceFiles::found);
            if let Some((process, record)) = adopted.zip(found.take()) {
                return self.adopted(process, record).map(Some);
            }
            self.remove_files();
        }
        Ok(None)
    }

    fn adopted(
        &mut self,
        process: Box<dyn Running>,
        record: ProcessRecord,
    ) -> Result<(Box<dyn Running>, Launch, HealthState), Trouble> {
        self.was_ready = record.ready;
        self.remember_what_it_has(process.as_ref());
        let port = Ports::found(record.port, record.ports.clone());
        let launch = self.launch(&port, record.container.clone(), Missing::LeaveOut)?;
        // What took traffic before goes on doing so until it is seen to be otherwise.
        let health = if record.ready {
            HealthState::Ready
        } else {
            HealthState::Starting
        };
        self.note(process.as_ref(), &port, health, Some(record));
        Ok((process, launch, health))
    }

    async fn started(&mut self) -> Result<(Box<dyn Running>, Launch, HealthState), Trouble> {
        self.ensure_image().await?;
        let port = Ports::choose(&self.spec.workload, &self.spec.process)?;
        self.files = self.write_files()?;
        let launch = self.launch(&port, None, Missing::Refuse)?;
        let program = launch.command.first().map_or("", String::as_str);
        let what = format!("`{program}` cannot be started");
        let begun = async {
            let mut process = self.spec.runtime.start(&launch).await?;
            // Written down first: whatever runs, the next agent knows of.
            self.note(process.as_ref(), &port, HealthState::Starting, None);
            if let Err(trouble) = process.release().await {
                process.kill();
                return Err(trouble);
            }
            Ok(process)
        };

        let process = begun
            .await
            .map_err(|trouble: Trouble| trouble.during(&what))?;
        Ok((process, launch, HealthState::Starting))
    }

    /// Puts a process that runs on the state; one that was taken back stays what it was started as.
    fn note(
        &self,
        process: &dyn Running,
        port: &Ports,
        health: HealthState,
        found: Option<ProcessRecord>,
    ) {
        let workload = &self.spec.workload;
        let (spec, image) = match found {
            Some(found) => (found.spec, found.image),
            None => (
                Some(Fingerprint::of_json(workload)),
                workload.image.value().cloned(),
            ),
        };
        let record = ProcessRecord {
            slot: self.key.slot,
            service: self.key.service.clone(),
            index: self.key.index,
            pid: process.pid(),
            started: process.started(),
            boot: boot(),
            port: port.number,
            ports: port.others.clone(),
            restarts: self.restarts,
            ready: health == HealthState::Ready,
            spec,
            image,
            container: process.container(),
            mark: process.mark(),
            files: self.files.as_ref().map(|files| files.folder().to_owned()),
        };

        self.state.set(&self.key, |entry| {
            entry.facts.pid = Some(record.pid);
            entry.facts.port = port.number;
            entry.facts.ports.clone_from(&port.others);
            entry.facts.restarts = record.restarts;
            entry.facts.health = health;
            entry.process = Some(record);
        });
    }

    fn health(&self, health: HealthState) {
        self.state.set(&self.key, |entry| {
            if entry.facts.health == HealthState::Unhealthy {
                // Why it was, which is over.
                entry.facts.last_exit = None;
            }
            entry.facts.health = health;
            if let Some(process) = entry
                .process
                .as_mut()
                .filter(|_| health == HealthState::Ready)
            {
                process.ready = true;
            }
        });
    }

    /// SIGTERM or what its image says, the grace, SIGKILL.
    async fn end(&self, process: &mut dyn Running) {
        process.terminate(self.spec.image.stop_signal());
        let grace = self.spec.process.stop_grace.get();
        if tokio::time::timeout(grace, process.wait()).await.is_err() {
            process.kill();
            // Who runs it may not be there any more to say so: the next agent removes what is left
            // then.
            if tokio::time::timeout(KILLED, process.wait()).await.is_err() {
                tracing::error!(scope = %self.spec.scope, service = %self.key.service, slot = %self.key.slot, "an instance was killed and did not end");
            }
        } else {
            // What it started and left behind.
            process.kill();
        }
    }

    /// Rests before the next start; for good when it is given up. False when it was told to stop.
    async fn rest(&mut self, reason: String, next: Next) -> bool {
        let health = match next {
            Next::GivenUp => HealthState::Failed,
            Next::Restart | Next::Again(_) => HealthState::BackingOff,
        };
        let reason = self.spec.redactor.text(&reason);
        match next {
            Next::Again(_) => {
                tracing::warn!(scope = %self.spec.scope, service = %self.key.service, slot = %self.key.slot, %reason, "an instance cannot be started now; this counts for nothing, and is tried again");
            }
            Next::GivenUp | Next::Restart => {
                tracing::info!(scope = %self.spec.scope, service = %self.key.service, slot = %self.key.slot, %reason, "an instance ended");
            }
        }

        let pause = match next {
            Next::GivenUp => None,
            Next::Restart => {
                self.restarts += 1;
                Some(backoff(self.restarts - 1))
            }
            Next::Again(_) => {
                self.troubles += 1;
                Some(backoff(self.troubles - 1))
            }
        };

        self.state.set(&self.key, |entry| {
            entry.facts.health = health;
            entry.facts.pid = None;
            entry.facts.last_exit = Some(reason);
            entry.process = match next {
                Next::Again(found) => found.map(|found| *found),
                Next::GivenUp | Next::Restart => None,
            };
        });
        let Some(pause) = pause else {
            self.stop.cancelled().await;
            return false;
        };

        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.stop.cancelled() => false,
        }
    }
}

/// What the runtime must know of a command in an instance that runs, or of one by itself.
pub(super) async fn launch_beside(
    spec: InstanceSpec,
    key: InstanceKey,
    state: &Arc<EnvironmentState>,
    process: Option<ProcessRecord>,
) -> Result<Launch, Trouble> {
    let mut instance = Instance {
        spec,
        key,
        state: Arc::clone(state),
        stop: CancellationToken::new(),
        restarts: 0,
        troubles: 0,
        failures: 0,
        files: None,
        was_ready: false,
    };
    let Some(process) = process else {
        instance.ensure_image().await?;
        instance.files = instance.write_files()?;
        let launch = instance.launch(&Ports::default(), None, Missing::Refuse);
        let launch = launch.and_then(|launch| {
            instance.open_reports(&launch)?;
            Ok(launch)
        });
        if launch.is_err() {
            instance.remove_files();
        }
        return launch;
    };

    // What runs has its variables already, whatever is held by now.
    instance.files = process.files.map(InstanceFiles::found);
    let container = process.container.as_deref();
    let pid = instance.first_process(process.pid, container);
    instance.remember_variables_of(pid);
    let port = Ports::found(process.port, process.ports);
    let mut launch = instance.launch(&port, process.container.clone(), Missing::LeaveOut)?;
    let reports = launch.env.get(REPORTS_VARIABLE).cloned();
    launch.env.extend(spec::variables_of(pid));
    let reports = reports.map(|folder| (REPORTS_VARIABLE.to_owned(), folder));
    launch.env.extend(reports);
    instance.open_reports(&launch)?;
    Ok(launch)
}

/// Doubles with each restart, up to a limit, with a quarter of jitter.
fn backoff(restarts: u32) -> Duration {
    let pause = PAUSE
        .saturating_mul(1 << restarts.min(10))
        .min(LONGEST_PAUSE);
    pause::between(pause, pause * 5 / 4)
}
