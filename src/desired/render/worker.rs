//! The process that renders: this program once more, with little memory. It is started for the
//! first template, asked through a pipe, and started again after one that it did not survive. It
//! ends when its pipe does.

use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::desired::render::{MEMORY, MOST, PATIENCE, RenderFault, Request, bounded};

/// The largest message: a template that is quoted, with what it sees.
const LARGEST: usize = 8 * MOST;

/// The arguments with which this program renders; none in a program that cannot.
static ARGUMENTS: OnceLock<Vec<String>> = OnceLock::new();

static WORKER: Mutex<Option<Worker>> = Mutex::new(None);

type Answer = Result<String, RenderFault>;

/// From now on templates are rendered by another process of this program, started with these
/// arguments.
pub fn isolate(arguments: &[&str]) {
    let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
    // Whoever says it first is right.
    let _ = ARGUMENTS.set(arguments);
}

/// What the other process says; none where there is to be none.
pub(super) fn ask(request: &Request) -> Option<Answer> {
    let arguments = ARGUMENTS.get()?;
    let mut there = WORKER.lock().unwrap_or_else(PoisonError::into_inner);
    // One that has ended meanwhile (somebody killed it) is no fault of this template.
    let lives = |worker: &mut Worker| matches!(worker.child.try_wait(), Ok(None));
    let known = there
        .take()
        .and_then(|mut worker| lives(&mut worker).then_some(worker));
    let mut worker = match known.map_or_else(|| Worker::start(arguments), Ok) {
        Ok(worker) => worker,
        Err(error) => return Some(Err(cannot_start(&error))),
    };

    match worker.ask(request) {
        Ok(answer) => {
            *there = Some(worker);
            Some(answer)
        }
        Err(error) => Some(Err(worker.fault(&error))),
    }
}

fn cannot_start(error: &io::Error) -> RenderFault {
    RenderFault::say(format!(
        "the process that renders cannot be started: {error}"
    ))
}

struct Worker {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Worker {
    fn start(arguments: &[String]) -> io::Result<Self> {
        // By the link of the kernel it is this very program, even when another one has been put in
        // its place.
        let mut child = Command::new("/proc/self/exe")
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("it has no pipes"));
        };
        Ok(Self { child, to, from })
    }

    fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        let message = serde_json::to_vec(request)?;
        send(&mut self.to, &message)?;
        let deadline = Instant::now() + PATIENCE;
        let mut from = Timely {
            from: &mut self.from,
            deadline,
        };
        let answer = receive(&mut from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Why it did not answer.
    fn fault(mut self, error: &io::Error) -> RenderFault {
        if error.kind() == io::ErrorKind::TimedOut {
            let _ = self.child.kill();
            let _ = self.child.wait();
            return RenderFault::say(format!("it is not done within {} s", PATIENCE.as_secs()));
        }
        let _ = self.child.kill();
        match self.child.wait() {
            Ok(status) => RenderFault::say(died(status)),
            Err(_) => {
                RenderFault::say(format!("the process that renders does not answer: {error}"))
            }
        }
    }
}

fn died(status: ExitStatus) -> String {
    let abort = rustix::process::Signal::ABORT.as_raw();
    let segv = rustix::process::Signal::SEGV.as_raw();
    match status.signal() {
        Some(signal) if signal == abort || signal == segv => format!(
            "it needs more than {} MiB of memory, or nests too deeply",
            MEMORY >> 20
        ),
        _ => format!("the process that renders did not survive it ({status})"),
    }
}

/// A pipe that is read until a deadline.
struct Timely<'a> {
    from: &'a mut ChildStdout,
    deadline: Instant,
}

impl Read for Timely<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left.max(Duration::from_millis(1)))
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut ready = [PollFd::from_borrowed_fd(self.from.as_fd(), PollFlags::IN)];
        match poll(&mut ready, Some(&timeout)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => self.from.read(into),
            Err(error) => Err(error.into()),
        }
    }
}

fn send(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(message)?;
    to.flush()
}

/// The next message; none when the other end is gone.
fn receive(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Renders what comes through the standard input, until that ends. Is the whole of a process.
///
/// # Errors
/// When the pipes or the bounds fail.
pub fn serve() -> io::Result<()> {
    bound_itself()?;
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    while let Some(message) = receive(&mut from)? {
        let request: Request = serde_json::from_slice(&message)?;
        let answer: Answer = bounded::on_a_thread(&request);
        send(&mut to, &serde_json::to_vec(&answer)?)?;
    }
    Ok(())
}

/// Little memory, and no picture of it on the disk.
fn bound_itself() -> io::Result<()> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().next();
    let pages: u64 = pages.and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let has = pages * rustix::param::page_size() as u64;
    for (resource, most) in [(Resource::As, has + MEMORY), (Resource::Core, 0)] {
        // Somebody may have bounded it more narrowly.
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let most = Some(most.min(allowed));
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}
