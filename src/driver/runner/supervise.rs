//! The command that a job waits for: line by line, with a limit of time, and stopped cleanly first.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncRead;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::sync::CancellationToken;

use crate::files::marked::Mark;
use crate::files::process::Group;

/// The longest line, in bytes. A longer one is left out.
const LONGEST: usize = 1 << 20;

/// How long a command has to stop cleanly, and once more to stop at once.
const GRACE: Duration = Duration::from_mins(1);

/// How long the streams of a command that has ended are waited for: what it left running may hold
/// them.
const LINGER: Duration = Duration::from_secs(1);

/// How often is looked whether something of a command that was stopped still runs.
const LOOK: Duration = Duration::from_millis(50);

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

/// What is stopped when the time of a command is over: all of it is asked to stop cleanly first.
#[derive(Debug, Clone, Copy)]
pub enum Stopping<'a> {
    /// The command alone. It ends what it has started by itself, and others tell it when to.
    Itself,
    /// The command with all that it has started, in a process group of its own and with a mark;
    /// also at once when it is cancelled. Where it ends by itself, what it has left goes on.
    All(&'a Mark, &'a CancellationToken),
}

impl Stopping<'_> {
    fn start(self, command: &mut Command) -> io::Result<(Child, Option<Group>)> {
        match self {
            Self::Itself => Ok((command.spawn()?, None)),
            Self::All(mark, _) => {
                let (child, group) = Group::start_as(command, mark.clone())?;
                Ok((child, Some(group)))
            }
        }
    }

    async fn cancelled(self) {
        match self {
            Self::Itself => std::future::pending().await,
            Self::All(_, cancelled) => cancelled.cancelled().await,
        }
    }
}

/// Runs a command to its end, or to that of its time. It has the lock as its standard input.
///
/// # Errors
/// It cannot be started.
pub async fn supervise(
    mut command: Command,
    lock: File,
    within: Duration,
    stopping: Stopping<'_>,
    mut on_line: impl FnMut(Written),
) -> io::Result<Supervised> {
    command
        .stdin(Stdio::from(lock))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (mut child, group) = stopping.start(&mut command)?;
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
            () = due(deadline.as_mut(), stopping, stops) => {
                stop(&child, group.as_ref(), stops);
                stops += 1;
                deadline.as_mut().reset(Instant::now() + GRACE);
            }
        }
    };

    let ended = leave(group, (stops > 0).then(|| deadline.deadline()));
    tokio::pin!(ended);
    loop {
        tokio::select! {
            Some(line) = written.recv() => on_line(line),
            () = &mut ended => break,
        }
    }
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

/// Ends when a command is to stop, or to stop once more.
async fn due(deadline: Pin<&mut Sleep>, stopping: Stopping<'_>, stops: u32) {
    tokio::select! {
        () = deadline => {}
        () = stopping.cancelled(), if stops == 0 => {}
    }
}

/// Asks a command to stop; one with a group is not asked the second time, one without not the
/// third.
fn stop(child: &Child, group: Option<&Group>, stops: u32) {
    match group {
        Some(group) if stops == 0 => group.ask_to_stop(),
        Some(group) => group.end(),
        None => end(child, stops),
    }
}

/// Lets what a command has left go on; or, when it was stopped, ends that, at the latest by then.
async fn leave(group: Option<Group>, stopped: Option<Instant>) {
    let Some(group) = group else { return };
    let Some(latest) = stopped else {
        return group.leave();
    };
    let ended = async {
        while group.is_left() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let _ = tokio::time::timeout_at(latest, ended).await;
    drop(group);
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::files::environment;
    use crate::files::process::started;

    const LONG: Duration = Duration::from_hours(1);

    fn shell(script: &str) -> Command {
        let mut command = environment::program("sh");
        command.args(["-ec", script]);
        command
    }

    fn nothing() -> File {
        File::open(Path::new("/dev/null")).expect("it is there")
    }

    /// Runs a script that says which process it has started, and stops it then.
    async fn stopped(script: &str) -> (Supervised, u32) {
        let (mark, cancelled) = (Mark::random(), CancellationToken::new());
        let stopping = Stopping::All(&mark, &cancelled);
        let mut pid = None;
        let ended = supervise(shell(script), nothing(), LONG, stopping, |line| {
            if let Written::Out(text) = line {
                pid = text.trim().parse().ok().or(pid);
                cancelled.cancel();
            }
        });
        let ended = ended.await.expect("it starts");
        assert!(!mark.is_had(), "something of it is left");
        (ended, pid.expect("a number"))
    }

    #[tokio::test]
    async fn what_is_stopped_ends_with_all_that_it_has_started() {
        for script in [
            // The shell ends at once, and what it waits for would go on.
            "sleep 600 & echo $!; wait",
            "sh -c 'echo $$; exec sleep 600'; true",
            // In a session of its own.
            "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!; wait",
        ] {
            let (ended, pid) = stopped(script).await;
            assert!(matches!(ended, Supervised::Late(_)), "{script}: {ended:?}");
            let is_over = async {
                while started(pid).is_some() {
                    tokio::task::yield_now().await;
                }
            };
            let limit = Duration::from_mins(1);
            tokio::time::timeout(limit, is_over).await.expect(script);
        }
    }

    #[tokio::test]
    async fn what_is_asked_to_stop_may_do_so_cleanly() {
        let script =
            "(trap 'echo cleaned >&2; exit 0' TERM; echo 1; while :; do sleep 0.01 || true; done)";
        let (mark, cancelled) = (Mark::random(), CancellationToken::new());
        let mut said = Vec::new();
        let stopping = Stopping::All(&mark, &cancelled);
        let ended = supervise(shell(script), nothing(), LONG, stopping, |line| {
            cancelled.cancel();
            said.push(line);
        });
        ended.await.expect("it starts");
        assert!(
            said.contains(&Written::Err("cleaned".to_owned())),
            "{said:?}"
        );
    }

    #[tokio::test]
    async fn what_a_command_leaves_that_ends_by_itself_goes_on() {
        let (mark, cancelled) = (Mark::random(), CancellationToken::new());
        let script = "sleep 600 </dev/null >/dev/null 2>&1 &";
        let stopping = Stopping::All(&mark, &cancelled);
        let ended = supervise(shell(script), nothing(), LONG, stopping, |_| {}).await;
        assert!(matches!(ended, Ok(Supervised::Ended(status)) if status.success()));
        assert!(mark.is_had());
        mark.end();
    }
}
