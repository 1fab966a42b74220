//! Replication: images are copied to other regions and accounts when they are pushed.
//!
//! The rules of an account's registry are one document that everybody shares, and a rule has no
//! tags. What an environment wants is told apart by a prefix of its own among the repositories of
//! its rules, `shipit.dev/PROJECT/ENVIRONMENT`, which no repository has. Other rules are written
//! back as they were found.

use std::collections::BTreeMap;

use aws_sdk_ecr::error::BuildError;
use aws_sdk_ecr::types::{
    ReplicationConfiguration, ReplicationDestination, ReplicationRule, RepositoryFilter,
    RepositoryFilterType,
};
use serde_json::{Value, json};

use crate::driver::aws::{Aws, failed, is_denied, is_unsupported};
use crate::model::resource::{
    MadeBy, Resource, ResourceFacts, ResourceKey, ResourceKind, Settings,
};
use crate::port::engine::Scope;
use crate::port::provider::ProviderError;

/// How many rules Amazon takes.
const RULES: usize = 10;
/// How often the document is written when somebody else writes it at the same time.
const ATTEMPTS: usize = 5;

/// The prefixes of one environment by where they go: `eu-west-1/123456789012`.
type Wanted = BTreeMap<String, Vec<String>>;

fn mark(scope: &Scope) -> String {
    format!("shipit.dev/{}/{}", scope.project, scope.environment)
}

/// Whether the rules can be read.
pub(super) async fn reads(aws: &Aws) -> Result<(), ProviderError> {
    let answer = aws.ecr().await.describe_registry().send().await;
    answer.map(drop).map_err(|error| {
        failed(
            "ecr:DescribeRegistry",
            "reading the replication rules",
            &error,
        )
    })
}

/// How it is now for each destination that is wanted, and for those that this environment wanted
/// before.
pub(super) async fn observe(
    aws: &Aws,
    scope: &Scope,
    wanted: &[&ResourceKey],
) -> Result<Vec<ResourceFacts>, ProviderError> {
    let answer = aws.ecr().await.describe_registry().send().await;
    let rules = match answer {
        Ok(answer) => answer
            .replication_configuration
            .map(|found| found.rules)
            .unwrap_or_default(),
        // Who may not read the rules has never made one.
        Err(error) if wanted.is_empty() && (is_denied(&error) || is_unsupported(&error)) => {
            Vec::new()
        }
        Err(error) => {
            return Err(failed(
                "ecr:DescribeRegistry",
                "reading the replication rules",
                &error,
            ));
        }
    };

    let (others, mut ours) = split(&rules, &mark(scope));
    let mut found = Vec::new();
    for key in wanted {
        let settings = ours.remove(&key.name).map(|prefixes| settings(&prefixes));
        found.push(ResourceFacts {
            made_by: settings.as_ref().map(|_| made_by(scope)),
            settings,
            ..ResourceFacts::absent((*key).clone())
        });
    }

    if let (Some(first), false) = (found.first_mut(), others.is_empty()) {
        let what: Vec<String> = others.iter().map(words).collect();
        first.notes.push(format!(
            "rules that others made stay as they are: {}",
            what.join("; ")
        ));
    }

    found.extend(ours.into_iter().map(|(name, prefixes)| ResourceFacts {
        settings: Some(settings(&prefixes)),
        wanted: false,
        made_by: Some(made_by(scope)),
        ..ResourceFacts::absent(ResourceKey {
            kind: ResourceKind::Replication,
            name,
        })
    }));
    Ok(found)
}

/// Only rules with this environment's mark are looked at.
fn made_by(scope: &Scope) -> MadeBy {
    MadeBy {
        project: scope.project.to_string(),
        environment: scope.environment.to_string(),
    }
}

fn settings(prefixes: &[String]) -> Settings {
    Settings::from([("repositories".to_owned(), json!(prefixes))])
}

/// A rule of somebody else's, for a reader.
fn words(rule: &ReplicationRule) -> String {
    let to: Vec<String> = rule.destinations().iter().map(place).collect();
    let of: Vec<&str> = rule
        .repository_filters()
        .iter()
        .map(RepositoryFilter::filter)
        .collect();
    let of = if of.is_empty() {
        "everything".to_owned()
    } else {
        of.join(", ")
    };
    format!("{of} to {}", to.join(", "))
}

fn place(to: &ReplicationDestination) -> String {
    format!("{}/{}", to.region(), to.registry_id())
}

/// Others' rules, and what those with this mark say.
fn split(rules: &[ReplicationRule], mark: &str) -> (Vec<ReplicationRule>, Wanted) {
    let is_ours = |rule: &&ReplicationRule| {
        rule.repository_filters()
            .iter()
            .any(|filter| filter.filter() == mark)
    };

    let mut ours = Wanted::new();
    for rule in rules.iter().filter(is_ours) {
        let of = rule
            .repository_filters()
            .iter()
            .map(RepositoryFilter::filter);
        let of: Vec<String> = of.filter(|of| *of != mark).map(str::to_owned).collect();
        for to in rule.destinations() {
            ours.entry(place(to))
                .or_default()
                .extend(of.iter().cloned());
        }
    }

    for prefixes in ours.values_mut() {
        prefixes.sort();
    }

    (
        rules
            .iter()
            .filter(|rule| !is_ours(rule))
            .cloned()
            .collect(),
        ours,
    )
}

