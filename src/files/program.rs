//! Programs whose answer is what they print: Git, credential helpers, renderers, commands that
//! check or that give a secret. There is one way to wait for one: in a process group of its own, so
//! that all that it started ends with it, with a bound on what it prints and a limit of time.
//!
//! What it sees of the environment is the business of [`environment`](super::environment). Start
//! with [`captured`].

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::marked::Mark;
use super::process::Group;

/// How long the streams of a program that has ended are waited for: what it left in the background
/// may hold them open for ever.
const LINGER: Duration = Duration::from_secs(1);

/// How much is read at a time.
const PIECE: usize = 16 << 10;

/// What a program may do.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long it may take. Past that it is ended, with all that it started.
    pub within: Duration,
    /// What is kept of its standard output.
    pub answer: Keep,
    /// How many bytes are kept of the end of its standard error.
    pub beside: usize,
    /// What becomes of what it leaves in the background.
    pub left_behind: LeftBehind,
}

/// What is kept of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All, to the last byte. A program that writes more bytes than these is ended at once.
    Whole(usize),
    /// The last bytes, and as many as have come when the program has ended.
    Last(usize),
}

/// What becomes of processes that a program has started, once it has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftBehind {
    /// They end, too.
    Ends,
    /// They go on: a daemon that keeps a login, a server that a check has started.
    GoesOn,
}

/// What a program that has ended wrote.
#[derive(Debug)]
pub struct Captured {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub answer: Vec<u8>,
    /// The end of its standard error.
    pub beside: Vec<u8>,
}

/// Why there is no answer. Whatever was started has ended.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It was not started, or could not be waited for.
    #[error("it cannot be started: {0}")]
    Start(io::Error),
    /// Its time was over.
    #[error("it was not done within {} s", .0.as_secs())]
    Late(Duration),
    /// It wrote more bytes than it may.
    #[error("it wrote more than {0} bytes")]
    TooMuch(usize),
    /// It has ended, and something that it has started still has its output.
    #[error("it has ended, and something that it started has not")]
    Held,
}

/// Runs a program to its end. It reads `input`, or nothing. Its streams and its process group are
/// set here.
///
/// # Errors
/// When it cannot be started, takes too long or writes too much.
pub async fn captured(
    command: Command,
    input: Option<Vec<u8>>,
    bounds: &Bounds,
) -> Result<Captured, CaptureError> {
    captured_as(command, input, bounds, Mark::random()).await
}

/// [`captured`] with a mark that its caller has written down, to find the program again once this
/// process was killed. What else has the mark ends with the program.
///
/// # Errors
/// As those of [`captured`].
pub async fn captured_as(
    mut command: Command,
    input: Option<Vec<u8>>,
    bounds: &Bounds,
    mark: Mark,
) -> Result<Captured, CaptureError> {
    let read = if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    command
        .stdin(read)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // All of it ends with an error; what may go on does so behind an end of its own.
    let (mut child, group) = Group::start_as(&mut command, mark).map_err(CaptureError::Start)?;

    let fed = feed(child.stdin.take(), input);
    let answer = Reading::begin(child.stdout.take(), bounds.answer);
    let beside = Reading::begin(child.stderr.take(), Keep::Last(bounds.beside));
    let ended = async {
        tokio::select! {
            status = child.wait() => status.map_err(CaptureError::Start),
            limit = answer.overflow() => Err(CaptureError::TooMuch(limit)),
        }
    };
    let status = tokio::time::timeout(bounds.within, ended).await;
    let status = status.map_err(|_| CaptureError::Late(bounds.within))??;
    fed.abort();

    let (answer, beside) = tokio::join!(answer.rest(), beside.rest());
    let answer = answer?;
    match bounds.left_behind {
        LeftBehind::Ends => drop(group),
        LeftBehind::GoesOn => group.leave(),
    }
    Ok(Captured {
        status,
        answer,
        beside: beside.unwrap_or_default(),
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

/// An output that is read beside the program.
struct Reading {
    keep: Keep,
    so_far: Arc<Mutex<Vec<u8>>>,
    overflows: CancellationToken,
    task: JoinHandle<()>,
}

impl Reading {
    fn begin(from: Option<impl AsyncRead + Unpin + Send + 'static>, keep: Keep) -> Self {
        let so_far = Arc::new(Mutex::new(Vec::new()));
        let overflows = CancellationToken::new();
        let (into, too_much) = (Arc::clone(&so_far), overflows.clone());
        let task = tokio::spawn(async move {
            let Some(mut from) = from else { return };
            let mut buffer = vec![0; PIECE];
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..count]);
                if !keep.holds(&mut kept) {
                    return too_much.cancel();
                }
            }
        });
        Self {
            keep,
            so_far,
            overflows,
            task,
        }
    }

    /// Ends when there is more than may be: its bound, in bytes.
    async fn overflow(&self) -> usize {
        self.overflows.cancelled().await;
        self.keep.limit()
    }

    /// What came, once the program has ended.
    async fn rest(mut self) -> Result<Vec<u8>, CaptureError> {
        let is_late = tokio::time::timeout(LINGER, &mut self.task).await.is_err();
        self.task.abort();
        if self.overflows.is_cancelled() {
            return Err(CaptureError::TooMuch(self.keep.limit()));
        }
        let mut kept = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = std::mem::take(&mut *kept);
        match self.keep {
            Keep::Whole(_) if is_late => Err(CaptureError::Held),
            Keep::Whole(_) => Ok(kept),
            Keep::Last(most) => Ok(kept[kept.len().saturating_sub(most)..].to_vec()),
        }
    }
}

