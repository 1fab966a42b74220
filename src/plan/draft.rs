//! A plan while it is written: numbers the steps, and keeps beside each what takes it back.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::desired::Desired;
use crate::model::facts::Facts;
use crate::model::plan::{
    Action, Change, FORMAT, Intent, Placed, Plan, StateRef, Step, StepId, Target, Unchanged,
};
use crate::model::promotion::{Mode, Probe, Strategy};
use crate::model::source::Source;
use crate::model::state::State;
use crate::model::{Address, EnvironmentName, Fingerprint, ProjectName};
use crate::plan::losses::{self, Account, changes_entries};

/// What a plan is about, whatever it does.
pub(super) struct Subject<'a> {
    pub project: &'a ProjectName,
    pub environment: &'a EnvironmentName,
    pub source: &'a Source,
    pub strategy: Strategy,
    pub mode: Mode,
    pub probe: &'a Probe,
    pub facts: &'a Facts,
    pub state: &'a State,
}

impl<'a> Subject<'a> {
    pub fn new(desired: &'a Desired, facts: &'a Facts, state: &'a State) -> Self {
        Self {
            project: &desired.project,
            environment: &desired.environment,
            source: &desired.source,
            strategy: desired.strategy,
            mode: desired.promotion.mode,
            probe: &desired.promotion.probe,
            facts,
            state,
        }
    }
}

/// A step before it has a number.
pub(super) struct Proposal {
    pub address: Address,
    pub action: Action,
    pub reason: String,
    pub changes: Vec<Change>,
    pub expects: Option<Fingerprint>,
    pub needs: Vec<StepId>,
}

impl Proposal {
    pub fn new(address: Address, action: Action, reason: impl Into<String>) -> Self {
        Self {
            address,
            action,
            reason: reason.into(),
            changes: Vec::new(),
            expects: None,
            needs: Vec::new(),
        }
    }

    pub fn after(mut self, needs: &[StepId]) -> Self {
        self.needs.extend_from_slice(needs);
        self
    }

    pub fn expecting(mut self, fingerprint: Option<Fingerprint>) -> Self {
        self.expects = fingerprint;
        self
    }

    pub fn changing(mut self, changes: Vec<Change>) -> Self {
        self.changes = changes;
        self
    }

    fn number(self, id: StepId, undoes: Option<StepId>) -> Step {
        Step {
            id,
            address: self.address,
            action: self.action,
            reason: self.reason,
            changes: self.changes,
            expects: self.expects,
            needs: self.needs,
            undoes,
        }
    }
}

/// A plan while it is written.
#[derive(Default)]
pub(super) struct Draft {
    steps: Vec<Step>,
    /// What takes each step back, in the order of the steps.
    undo: BTreeMap<StepId, Vec<Proposal>>,
    /// The steps that are taken back just before a later one is.
    first: BTreeMap<StepId, Vec<StepId>>,
    /// What the steps destroy, besides what is in slots.
    accounts: Vec<Account>,
    pub unchanged: Vec<Unchanged>,
    pub notes: Vec<String>,
    /// Why there is no rollback once the plan is carried out.
    pub rollback_blockers: Vec<String>,
}

impl Draft {
    /// Adds a step that needs nothing to be taken back.
    pub fn add(&mut self, new: Proposal) -> StepId {
        let id = StepId(u32::try_from(self.steps.len()).unwrap_or(u32::MAX) + 1);
        self.steps.push(new.number(id, None));
        id
    }

    /// Adds a step and what takes it back.
    pub fn add_with_undo(&mut self, new: Proposal, undo: Proposal) -> StepId {
        self.add_with_undos(new, vec![undo])
    }

    /// Adds a step that several steps take back.
    pub fn add_with_undos(&mut self, new: Proposal, undo: Vec<Proposal>) -> StepId {
        let id = self.add(new);
        self.undo.insert(id, undo);
        id
    }

    /// Lets earlier steps be taken back just before this one is, and no later.
    pub fn undo_first(&mut self, step: StepId, earlier: &[StepId]) {
        self.first.insert(step, earlier.to_vec());
    }

