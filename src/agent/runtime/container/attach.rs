//! A command that somebody looks on: in a container that runs, or in one that is there for it
//! alone.
//!
//! ```text
//! agent ── launcher ──▶ shipit agent contain-attach ──▶ the command, in the container
//!   └──── for `run` ──▶ shipit agent contain-hold ──▶ the container, until the agent lets go of it
//! ```

use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

use crate::agent::launch::{self, Group, Start};
use crate::agent::runtime::Launch;
use crate::agent::runtime::attached::{Attach, Attached, Control};
use crate::agent::runtime::container::beside::END;
use crate::agent::runtime::container::contain::READY;
use crate::agent::runtime::container::{describe, of, take_away};
use crate::agent::runtime::process::{self, streams};
use crate::agent::trouble::Trouble;
use crate::files::process::program;
use crate::port::engine::WindowSize;

/// How long a container for a command may take until it is there.
const PATIENCE: Duration = Duration::from_mins(2);

/// How much is read of what the process beside a container says when it failed.
const REASON: u64 = 4096;

/// Runs a command in a container that runs.
pub(super) async fn beside(launch: &Launch, attach: &Attach) -> Result<Attached, Trouble> {
    let folder = of(launch)?;
    let mut env = launch.env.clone();
    if attach.terminal.is_some() {
        let told = env.entry("TERM".to_owned());
        told.or_insert_with(|| streams::TERMINAL.to_owned());
    }

    let mut start = start(launch, "contain-attach", &folder)?;
    start.handed = Some(serde_json::to_vec(&env).map_err(io::Error::from)?);
    start.arguments.push("--".to_owned());
    start.arguments.extend(attach.command.iter().cloned());
    // The process between ends the command, whose group is not its own.
    streams::attach(start, attach, END).await
}

/// Runs a command in a container of its own.
pub(super) async fn alone(launch: &Launch, attach: &Attach) -> Result<Attached, Trouble> {
    let launch = Launch {
        command: attach.command.clone(),
        ..launch.clone()
    };
    let folder = describe(&launch).await?;
    let held = match hold(&launch, &folder).await {
        Ok(held) => held,
        Err(trouble) => {
            take_away(folder).await;
            return Err(trouble);
        }
    };

    let attached = beside(&launch, attach).await?;
    Ok(Attached {
        control: Box::new(Alone {
            inner: attached.control,
            _held: held,
        }),
        ..attached
    })
}

/// This program, for something that it does with a container.
fn start(launch: &Launch, what: &str, folder: &Path) -> Result<Start, Trouble> {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = Launch {
        command: vec![program().display().to_string()],
        rootfs: folder.to_owned(),
        workdir: "/".into(),
        env: [("PATH".to_owned(), path)].into(),
        input: None,
        user: None,
        socket: None,
        ..launch.clone()
    };
    let mut start = process::start(&own)?;
    start.program = program();
    start.workdir = "/".into();
    let words = ["agent", what, &folder.display().to_string()];
    start.arguments = words.map(str::to_owned).to_vec();
    Ok(start)
}

/// A container that is there for a command alone; it ends, and all that is in it, when this is
/// dropped: the process beside it reads the end of its input.
struct HeldContainer {
    _group: Group,
    _input: Option<std::os::fd::OwnedFd>,
    _child: Child,
}

/// Has a container made, and waits until it is there.
async fn hold(launch: &Launch, folder: &Path) -> Result<HeldContainer, Trouble> {
    let start = start(launch, "contain-hold", folder)?;
    let mut streams = launch::with_pipes(start, true).await?;
    let late = |_| Trouble::Local(format!("its container was not there within {PATIENCE:?}"));
    let ready = tokio::time::timeout(PATIENCE, said(&mut streams.child));
    if let Err(reason) = ready.await.map_err(late)? {
        return Err(Trouble::Instance(reason));
    }
    Ok(HeldContainer {
        // It takes the container away before it ends.
        _group: streams.group.ended_by(Signal::TERM),
        _input: streams.input,
        _child: streams.child,
    })
}

/// Waits for what the process beside a container says: that it is there, or why it is not.
async fn said(child: &mut Child) -> Result<(), String> {
    let mut line = String::new();
    if let Some(output) = &mut child.stdout {
        let _ = BufReader::new(output).read_line(&mut line).await;
    }
    if line.trim() == READY {
        return Ok(());
    }
    let mut reason = Vec::new();
    if let Some(errors) = &mut child.stderr {
        let _ = errors.take(REASON).read_to_end(&mut reason).await;
    }
    Err(String::from_utf8_lossy(&reason).trim().to_owned())
}

/// A command in a container of its own.
struct Alone {
    // Before what it runs in.
    inner: Box<dyn Control>,
    _held: HeldContainer,
}

#[async_trait]
impl Control for Alone {
    async fn resize(&self, size: WindowSize) {
        self.inner.resize(size).await;
    }

    async fn signal(&self, number: i32) {
        self.inner.signal(number).await;
    }
}
