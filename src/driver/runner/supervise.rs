//! The command that a job waits for: line by line, with a limit of time, and stopped cleanly first.

use std::fs::File;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncRead;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, LinesCodec};

/// The longest line, in bytes. A longer one is left out.
const LONGEST: usize = 1 << 20;

/// How long a command has to stop cleanly, and once more to stop at once.
const GRACE: Duration = Duration::from_mins(1);

/// How long the streams of a command that has ended are waited for: what it left running may hold
/// them.
const LINGER: Duration = Duration::from_secs(1);

/// Where a line was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// To the standard output.
    Out(String),
    /// To the standard error.
    Err(String),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervised {
    /// By itself.
    Ended(ExitStatus),
    /// Its time was over, and it was stopped.
    Late(ExitStatus),
}

/// Runs a command to its end, or to that of its time. It has the lock as its standard input.
///
/// # Errors
/// It cannot be started.
pub async fn supervise(
    mut command: Command,
    lock: File,
    within: Duration,
    mut on_line: impl FnMut(Written),
) -> io::Result<Supervised> {
    command
        .stdin(Stdio::from(lock))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    drop(command);

    let (lines, mut written) = mpsc::channel(64);
    read(child.stdout.take(), lines.clone(), Written::Out);
    read(child.stderr.take(), lines, Written::Err);
    let deadline = tokio::time::sleep(within);
    tokio::pin!(deadline);

    let mut stops = 0;
    let status = loop {
        tokio::select! {
            Some(line) = written.recv() => on_line(line),
            status = child.wait() => break status?,
            () = &mut deadline => {
                end(&child, stops);
                stops += 1;
                deadline.as_mut().reset(tokio::time::Instant::now() + GRACE);
            }
        }
    };

    let rest = async {
        while let Some(line) = written.recv().await {
            on_line(line);
        }
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
    Ok(if stops > 0 {
        Supervised::Late(status)
    } else {
        Supervised::Ended(status)
    })
}

/// Asks a command to stop; the third time it is not asked.
fn end(child: &Child, stops: u32) {
    let signal = if stops < 2 {
        Signal::TERM
    } else {
        Signal::KILL
    };
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn read(
    from: Option<impl AsyncRead + Send + Unpin + 'static>,
    into: mpsc::Sender<Written>,
    form: fn(String) -> Written,
) {
    let Some(from) = from else { return };
    tokio::spawn(async move {
        let mut lines = FramedRead::new(from, LinesCodec::new_with_max_length(LONGEST));
        while let Some(line) = lines.next().await {
            // What is too long, or not text, is left out, and what follows is read.
            if let Ok(line) = line
                && into.send(form(line)).await.is_err()
            {
                break;
            }
        }
    });
}