    /// Says what goes with what a step deletes or replaces.
    pub fn accounts_for(&mut self, account: Account) {
        self.accounts.push(account);
    }

    /// The steps so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Lets every step that acts on such an address wait for these.
    pub fn all_wait(&mut self, needs: &[StepId], which: impl Fn(&Address) -> bool) {
        for step in self.steps.iter_mut().filter(|step| which(&step.address)) {
            step.needs
                .extend(needs.iter().filter(|need| **need != step.id));
            step.needs.sort_unstable();
            step.needs.dedup();
        }
    }

    pub fn same(&mut self, address: Address, reason: impl Into<String>) {
        self.unchanged.push(Unchanged {
            address,
            reason: reason.into(),
        });
    }

    pub fn finish(mut self, subject: &Subject<'_>, intent: Intent, target: Option<Target>) -> Plan {
        self.accounts
            .extend(losses::of_slots(&self.steps, subject.facts));
        let protected = losses::of_protected_entries(&self.steps, subject.facts);
        self.accounts.extend(protected);
        if changes_entries(&intent) {
            self.accounts
                .extend(losses::of_routes(&self.steps, subject.facts));
        }

        if let Intent::Promote(_) = intent {
            let ends = losses::of_promotion(&self.steps, subject.facts, target.as_ref());
            self.accounts.extend(ends);
            let closed = losses::of_routes(&self.steps, subject.facts);
            self.accounts.extend(closed);
        }

        self.accounts.sort_by_key(|account| account.step);
        Plan {
            format: FORMAT,
            intent,
            project: subject.project.clone(),
            environment: subject.environment.clone(),
            source: subject.source.clone(),
            namespaces: BTreeSet::new(),
            state: StateRef {
                lineage: subject.state.lineage.clone(),
                serial: subject.state.serial,
            },
            strategy: subject.strategy,
            mode: subject.mode,
            probe: subject.probe.clone(),
            active: active(subject.facts, target.as_ref()),
            target,
            reverse: reverse(self.undo, &self.first),
            steps: self.steps,
            unchanged: self.unchanged,
            notes: self.notes,
            rollback_blockers: self.rollback_blockers,
            losses: losses::named(self.accounts),
            hooks: Vec::new(),
        }
    }
}

/// What has live traffic, and what of it never runs beside the target.
fn active(facts: &Facts, target: Option<&Target>) -> Option<Placed> {
    let (slot, there) = facts.live()?;
    let none = BTreeMap::new();
    let next = target.map_or(&none, |target| &target.workloads);
    let mounts = there.workloads.iter().filter(|(_, live)| live.running);
    let mounts = mounts.map(|(name, live)| (name.clone(), live.spec.mounts()));
    Some(Placed {
        slot,
        release: there.label.number,
        exclusive: facts.exclusive(next),
        mounts: mounts.filter(|(_, mounts)| !mounts.is_empty()).collect(),
    })
}

/// The last step is taken back first, and one after the other: the rollback is for safety, not for
/// speed.
fn reverse(
    mut undo: BTreeMap<StepId, Vec<Proposal>>,
    first: &BTreeMap<StepId, Vec<StepId>>,
) -> Vec<Step> {
    let mut order: Vec<(StepId, Proposal)> = Vec::new();
    while let Some(last) = undo.keys().next_back().copied() {
        let earlier = first.get(&last).map(Vec::as_slice).unwrap_or_default();
        for id in earlier.iter().rev().chain([&last]) {
            let news = undo.remove(id).unwrap_or_default();
            order.extend(news.into_iter().map(|new| (*id, new)));
        }
    }

    let mut steps: Vec<Step> = Vec::new();
    for (number, (undoes, new)) in (1..).zip(order) {
        let before: Vec<StepId> = steps.last().map(|step| step.id).into_iter().collect();
        steps.push(new.after(&before).number(StepId(number), Some(undoes)));
    }
    steps
}
