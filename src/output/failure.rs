//! The one shape in which an error reaches the person: what happened, where, why, and what to type
//! next.

use std::process::ExitCode;

use miette::Diagnostic;

use crate::model::outcome::Ending;

/// How the program ends. Scripts rely on these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done,
    /// It failed; live traffic was not touched.
    Failed,
    /// `plan --detailed-exitcode` found changes.
    Changes,
    /// It failed, and traffic was moved back to the previous release.
    Reverted,
    /// Somebody else holds the lock.
    Locked,
    /// The plan is stale: what it saw has changed.
    Stale,
    /// A branch or promotion rule forbids it.
    Refused,
    /// The command line is wrong (`EX_USAGE` of sysexits.h).
    Usage,
    /// Interrupted, after a clean stop.
    Interrupted,
    /// A command that was run ended with this.
    Command(u8),
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Changes => 2,
            Self::Reverted => 3,
            Self::Locked => 4,
            Self::Stale => 5,
            Self::Refused => 6,
            Self::Usage => 64,
            Self::Interrupted => 130,
            Self::Command(code) => code,
        }
    }

    /// That of a run that came to its end.
    #[must_use]
    pub const fn of(ending: &Ending) -> Self {
        match ending {
            Ending::Done | Ending::NoChanges => Self::Done,
            Ending::Failed { .. } | Ending::RollbackFailed { .. } => Self::Failed,
            Ending::Refused { .. } => Self::Refused,
            Ending::Reverted { .. } => Self::Reverted,
            Ending::Stale { .. } => Self::Stale,
            Ending::LockLost => Self::Locked,
            Ending::Interrupted { .. } | Ending::Killed => Self::Interrupted,
        }
    }

    /// What a program reads beside the number.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Changes => "changes",
            Self::Reverted => "reverted",
            Self::Locked => "locked",
            Self::Stale => "stale",
            Self::Refused => "refused",
            Self::Usage => "usage",
            Self::Interrupted => "interrupted",
            Self::Command(_) => "command",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error at the edge: how the program ends, and what it prints.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What it prints.
    pub report: miette::Report,
}

impl Failure {
    /// From an error that explains itself.
    pub fn new(exit: Exit, error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self {
            exit,
            report: miette::Report::new(error),
        }
    }

    /// From words: what happened, and what to do about it.
    #[must_use]
    pub fn say(exit: Exit, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            exit,
            report: miette::Report::new(miette::MietteDiagnostic::new(what).with_help(help)),
        }
    }
}