impl Keep {
    const fn limit(self) -> usize {
        match self {
            Self::Whole(limit) | Self::Last(limit) => limit,
        }
    }

    /// Cuts off what is not kept; whether what is there may be.
    fn holds(self, kept: &mut Vec<u8>) -> bool {
        match self {
            Self::Whole(limit) => kept.len() <= limit,
            Self::Last(most) => {
                if kept.len() > 2 * most {
                    let surplus = kept.len() - most;
                    kept.drain(..surplus);
                }
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::files::environment;
    use crate::files::process::started;

    const SOON: Bounds = Bounds {
        within: Duration::from_mins(1),
        answer: Keep::Whole(1 << 10),
        beside: 8,
        left_behind: LeftBehind::Ends,
    };

    async fn run(folder: &Path, script: &str, bounds: Bounds) -> Result<Captured, CaptureError> {
        let mut command = environment::program("sh");
        command.args(["-c", script]).current_dir(folder);
        captured(command, None, &bounds).await
    }

    /// The process that a script wrote down.
    fn written(folder: &Path) -> u32 {
        let pid = std::fs::read_to_string(folder.join("pid")).expect("it began");
        pid.trim().parse().expect("a number")
    }

    async fn ends(pid: u32) {
        let ended = async {
            while started(pid).is_some() {
                tokio::task::yield_now().await;
            }
        };
        let limit = Duration::from_mins(1);
        tokio::time::timeout(limit, ended).await.expect("it ends");
    }

    #[tokio::test]
    async fn an_answer_is_whole_and_of_the_rest_the_end_is_kept() {
        let script = "printf answer; printf 'far too much beside' >&2; exit 3";
        let ended = run(Path::new("/"), script, SOON).await.expect("it runs");
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!(ended.answer, b"answer");
        assert_eq!(ended.beside, b"h beside");
    }

    #[tokio::test]
    async fn what_writes_without_end_is_ended_at_once_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "sleep 600 & echo $! >pid; exec cat /dev/zero";
        let bounds = Bounds {
            within: Duration::from_hours(24),
            ..SOON
        };
        let fault = run(folder.path(), script, bounds).await;
        assert!(
            matches!(fault, Err(CaptureError::TooMuch(1024))),
            "{fault:?}"
        );
        ends(written(folder.path())).await;
    }

    #[tokio::test]
    async fn what_is_late_and_what_nobody_waits_for_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "sleep 600 & echo $! >pid; wait";
        let bounds = Bounds {
            within: Duration::from_millis(500),
            ..SOON
        };
        let late = run(folder.path(), script, bounds).await;
        assert!(matches!(late, Err(CaptureError::Late(_))), "{late:?}");
        ends(written(folder.path())).await;

        std::fs::remove_file(folder.path().join("pid")).expect("it was there");
        let has_begun = async {
            while !std::fs::read(folder.path().join("pid")).is_ok_and(|text| text.ends_with(b"\n"))
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = run(folder.path(), script, SOON) => panic!("it waits: {ended:?}"),
            () = has_begun => {}
        }
        ends(written(folder.path())).await;
    }

    #[tokio::test]
    async fn what_is_left_in_the_background_ends_or_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "sleep 600 >/dev/null 2>&1 & echo $! >pid";
        run(folder.path(), script, SOON).await.expect("it runs");
        ends(written(folder.path())).await;

        let bounds = Bounds {
            left_behind: LeftBehind::GoesOn,
            ..SOON
        };
        run(folder.path(), script, bounds).await.expect("it runs");
        let pid = written(folder.path());
        assert!(started(pid).is_some(), "it goes on");
        let pid = i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let ended = rustix::process::kill_process(pid.expect("one"), rustix::process::Signal::KILL);
        ended.expect("it is ours");
    }

    #[tokio::test]
    async fn an_answer_that_may_not_be_whole_is_none() {
        let script = "printf half; sleep 600 2>/dev/null &";
        let held = run(Path::new("/"), script, SOON).await;
        assert!(matches!(held, Err(CaptureError::Held)), "{held:?}");
        let bounds = Bounds {
            answer: Keep::Last(16),
            ..SOON
        };
        let ended = run(Path::new("/"), script, bounds).await.expect("it runs");
        assert_eq!(ended.answer, b"half");
    }

    #[tokio::test]
    async fn an_input_is_read_or_not() {
        for (script, answer) in [("cat", "asked"), ("printf known", "known")] {
            let mut command = environment::program("sh");
            command.args(["-c", script]);
            let ended = captured(command, Some(b"asked".to_vec()), &SOON).await;
            assert_eq!(ended.expect(script).answer, answer.as_bytes());
        }
    }
}
