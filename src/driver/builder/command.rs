//! A build's command: its own process group, its output line by line, and an end when it is told
//! to.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::files::lines::Splitter;
use crate::files::process::Group;
use crate::files::{environment, interpreter};
use crate::model::Period;
use crate::port::Progress;
use crate::port::builder::BuildError;

/// How many of the last lines a failure shows.
const LAST_LINES: usize = 40;

/// How long a stopped command has until it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How long the last lines of a command that has ended are waited for.
const LINGER: Duration = Duration::from_secs(1);

/// Variables that Cargo sets for the program it runs, and that would mislead a Cargo that this
/// program runs.
const LEAKS: [&str; 4] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_BIN_",
    "CARGO_CRATE_",
];

/// A command to run.
pub(super) struct Line<'a> {
    pub vector: &'a [String],
    pub folder: &'a Path,
    pub env: &'a BTreeMap<String, String>,
}

/// Runs it to its end, or until its time is up or somebody calls it off.
pub(super) async fn run(
    line: &Line<'_>,
    within: Period,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<(), BuildError> {
    run_with(line, Stdio::null(), within, progress, cancel).await
}

/// The same, with something to read.
pub(super) async fn run_with(
    line: &Line<'_>,
    stdin: Stdio,
    within: Period,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<(), BuildError> {
    let words = line.vector.join(" ");
    let start = |error: std::io::Error| BuildError::Start {
        command: words.clone(),
        source: match line.vector.first() {
            Some(program) => {
                let reason = interpreter::explained(program, line.folder, &error);
                std::io::Error::new(error.kind(), reason)
            }
            None => error,
        },
    };
    progress(&format!("$ {words}"));
    let (mut child, group) = Group::start(&mut command(line, stdin)).map_err(start)?;
    let mut lines = lines(&mut child);
    let mut last = VecDeque::new();
    let deadline = tokio::time::sleep(within.get());
    tokio::pin!(deadline);
    let status = loop {
        tokio::select! {
            Some(line) = lines.recv() => keep(&mut last, line, progress),
            status = child.wait() => break status.map_err(start)?,
            () = cancel.cancelled() => {
                stop(&mut child).await;
                return Err(BuildError::Cancelled);
            }
            () = &mut deadline => {
                stop(&mut child).await;
                return Err(BuildError::Timeout { within });
            }
        }
    };

    // What it wrote last may still be on its way; a child that it left behind may keep the pipe
    // open for ever.
    while let Ok(Some(line)) = tokio::time::timeout(LINGER, lines.recv()).await {
        keep(&mut last, line, progress);
    }

    // A daemon that serves the next build, too.
    group.leave();
    if status.success() {
        return Ok(());
    }

    Err(BuildError::Command {
        command: words,
        status: interpreter::with_windows_lines(describe(status), line.vector, line.folder),
        log: last.into_iter().collect(),
    })
}

fn keep(last: &mut VecDeque<String>, line: String, progress: Progress<'_>) {
    progress(&line);
    if last.len() == LAST_LINES {
        last.pop_front();
    }
    last.push_back(line);
}

fn command(line: &Line<'_>, stdin: Stdio) -> Command {
    let (program, arguments) = line
        .vector
        .split_first()
        .map_or(("", &[][..]), |(first, rest)| (first, rest));
    let mut command = environment::program(program);
    command
        .args(arguments)
        .current_dir(line.folder)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| LEAKS.iter().any(|leak| name.starts_with(leak)))
        {
            command.env_remove(name);
        }
    }

    command.envs(line.env);
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

/// How many characters of a line are passed on.
const LONGEST_LINE: usize = 2000;

async fn forward(from: impl AsyncRead, to: mpsc::Sender<String>) {
    let mut from = pin!(from);
    let mut splitter = Splitter::with_longest(LONGEST_LINE);
    let mut buffer = vec![0; 8 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let mut lines = splitter.push(&buffer[..read]);
        if read == 0 {
            lines.extend(splitter.finish());
        }
        for line in lines {
            if to.send(line.trim_end().to_owned()).await.is_err() {
                return;
            }
        }
        if read == 0 {
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
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
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
