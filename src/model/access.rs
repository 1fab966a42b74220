//! What an access entry of a cluster gives, and whether a change of it leaves whoever makes it
//! inside.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::resource::Settings;

/// Amazon's policy that gives everything inside of a cluster.
pub const ADMIN: &str = "AmazonEKSClusterAdminPolicy";

/// Groups and policies; a policy without namespaces holds in all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rights {
    groups: BTreeSet<String>,
    policies: BTreeMap<String, BTreeSet<String>>,
}

impl Rights {
    fn of(settings: &Settings) -> Self {
        fn read<T: serde::de::DeserializeOwned + Default>(settings: &Settings, name: &str) -> T {
            let value = settings.get(name).cloned();
            value
                .and_then(|value| serde_json::from_value(value).ok())
                .unwrap_or_default()
        }
        Self {
            groups: read(settings, "groups"),
            policies: read(settings, "policies"),
        }
    }

    fn is_admin(&self) -> bool {
        self.policies.get(ADMIN).is_some_and(BTreeSet::is_empty)
    }

    fn covers(&self, other: &Self) -> bool {
        let holds = |(policy, namespaces): (&String, &BTreeSet<String>)| {
            self.policies.get(policy).is_some_and(|there| {
                there.is_empty() || (!namespaces.is_empty() && there.is_superset(namespaces))
            })
        };
        self.is_admin()
            || (self.groups.is_superset(&other.groups) && other.policies.iter().all(holds))
    }
}

/// Whether somebody whose entry is changed like this keeps what they may do. Who has no entry may
/// come in by the cluster's `ConfigMap`, or as the one who makes it, and an entry takes the place
/// of that: then it has to give everything.
#[must_use]
pub fn is_kept(now: Option<&Settings>, then: Option<&Settings>) -> bool {
    match (now, then) {
        (None, None) => true,
        (None, Some(then)) => Rights::of(then).is_admin(),
        (Some(now), None) => Rights::of(now) == Rights::default(),
        (Some(now), Some(then)) => {
            let mut all = now.clone();
            all.extend(then.clone());
            Rights::of(&all).covers(&Rights::of(now))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(value: Value) -> Settings {
        serde_json::from_value(value).expect("settings")
    }

    #[test]
    fn more_is_kept_and_less_is_not() {
        let kept = |now: Value, then: Value| is_kept(Some(&settings(now)), Some(&settings(then)));
        let edit = json!({"policies": {"AmazonEKSEditPolicy": ["a", "b"]}, "groups": ["team"]});
        assert!(kept(edit.clone(), edit.clone()));
        assert!(kept(
            edit.clone(),
            json!({"policies": {"AmazonEKSEditPolicy": ["a", "b", "c"]}})
        ));
        assert!(kept(
            edit.clone(),
            json!({"policies": {"AmazonEKSEditPolicy": []}})
        ));
        assert!(!kept(
            edit.clone(),
            json!({"policies": {"AmazonEKSEditPolicy": ["a"]}})
        ));
        assert!(!kept(
            edit.clone(),
            json!({"policies": {"AmazonEKSViewPolicy": []}})
        ));
        assert!(!kept(edit.clone(), json!({"groups": []})));
        // Who has everything needs nothing else.
        assert!(kept(
            edit,
            json!({"policies": {"AmazonEKSClusterAdminPolicy": []}, "groups": []})
        ));
        let admin = json!({"policies": {"AmazonEKSClusterAdminPolicy": []}});
        assert!(!kept(
            admin.clone(),
            json!({"policies": {"AmazonEKSClusterAdminPolicy": ["a"]}})
        ));
        assert!(!kept(admin, json!({"policies": {}})));
    }

    #[test]
    fn an_entry_that_may_take_the_place_of_something_unseen_gives_everything() {
        let edit = settings(json!({"policies": {"AmazonEKSEditPolicy": []}}));
        let admin = settings(json!({"policies": {"AmazonEKSClusterAdminPolicy": []}}));
        assert!(!is_kept(None, Some(&edit)));
        assert!(is_kept(None, Some(&admin)));
        assert!(!is_kept(Some(&edit), None));
        assert!(is_kept(None, None));
    }
}
