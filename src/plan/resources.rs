//! Infrastructure in a plan: what is missing is made, what differs is changed, what left the
//! configuration goes.
//!
//! There is no rollback for infrastructure that was made: it serves the next run as well. Settings
//! that were changed are set back.

use serde_json::Value;

use crate::model::Address;
use crate::model::loss::resource_can_hold;
use crate::model::observed::Observed;
use crate::model::plan::{Action, Change, StepId};
use crate::model::resource::{Resource, ResourceFacts, ResourceKind, shown};
use crate::plan::draft::{Draft, Proposal};
use crate::plan::losses::Account;

/// The steps that others have to wait for.
#[derive(Default)]
pub(super) struct Made {
    pub repositories: Vec<StepId>,
    pub cluster: Vec<StepId>,
}

/// The last step on what the provider takes one change of at a time.
///
/// Fargate profiles of a cluster are made and deleted one after the other: the service takes no
/// second at a time. Replication is one document.
#[derive(Default)]
struct Queue {
    fargate: Vec<StepId>,
    replication: Vec<StepId>,
}

impl Queue {
    fn last(&self, kind: ResourceKind) -> &[StepId] {
        match kind {
            ResourceKind::FargateProfile => &self.fargate,
            ResourceKind::Replication => &self.replication,
            _ => &[],
        }
    }

    fn add(&mut self, kind: ResourceKind, step: StepId) {
        match kind {
            ResourceKind::FargateProfile => self.fargate = vec![step],
            ResourceKind::Replication => self.replication = vec![step],
            _ => {}
        }
    }
}

/// Makes and changes what is wanted, in its order.
pub(super) fn make(draft: &mut Draft, wanted: &[Resource], observed: &Observed) -> Made {
    for facts in &observed.resources {
        let notes = facts.notes.iter();
        draft
            .notes
            .extend(notes.map(|text| format!("{}: {text}", facts.key)));
    }

    let mut queue = Queue::default();
    for facts in observed.resources.iter().filter(|facts| !facts.wanted) {
        delete(draft, &mut queue, facts);
    }

    let mut made = Made::default();
    for resource in wanted {
        let mut known = observed.resources.iter();
        let Some(facts) = known.find(|facts| facts.key == resource.key) else {
            continue;
        };
        let Some(step) = ensure(draft, resource, facts, &needs(resource, &made, &queue)) else {
            continue;
        };

        let kind = resource.key.kind;
        queue.add(kind, step);
        match kind {
            // What was pushed before is not copied.
            ResourceKind::Repository | ResourceKind::PullThrough | ResourceKind::Replication => {
                made.repositories.push(step);
            }
            _ => made.cluster.push(step),
        }
    }
    made
}

fn delete(draft: &mut Draft, queue: &mut Queue, facts: &ResourceFacts) {
    let kind = facts.key.kind;
    let address = Address::Resource(facts.key.clone());
    let new = Proposal::new(address, Action::Delete, "not in the configuration any more")
        .expecting(facts.fingerprint())
        .after(queue.last(kind));

    let step = draft.add(new);
    account(draft, step, facts);
    queue.add(kind, step);
}

/// The step that makes, changes or replaces a resource; none for one that is as it should be.
fn ensure(
    draft: &mut Draft,
    resource: &Resource,
    facts: &ResourceFacts,
    needs: &[StepId],
) -> Option<StepId> {
    let address = Address::Resource(resource.key.clone());
    let changes = changes(resource, facts);
    if facts.settings.is_some() && changes.is_empty() {
        draft.same(address, "is as it should be");
        return None;
    }

    let fixed = changes
        .iter()
        .find(|change| resource.key.kind.is_fixed(&change.field));
    let replace = facts.settings.is_some() && fixed.is_some();
    let reason = match (&facts.settings, fixed) {
        (None, _) => "is not there".to_owned(),
        (Some(_), Some(change)) => format!("is replaced: {} cannot be changed", change.field),
        (Some(_), None) => "differs".to_owned(),
    };

    let action = provision(resource.clone(), replace);
    let new = Proposal::new(address.clone(), action, reason)
        .changing(changes)
        .expecting(facts.fingerprint())
        .after(needs);
    let step = match before(resource, facts).filter(|_| !replace) {
        Some(before) => {
            let back = Proposal::new(address, provision(before, false), "as it was");
            draft.add_with_undo(new, back)
        }
        None => draft.add(new),
    };
    if replace {
        account(draft, step, facts);
    }
    Some(step)
}

/// The steps that a resource has to wait for.
fn needs(resource: &Resource, made: &Made, queue: &Queue) -> Vec<StepId> {
    let kind = resource.key.kind;
    match kind {
        ResourceKind::Repository | ResourceKind::PullThrough | ResourceKind::Cluster => Vec::new(),
        ResourceKind::Replication => queue.last(kind).to_vec(),
        ResourceKind::FargateProfile => [&cluster_of(made), queue.last(kind)].concat(),
        ResourceKind::NodeGroup | ResourceKind::AccessEntry => cluster_of(made),
        // Its pods need something to run on.
        ResourceKind::Addon => made.cluster.clone(),
    }
}

/// Says what goes with a resource that is deleted or replaced.
fn account(draft: &mut Draft, step: StepId, facts: &ResourceFacts) {
    if !resource_can_hold(&facts.key) {
        return;
    }
    draft.accounts_for(Account {
        step,
        short: facts.key.to_string(),
        long: facts.key.to_string(),
        holds: facts.holds.clone(),
        is_protected: false,
    });
}

fn cluster_of(made: &Made) -> Vec<StepId> {
    made.cluster.first().copied().into_iter().collect()
}

