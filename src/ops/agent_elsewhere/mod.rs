//! An agent on another machine: put there, started, and replaced by another version, all through
//! one connection of ssh.
//!
//! The agent runs as the user that logs in: it lets in its own user and root alone. What root's
//! rights are needed for is done by `sudo -n`, and only where that is asked for.

mod start;

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use crate::driver::host::tunnel::{Destination, HostTrust};
use crate::driver::host::tunnel::{Tunnel, quoted};
use crate::driver::host::{Machine, Reached};
use crate::model::Digest;
use crate::ops::Error;
use crate::ops::agent::listening;
use crate::port::Progress;
use crate::port::engine::EngineError;

/// How long sending the program may take.
const SEND: Duration = Duration::from_mins(10);

/// How long another command there may take.
const COMMAND: Duration = Duration::from_mins(1);

/// How long an agent has until it answers.
const START: Duration = Duration::from_secs(30);

/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// The exit code of a program that came whole and does not run there.
const DOES_NOT_RUN: i32 = 41;

/// With which rights files are written and units are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Those of the user that logs in.
    Own,
    /// Root's, by `sudo -n`.
    Sudo,
}

/// What starts the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervision {
    /// systemd: it comes back with the machine.
    Systemd,
    /// Nothing but this command: after a reboot it is started by hand.
    None,
}

/// Where an agent is put, and how.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The machine, and how to log in.
    pub to: Destination,
    /// The agent's folder there; that user's own without it.
    pub directory: Option<PathBuf>,
    /// The program; this one without it.
    pub program: Option<PathBuf>,
    /// With which rights.
    pub rights: Rights,
    /// What starts it.
    pub supervision: Supervision,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Installed {
    /// Which machine.
    pub machine: String,
    /// The version that answers there.
    pub version: String,
    /// The agent's folder there.
    pub directory: String,
    /// The program there.
    pub program: String,
    /// Whether anything was changed.
    pub changed: bool,
}

/// What replacing an agent by another version would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cost {
    /// It is this very program.
    Nothing,
    /// Services run on, and connections wait while the agent starts anew: systemd keeps its
    /// sockets.
    Waiting,
    /// Services run on, and for a moment nothing listens at these addresses.
    Refused(Vec<SocketAddr>),
}

/// Work on one machine.
struct Work<'a> {
    setup: &'a Setup,
    machine: Machine,
    tunnel: Arc<Tunnel>,
    say: Progress<'a>,
}

/// Puts an agent on a machine, starts it, and waits until it answers.
pub async fn install(setup: &Setup, say: Progress<'_>) -> Result<Installed, Error> {
    let work = Work::begin(setup, say).await?;
    work.can_be_supervised()?;
    let before = work.machine.any_agent().await?;
    if before.is_none() {
        work.unit_is_free().await?;
    }
    let is_new = work.bring().await?;
    if let Some(before) = &before {
        say(&format!(
            "an agent of version {} runs there already",
            before.info.version
        ));
    } else {
        work.start(&[]).await?;
    }
    work.installed(is_new || before.is_none()).await
}

/// What replacing the agent there would do.
pub async fn cost(setup: &Setup, say: Progress<'_>) -> Result<Cost, Error> {
    let work = Work::begin(setup, say).await?;
    let agent = work.running().await?;
    let digest = work.digest()?;
    if work.is_there(&digest).await? && work.runs(&agent, &digest).await? {
        return Ok(Cost::Nothing);
    }
    let listeners = listening(&mut agent.client.clone(), agent.info.scopes).await?;
    let kept = work.kept_sockets().await?;
    let lost: Vec<SocketAddr> = listeners
        .into_iter()
        .filter(|listener| !kept.contains(listener))
        .collect();
    Ok(if lost.is_empty() {
        Cost::Waiting
    } else {
        Cost::Refused(lost)
    })
}

