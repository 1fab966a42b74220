//! One supervised process: started, asked how it is, started again when it ends, and stopped.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::Directory;
use crate::agent::board::{Board, Key, local};
use crate::agent::health::Prober;
use crate::agent::log_keeper::LogKeeper;
use crate::agent::record::{ProcessRecord, boot};
use crate::agent::rootfs::{self, ImageMeta};
use crate::agent::runtime::{Enclosure, Launch, Running, Runtime, docker};
use crate::model::Fingerprint;
use crate::model::facts::HealthState;
use crate::model::release::Label;
use crate::model::secret::{SecretRef, SecretValue};
use crate::model::workload::{ContainerKind, EnvValue, Workload};
use crate::port::engine::Scope;
use crate::port::pause;
use crate::redact::Redactor;

/// The first pause before a process is started again; it doubles each time.
const PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// How long what was killed may take to end.
const KILLED: Duration = Duration::from_secs(10);

/// How long a worker without any health check must stay up to count as ready.
const STAYS_UP: Duration = Duration::from_secs(1);

/// Everything that an instance is made from.
#[derive(Clone)]
pub(super) struct Making {
    pub directory: Directory,
    pub scope: Scope,
    pub label: Label,
    pub workload: Workload,
    pub image: ImageMeta,
    pub secrets: BTreeMap<String, SecretValue>,
    pub runtime: Arc<dyn Runtime>,
    pub prober: Prober,
    /// Knows the secrets: what the service writes may have them in it.
    pub redactor: Redactor,
}

/// A supervised instance. Dropping it leaves the process alone; [`Supervised::stop`] ends it.
pub(super) struct Supervised {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervised {
    /// Starts an instance, or takes back one that runs.
    pub fn begin(
        making: Making,
        key: Key,
        board: Arc<Board>,
        found: Option<ProcessRecord>,
    ) -> Self {
        let stop = CancellationToken::new();
        let instance = Instance {
            making,
            key,
            board,
            stop: stop.clone(),
            restarts: 0,
            failures: 0,
            was_ready: false,
        };
        let task = tokio::spawn(instance.live(found));
        Self { stop, task }
    }

    /// Ends the process, and returns when it has ended.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            self.task.abort();
        }
    }
}

struct Instance {
    making: Making,
    key: Key,
    board: Arc<Board>,
    stop: CancellationToken,
    restarts: u32,
    /// How often it ended before it was ready, since it last was.
    failures: u32,
    /// Whether it ever was. One that was is never given up: what keeps it from starting may pass.
    was_ready: bool,
}

/// What a secret that is not held any more means: a process that runs has it already and needs it no more.
#[derive(Clone, Copy)]
enum Missing {
    Refuse,
    LeaveOut,
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
}

impl Instance {
    async fn live(mut self, mut found: Option<ProcessRecord>) {
        let keeper = LogKeeper::begin(self.log(), self.making.redactor.clone());
        loop {
            let end = match self.up(found.take()).await {
                Ok((process, launch, ready)) => self.watch(process, &launch, ready).await,
                Err(reason) => End::NeverReady(reason),
            };
            keeper.look().await;
            let (reason, last) = match end {
                End::Stopped => break,
                End::AfterReady(reason) => {
                    (self.failures, self.was_ready) = (0, true);
                    (reason, false)
                }
                End::NeverReady(reason) => {
                    self.failures += 1;
                    let failed = self.failures >= self.making.workload.health.failures.max(1);
                    (reason, failed)
                }
                End::TooLate(reason) => (reason, true),
            };
            if !self.rest(reason, last && !self.was_ready).await {
                break;
            }
        }
        self.board.drop_entry(&self.key);
    }

