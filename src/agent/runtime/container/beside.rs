//! The process between whoever looks on and a command in a container: it starts the command, hands
//! on signals, and ends as the command does. For a process of one thread.

use std::io::{self, Write as _};
use std::path::Path;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};
use rustix::termios::tcsetpgrp;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::launch::Handed;
use crate::agent::runtime::container::confined::Confined;
use crate::agent::runtime::container::contain::{
    Reason, code, described, first, is_root, no_groups, runs_as, said,
};
use crate::agent::runtime::container::enter::{self, Attaching};
use crate::agent::runtime::container::userns;

/// The signal at which this process ends the command, and all that is in its group. No command is
/// sent it by anybody who looks on.
pub(super) const END: Signal = Signal::POWER;

/// SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU,
/// SIGWINCH.
const HANDED_ON: [i32; 12] = [1, 2, 3, 10, 12, 14, 15, 18, 20, 21, 22, 28];

/// Runs a command in a container that runs; gives its exit code.
pub fn attach(bundle: &Path, command: &[String]) -> Result<u8, Reason> {
    let first = first(bundle).ok_or("it does not run")?;
    let mut handed = Handed::find().map_err(said("finding its variables"))?;
    if !is_root() {
        handed.pass_on().map_err(said("passing its variables on"))?;
        return Err(userns::join(first));
    }
    let (name, arguments) = command.split_first().ok_or("there is no command")?;
    let user = runs_as(bundle)?;
    let workdir = described(bundle)?["process"]["cwd"]
        .as_str()
        .unwrap_or("/")
        .to_owned();
    no_groups()?;
    // Before there is a command: none comes too early.
    let signals = Signals::caught()?;

    let variables = handed.read().map_err(said("reading its variables"))?;
    let variables = serde_json::from_slice(&variables).map_err(said("reading its variables"))?;
    let process = Confined::with(variables).command(name, arguments);
    match enter::begin(first, user, Path::new(&workdir), process) {
        Ok(child) => signals.wait(child),
        Err(Attaching::Failed(reason)) => Err(reason),
        Err(Attaching::NotStarted(error)) => {
            // Nobody may read it any more.
            let _ = writeln!(io::stderr(), "shipit: `{name}` cannot be started: {error}");
            // As a shell tells it.
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            Ok(if is_missing { 127 } else { 126 })
        }
    }
}

/// The signals of this process. They are the command's, but for two.
struct Signals {
    runtime: tokio::runtime::Runtime,
    children: tokio::signal::unix::Signal,
    end: tokio::signal::unix::Signal,
    others: Vec<(i32, tokio::signal::unix::Signal)>,
}

impl Signals {
    fn caught() -> Result<Self, Reason> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(said("catching signals"))?;
        let catch = |number: i32| {
            let _inside = runtime.enter();
            signal(SignalKind::from_raw(number)).map_err(said("catching signals"))
        };
        let others = HANDED_ON.map(|number| Ok((number, catch(number)?)));
        Ok(Self {
            children: catch(Signal::CHILD.as_raw())?,
            end: catch(END.as_raw())?,
            others: others.into_iter().collect::<Result<_, Reason>>()?,
            runtime,
        })
    }

    /// Waits for the command, which has the terminal meanwhile if there is one.
    fn wait(self, child: Pid) -> Result<u8, Reason> {
        // Without a terminal there is none to give.
        let _ = tcsetpgrp(io::stdin(), child);
        let tell = |number: i32| {
            if let Some(signal) = Signal::from_named_raw(number) {
                let _ = kill_process_group(child, signal);
            }
        };
        // One that wanted to read before it had the terminal was stopped.
        tell(Signal::CONT.as_raw());

        let Self {
            runtime,
            mut children,
            mut end,
            mut others,
        } = self;
        runtime.block_on(async {
            loop {
                // Asked for before it is looked, so that none is missed.
                let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
                let seen = waitpid(Some(child), options).map_err(said("waiting for it"))?;
                match seen {
                    // Nobody here could go on with it later.
                    Some((_, status)) if status.stopped() => tell(Signal::CONT.as_raw()),
                    Some((_, status)) => return Ok(code(Some(status))),
                    None => {}
                }
                tokio::select! {
                    _ = children.recv() => {}
                    _ = end.recv() => tell(Signal::KILL.as_raw()),
                    number = next(&mut others) => tell(number),
                }
            }
        })
    }
}

/// The next of several signals.
async fn next(signals: &mut [(i32, tokio::signal::unix::Signal)]) -> i32 {
    let each = signals.iter_mut().map(|(number, signal)| {
        Box::pin(async {
            signal.recv().await;
            *number
        })
    });
    futures_util::future::select_all(each).await.0
}