/// Replaces the program there and has the agent start anew. The services run on.
pub async fn upgrade(setup: &Setup, say: Progress<'_>) -> Result<Installed, Error> {
    let work = Work::begin(setup, say).await?;
    work.can_be_supervised()?;
    let agent = work.running().await?;
    if !work.is_of_unit(&agent).await? {
        work.unit_is_free().await?;
    }
    let is_new = work.bring().await?;
    let listeners = listening(&mut agent.client.clone(), agent.info.scopes.clone()).await?;
    let unchanged = !is_new && work.runs(&agent, &work.digest()?).await?;
    if !unchanged {
        work.restart(&agent, &listeners).await?;
    }
    work.installed(!unchanged).await
}

impl<'a> Work<'a> {
    async fn begin(setup: &'a Setup, say: Progress<'a>) -> Result<Self, Error> {
        let machine = Machine::new(setup.to.clone(), setup.directory.clone());
        let tunnel = machine.tunnel().await?;
        let work = Self {
            setup,
            machine,
            tunnel,
            say,
        };
        work.fits()?;
        Ok(work)
    }

    /// Refuses a machine that the program is not made for, before anything is sent.
    fn fits(&self) -> Result<(), Error> {
        let kernel = self.tunnel.about().kernel();
        let own = format!("Linux {}", std::env::consts::ARCH);
        if self.setup.program.is_some() || kernel == own {
            return Ok(());
        }
        Err(self.refused(
            &format!("this shipit is for {own}, and the machine there is {kernel}"),
            "--program FILE names one that is made for it",
        ))
    }

    fn can_be_supervised(&self) -> Result<(), Error> {
        let has_systemd = self.tunnel.about().has_systemd();
        if self.setup.supervision == Supervision::None || has_systemd {
            return Ok(());
        }
        Err(self.refused(
            "no systemd runs there",
            "--no-systemd starts the agent without; after a reboot there, run the command again",
        ))
    }

    fn refused(&self, reason: &str, help: &str) -> Error {
        let what = format!("{}: {reason}", self.machine.address());
        Error::Usage {
            what,
            help: help.to_owned(),
        }
    }

    async fn running(&self) -> Result<Reached, Error> {
        match self.machine.any_agent().await? {
            Some(agent) => Ok(agent),
            None => Err(self.refused(
                "no agent of that user answers there",
                "`shipit agent install --at …` puts one there",
            )),
        }
    }

    fn own_program(&self) -> PathBuf {
        let own = || crate::files::process::program();
        self.setup.program.clone().unwrap_or_else(own)
    }

    fn read(&self) -> Result<Vec<u8>, Error> {
        let path = self.own_program();
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.map_err(|error| Error::Usage {
            what: format!("reading {}: {error}", path.display()),
            help: "--program FILE names the program".to_owned(),
        })?;
        Ok(bytes)
    }

    fn digest(&self) -> Result<Digest, Error> {
        Ok(Digest::of(&self.read()?))
    }

    /// Where the program is there.
    fn program(&self) -> String {
        match self.setup.rights {
            Rights::Sudo => "/usr/local/bin/shipit".to_owned(),
            Rights::Own => format!("{}/.local/bin/shipit", self.tunnel.about().home()),
        }
    }

    /// Runs a script there with the rights that were asked for.
    async fn run(
        &self,
        script: &str,
        input: Option<Vec<u8>>,
        within: Duration,
    ) -> Result<crate::files::program::Captured, Error> {
        let script = match self.setup.rights {
            Rights::Own => script.to_owned(),
            Rights::Sudo if self.tunnel.about().is_root() => script.to_owned(),
            Rights::Sudo => format!("exec sudo -n -- sh -c {}", quoted(script)),
        };
        Ok(self.tunnel.run(&script, input, within).await?)
    }

