//! The lock: a file with its holder, a heartbeat, and a number that only goes up.

use std::fs::{self, File};
use std::io::{self as std_io, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::driver::state::local::{blocking, io};
use crate::files;
use crate::files::process;
use crate::model::EnvironmentName;
use crate::model::release::Actor;
use crate::model::state::Holder;
use crate::port::store::{Lease, StoreError};

/// How often the holder says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// After how long without a heartbeat a holder on another machine counts as dead. One on this machine counts
/// as dead as soon as its process is gone.
const EXPIRY: Duration = Duration::from_secs(30);

/// How often a waiting taker looks.
const LOOK: Duration = Duration::from_millis(200);

/// What stands in `lock.json`. The fence stays when the holder has gone.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
struct LockFile {
    /// The highest fencing number that was ever given.
    fence: u64,
    holder: Option<Holder>,
    /// The fence of the run that somebody wants aborted.
    #[serde(default)]
    abort: Option<u64>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("lock.json")
}

/// Held while `lock.json` is read and written: for microseconds.
pub(super) fn guard(folder: &Path) -> Result<File, StoreError> {
    fs::create_dir_all(folder).map_err(io("making", folder))?;
    let path = folder.join("lock.guard");
    files::lock_within(&path, Duration::from_secs(5)).map_err(io("locking", &path))
}

fn read(folder: &Path) -> Result<LockFile, StoreError> {
    let path = path(folder);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
            path: path.display().to_string(),
            reason: format!("it is not a lock: {error}"),
            help: "make sure that no shipit runs for this environment, then remove the file"
                .to_owned(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(LockFile::default()),
        Err(error) => Err(io("reading", &path)(error)),
    }
}

fn write(folder: &Path, lock: &LockFile) -> Result<(), StoreError> {
    let path = path(folder);
    let bytes = serde_json::to_vec_pretty(lock)
        .map_err(|error| io("writing", &path)(std_io::Error::other(error)))?;
    files::replace(&path, &bytes).map_err(io("writing", &path))
}

fn lives(holder: &Holder, now: Timestamp) -> bool {
    if holder.actor.host == process::host() {
        return process::started(holder.pid) == Some(holder.pid_started);
    }
    let age = now.duration_since(holder.heartbeat);
    age.unsigned_abs() < EXPIRY
}

pub(super) fn living_holder(folder: &Path) -> Result<Option<Holder>, StoreError> {
    Ok(read(folder)?
        .holder
        .filter(|holder| lives(holder, Timestamp::now())))
}

/// Whether the lock is still this fence's. Called under the guard.
pub(super) fn still_held(
    folder: &Path,
    fence: u64,
    environment: &EnvironmentName,
) -> Result<(), StoreError> {
    let reason = match read(folder)?.holder {
        Some(holder) if holder.fence == fence => return Ok(()),
        Some(holder) => format!("{} has it now, for `{}`", holder.actor, holder.command),
        None => "somebody took it away".to_owned(),
    };
    Err(StoreError::Lost {
        environment: environment.clone(),
        reason,
    })
}

pub(super) fn request_abort(folder: &Path) -> Result<bool, StoreError> {
    let _guard = guard(folder)?;
    let mut lock = read(folder)?;
    let Some(holder) = lock
        .holder
        .as_ref()
        .filter(|holder| lives(holder, Timestamp::now()))
    else {
        return Ok(false);
    };
    lock.abort = Some(holder.fence);
    write(folder, &lock)?;
    Ok(true)
}

pub(super) fn break_lock(folder: &Path) -> Result<Option<Holder>, StoreError> {
    let _guard = guard(folder)?;
    let mut lock = read(folder)?;
    let holder = lock.holder.take();
    if holder.is_some() {
        write(folder, &lock)?;
    }
    Ok(holder)
}

/// Who wants the lock.
#[derive(Debug, Clone)]
pub(super) struct Taker {
    pub folder: PathBuf,
    pub environment: EnvironmentName,
    pub actor: Actor,
    pub command: String,
    pub fence_above: u64,
}

/// Takes the lock, waiting for a living holder `wait` at the most.
pub(super) async fn take(taker: Taker, wait: Duration) -> Result<Box<dyn Lease>, StoreError> {
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let attempt = taker.clone();
        match blocking(move || attempt.try_once()).await {
            Ok(fence) => return Ok(Box::new(LocalLease::begin(taker, fence))),
            Err(StoreError::Locked { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(LOOK).await;
            }
            Err(error) => return Err(error),
        }
    }
}

impl Taker {
    fn try_once(&self) -> Result<u64, StoreError> {
        let _guard = guard(&self.folder)?;
        let lock = read(&self.folder)?;
        let now = Timestamp::now();
        if let Some(holder) = lock.holder.filter(|holder| lives(holder, now)) {
            return Err(StoreError::Locked {
                environment: self.environment.clone(),
                holder: Box::new(holder),
            });
        }
        let fence = lock.fence.max(self.fence_above) + 1;
        let pid = std::process::id();
        let holder = Holder {
            actor: self.actor.clone(),
            pid,
            pid_started: process::started(pid).unwrap_or_default(),
            command: self.command.clone(),
            since: now,
            heartbeat: now,
            fence,
        };
        write(
            &self.folder,
            &LockFile {
                fence,
                holder: Some(holder),
                abort: None,
            },
        )?;
        Ok(fence)
    }
}

/// A held lock, with its heartbeat.
struct LocalLease {
    folder: PathBuf,
    fence: u64,
    lost: CancellationToken,
    abort: CancellationToken,
    heart: tokio::task::JoinHandle<()>,
}

impl LocalLease {
    fn begin(taker: Taker, fence: u64) -> Self {
        let (lost, abort) = (CancellationToken::new(), CancellationToken::new());
        let folder = taker.folder.clone();
        let heart = tokio::spawn(beat(taker, fence, lost.clone(), abort.clone()));
        Self {
            folder,
            fence,
            lost,
            abort,
            heart,
        }
    }
}

/// Says that the holder lives, until the lock is lost. A heartbeat that cannot be written (a full disk) is
/// tried again until the lock would have expired for others.
async fn beat(taker: Taker, fence: u64, lost: CancellationToken, abort: CancellationToken) {
    let mut last_good = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let attempt = taker.clone();
        match blocking(move || beat_once(&attempt, fence)).await {
            Ok(abort_asked) => {
                last_good = tokio::time::Instant::now();
                if abort_asked {
                    abort.cancel();
                }
            }
            Err(StoreError::Lost { .. }) => break,
            Err(_) if last_good.elapsed() + HEARTBEAT < EXPIRY => {}
            Err(_) => break,
        }
    }
    lost.cancel();
}

fn beat_once(taker: &Taker, fence: u64) -> Result<bool, StoreError> {
    let _guard = guard(&taker.folder)?;
    still_held(&taker.folder, fence, &taker.environment)?;
    let mut lock = read(&taker.folder)?;
    if let Some(holder) = &mut lock.holder {
        holder.heartbeat = Timestamp::now();
    }
    write(&taker.folder, &lock)?;
    Ok(lock.abort == Some(fence))
}

#[async_trait]
impl Lease for LocalLease {
    fn fence(&self) -> u64 {
        self.fence
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn abort_requested(&self) -> CancellationToken {
        self.abort.clone()
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        self.heart.abort();
        let (folder, fence) = (self.folder.clone(), self.fence);
        blocking(move || {
            let _guard = guard(&folder)?;
            let mut lock = read(&folder)?;
            if lock
                .holder
                .as_ref()
                .is_some_and(|holder| holder.fence == fence)
            {
                lock.holder = None;
                write(&folder, &lock)?;
            }
            Ok(())
        })
        .await
    }
}

impl Drop for LocalLease {
    fn drop(&mut self) {
        self.heart.abort();
    }
}