/// The rules of one environment: what goes to several places is one rule, for Amazon takes few.
fn rules(ours: &Wanted, mark: &str) -> Result<Vec<ReplicationRule>, BuildError> {
    let mut places: BTreeMap<&Vec<String>, Vec<&String>> = BTreeMap::new();
    for (to, of) in ours {
        places.entry(of).or_default().push(to);
    }

    let rule = |(of, to): (&Vec<String>, Vec<&String>)| {
        let prefix = RepositoryFilterType::PrefixMatch;
        let filter = |of: &str| {
            RepositoryFilter::builder()
                .filter(of)
                .filter_type(prefix.clone())
                .build()
        };
        let destination = |to: &String| {
            let (region, account) = to.split_once('/').unwrap_or((to, ""));
            ReplicationDestination::builder()
                .region(region)
                .registry_id(account)
                .build()
        };
        let of: Vec<_> = of
            .iter()
            .map(String::as_str)
            .chain([mark])
            .map(filter)
            .collect::<Result<_, _>>()?;
        let to: Vec<_> = to.into_iter().map(destination).collect::<Result<_, _>>()?;
        ReplicationRule::builder()
            .set_destinations(Some(to))
            .set_repository_filters(Some(of))
            .build()
    };
    places.into_iter().map(rule).collect()
}

/// Makes the rule of one destination what it should be.
pub(super) async fn ensure(
    aws: &Aws,
    scope: &Scope,
    wanted: &Resource,
) -> Result<(), ProviderError> {
    let prefixes = wanted
        .settings
        .get("repositories")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let prefixes = prefixes
        .filter_map(|prefix| prefix.as_str().map(str::to_owned))
        .collect();
    write(aws, scope, &wanted.key, Some(prefixes)).await
}

/// Takes the rule of one destination away.
pub(super) async fn delete(
    aws: &Aws,
    scope: &Scope,
    key: &ResourceKey,
) -> Result<(), ProviderError> {
    write(aws, scope, key, None).await
}

/// Writes the document, and reads it again: whoever writes it at the same time may have overwritten
/// this.
async fn write(
    aws: &Aws,
    scope: &Scope,
    key: &ResourceKey,
    prefixes: Option<Vec<String>>,
) -> Result<(), ProviderError> {
    let client = aws.ecr().await;
    let (what, mark) = (format!("writing {key}"), mark(scope));
    let failure = |reason: String, help: &str| ProviderError::Failed {
        what: what.clone(),
        reason,
        help: help.to_owned(),
    };

    for _ in 0..ATTEMPTS {
        let answer = client.describe_registry().send().await;
        let answer = answer.map_err(|error| failed("ecr:DescribeRegistry", &what, &error))?;
        let now = answer
            .replication_configuration
            .map(|found| found.rules)
            .unwrap_or_default();

        let (mut all, mut ours) = split(&now, &mark);
        if ours.get(&key.name) == prefixes.as_ref() {
            return Ok(());
        }
        match &prefixes {
            Some(prefixes) => ours.insert(key.name.clone(), prefixes.clone()),
            None => ours.remove(&key.name),
        };

        let invalid =
            |error: BuildError| failure(error.to_string(), "look at `registry.replication`");
        all.extend(rules(&ours, &mark).map_err(invalid)?);
        if all.len() > RULES {
            let reason = format!(
                "the account would have {} rules, and Amazon takes {RULES}",
                all.len()
            );
            return Err(failure(
                reason,
                "keep it in one environment, or take a rule of another's away",
            ));
        }

        let document = ReplicationConfiguration::builder()
            .set_rules(Some(all))
            .build()
            .map_err(invalid)?;
        let sent = client
            .put_replication_configuration()
            .replication_configuration(document)
            .send()
            .await;
        sent.map_err(|error| failed("ecr:PutReplicationConfiguration", &what, &error))?;
    }

    let reason = "somebody else writes the replication rules at the same time".to_owned();
    Err(failure(reason, "run the command again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "shipit.dev/shop/production";

    fn wanted(pairs: &[(&str, &[&str])]) -> Wanted {
        let texts = |of: &[&str]| of.iter().map(|text| (*text).to_owned()).collect();
        pairs
            .iter()
            .map(|(to, of)| ((*to).to_owned(), texts(of)))
            .collect()
    }

    #[test]
    fn what_is_written_is_read_again_and_others_rules_are_not_ours() {
        let ours = wanted(&[
            ("eu-west-1/1", &["shop/"]),
            ("us-east-1/1", &["shop/"]),
            ("us-east-1/2", &["shop/web"]),
        ]);
        let mut all = rules(
            &wanted(&[("eu-west-1/1", &["other/"])]),
            "shipit.dev/shop/staging",
        )
        .expect("rules");
        let others = all.clone();
        all.extend(rules(&ours, MARK).expect("rules"));
        // What goes to two places is one rule.
        assert_eq!(all.len(), 3);
        assert_eq!(split(&all, MARK), (others, ours));
    }

    #[test]
    fn a_rule_without_prefixes_is_somebody_elses() {
        let to = ReplicationDestination::builder()
            .region("eu-west-1")
            .registry_id("1")
            .build()
            .expect("built");
        let rule = ReplicationRule::builder()
            .destinations(to)
            .build()
            .expect("built");
        let (others, ours) = split(std::slice::from_ref(&rule), MARK);
        assert!(ours.is_empty());
        assert_eq!(words(&others[0]), "everything to eu-west-1/1");
    }
}
