//! Commands as checks.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::driver::check::CheckFailure;
use crate::files::process::Group;
use crate::files::{environment, interpreter};
use crate::model::Period;
use crate::model::check::RunCheck;
use crate::model::own_rule::ProgramRule;
use crate::port::Progress;
use crate::port::checker::CheckTarget;

/// How many of the last lines a failure shows.
const LAST_LINES: usize = 20;

/// How many bytes of an output are kept.
const MOST: usize = 1 << 20;

/// How long the last lines of a command that has ended are waited for.
const LINGER: Duration = Duration::from_secs(1);

/// Runs the command in the project's folder. Past its time the command ends with all that it
/// started.
pub(super) async fn run(
    check: &RunCheck,
    target: &CheckTarget,
    progress: Progress<'_>,
) -> Result<(), CheckFailure> {
    start(&check.command, check.timeout, None, target, progress).await
}

/// The same for a program that is asked about what comes through its standard input.
pub(super) async fn ask(
    rule: &ProgramRule,
    input: Vec<u8>,
    target: &CheckTarget,
) -> Result<(), CheckFailure> {
    start(&rule.command, rule.timeout, Some(input), target, &|_| {}).await
}

async fn start(
    command: &[String],
    timeout: Period,
    input: Option<Vec<u8>>,
    target: &CheckTarget,
    progress: Progress<'_>,
) -> Result<(), CheckFailure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(CheckFailure::say("there is no command"));
    };
    let mut command = environment::program(program);
    command
        .args(arguments)
        .current_dir(&target.root)
        .envs(&target.env)
        .envs(urls(target))
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| {
        let reason = interpreter::explained(program, &target.root, &error);
        CheckFailure::say(format!("`{program}` cannot be started: {reason}"))
    })?;
    let group = Group::of(&child);
    let fed = feed(child.stdin.take(), input);
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let status = match tokio::time::timeout(timeout.get(), child.wait()).await {
        Ok(status) => status.map_err(|error| CheckFailure::say(error.to_string()))?,
        Err(_) => {
            return Err(CheckFailure::say(format!("not done within {timeout}")));
        }
    };
    group.leave();
    fed.abort();

    // It is done when it has ended: what it left in the background may keep its output open for
    // ever.
    let text = [stdout.rest().await, stderr.rest().await].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().take(500).collect())
        .collect();
    if status.success() {
        for line in &lines {
            progress(line);
        }
        return Ok(());
    }
    let skip = lines.len().saturating_sub(LAST_LINES);
    let code = status
        .code()
        .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
    Err(CheckFailure {
        reason: format!("ended with {code}"),
        detail: lines.into_iter().skip(skip).collect(),
    })
}

/// Gives a program its input beside reading what it says. It may read none of it.
fn feed(
    into: Option<impl AsyncWrite + Unpin + Send + 'static>,
    input: Option<Vec<u8>>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let (Some(mut into), Some(input)) = (into, input) {
            let _ = into.write_all(&input).await;
        }
    })
}

/// An output that is read beside the command.
struct Reading {
    so_far: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

/// Reads an output to its end. Of what is too long the end is kept.
fn read(from: Option<impl AsyncRead + Unpin + Send + 'static>) -> Reading {
    let so_far = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&so_far);
    let task = tokio::spawn(async move {
        let Some(mut from) = from else { return };
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&buffer[..count]);
            if kept.len() > 2 * MOST {
                let surplus = kept.len() - MOST;
                kept.drain(..surplus);
            }
        }
    });
    Reading { so_far, task }
}

impl Reading {
    /// What came, once the command has ended.
    async fn rest(mut self) -> Vec<u8> {
        if tokio::time::timeout(LINGER, &mut self.task).await.is_err() {
            self.task.abort();
        }
        std::mem::take(&mut self.so_far.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `SHIPIT_URL` for the first service, `SHIPIT_URL_<SERVICE>` for each.
fn urls(target: &CheckTarget) -> Vec<(String, String)> {
    let first = target
        .urls
        .first()
        .map(|url| ("SHIPIT_URL".to_owned(), url.url.clone()));
    let each = target.urls.iter().map(|url| {
        let name = url.service.as_str().to_uppercase().replace('-', "_");
        (format!("SHIPIT_URL_{name}"), url.url.clone())
    });
    first.into_iter().chain(each).collect()
}
