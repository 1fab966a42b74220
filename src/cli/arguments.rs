//! Arguments that several commands have.

use std::path::{Path, PathBuf};

use crate::files;
use crate::model::Period;
use crate::ops::plan_file::{self, PlanFile};
use crate::output::{Exit, Failure};

/// The environment, by its name alone.
#[derive(Debug, clap::Args)]
pub struct EnvironmentArg {
    /// The environment, as with --env.
    #[arg(value_name = "ENV")]
    pub environment: Option<String>,
}

/// Whether a person is asked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Approval")]
pub struct ApprovalArgs {
    /// Do not ask.
    #[arg(short = 'y', long, visible_alias = "yes")]
    pub auto_approve: bool,
}

/// How long a lock is waited for.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Lock")]
pub struct LockArgs {
    /// How long to wait for a lock that another run holds, as `30s`.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        env = "SHIPIT_LOCK_TIMEOUT",
        hide_env_values = true
    )]
    pub lock_timeout: Period,
}

/// Whether the remote is asked.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// Fetch from the remote what the branch rules need: the accepted branches, and the history of
    /// a shallow clone.
    #[arg(long)]
    pub fetch: bool,
}

/// Plans that are made now and carried out later.
#[derive(Debug, clap::Args)]
pub struct SavedArgs {
    /// Write the plan to a file and change nothing; `shipit approve FILE` signs it.
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    pub out: Option<PathBuf>,

    /// Carry out the plan that --out wrote, as it is or not at all. It does not stand for an
    /// approval; signatures in it do, where the environment wants them.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
}

/// Reads a plan file that was named.
pub(super) fn plan_file(path: &Path) -> Result<PlanFile, Failure> {
    files::outputs::name(path);
    let bytes = files::read(path, plan_file::LIMIT).map_err(|error| error.to_string());
    bytes
        .and_then(|bytes| PlanFile::read(&bytes))
        .map_err(|reason| {
            let help = "nothing was changed; make one with `shipit plan --out FILE`";
            let what = format!("the plan file {}: {reason}", path.display());
            Failure::say(Exit::Failed, what, help)
        })
}
