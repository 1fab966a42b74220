//! Approval: who says that a plan may be carried out. That a plan was made, and is in a file, says
//! nothing of the kind.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::model::loss::Consents;
use crate::model::sshsig::SshKey;
use crate::model::{ContentHash, EnvironmentName, Period, ProjectName};

/// The namespace of the signatures: a signature that the same key has made for Git or for a file
/// says nothing of a plan.
pub const NAMESPACE: &str = "shipit-approval";

/// The version of [`Statement`].
const VERSION: u32 = 1;

/// How far the clock of whoever signs may be ahead.
pub const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// How a plan came to be approved.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// A person saw it at a terminal, and said yes.
    AtTerminal,
    /// Whoever gave the command said in advance that it needs no asking (`--auto-approve`).
    InAdvance,
    /// It changes nothing.
    NotNeeded,
    /// As many as the environment wants have signed it.
    Signed(Vec<SignedBy>),
}

/// A plan that may be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// By whose word.
    pub by: Approval,
    /// What of what it destroys may go.
    pub consents: Consents,
}

/// What is signed. It is never kept: whoever looks at a signature makes it again, from the file
/// that the signature is in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The version of this document: 1.
    shipit_approval: u32,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The plan's hash. The serial of the state is in it: it is carried out once.
    pub plan: ContentHash,
    /// Hash of how the plan was made: from which configuration, and by which shipit.
    pub made: ContentHash,
    /// When it was signed, in whole seconds.
    pub at: Timestamp,
}

impl Statement {
    /// That a plan is approved at a time.
    #[must_use]
    pub fn new(
        (project, environment): (&ProjectName, &EnvironmentName),
        plan: ContentHash,
        made: ContentHash,
        at: Timestamp,
    ) -> Self {
        Self {
            shipit_approval: VERSION,
            project: project.clone(),
            environment: environment.clone(),
            plan,
            made,
            at: Timestamp::from_second(at.as_second()).unwrap_or(at),
        }
    }

    /// The same of another time.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> Self {
        Self { at, ..self.clone() }
    }

    /// The bytes that are signed: one line of JSON.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let mut message = serde_json::to_vec(self).unwrap_or_default();
        message.push(b'\n');
        message
    }
}

/// A signature in a plan file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanApproval {
    /// When it says that it was made. It is signed, too.
    pub at: Timestamp,
    /// What `ssh-keygen -Y sign` wrote.
    pub signature: String,
}

/// Somebody whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignedBy {
    /// Who, by the name under `approvers`.
    pub name: String,
    /// The key's fingerprint.
    pub key: String,
    /// When.
    pub at: Timestamp,
    /// The hash of the plan that was signed.
    pub plan: ContentHash,
    /// Hash of how it was made.
    pub made: ContentHash,
    /// What `ssh-keygen -Y sign` wrote, so that it can be looked at again.
    pub signature: String,
}

/// The names of those who signed, each once, for a reader.
#[must_use]
pub fn names(signed: &[SignedBy]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for by in signed {
        if !names.contains(&by.name.as_str()) {
            names.push(&by.name);
        }
    }
    names.join(", ")
}

/// Somebody who may approve plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// The name under `approvers`.
    pub name: String,
    /// Any one of these keys is theirs.
    pub keys: Vec<SshKey>,
    /// The addresses that commits of theirs have.
    pub emails: BTreeSet<String>,
    /// What they are a member of.
    pub groups: BTreeSet<String>,
}

/// What an environment wants of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRule {
    /// How many people.
    pub count: usize,
    /// Names of people or groups; without any, all approvers.
    pub by: Vec<String>,
    /// Whether whoever wrote a commit of it does not count.
    pub not_author: bool,
    /// How old an approval may be; without it, any age.
    pub within: Option<Period>,
}

impl ApprovalRule {
    /// Whether somebody's approval is one of those that are wanted.
    #[must_use]
    pub fn takes(&self, approver: &Approver) -> bool {
        let is_one = |name: &String| *name == approver.name || approver.groups.contains(name);
        self.by.is_empty() || self.by.iter().any(is_one)
    }

    /// What is wanted, for a reader: `2 approvals of tech-leads`.
    #[must_use]
    pub fn wants(&self) -> String {
        let word = if self.count == 1 {
            "approval"
        } else {
            "approvals"
        };
        format!("{} {word}{}", self.count, self.of())
    }

    /// Of whom, with a space in front; nothing where anybody's counts.
    #[must_use]
    pub fn of(&self) -> String {
        if self.by.is_empty() {
            return String::new();
        }
        format!(" of {}", self.by.join(" or "))
    }
}

/// Who wrote what is deployed, by the addresses of its commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authors {
    /// No rule asks.
    NotAsked,
    /// All of them, in lower case.
    Known(BTreeSet<String>),
    /// It cannot be told.
    Unknown {
        /// Why not.
        reason: String,
        /// What to do.
        help: String,
    },
}