    /// The same, where it has to succeed.
    async fn must(
        &self,
        what: &str,
        script: &str,
        input: Option<Vec<u8>>,
    ) -> Result<String, Error> {
        let done = self.run(script, input, COMMAND).await?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.answer).into_owned());
        }
        Err(self.failed(what, &done.beside))
    }

    fn failed(&self, what: &str, said: &[u8]) -> Error {
        let said = String::from_utf8_lossy(said);
        let help = if said.contains("sudo:") {
            "that user must be allowed to run it without a password (`sudo -n true` there)"
        } else {
            match self.setup.rights {
                Rights::Own => "look at that user's rights there; --sudo uses root's",
                Rights::Sudo => "look at the machine, then run the command again",
            }
        };
        EngineError::Refused {
            reason: format!("{what} on {}: {}", self.machine.address(), said.trim()),
            help: help.to_owned(),
        }
        .into()
    }

    /// Whether the program there is this one.
    async fn is_there(&self, digest: &Digest) -> Result<bool, Error> {
        let script = format!("sha256sum < {} 2>/dev/null", quoted(&self.program()));
        let done = self.tunnel.run(&script, None, COMMAND).await?;
        let answer = String::from_utf8_lossy(&done.answer);
        Ok(answer.split_whitespace().next() == Some(digest.hex()))
    }

    /// Whether the agent there is of this very program: one that was put in its place may not have
    /// been started yet.
    async fn runs(&self, agent: &Reached, digest: &Digest) -> Result<bool, Error> {
        // An agent hides from its own user: where only root could look, its version has to do.
        let script = format!("sha256sum < /proc/{}/exe 2>/dev/null", agent.info.pid);
        let done = self.run(&script, None, COMMAND).await?;
        let answer = String::from_utf8_lossy(&done.answer);
        Ok(match answer.split_whitespace().next() {
            Some(found) if done.status.success() => found == digest.hex(),
            _ => agent.info.version == env!("CARGO_PKG_VERSION"),
        })
    }

    /// Brings the program there: beside its place, compared with its digest, tried, and renamed.
    /// Whether it was not there yet.
    async fn bring(&self) -> Result<bool, Error> {
        let bytes = self.read()?;
        let digest = Digest::of(&bytes);
        if self.is_there(&digest).await? {
            return Ok(false);
        }
        let program = self.program();
        (self.say)(&format!(
            "sending the program, {} MiB, to {program}",
            bytes.len() >> 20
        ));
        let script = format!(
            "set -e; umask 022; p={program}; mkdir -p \"$(dirname \"$p\")\"; \
             t=$(mktemp \"$p.XXXXXX\"); trap 'rm -f \"$t\"' EXIT; cat > \"$t\"; \
             test \"$(sha256sum < \"$t\" | cut -c1-64)\" = {digest} || {{ echo \"it came damaged\" \
             >&2; exit 1; }}; chmod 755 \"$t\"; \"$t\" --version >&2 || exit {DOES_NOT_RUN}; mv \
             -f \"$t\" \"$p\"",
            program = quoted(&program),
            digest = digest.hex(),
        );
        let done = self.run(&script, Some(bytes), SEND).await?;
        match done.status.code() {
            Some(0) => Ok(true),
            Some(DOES_NOT_RUN) => Err(self.refused(
                &format!(
                    "the program does not run there: {}",
                    String::from_utf8_lossy(&done.beside).trim()
                ),
                "--program FILE names one that is made for that machine, as a static one",
            )),
            _ => Err(self.failed("sending the program", &done.beside)),
        }
    }

    /// Waits until an agent answers.
    async fn answers(&self) -> Result<Reached, Error> {
        let deadline = tokio::time::Instant::now() + START;
        loop {
            if let Some(agent) = self.machine.any_agent().await? {
                return Ok(agent);
            }
            if tokio::time::Instant::now() > deadline {
                let folder = self.machine.folder().await?;
                let log = format!("tail -n 5 {}/agent.log >&2; false", quoted(&folder));
                let done = self.tunnel.run(&log, None, COMMAND).await?;
                return Err(self.failed("the agent does not answer", &done.beside));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn installed(&self, changed: bool) -> Result<Installed, Error> {
        let agent = self.answers().await?;
        Ok(Installed {
            machine: self.machine.address().to_string(),
            version: agent.info.version,
            directory: agent.info.directory,
            program: self.program(),
            changed,
        })
    }
}
