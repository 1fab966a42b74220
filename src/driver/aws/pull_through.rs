//! Pull-through cache rules: images of another registry, fetched through this one and kept.
//!
//! Amazon's rules have no tags: a rule is known by its prefix, whoever made it, and so one that
//! left the configuration stays where it is.

use serde_json::{Value, json};

use crate::driver::aws::{Aws, code, failed};
use crate::model::resource::{Resource, ResourceFacts, ResourceKey, Settings};
use crate::port::hold::Hold;
use crate::port::provider::ProviderError;

/// What the rule of a prefix is now.
pub(super) async fn observe(aws: &Aws, key: &ResourceKey) -> Result<ResourceFacts, ProviderError> {
    let client = aws.ecr().await;
    let asked = client
        .describe_pull_through_cache_rules()
        .ecr_repository_prefixes(&key.name)
        .send()
        .await;
    let rule = match asked {
        Ok(answer) => answer
            .pull_through_cache_rules
            .unwrap_or_default()
            .into_iter()
            .next(),
        Err(error) if code(&error) == "PullThroughCacheRuleNotFoundException" => None,
        Err(error) => {
            return Err(failed(
                "ecr:DescribePullThroughCacheRules",
                format!("reading {key}"),
                &error,
            ));
        }
    };

    let settings = rule.map(|rule| {
        Settings::from([
            ("upstream".to_owned(), json!(rule.upstream_registry_url())),
            ("credential".to_owned(), json!(rule.credential_arn())),
        ])
    });
    Ok(ResourceFacts {
        settings,
        ..ResourceFacts::absent(key.clone())
    })
}

/// Makes a rule, or its credential, what it should be; with `replace` the old rule goes first. What
/// was fetched stays.
pub(super) async fn ensure(
    aws: &Aws,
    wanted: &Resource,
    now: Option<&Settings>,
    (replace, hold): (bool, &Hold),
) -> Result<(), ProviderError> {
    let client = aws.ecr().await;
    let (key, prefix) = (&wanted.key, &wanted.key.name);
    let get = |name: &str| {
        wanted
            .settings
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };

    if replace && now.is_some() {
        delete(aws, key).await?;
        hold.confirmed().await?;
    }
    if now.is_some() && !replace {
        let request = client
            .update_pull_through_cache_rule()
            .ecr_repository_prefix(prefix);
        let sent = request.set_credential_arn(get("credential")).send().await;
        return sent.map(drop).map_err(|error| {
            failed(
                "ecr:UpdatePullThroughCacheRule",
                format!("changing {key}"),
                &error,
            )
        });
    }

    let request = client
        .create_pull_through_cache_rule()
        .ecr_repository_prefix(prefix)
        .set_upstream_registry_url(get("upstream"))
        .set_credential_arn(get("credential"));
    match request.send().await {
        Ok(_) => Ok(()),
        // A request of this run's whose answer was lost, or another run that wants the same.
        Err(error) if code(&error) == "PullThroughCacheRuleAlreadyExistsException" => Ok(()),
        Err(error) => Err(failed(
            "ecr:CreatePullThroughCacheRule",
            format!("making {key}"),
            &error,
        )),
    }
}

/// Takes a rule away. What was fetched by it stays.
pub(super) async fn delete(aws: &Aws, key: &ResourceKey) -> Result<(), ProviderError> {
    let client = aws.ecr().await;
    match client
        .delete_pull_through_cache_rule()
        .ecr_repository_prefix(&key.name)
        .send()
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == "PullThroughCacheRuleNotFoundException" => Ok(()),
        Err(error) => Err(failed(
            "ecr:DeletePullThroughCacheRule",
            format!("deleting {key}"),
            &error,
        )),
    }
}
