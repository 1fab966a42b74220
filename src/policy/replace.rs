//! What holds something else is not replaced: a repository has its images in it, and a cluster
//! everything.

use crate::model::resource::{Resource, ResourceFacts, ResourceKind, shown};
use crate::policy::Refusal;

/// Refuses settings that could only be had by making a repository or a cluster anew.
///
/// # Errors
/// The setting, as it is and as it should be.
pub fn may_replace(wanted: &[Resource], found: &[ResourceFacts]) -> Result<(), Refusal> {
    for resource in wanted {
        let kind = resource.key.kind;
        if !matches!(kind, ResourceKind::Repository | ResourceKind::Cluster) {
            continue;
        }
        let facts = found.iter().find(|facts| facts.key == resource.key);
        let Some(settings) = facts.and_then(|facts| facts.settings.as_ref()) else {
            continue;
        };

        let differs = resource.settings.iter().find(|(name, value)| {
            kind.is_fixed(name) && settings.get(*name).is_none_or(|there| there != *value)
        });
        if let Some((name, value)) = differs {
            let there = settings
                .get(name)
                .map_or_else(|| "not set".to_owned(), shown);
            return Err(Refusal {
                what: format!(
                    "{}: {name} is {there} and cannot become {}: it would have to be replaced, \
                     with all that is in it",
                    resource.key,
                    shown(value)
                ),
                help:
                    "write it as it is; or make another one beside it by hand, under another name"
                        .to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::resource::Settings;

    #[test]
    fn a_cluster_is_not_made_anew_and_a_fargate_profile_may_be() {
        let settings = |value: &str| -> Settings { [("role".to_owned(), json!(value))].into() };
        let resource = |key: &str, value: &str| Resource {
            key: key.parse().expect("a key"),
            settings: settings(value),
        };
        let facts = |key: &str, value: Option<&str>| ResourceFacts {
            settings: value.map(settings),
            ..ResourceFacts::absent(key.parse().expect("a key"))
        };
        let asked = |key: &str, there: Option<&str>| {
            may_replace(&[resource(key, "b")], &[facts(key, there)])
        };
        asked("cluster.shop", None).expect("made for the first time");
        asked("cluster.shop", Some("b")).expect("the same");
        asked("fargate_profile.apps", Some("a")).expect("replaced");
        let refused = asked("cluster.shop", Some("a")).expect_err("refused");
        assert!(
            refused
                .what
                .starts_with("cluster.shop: role is a and cannot become b"),
            "{refused:?}"
        );
    }
}