fn provision(resource: Resource, replace: bool) -> Action {
    Action::Ensure {
        resource: Box::new(resource),
        replace,
    }
}

/// The settings that differ from what is wanted.
pub(super) fn changes(resource: &Resource, facts: &ResourceFacts) -> Vec<Change> {
    let now = |field: &str| {
        facts
            .settings
            .as_ref()
            .and_then(|settings| settings.get(field))
    };
    let differs = |(field, value): &(&String, &Value)| now(field).unwrap_or(&Value::Null) != *value;
    let wanted = resource.settings.iter().filter(differs);
    let text = |value: &Value| (!value.is_null()).then(|| shown(value));
    wanted
        .map(|(field, value)| Change {
            field: field.clone(),
            before: now(field).and_then(text),
            after: text(value),
            origin: None,
            by: None,
        })
        .collect()
}

/// The resource with the settings that it has now, of those that would be changed.
fn before(resource: &Resource, facts: &ResourceFacts) -> Option<Resource> {
    let settings = facts.settings.as_ref()?;
    let now = resource.settings.keys().map(|name| {
        (
            name.clone(),
            settings.get(name).cloned().unwrap_or(Value::Null),
        )
    });
    Some(Resource {
        key: resource.key.clone(),
        settings: now.collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::resource::{ResourceKey, Settings};

    fn resource(key: &str, settings: Value) -> Resource {
        let settings: Settings = serde_json::from_value(settings).expect("settings");
        Resource {
            key: key.parse().expect("a key"),
            settings,
        }
    }

    fn facts(key: &str, settings: Option<Value>, wanted: bool) -> ResourceFacts {
        let key: ResourceKey = key.parse().expect("a key");
        let settings = settings.map(|settings| serde_json::from_value(settings).expect("settings"));
        ResourceFacts {
            settings,
            wanted,
            ..ResourceFacts::absent(key)
        }
    }

    fn steps(wanted: &[Resource], found: Vec<ResourceFacts>) -> Vec<(String, Vec<u32>, String)> {
        let mut draft = Draft::default();
        let observed = Observed {
            resources: found,
            ..Observed::default()
        };
        make(&mut draft, wanted, &observed);
        let steps = draft.steps().iter();
        steps
            .map(|step| {
                let needs = step.needs.iter().map(|need| need.0).collect();
                (step.address.to_string(), needs, step.reason.clone())
            })
            .collect()
    }

    #[test]
    fn fargate_profiles_wait_for_their_cluster_and_for_each_other() {
        let wanted = [
            resource("cluster.shop", json!({"version": "1.36"})),
            resource("fargate_profile.a", json!({"namespaces": ["a"]})),
            resource("fargate_profile.b", json!({"namespaces": ["b"]})),
        ];
        let found = vec![
            facts("cluster.shop", None, true),
            facts("fargate_profile.a", None, true),
            facts(
                "fargate_profile.b",
                Some(json!({"namespaces": ["other"]})),
                true,
            ),
            facts("fargate_profile.old", Some(json!({})), false),
        ];
        let steps = steps(&wanted, found);
        let wanted = [
            (
                "fargate_profile.old",
                vec![],
                "not in the configuration any more",
            ),
            ("cluster.shop", vec![], "is not there"),
            ("fargate_profile.a", vec![2, 1], "is not there"),
            (
                "fargate_profile.b",
                vec![2, 3],
                "is replaced: namespaces cannot be changed",
            ),
        ];
        let wanted: Vec<_> = wanted
            .into_iter()
            .map(|(a, needs, reason)| (a.to_owned(), needs, reason.to_owned()))
            .collect();
        assert_eq!(steps, wanted);
    }

    #[test]
    fn addons_wait_for_machines_and_what_is_one_document_is_written_in_turn() {
        let wanted = [
            resource("repository.shop/web", json!({})),
            resource(
                "replication.eu-west-1/1",
                json!({"repositories": ["shop/web"]}),
            ),
            resource(
                "replication.eu-west-2/1",
                json!({"repositories": ["shop/web"]}),
            ),
            resource("cluster.shop", json!({})),
            resource("node_group.workers", json!({})),
            resource("access_entry.arn:aws:iam::1:role/a", json!({})),
            resource("addon.coredns", json!({})),
        ];
        let mut found: Vec<_> = wanted
            .iter()
            .map(|resource| facts(&resource.key.to_string(), None, true))
            .collect();
        found.push(facts("replication.us-east-1/1", Some(json!({})), false));
        let needs: Vec<_> = steps(&wanted, found)
            .into_iter()
            .map(|(a, needs, _)| (a, needs))
            .collect();
        let expected = [
            ("replication.us-east-1/1", vec![]),
            ("repository.shop/web", vec![]),
            ("replication.eu-west-1/1", vec![1]),
            ("replication.eu-west-2/1", vec![3]),
            ("cluster.shop", vec![]),
            ("node_group.workers", vec![5]),
            ("access_entry.arn:aws:iam::1:role/a", vec![5]),
            ("addon.coredns", vec![5, 6, 7]),
        ];
        assert_eq!(
            needs,
            expected.map(|(address, needs)| (address.to_owned(), needs))
        );
    }

    #[test]
    fn only_what_is_wanted_is_compared() {
        let wanted = [resource(
            "repository.shop/web",
            json!({"immutable_tags": true}),
        )];
        let same = facts(
            "repository.shop/web",
            Some(json!({"immutable_tags": true, "tags": {"a": "b"}})),
            true,
        );
        assert!(steps(&wanted, vec![same]).is_empty());
        let drifted = facts(
            "repository.shop/web",
            Some(json!({"immutable_tags": false})),
            true,
        );
        assert_eq!(steps(&wanted, vec![drifted]).len(), 1);
    }
}
