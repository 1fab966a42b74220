//! Nobody takes their own access to a cluster away: there would be no way back in.

use crate::model::access::{ADMIN, is_kept};
use crate::model::resource::{Resource, ResourceFacts, shown};
use crate::policy::Refusal;

/// Refuses to change or delete the access entry of whoever runs this, unless it leaves them what
/// they have.
///
/// # Errors
/// The entry, and what it would be.
pub fn may_enter(wanted: &[Resource], found: &[ResourceFacts]) -> Result<(), Refusal> {
    for facts in found.iter().filter(|facts| facts.is_callers) {
        let wanted = wanted.iter().find(|resource| resource.key == facts.key);
        if wanted.is_none() && facts.wanted {
            continue;
        }
        let (now, then) = (
            facts.settings.as_ref(),
            wanted.map(|resource| &resource.settings),
        );
        if is_kept(now, then) {
            continue;
        }
        let policies = |settings: Option<&crate::model::resource::Settings>| {
            settings
                .and_then(|settings| settings.get("policies"))
                .map_or_else(|| "nothing".to_owned(), shown)
        };
        let change = match (now, then) {
            (Some(_), None) => "would be deleted".to_owned(),
            (None, then) => {
                format!(
                    "would take the place of how you come in now, and give {}",
                    policies(then)
                )
            }
            (now, then) => format!("would give {} instead of {}", policies(then), policies(now)),
        };
        return Err(Refusal {
            what: format!(
                "{} is your own, and {change}: you would lose access to the cluster",
                facts.key
            ),
            help: format!(
                "give it `policies: [{ADMIN}]` under `cluster.access`, or run this as somebody \
                 else who has that"
            ),
        });
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "access_entry.arn:aws:iam::123456789012:role/deployer";

    fn asked(now: Option<Value>, then: Option<Value>, is_callers: bool) -> Result<(), Refusal> {
        let settings = |value: Value| serde_json::from_value(value).expect("settings");
        let key: crate::model::resource::ResourceKey = KEY.parse().expect("a key");
        let wanted: Vec<Resource> = then
            .into_iter()
            .map(|then| Resource {
                key: key.clone(),
                settings: settings(then),
            })
            .collect();
        let facts = ResourceFacts {
            settings: now.map(settings),
            wanted: !wanted.is_empty(),
            is_callers,
            ..ResourceFacts::absent(key)
        };
        may_enter(&wanted, &[facts])
    }

    #[test]
    fn one_s_own_entry_is_not_weakened_and_another_s_may_be() {
        let admin = || Some(json!({"policies": {"AmazonEKSClusterAdminPolicy": []}}));
        let view = || Some(json!({"policies": {"AmazonEKSViewPolicy": ["shop"]}}));
        asked(admin(), view(), false).expect("somebody else's");
        asked(view(), admin(), true).expect("more");
        asked(admin(), admin(), true).expect("the same");
        let refused = asked(admin(), view(), true).expect_err("weaker");
        assert!(
            refused.what.contains("is your own, and would give"),
            "{refused}"
        );
        let refused = asked(admin(), None, true).expect_err("deleted");
        assert!(refused.what.contains("would be deleted"), "{refused}");
        let refused = asked(None, view(), true).expect_err("instead of what is unseen");
        assert!(refused.what.contains("would take the place"), "{refused}");
    }
}
