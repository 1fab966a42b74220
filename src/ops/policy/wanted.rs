//! Which approvals an environment wants, by the word of whom. A checkout may be anybody's, and have
//! changes that nobody has seen: what counts is what the branches say that lead to the environment,
//! where each of them is now.

use std::collections::BTreeSet;

use crate::config::schema::approvers;
use crate::config::{Places, Project, Rules};
use crate::model::EnvironmentName;
use crate::model::approval::{ApprovalRule, Approver};
use crate::model::release::Release;
use crate::model::source::Source;
use crate::ops::policy::branch::{BranchRules, rules_on};
use crate::ops::policy::grounds::is_name;
use crate::ops::{Error, Session};
use crate::port::Scm;
use crate::port::scm::FetchTags;

/// Where it is looked.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The project as it is checked out.
    pub project: &'a Project,
    /// Which environment.
    pub environment: &'a EnvironmentName,
    /// What is checked out.
    pub source: &'a Source,
    /// Source control.
    pub scm: &'a dyn Scm,
    /// Whether the branches may be fetched.
    pub fetch: bool,
}

impl<'a> Place<'a> {
    /// That of a session.
    #[must_use]
    pub fn of(session: &'a Session) -> Self {
        Self {
            project: &session.project,
            environment: &session.environment,
            source: &session.source,
            scm: &session.scm,
            fetch: session.fetch || session.project.branches.fetch,
        }
    }
}

/// What one branch wants, or several that want the same.
#[derive(Debug, Clone)]
pub struct Demand {
    /// How many, and of whom.
    pub rule: ApprovalRule,
    /// Who may approve.
    pub approvers: Vec<Approver>,
    /// The branch that says so; none for the checkout itself.
    pub branch: Option<String>,
    /// Where it says so.
    pub places: Places,
}

/// Rules that could not be looked at.
#[derive(Debug, Clone)]
pub struct Unread {
    /// Of which branch.
    pub branch: String,
    /// Why not.
    pub reason: String,
    /// What to do.
    pub help: String,
    /// Whether approvals are written there all the same.
    pub has_approvals: bool,
}

/// What an environment wants.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// All of it must hold.
    pub demands: Vec<Demand>,
    /// What else it may want; nothing where nobody who could be asked wants any approval.
    pub unread: Vec<Unread>,
}

impl Wanted {
    /// Whether a plan may be carried out without any approval.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.demands.is_empty() && self.unread.is_empty()
    }

    /// In words, each once.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let each = self.demands.iter().map(|demand| demand.rule.wants());
        each.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// What the environment wants, with the release that is live there; none where that is not known.
pub async fn wanted(place: Place<'_>, live: Option<&Release>) -> Result<Wanted, Error> {
    let branches = branches(place, live);
    let was_approved = live.is_some_and(|live| !live.approvals.is_empty());
    // Before anything is read: what is wanted may have been written since.
    let fetched = if place.fetch && place.source.commit.is_some() {
        let names: Vec<String> = branches.iter().cloned().collect();
        place.scm.fetch(&names, FetchTags::None).await
    } else {
        Ok(())
    };

    let found = read(place, &branches).await?;
    let has_some = found.unread.iter().any(|unread| unread.has_approvals);
    if !was_approved && !has_some && found.demands.is_empty() {
        // A project without approvals is not held up by a branch that is not here.
        return Ok(Wanted::default());
    }
    fetched?;
    Ok(found)
}

/// The branches that lead to the environment: those that the rules name, the one that is checked
/// out, and the one that is live. That one tells of a checkout that has other rules for branches.
fn branches(place: Place<'_>, live: Option<&Release>) -> BTreeSet<String> {
    let rules = place.project.branch_rules();
    let named = rules
        .into_iter()
        .filter(|rule| rule.environment.as_ref() == Some(place.environment))
        .map(|rule| rule.pattern)
        .filter(|pattern| is_name(pattern));
    let live = live.and_then(|live| live.source.branch.clone());
    named
        .chain(place.source.branch.clone())
        .chain(live)
        .collect()
}

async fn read(place: Place<'_>, branches: &BTreeSet<String>) -> Result<Wanted, Error> {
    let mut wanted = Wanted::default();
    for branch in branches {
        let unread = |reason, help, has_approvals| Unread {
            branch: branch.clone(),
            reason,
            help,
            has_approvals,
        };
        if place.source.commit.is_none() {
            let reason = "this folder is no checkout".to_owned();
            let help = "run the command in a checkout of the project".to_owned();
            wanted.unread.push(unread(reason, help, false));
            continue;
        }
        match rules_on(place.scm, place.environment, branch).await? {
            BranchRules::Found(rules) => add(&mut wanted.demands, demand(*rules, branch)),
            BranchRules::None => {}
            BranchRules::Unknown {
                reason,
                help,
                has_approvals,
            } => wanted.unread.push(unread(reason, help, has_approvals)),
        }
    }

    // Outside of Git, and before a branch has them, the rules are those that are written here.
    if wanted.demands.is_empty() {
        add(&mut wanted.demands, own(place));
    }
    Ok(wanted)
}

fn add(demands: &mut Vec<Demand>, demand: Option<Demand>) {
    let is_there = |demand: &Demand| {
        let same =
            |other: &Demand| other.rule == demand.rule && other.approvers == demand.approvers;
        demands.iter().any(same)
    };
    if let Some(demand) = demand.filter(|demand| !is_there(demand)) {
        demands.push(demand);
    }
}

fn demand(rules: Rules, branch: &str) -> Option<Demand> {
    Some(Demand {
        rule: rules.approvals?.rule(),
        approvers: approvers(&rules.approvers),
        branch: Some(branch.to_owned()),
        places: rules.places,
    })
}

fn own(place: Place<'_>) -> Option<Demand> {
    let configuration = place.project.environments.get(place.environment)?;
    let places = place.project.places_in.get(place.environment);
    Some(Demand {
        rule: configuration.approvals.as_ref()?.rule(),
        approvers: approvers(&configuration.approvers),
        branch: None,
        places: places.cloned().unwrap_or_default(),
    })
}
