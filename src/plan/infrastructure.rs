//! The end of an environment's infrastructure: what was made for it goes, the last made first.
//!
//! A resource goes only when its marks say that shipit made it for this environment, when no other
//! environment uses it, and when nothing of others is in it. Whatever stays is named with the
//! reason. Nothing that goes has a rollback: images would have to be built again.

use crate::model::Address;
use crate::model::desired::Desired;
use crate::model::loss::{Holding, resource_can_hold};
use crate::model::plan::{Action, StepId};
use crate::model::resource::{MadeBy, ResourceFacts, ResourceKind};
use crate::plan::draft::{Draft, Proposal};
use crate::plan::losses::Account;

/// Deletes what was made for the environment, behind all other steps of the draft.
pub(super) fn dismantle(draft: &mut Draft, desired: &Desired, found: &[ResourceFacts]) {
    let mut needs = last_steps(draft);
    for facts in in_order(desired, found) {
        if let Some(reason) = stays(desired, facts) {
            draft.notes.push(format!("{} stays: {reason}", facts.key));
            continue;
        }
        needs = vec![delete(draft, facts, &needs)];
    }
    let deletes = draft.steps().iter().any(|step| {
        matches!(
            (&step.action, &step.address),
            (Action::Delete, Address::Resource(_))
        )
    });

    if deletes {
        draft.notes.push(
            "what is deleted of the infrastructure is not put back, and no later rollback goes to \
             an image that is gone: `shipit apply` makes it again, and builds"
                .to_owned(),
        );
    }
}

/// The steps that no other step waits for.
fn last_steps(draft: &Draft) -> Vec<StepId> {
    let steps = draft.steps();
    let is_needed = |id: StepId| steps.iter().any(|step| step.needs.contains(&id));
    let ids = steps.iter().map(|step| step.id);
    ids.filter(|id| !is_needed(*id)).collect()
}

/// What is there, against the order in which it can be made. What has left the configuration comes
/// first: nothing in it needs that any more.
fn in_order<'a>(desired: &Desired, found: &'a [ResourceFacts]) -> Vec<&'a ResourceFacts> {
    let mut existing: Vec<&ResourceFacts> = found
        .iter()
        .filter(|facts| facts.settings.is_some())
        .collect();
    let made = |facts: &ResourceFacts| {
        let mut wanted = desired.resources.iter();
        wanted.position(|resource| resource.key == facts.key)
    };
    existing.sort_by_key(|facts| (made(facts).map_or(0, |at| usize::MAX - at), &facts.key));
    existing
}

fn delete(draft: &mut Draft, facts: &ResourceFacts, needs: &[StepId]) -> StepId {
    let address = Address::Resource(facts.key.clone());
    let new = Proposal::new(address, Action::Delete, reason(facts.key.kind))
        .expecting(facts.fingerprint())
        .after(needs);
    let step = draft.add(new);

    if resource_can_hold(&facts.key) {
        draft.accounts_for(Account {
            step,
            short: facts.key.to_string(),
            long: facts.key.to_string(),
            holds: of_others(&facts.holds),
            is_protected: false,
        });
    }
    step
}

const fn reason(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Replication => "made for this environment; the copies stay where they are",
        _ => "made for this environment",
    }
}

/// What a resource holds besides the environment's own services, which go by steps before.
fn of_others(holds: &[Holding]) -> Vec<Holding> {
    let is_own =
        |holding: &Holding| holding.is_own() || matches!(holding, Holding::LiveTraffic { .. });
    let others = holds.iter().filter(|holding| !is_own(holding));
    others.cloned().collect()
}

/// Why a resource that is there is not deleted; none when it is.
fn stays(desired: &Desired, facts: &ResourceFacts) -> Option<String> {
    let (kind, name) = (facts.key.kind, &facts.key.name);
    match kind {
        ResourceKind::Cluster => {
            return Some(format!(
                "shipit deletes no cluster, for all else is in it; `aws eks delete-cluster --name \
                 {name}` does"
            ));
        }
        ResourceKind::PullThrough => {
            return Some(
                "its kind takes no tags, so nothing says who made it; what is fetched by it may be \
                 others'"
                    .to_owned(),
            );
        }
        _ => {}
    }

    if let Some(reason) = not_ours(desired, facts) {
        return Some(reason);
    }
    if !facts.used_by.is_empty() {
        return Some(format!("it is used by {}", facts.used_by.join(", ")));
    }
    if facts.is_callers {
        return Some("it is your own, and you would lose access to the cluster".to_owned());
    }
    let others = of_others(&facts.holds);
    let kept = others.iter().find(|holding| !holding.may_go())?;
    Some(format!("it holds {kept}"))
}

/// Why it is not this environment's to delete. A repository is its project's: environments share
/// the images in it, and the last one of them may take it along.
fn not_ours(desired: &Desired, facts: &ResourceFacts) -> Option<String> {
    let Some(made_by) = &facts.made_by else {
        return Some(
            "it has no `shipit.dev/project` and `shipit.dev/environment` among its tags, so shipit \
             has not made it, or a version that set none; tag it if it may go"
                .to_owned(),
        );
    };
    let is_projects = made_by.project == desired.project.as_str();
    let is_environments = is_projects && made_by.environment == desired.environment.as_str();
    let is_ours = match facts.key.kind {
        ResourceKind::Repository => is_projects,
        _ => is_environments,
    };
    (!is_ours).then(|| belongs_to(made_by))
}

fn belongs_to(made_by: &MadeBy) -> String {
    format!("its tags say that it was made for {made_by}")
}
