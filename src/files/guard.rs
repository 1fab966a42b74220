//! What ends the programs that this process has started when it is killed and can end nothing any
//! more: another process of this program, which learns of each of them before it starts and ends
//! those that are left when its pipe closes.
//!
//! It is started with the first program, and not at all where nobody has called [`begin`]. Programs
//! are found by their [mark](super::marked) and by their group.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::ioctl_fionbio;
use rustix::process::Signal;

use super::environment;
use super::marked::Mark;
use super::process::{kill_group, look, started};

/// The name that it has among processes: `pkill shipit` is not meant for it.
const NAME: &str = "end-of-run";

/// The longest line that it is told.
const LINE: u64 = 256;

/// The arguments with which this program is the other process; none in one that cannot be.
static ARGUMENTS: OnceLock<Vec<String>> = OnceLock::new();

static GUARD: Mutex<Guard> = Mutex::new(Guard {
    to: None,
    under_way: BTreeMap::new(),
});

/// What runs, and who is told of it.
struct Guard {
    to: Option<Child>,
    under_way: UnderWay,
}

/// The programs that run, by their marks: the first process of each, once it is known.
type UnderWay = BTreeMap<String, Option<Process>>;

/// A process that no other can be taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// When it was started, in clock ticks since boot.
    started: u64,
}

/// From now on the programs of this process end with it, by another process that is started with
/// these arguments.
pub fn begin(arguments: &[&str]) {
    let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
    // Whoever says it first is right.
    let _ = ARGUMENTS.set(arguments);
}

/// Before a program starts.
pub(super) fn starts(mark: &Mark) {
    tell(mark, None);
}

/// A program has started, as this process.
pub(super) fn runs(mark: &Mark, pid: u32) {
    if let Some(started) = started(pid) {
        tell(mark, Some(Process { pid, started }));
    }
}

/// A program has ended, or may go on without this process.
pub(super) fn ended(mark: &Mark) {
    let Some(arguments) = ARGUMENTS.get() else {
        return;
    };
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    guard.under_way.remove(mark.word());
    guard.say(arguments, &format!("ended {}\n", mark.word()));
}

fn tell(mark: &Mark, process: Option<Process>) {
    let Some(arguments) = ARGUMENTS.get() else {
        return;
    };
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    guard.under_way.insert(mark.word().to_owned(), process);
    guard.say(arguments, &line(mark.word(), process));
}

fn line(word: &str, process: Option<Process>) -> String {
    match process {
        None => format!("starts {word}\n"),
        Some(Process { pid, started }) => format!("runs {word} {pid} {started}\n"),
    }
}

impl Guard {
    /// Tells the other process; one that somebody has ended is started once more. Without one the
    /// programs run all the same.
    fn say(&mut self, arguments: &[String], line: &str) {
        if self.to.as_mut().is_some_and(|to| write(to, line).is_ok()) {
            return;
        }
        // One that is stopped reads nothing, and would take the end of its pipe for that of this
        // process later: it ends before its pipe does.
        if let Some(mut before) = self.to.take() {
            let _ = before.kill();
            let _ = before.wait();
        }
        self.to = start(arguments).ok();
        let all = self.under_way.iter();
        let all: String = all
            .map(|(word, process)| self::line(word, *process))
            .collect();
        if let Some(to) = &mut self.to {
            let _ = write(to, &all);
        }
    }
}

/// Writes without waiting for whoever reads.
fn write(to: &mut Child, text: &str) -> io::Result<()> {
    let Some(pipe) = &mut to.stdin else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    ioctl_fionbio(&*pipe, true)?;
    pipe.write_all(text.as_bytes())
}

fn start(arguments: &[String]) -> io::Result<Child> {
    // By the link of the kernel it is this very program, even when another one has been put in its
    // place.
    environment::blocking_program("/proc/self/exe")
        .arg0(NAME)
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What a terminal sends to interrupt the run is not for it.
        .process_group(0)
        // It is waited for by whoever gets the orphans of this process.
        .spawn()
}