    /// Takes back what runs, or starts anew.
    async fn up(
        &mut self,
        found: Option<ProcessRecord>,
    ) -> Result<(Box<dyn Running>, Launch, HealthState), String> {
        if let Some(record) = found {
            self.restarts = record.restarts;
            if let Some(process) = self
                .making
                .runtime
                .adopt(&self.making.directory, &record, &self.log())
                .await
            {
                self.was_ready = record.ready;
                self.remember_what_it_has(process.pid());
                let launch =
                    self.launch(record.port, record.container.clone(), Missing::LeaveOut)?;
                // What took traffic before goes on doing so until it is seen to be otherwise.
                let health = if record.ready {
                    HealthState::Ready
                } else {
                    HealthState::Starting
                };
                self.note(process.as_ref(), record.port, health, Some(record));
                return Ok((process, launch, health));
            }
        }
        let port = self
            .making
            .workload
            .port
            .map(|_| free_port())
            .transpose()
            .map_err(|error| error.to_string())?;
        let launch = self.launch(port, None, Missing::Refuse)?;
        let process = self.making.runtime.start(&launch).await.map_err(|error| {
            format!(
                "`{}` cannot be started: {error}",
                launch.command.first().map_or("", String::as_str)
            )
        })?;
        self.note(process.as_ref(), port, HealthState::Starting, None);
        Ok((process, launch, HealthState::Starting))
    }

