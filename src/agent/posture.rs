//! What the agent makes of its own process before anything else, and what the processes that it
//! starts get back of it.

use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
};

/// The limits that the agent was started with: those that its services have.
static STARTED_WITH: OnceLock<Limits> = OnceLock::new();

/// The limits that the agent changes for itself. A limit is the soft one and the hard one; none is
/// no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Open files.
    files: (Option<u64>, Option<u64>),
    /// Bytes of a core dump.
    core: (Option<u64>, Option<u64>),
    /// Bytes of a file that is written.
    #[serde(default)]
    file_size: (Option<u64>, Option<u64>),
}

impl Limits {
    fn now() -> Self {
        let of = |resource| {
            let Rlimit { current, maximum } = getrlimit(resource);
            (current, maximum)
        };
        Self {
            files: of(Resource::Nofile),
            core: of(Resource::Core),
            file_size: of(Resource::Fsize),
        }
    }

    /// Those of this process before [`take`], or as they are when it was not called.
    #[must_use]
    pub fn started_with() -> Self {
        STARTED_WITH.get().copied().unwrap_or_else(Self::now)
    }

    /// How many files a service may have open before it asks for more; none is no limit.
    #[must_use]
    pub const fn files_of_a_service(self) -> Option<u64> {
        self.files.0
    }

    /// Gives them to this process. What cannot be had is left as it is: a service that needs more
    /// says so itself.
    pub fn set(self) {
        for (resource, (current, maximum)) in [
            (Resource::Nofile, self.files),
            (Resource::Core, self.core),
            (Resource::Fsize, self.file_size),
        ] {
            let _ = setrlimit(resource, Rlimit { current, maximum });
        }
    }
}

/// For the agent: as many open files and as large ones as it may have, no core dump, which would
/// have secrets in it, and files that nobody else may read. For the whole process, so called once
/// and before there are others.
pub fn take() {
    let before = *STARTED_WITH.get_or_init(Limits::now);
    umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit {
        current: Some(0),
        maximum: before.core.1,
    };
    let _ = setrlimit(Resource::Core, none);

    lift(Resource::Fsize, before.file_size, "the size of a file");
    let (was, _) = before.files;
    lift(Resource::Nofile, before.files, "open files");
    let now = getrlimit(Resource::Nofile).current;
    tracing::info!(limit = %shown(now), was = %shown(was), "open files: services have the limit \
        that was");
}

/// The soft limit is the hard one from here on.
fn lift(resource: Resource, (_, most): (Option<u64>, Option<u64>), what: &str) {
    let all = Rlimit {
        current: most,
        maximum: most,
    };
    if let Err(error) = setrlimit(resource, all) {
        tracing::warn!(%error, "the limit of {what} cannot be lifted");
    }
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
}

/// Neither other processes of this user nor a core dump can read this process' memory from here on
/// (`PR_SET_DUMPABLE`). What it starts is as open as any program.
pub fn hide() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "this process' memory can be read by others of its user");
    }
}
