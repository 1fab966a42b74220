//! A unit that runs.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::agent::runtime::systemd::{NOTICE, collect, look, no_answer, tell};
use crate::agent::runtime::{Running, process};
use crate::agent::trouble::Trouble;
use crate::files::process::look as look_at;

/// A unit that was started.
pub(super) struct Unit {
    folder: PathBuf,
    pid: u32,
    ticks: u64,
    /// Readable once its first process has ended.
    descriptor: Option<AsyncFd<OwnedFd>>,
    /// How it ended, once that was read.
    end: Option<String>,
    is_collected: bool,
}

impl Unit {
    /// The unit of a folder; none when it does not run.
    pub async fn found(folder: &Path) -> Result<Option<Self>, Trouble> {
        let unit = folder.file_name().and_then(|name| name.to_str());
        let unit = unit.ok_or_else(|| Trouble::Instance("its unit has no name".to_owned()))?;
        let pid = look(unit).await.map_err(|error| no_answer(&error))?.pid;
        let Some(ticks) = look_at(pid)? else {
            return Ok(None);
        };
        let Some(descriptor) = process::open_descriptor(pid)? else {
            return Ok(None);
        };
        // Looked at again: between the first look and the descriptor the pid may have gone to
        // another.
        if look(unit).await.map_err(|error| no_answer(&error))?.pid != pid {
            return Ok(None);
        }

        Ok(Some(Self {
            pid,
            ticks,
            descriptor: Some(descriptor),
            ..Self::ended(folder.to_owned())
        }))
    }

    pub const fn ended(folder: PathBuf) -> Self {
        Self {
            folder,
            pid: 0,
            ticks: 0,
            descriptor: None,
            end: None,
            is_collected: false,
        }
    }

    pub fn name(&self) -> String {
        self.folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// How it ended. systemd learns of an end at about the same time as the agent.
    async fn read_end(&self) -> String {
        let deadline = Instant::now() + NOTICE;
        loop {
            match look(&self.name()).await {
                Ok(seen) if seen.pid == 0 || seen.pid != self.pid => return seen.end(),
                _ if Instant::now() > deadline => return "its end could not be seen".to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn tell(&self, arguments: &'static [&'static str]) {
        let unit = self.name();
        tokio::spawn(async move { tell(arguments, &unit).await });
    }
}

#[async_trait]
impl Running for Unit {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn started(&self) -> u64 {
        self.ticks
    }

    fn container(&self) -> Option<String> {
        Some(self.name())
    }

    /// It may be called again when it was not waited for to its end: each part is done once.
    async fn wait(&mut self) -> String {
        if let Some(descriptor) = &self.descriptor {
            let _ = descriptor.readable().await;
        }
        let end = match self.end.take() {
            Some(end) => end,
            None => self.read_end().await,
        };
        self.end = Some(end.clone());
        if !self.is_collected {
            collect(&self.folder).await;
            self.is_collected = true;
        }
        end
    }

    /// The unit was told the signal when it was made.
    fn terminate(&self, _: Signal) {
        self.tell(&["stop", "--no-block"]);
    }

    fn kill(&self) {
        if !self.is_collected {
            self.tell(&["kill", "--signal=SIGKILL"]);
        }
    }
}
