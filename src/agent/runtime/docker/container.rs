//! A container that runs, and what it says.

use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    KillContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    WaitContainerOptions,
};
use futures_util::StreamExt as _;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;

use crate::agent::runtime::docker::is_gone;
use crate::agent::runtime::{Running, process};
use crate::port::pause;

/// How long the last lines of a container that has ended are waited for.
const LINGER: Duration = Duration::from_secs(1);
/// How often a container's removal is asked for.
const REMOVALS: usize = 4;

/// Writes what a container says into the instance's log, as it comes.
pub(super) fn follow(
    docker: Docker,
    name: String,
    log: &Path,
    since: i64,
) -> io::Result<JoinHandle<()>> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)?;

    let since = i32::try_from(since).unwrap_or(0);
    Ok(tokio::spawn(async move {
        let mut file = tokio::fs::File::from_std(file);
        let options = LogsOptionsBuilder::default()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .since(since)
            .build();
        let mut lines = docker.logs(&name, Some(options));
        while let Some(Ok(line)) = lines.next().await {
            if file.write_all(&line.into_bytes()).await.is_err() || file.flush().await.is_err() {
                return;
            }
        }
    }))
}

/// Takes a container away. The volumes that its image declares and nobody named stay: they may hold
/// data.
pub(super) async fn remove(docker: &Docker, name: &str) {
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(false)
        .build();
    for _ in 0..REMOVALS {
        match docker.remove_container(name, Some(options.clone())).await {
            Err(error) if !is_gone(&error) => {}
            Ok(()) | Err(_) => return,
        }
        // An engine that fails once may do it the next time; else the next agent deletes it.
        let (least, most) = (Duration::from_millis(100), Duration::from_millis(400));
        tokio::time::sleep(pause::between(least, most)).await;
    }
}

/// A container that runs.
pub(super) struct DockerContainer {
    pub docker: Docker,
    pub name: String,
    pub pid: u32,
    pub ticks: u64,
    pub log: Option<JoinHandle<()>>,
    /// How it ended, once that is known.
    pub reason: Option<String>,
    pub is_removed: bool,
}

impl DockerContainer {
    /// How it ended, once it has.
    async fn ended(&self) -> String {
        // The engine's own answer has no deadline: a service runs for months. A lost connection is
        // made again.
        let patient = self
            .docker
            .clone()
            .with_timeout(Duration::from_hours(24 * 365));
        loop {
            let answer = patient
                .wait_container(&self.name, None::<WaitContainerOptions>)
                .next()
                .await;
            match answer {
                Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => break,
                Some(Err(error)) if is_gone(&error) => break,
                _ => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }

        let state = self
            .docker
            .inspect_container(&self.name, None)
            .await
            .ok()
            .and_then(|found| found.state);
        let state = state.unwrap_or_default();
        match (state.oom_killed, state.exit_code) {
            (Some(true), _) => "killed: it used more memory than it may".to_owned(),
            (_, Some(code)) => process::of_code(code),
            (_, None) => "its container is gone".to_owned(),
        }
    }

    /// Sends it this signal, or the one by which its image ends.
    fn signal(&self, signal: Option<&'static str>) {
        let (docker, name) = (self.docker.clone(), self.name.clone());
        tokio::spawn(async move {
            let signal = match signal {
                Some(signal) => signal.to_owned(),
                None => stop_signal(&docker, &name).await,
            };
            let options = KillContainerOptionsBuilder::default()
                .signal(&signal)
                .build();
            // It may have ended meanwhile.
            let _ = docker.kill_container(&name, Some(options)).await;
        });
    }
}

/// The signal by which a container's image says that it ends.
async fn stop_signal(docker: &Docker, name: &str) -> String {
    let found = docker.inspect_container(name, None).await.ok();
    let said = found.and_then(|found| found.config?.stop_signal);
    let said = said.filter(|signal| !signal.is_empty());
    said.unwrap_or_else(|| "SIGTERM".to_owned())
}

#[async_trait]
impl Running for DockerContainer {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn started(&self) -> u64 {
        self.ticks
    }

    fn container(&self) -> Option<String> {
        Some(self.name.clone())
    }

    // Whoever waits may stop at any of these and wait again: what is known by then stays known.
    async fn wait(&mut self) -> String {
        let reason = match &self.reason {
            Some(reason) => reason.clone(),
            None => self.ended().await,
        };
        self.reason = Some(reason.clone());

        if let Some(log) = &mut self.log {
            let _ = tokio::time::timeout(LINGER, log).await;
            self.log = None;
        }
        if !self.is_removed {
            remove(&self.docker, &self.name).await;
            self.is_removed = true;
        }
        reason
    }

    /// By the signal that the engine knows of the image.
    fn terminate(&self, _: Signal) {
        self.signal(None);
    }

    fn kill(&self) {
        if self.reason.is_none() {
            self.signal(Some("SIGKILL"));
        }
    }
}

impl Drop for DockerContainer {
    fn drop(&mut self) {
        if let Some(log) = &self.log {
            log.abort();
        }
    }
}
