//! The build's command: its own process group, its output line by line, and an end when it is told to.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::build::PackSpec;
use crate::port::Progress;
use crate::port::builder::{BuildError, BuildRequest};

/// How many of the last lines a failure shows.
const LAST_LINES: usize = 40;

/// How long a stopped command has until it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Variables that Cargo sets for the program it runs, and that would mislead a Cargo that this program runs.
const LEAKS: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

pub(super) async fn run(
    request: &BuildRequest,
    spec: &PackSpec,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<(), BuildError> {
    let words = spec.run.join(" ");
    let start = |source| BuildError::Start { command: words.clone(), source };
    progress(&format!("$ {words}"));
    let mut child = command(request, spec).spawn().map_err(start)?;
    let mut lines = lines(&mut child);
    let mut last = VecDeque::new();
    let status = loop {
        tokio::select! {
            Some(line) = lines.recv() => {
                progress(&line);
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(line);
            }
            status = child.wait() => break status.map_err(start)?,
            () = cancel.cancelled() => {
                stop(&mut child).await;
                return Err(BuildError::Cancelled);
            }
        }
    };
    while let Ok(line) = lines.try_recv() {
        last.push_back(line);
    }
    if status.success() {
        return Ok(());
    }
    let skip = last.len().saturating_sub(LAST_LINES);
    Err(BuildError::Command {
        command: words,
        status: describe(status),
        log: last.into_iter().skip(skip).collect(),
    })
}

fn command(request: &BuildRequest, spec: &PackSpec) -> Command {
    let (program, arguments) = spec.run.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(request.root.join(&spec.context))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| LEAKS.iter().any(|leak| name.starts_with(leak))) {
            command.env_remove(name);
        }
    }
    command.env("SOURCE_DATE_EPOCH", request.source.committed_at.unwrap_or(0).to_string());
    if let Some(commit) = &request.source.commit {
        command.env("SHIPIT_COMMIT", commit);
    }
    command
}

/// Both outputs as lines, as they come.
fn lines(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(256);
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(forward(stdout, sender.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(forward(stderr, sender));
    }
    receiver
}

async fn forward(from: impl AsyncRead + Unpin, to: mpsc::Sender<String>) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line).trim_end().chars().take(2000).collect();
        line.clear();
        if to.send(text).await.is_err() {
            return;
        }
    }
}

/// Ends the command and all that it started.
async fn stop(child: &mut Child) {
    signal(child, Signal::TERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        signal(child, Signal::KILL);
        let _ = child.wait().await;
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process_group(pid, signal);
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}
