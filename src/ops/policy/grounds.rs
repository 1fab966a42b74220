//! What the rules are held against: a checkout, and the rules of a project.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Places, Project};
use crate::model::branch::{BranchRule, Offshoots};
use crate::model::source::Source;
use crate::model::ticket::{TicketPlace, TicketRule};
use crate::model::verdict::Verdict;
use crate::ops::session::checkout;
use crate::ops::{Error, Session};
use crate::policy::{self, asks_of_others, rule_of};
use crate::port::Scm;
use crate::port::scm::{FetchTags, ScmError};

/// A checkout and its rules, without an environment.
pub struct Grounds {
    /// The rules of branches.
    pub rules: Vec<BranchRule>,
    /// What a change has to name, whatever its environment.
    pub ticket: Option<TicketRule>,
    /// Where they are written.
    pub places: Places,
    /// What is checked out.
    pub source: Source,
    /// Source control.
    pub scm: Arc<dyn Scm>,
    /// Whether what the rules need of the remote may be fetched.
    pub fetch: bool,
}

impl Grounds {
    /// Those of a project's folder.
    pub async fn open(folder: &Path, fetch: bool) -> Result<Self, Error> {
        let (project, scm, source) = checkout(folder).await?;
        Ok(Self::new(&project, source, scm, fetch))
    }

    /// Those of a session.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        let scm = Arc::new(session.scm.clone());
        Self::new(&session.project, session.source.clone(), scm, session.fetch)
    }

    fn new(project: &Project, source: Source, scm: Arc<dyn Scm>, fetch: bool) -> Self {
        Self {
            rules: project.branch_rules(),
            ticket: None,
            places: project.places.clone(),
            source,
            scm,
            fetch: fetch || project.branches.fetch,
        }
    }

    /// The rule that speaks of a branch.
    #[must_use]
    pub fn rule_of(&self, branch: &str) -> Option<&BranchRule> {
        rule_of(&self.rules, branch)
    }

    /// Fetches what the rules of `branches` need of the remote, if that may be.
    pub async fn bring(&self, branches: &[String]) -> Result<(), ScmError> {
        if !self.fetch {
            return Ok(());
        }
        let mut wanted: Vec<String> = branches.to_vec();
        if self.rules.iter().any(asks_of_others) {
            let named = self.rules.iter().filter(|rule| is_name(&rule.pattern));
            wanted.extend(named.map(|rule| rule.pattern.clone()));
        }
        wanted.sort();
        wanted.dedup();
        let has_tags = self.rules.iter().any(|rule| rule.release.is_some());
        let tags = if has_tags {
            FetchTags::All
        } else {
            FetchTags::None
        };
        self.scm.fetch(&wanted, tags).await
    }

    /// Verdicts with the places of their rules.
    #[must_use]
    pub fn placed(&self, verdicts: Vec<Verdict>) -> Vec<Verdict> {
        let mut all: Vec<Verdict> = Vec::new();
        for verdict in verdicts {
            let verdict = placed(verdict, &self.places);
            // Several rules may find the same missing.
            if !all.contains(&verdict) {
                all.push(verdict);
            }
        }
        all
    }

    /// What is said of the tickets of a branch and of its commits.
    pub(super) async fn tickets(
        &self,
        ticket: &TicketRule,
        branch: Option<&str>,
        tip: Option<&str>,
        without: &[String],
    ) -> Result<Vec<Verdict>, ScmError> {
        const MOST: usize = 10_000;
        let Some(tip) = tip else {
            return Ok(policy::has_ticket(ticket, branch, &[]));
        };
        // A branch that names it is enough, whatever its commits say.
        let of_branch = policy::has_ticket(ticket, branch, &[]);
        let looks = ticket.places.contains(&TicketPlace::Commits);
        let is_enough = of_branch
            .iter()
            .any(|verdict| verdict.reason.starts_with("the branch"));
        if !looks || is_enough {
            return Ok(of_branch);
        }
        for commit in without {
            if self.scm.parents(commit).await.is_err() {
                return Ok(vec![unread()]);
            }
        }
        let messages = self.scm.messages(tip, without, MOST).await?;
        Ok(messages.map_or_else(
            || vec![unread()],
            |commits| policy::has_ticket(ticket, branch, &commits),
        ))
    }

    /// Whether any rule looks at what other branches have of its own.
    #[must_use]
    pub fn ask_of_others(&self) -> bool {
        self.rules.iter().any(asks_of_others)
    }

    /// The branches here that a rule speaks of, and the branches with rules that are not here.
    #[must_use]
    pub fn ruled(
        &self,
        tips: &BTreeMap<String, String>,
    ) -> (BTreeMap<String, String>, Vec<String>) {
        let here = tips
            .iter()
            .filter(|(name, _)| rule_of(&self.rules, name).is_some())
            .map(|(name, tip)| (name.clone(), tip.clone()))
            .collect();
        let missing = self.rules.iter().map(|rule| &rule.pattern);
        let missing = missing.filter(|name| is_name(name) && !tips.contains_key(*name));
        (here, missing.cloned().collect())
    }

    /// The commit that a rule begins with; none where it says none, and a verdict where it is not
    /// here.
    pub async fn begin(
        &self,
        rule: &BranchRule,
    ) -> Result<Result<Option<String>, Verdict>, ScmError> {
        let Some(name) = &rule.since else {
            return Ok(Ok(None));
        };
        let commit = self.scm.tagged(name).await?;
        if commit.is_some() {
            return Ok(Ok(commit));
        }
        let key = if rule.offshoots == Offshoots::Refused {
            "offshoots"
        } else {
            "direct_commits"
        };
        let reason = format!(
            "not every commit of {} can be looked at: `since` is {name}, and this checkout has no \
             such commit or tag",
            rule.pattern
        );
        let help = "fetch it with `git fetch --tags`, or write the id of a commit";
        Ok(Err(
            Verdict::undecided(rule.key(key), reason, help).on(&rule.pattern)
        ))
    }
}

fn unread() -> Verdict {
    let reason = "not every commit can be looked at for its ticket: the history here is cut off, \
                  or too long";
    let help = "fetch the whole history: `git fetch --unshallow`, or `--fetch`";
    Verdict::undecided("ticket", reason, help)
}

/// A verdict with the place of its rule.
pub(super) fn placed(verdict: Verdict, places: &Places) -> Verdict {
    let mut key = verdict.rule.as_str();
    let mut place = places.get(key);
    while let (None, Some((above, _))) = (place, key.rsplit_once('.')) {
        key = above;
        place = places.get(key);
    }
    let place = verdict.place.clone().or_else(|| place.cloned());
    Verdict { place, ..verdict }
}

/// Whether a rule is of one branch, and not of all that a glob matches.
pub(super) fn is_name(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '{', '\\'])
}