    /// Puts a process that runs on the board; one that was taken back stays what it was started as.
    fn note(
        &self,
        process: &dyn Running,
        port: Option<u16>,
        health: HealthState,
        found: Option<ProcessRecord>,
    ) {
        let workload = &self.making.workload;
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
            port,
            restarts: self.restarts,
            ready: health == HealthState::Ready,
            spec,
            image,
            container: process.container(),
        };
        self.board.set(&self.key, |entry| {
            entry.facts.pid = Some(record.pid);
            entry.facts.port = port;
            entry.facts.restarts = record.restarts;
            entry.facts.health = health;
            entry.process = Some(record);
        });
    }

    fn health(&self, health: HealthState) {
        self.board.set(&self.key, |entry| {
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

    /// Asks how it is until it ends, or must be ended.
    async fn watch(
        &self,
        mut process: Box<dyn Running>,
        launch: &Launch,
        at_first: HealthState,
    ) -> End {
        let rules = self.making.workload.health.clone();
        let address = self
            .board
            .instance(&self.key)
            .and_then(|facts| facts.port)
            .map(local);
        let nothing_to_ask = rules.path.is_none() && rules.run.is_none() && address.is_none();
        let begun = Instant::now();
        let mut is_ready = at_first == HealthState::Ready;
        let mut bad_answers = 0;
        // A new instance is asked often, so that a quick one is ready quickly.
        let mut pause = if is_ready {
            rules.interval.get()
        } else {
            Duration::from_millis(20)
        };
        loop {
            let ask = async {
                tokio::time::sleep(pause).await;
                self.making
                    .prober
                    .ask(&rules, address, launch, self.making.runtime.as_ref())
                    .await
            };
            let answer = tokio::select! {
                reason = process.wait() => {
                    // What it started and left behind.
                    process.kill();
                    return if is_ready { End::AfterReady(reason) } else { End::NeverReady(reason) };
                }
                () = self.stop.cancelled() => {
                    self.end(process.as_mut()).await;
                    return End::Stopped;
                }
                answer = ask => answer,
            };
            match answer {
                Ok(()) if is_ready => bad_answers = 0,
                Ok(()) if nothing_to_ask && begun.elapsed() < STAYS_UP => {}
                Ok(()) => {
                    is_ready = true;
                    pause = rules.interval.get();
                    self.health(HealthState::Ready);
                }
                Err(reason) if is_ready => {
                    bad_answers += 1;
                    if bad_answers >= rules.failures.max(1) {
                        self.health(HealthState::Unhealthy);
                        self.end(process.as_mut()).await;
                        return End::AfterReady(format!(
                            "ended because it was unhealthy: {reason}"
                        ));
                    }
                }
                Err(reason) if begun.elapsed() > rules.start_within.get() => {
                    self.end(process.as_mut()).await;
                    return End::TooLate(format!(
                        "not ready within {}: {reason}",
                        rules.start_within
                    ));
                }
                Err(_) => pause = (pause * 2).min(rules.interval.get()),
            }
        }
    }

    /// SIGTERM, the grace, SIGKILL.
    async fn end(&self, process: &mut dyn Running) {
        process.terminate();
        let grace = self.making.workload.stop_grace.get();
        if tokio::time::timeout(grace, process.wait()).await.is_err() {
            process.kill();
            // Who runs it may not be there any more to say so: the next agent removes what is left then.
            if tokio::time::timeout(KILLED, process.wait()).await.is_err() {
                tracing::error!(scope = %self.making.scope, service = %self.key.service, slot = %self.key.slot, "an instance was killed and did not end");
            }
        } else {
            // What it started and left behind.
            process.kill();
        }
    }

    /// Rests before the next start; for good after a last failure. False when it was told to stop.
    async fn rest(&mut self, reason: String, last: bool) -> bool {
        let health = if last {
            HealthState::Failed
        } else {
            HealthState::BackingOff
        };
        let reason = self.making.redactor.text(&reason);
        tracing::info!(scope = %self.making.scope, service = %self.key.service, slot = %self.key.slot, %reason, "an instance ended");
        self.board.set(&self.key, |entry| {
            entry.facts.health = health;
            entry.facts.pid = None;
            entry.facts.last_exit = Some(reason);
            entry.process = None;
        });
        if last {
            self.stop.cancelled().await;
            return false;
        }
        let pause = backoff(self.restarts);
        self.restarts += 1;
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// What the runtime must know. Secrets from files are read again at each start.
    fn launch(
        &self,
        port: Option<u16>,
        name: Option<String>,
        missing: Missing,
    ) -> Result<Launch, String> {
        let Making {
            directory,
            scope,
            label,
            workload,
            image,
            ..
        } = &self.making;
        let digest = workload.image.value().ok_or("its image is not known")?;
        let contained = workload.container.as_ref().map(|spec| Enclosure {
            name: name.unwrap_or_else(|| self.unique_name(spec.by)),
            description: self.description(),
            image: docker::local_name(digest),
            labels: self.labels(),
            agent: directory.path().display().to_string(),
            port: port
                .zip(workload.port)
                .filter(|_| spec.by == ContainerKind::Docker),
            grace: workload.stop_grace.get(),
            spec: spec.clone(),
        });
        let by = workload.container.as_ref().map(|spec| spec.by);
        let own_network = by == Some(ContainerKind::Docker);
        // A container has an environment of its own: what its image says is filled in by the runtime.
        let own_files = matches!(by, Some(ContainerKind::Docker | ContainerKind::Own));
        let mut env = if own_files {
            BTreeMap::new()
        } else {
            clean_environment()
        };
        env.extend(image.env.clone());
        for (name, value) in &workload.env {
            let value = match value {
                EnvValue::Plain(text) => text.clone(),
                EnvValue::Secret { name, from } => match (self.secret(name, from), missing) {
                    (Ok(secret), _) => secret,
                    (Err(_), Missing::LeaveOut) => continue,
                    (Err(reason), Missing::Refuse) => return Err(reason),
                },
            };
            env.insert(name.clone(), value);
        }
        if let Some(port) = if own_network { workload.port } else { port } {
            env.insert("PORT".to_owned(), port.to_string());
        }
        let about = [
            ("PROJECT", scope.project.to_string()),
            ("ENVIRONMENT", scope.environment.to_string()),
            ("SERVICE", self.key.service.to_string()),
            ("SLOT", self.key.slot.to_string()),
            ("RELEASE", label.number.to_string()),
            ("INSTANCE", self.key.index.to_string()),
            ("COMMIT", label.commit.clone().unwrap_or_default()),
        ];
        env.extend(about.map(|(name, value)| (format!("SHIPIT_{name}"), value)));
        let command = if workload.command.is_empty() {
            image.command.clone()
        } else {
            workload.command.clone()
        };
        Ok(Launch {
            input: None,
            rootfs: rootfs::files(directory, digest),
            command,
            workdir: image.workdir.clone(),
            env,
            user: image.user.clone(),
            log: self.log(),
            contained,
        })
    }

    fn log(&self) -> PathBuf {
        let Making {
            directory,
            scope,
            label,
            ..
        } = &self.making;
        directory.instance_log(
            scope,
            self.key.slot,
            label.number,
            &self.key.service,
            self.key.index,
        )
    }

    /// A name that no other container or unit has.
    fn unique_name(&self, by: ContainerKind) -> String {
        let (scope, key) = (&self.making.scope, &self.key);
        let random = uuid::Uuid::new_v4().simple().to_string();
        let kind = if by == ContainerKind::Systemd {
            ".service"
        } else {
            ""
        };
        format!(
            "shipit-{}-{}-{}-{}-{}-{}{kind}",
            scope.project,
            scope.environment,
            key.slot,
            key.service,
            key.index,
            &random[..6]
        )
    }

    fn description(&self) -> String {
        let (Making { scope, label, .. }, key) = (&self.making, &self.key);
        format!(
            "shipit: {scope}, {}.{} of release {} in {}",
            key.service, key.index, label.number, key.slot
        )
    }

    /// What objects of a cluster carry, too.
    fn labels(&self) -> BTreeMap<String, String> {
        let Making { scope, label, .. } = &self.making;
        let labels = [
            ("app.kubernetes.io/name", self.key.service.to_string()),
            ("app.kubernetes.io/part-of", scope.project.to_string()),
            ("app.kubernetes.io/managed-by", "shipit".to_owned()),
            ("shipit.dev/project", scope.project.to_string()),
            ("shipit.dev/environment", scope.environment.to_string()),
            ("shipit.dev/slot", self.key.slot.to_string()),
            ("shipit.dev/release", label.number.to_string()),
        ];
        labels
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The secrets that a process has which an earlier agent started: they are held no more, and are to be hidden all the
    /// same. What cannot be looked at is another user's.
    fn remember_what_it_has(&self, pid: u32) {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        for variable in environment.split(|byte| *byte == 0) {
            let Some((name, value)) = std::str::from_utf8(variable)
                .ok()
                .and_then(|text| text.split_once('='))
            else {
                continue;
            };
            if let Some(EnvValue::Secret { .. }) = self.making.workload.env.get(name) {
                let value = SecretValue::new(value.to_owned());
                self.making.redactor.remember(&value);
            }
        }
    }

    fn secret(&self, name: &str, from: &SecretRef) -> Result<String, String> {
        if let SecretRef::File(path) = from
            && let Ok(text) = std::fs::read_to_string(path)
        {
            self.making
                .redactor
                .remember(&SecretValue::new(text.clone()));
            return Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned());
        }
        let held = self
            .making
            .secrets
            .get(name)
            .map(|value| value.expose().to_owned());
        held.ok_or_else(|| {
            format!("the secret `{name}` is not held since the agent was restarted; `shipit apply` brings it again")
        })
    }
}

/// Of the agent's own variables only what every program may expect.
fn clean_environment() -> BTreeMap<String, String> {
    ["PATH", "HOME", "LANG", "TZ"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect()
}

/// A port that nobody listens on now. Somebody else may take it before the service does: then the service
/// ends and is started again with another.
fn free_port() -> std::io::Result<u16> {
    let socket = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket.local_addr()?.port())
}

/// Doubles with each restart, up to a limit, with a quarter of jitter.
fn backoff(restarts: u32) -> Duration {
    let pause = PAUSE
        .saturating_mul(1 << restarts.min(10))
        .min(LONGEST_PAUSE);
    pause::between(pause, pause * 5 / 4)
}
