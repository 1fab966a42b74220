//! How an instance is started, found again, and ended. `process` is the runtime that needs nothing but the
//! machine; containers and units come beside it.

pub mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::agent::record::ProcessRecord;

/// Everything that a runtime must know to start one instance.
#[derive(Clone)]
pub struct Launch {
    /// The image's files.
    pub rootfs: PathBuf,
    /// The argument vector.
    pub command: Vec<String>,
    /// Where it starts, in the image.
    pub workdir: PathBuf,
    /// All of its environment, secrets included: never shown.
    pub env: BTreeMap<String, String>,
    /// The image's user, if it names one.
    pub user: Option<String>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// An instance that runs.
#[async_trait]
pub trait Running: Send + Sync {
    /// Its process id.
    fn pid(&self) -> u32;

    /// Its start time in clock ticks since boot.
    fn started(&self) -> u64;

    /// Waits until it ends, and says how: `exit code 1`.
    async fn wait(&mut self) -> String;

    /// Asks it to end.
    fn terminate(&self);

    /// Ends it, with all that it started.
    fn kill(&self);
}

/// A runtime.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Starts an instance. It does not need this process to go on.
    async fn start(&self, launch: &Launch) -> std::io::Result<Box<dyn Running>>;

    /// Finds an instance again that an earlier agent started; none when it has ended.
    fn adopt(&self, record: &ProcessRecord) -> Option<Box<dyn Running>>;
}
