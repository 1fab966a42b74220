//! What the rules of a project say, one thing at a time: all of it is said at once, whether it
//! holds or not.

use std::fmt;

/// Where a rule is written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RulePlace {
    /// The file, relative to the project's folder.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
}

/// What came of asking a rule.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// It holds.
    Passed,
    /// It cannot be told whether it holds. Nothing passes that way.
    Undecided,
    /// It does not hold.
    Refused,
}

impl Ruling {
    /// The word for a reader.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Undecided => "undecided",
            Self::Refused => "refused",
        }
    }
}

/// What one rule says of one thing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Verdict {
    /// The rule, by its key in the configuration: `branches.staging.offshoots`.
    pub rule: String,
    /// What came of it.
    pub ruling: Ruling,
    /// The branch that it is about; none for a rule of other things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The full id of the commit that it is about; none for a rule of other things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Why, in one line.
    pub reason: String,
    /// What to do about it; none where it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where the rule is written; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<RulePlace>,
}

impl Verdict {
    /// That a rule holds.
    pub fn passed(rule: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            rule: rule.into(),
            ruling: Ruling::Passed,
            branch: None,
            commit: None,
            reason: reason.into(),
            help: None,
            place: None,
        }
    }

    /// That a rule does not hold.
    pub fn refused(
        rule: impl Into<String>,
        reason: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            ruling: Ruling::Refused,
            help: Some(help.into()),
            ..Self::passed(rule, reason)
        }
    }

    /// That it cannot be told whether a rule holds.
    pub fn undecided(
        rule: impl Into<String>,
        reason: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            ruling: Ruling::Undecided,
            ..Self::refused(rule, reason, help)
        }
    }

    /// About this branch.
    #[must_use]
    pub fn on(mut self, branch: impl Into<String>) -> Self {
        self.branch = Some(branch.into());
        self
    }

    /// About this commit.
    #[must_use]
    pub fn at(mut self, commit: impl Into<String>) -> Self {
        self.commit = Some(commit.into());
        self
    }

    /// Whether what was asked may go on, as far as this rule goes.
    #[must_use]
    pub const fn is_passed(&self) -> bool {
        matches!(self.ruling, Ruling::Passed)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The verdicts that keep something from going on.
#[must_use]
pub fn against(verdicts: &[Verdict]) -> Vec<Verdict> {
    let against = verdicts.iter().filter(|verdict| !verdict.is_passed());
    against.cloned().collect()
}