/// Learns of programs until the standard input ends, and ends those that are left.
///
/// # Errors
/// The standard input cannot be read; what was known by then is ended.
pub fn serve() -> io::Result<()> {
    let _ = rustix::thread::set_name(c"end-of-run");
    let mut under_way = UnderWay::new();
    let heard = hear(&mut io::stdin().lock(), &mut under_way);
    for (word, process) in &under_way {
        end(&Mark::of(word), *process);
    }
    heard
}

fn hear(from: &mut impl BufRead, under_way: &mut UnderWay) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if from.by_ref().take(LINE).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["starts", word] => {
                under_way.insert(word.to_owned(), None);
            }
            ["runs", word, pid, started] => {
                let process = pid.parse().ok().zip(started.parse().ok());
                let process = process.map(|(pid, started)| Process { pid, started });
                under_way.insert(word.to_owned(), process);
            }
            ["ended", word] => {
                under_way.remove(word);
            }
            _ => {}
        }
    }
}

/// Ends a program with all that it has started.
fn end(mark: &Mark, process: Option<Process>) {
    let Some(process) = process else {
        // Who was to say which process it is was killed before it could.
        for leader in mark.leaders() {
            kill_group(leader.as_raw_nonzero().get().unsigned_abs(), Signal::KILL);
        }
        return mark.end();
    };

    // The number of a group is nobody else's as long as the group has a process.
    let is_its_own =
        look(process.pid).is_ok_and(|now| now.is_none_or(|now| now == process.started));
    if is_its_own {
        kill_group(process.pid, Signal::KILL);
    }
    mark.end();
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::files::marked::VARIABLE;

    #[test]
    fn what_has_ended_is_not_under_way_and_nonsense_is_nothing() {
        let mut under_way = UnderWay::new();
        let told =
            "starts a\nruns a 7 70\nstarts b\nstarts c\nended c\nruns d x\n\u{1b}\nruns e 1 -2\n";
        hear(&mut told.as_bytes(), &mut under_way).expect("it is read");
        let process = Process {
            pid: 7,
            started: 70,
        };
        let left = [
            ("a".to_owned(), Some(process)),
            ("b".to_owned(), None),
            ("e".to_owned(), None),
        ];
        assert_eq!(under_way, UnderWay::from(left));
    }

    #[test]
    fn a_program_that_was_only_about_to_start_ends_with_what_has_left_its_variables() {
        let mark = Mark::random();
        let mut shell = Command::new("sh")
            .args(["-c", "env -i sleep 600 & echo $!; wait"])
            .env(VARIABLE, mark.word())
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut said = io::BufReader::new(shell.stdout.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says a number");
        let words = format!("/proc/{}/cmdline", line.trim());
        let words = || std::fs::read(&words).unwrap_or_default();
        while !words().starts_with(b"sleep") {
            std::thread::yield_now();
        }

        end(&mark, None);
        shell.wait().expect("it has ended");
        let deadline = Instant::now() + Duration::from_secs(30);
        while !words().is_empty() {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_process_that_has_the_number_of_another_is_left_alone() {
        let mut other = Command::new("cat")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let started = started(other.id()).expect("it runs");
        let taken = Process {
            pid: other.id(),
            started: started - 1,
        };
        end(&Mark::random(), Some(taken));
        // What a signal was sent to answers no more.
        let mut to = other.stdin.take().expect("a pipe");
        to.write_all(b"x").expect("it runs");
        let mut answer = [0];
        let from = other.stdout.as_mut().expect("a pipe");
        from.read_exact(&mut answer).expect("it runs");
        assert_eq!(&answer, b"x");

        let own = Process { started, ..taken };
        end(&Mark::random(), Some(own));
        other.wait().expect("it has ended");
    }

    #[test]
    fn one_that_reads_nothing_is_ended_and_another_takes_its_place() {
        let silent = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::piped())
            .spawn()
            .expect("it starts");
        let pid = silent.id();
        let mut guard = Guard {
            to: Some(silent),
            under_way: UnderWay::new(),
        };
        let line = "x".repeat(200);
        // A pipe is full at some time; this program takes the argument for one of its own.
        while guard.to.as_ref().is_some_and(|to| to.id() == pid) {
            guard.say(&["--list".to_owned()], &line);
        }
        assert_eq!(started(pid), None);
        if let Some(mut other) = guard.to {
            let _ = other.kill();
            let _ = other.wait();
        }
    }
}
