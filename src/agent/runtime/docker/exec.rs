//! A command in a container. The engine ends none that nobody waits for any more.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions};
use bollard::models::ExecInspectResponse;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::agent::family::family;
use crate::agent::runtime::docker::trouble;
use crate::agent::trouble::Trouble;

/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a command in a container until it has ended well. When the caller does not wait so long,
/// the command is ended, with what it has started.
pub(super) async fn run(docker: &Docker, name: &str, command: &[String]) -> Result<(), Trouble> {
    let failed = |error| trouble("asking in the container", &error);
    let options = CreateExecOptions {
        cmd: Some(command.to_vec()),
        ..CreateExecOptions::default()
    };
    let exec = docker.create_exec(name, options).await.map_err(failed)?;
    let mut begun = Begun {
        docker,
        exec: Some(exec.id.clone()),
    };
    let start = StartExecOptions {
        detach: true,
        ..StartExecOptions::default()
    };
    docker
        .start_exec(&exec.id, Some(start))
        .await
        .map_err(failed)?;

    let code = ended(docker, &exec.id).await.map_err(failed)?;
    begun.exec = None;
    if code == 0 {
        return Ok(());
    }
    let program = command.first().map_or("", String::as_str);
    let reason = format!("`{program}` ended with exit code {code}");
    Err(Trouble::Instance(reason))
}

/// Waits until a command has ended; gives its exit code. One that has none yet has not begun.
pub(super) async fn ended(docker: &Docker, exec: &str) -> Result<i64, Error> {
    loop {
        let state = docker.inspect_exec(exec).await?;
        if let (Some(false), Some(code)) = (state.running, state.exit_code) {
            return Ok(code);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A command that was begun: ended when nobody waits for it.
struct Begun<'a> {
    docker: &'a Docker,
    /// None once it has ended by itself.
    exec: Option<String>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Some(exec) = self.exec.take() else {
            return;
        };
        let docker = self.docker.clone();
        tokio::spawn(async move { end(&docker, &exec).await });
    }
}

/// How long a command that was asked for may take to begin.
const BEGINS: Duration = Duration::from_secs(10);

/// Ends a command, with what it has started. The engine may be about to begin it: whoever has asked
/// for that has not waited for the answer.
pub(super) async fn end(docker: &Docker, exec: &str) {
    let deadline = Instant::now() + BEGINS;
    while let Ok(state) = docker.inspect_exec(exec).await {
        let has_begun = state.running == Some(true) && state.pid.is_some_and(|pid| pid > 1);
        if has_begun {
            let members = |first| family(first).unwrap_or_default();
            reach(&state, Signal::KILL, members);
        }
        if has_begun || state.exit_code.is_some() || Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Sends a command a signal.
pub(super) async fn signal(docker: &Docker, exec: &str, signal: Signal) {
    if let Ok(state) = docker.inspect_exec(exec).await {
        reach(&state, signal, |first| BTreeSet::from([first]));
    }
}

/// Signals processes of a command that runs, of which its first is given, where this process may:
/// by root, or by the user of an engine without root. An engine of another machine has its
/// processes there.
fn reach(state: &ExecInspectResponse, signal: Signal, members: impl FnOnce(u32) -> BTreeSet<u32>) {
    let (Some(true), Some(pid), Some(container)) = (state.running, state.pid, &state.container_id)
    else {
        return;
    };
    let Some(first) = u32::try_from(pid).ok().filter(|pid| *pid > 1) else {
        return;
    };

    for member in members(first) {
        let Some(pid) = i32::try_from(member).ok().and_then(Pid::from_raw) else {
            continue;
        };
        // Held before it is looked at: the number may be another's soon.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        let groups = fs::read_to_string(format!("/proc/{member}/cgroup"));
        if groups.is_ok_and(|groups| groups.contains(container.as_str())) {
            let _ = pidfd_send_signal(&process, signal);
        }
    }
}
