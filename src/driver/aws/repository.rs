//! ECR repositories: read and written as settings. What is not named is left as it is.

use std::collections::HashMap;

use aws_sdk_ecr::operation::create_repository::builders::CreateRepositoryFluentBuilder;
use aws_sdk_ecr::types::{
    EncryptionConfiguration, EncryptionType, ImageScanningConfiguration, ImageTagMutability,
    Repository, Tag,
};
use serde_json::{Value, json};

use crate::driver::aws::images::{MOST, images, stored};
use crate::driver::aws::marks::{is_reserved, made_by, marks};
use crate::driver::aws::{Aws, code, failed, is_denied};
use crate::model::resource::{Resource, ResourceFacts, ResourceKey, Settings};
use crate::port::engine::{Permit, Scope};
use crate::port::provider::ProviderError;

/// What a repository is now. Images are looked at only for who has to know what a lifecycle policy
/// would do.
pub(super) async fn observe(
    aws: &Aws,
    key: &ResourceKey,
    images: bool,
) -> Result<ResourceFacts, ProviderError> {
    let client = aws.ecr().await;
    let name = &key.name;
    let what = || format!("reading repository {name}");
    let described = client
        .describe_repositories()
        .repository_names(name)
        .send()
        .await;
    let found = match described {
        Ok(answer) => answer.repositories.unwrap_or_default().into_iter().next(),
        Err(error) if code(&error) == "RepositoryNotFoundException" => None,
        Err(error) => return Err(failed("ecr:DescribeRepositories", what(), &error)),
    };
    let Some(repository) = found else {
        return Ok(ResourceFacts::absent(key.clone()));
    };

    let mut settings = described_settings(&repository);
    let arn = repository.repository_arn().unwrap_or_default();
    let (lifecycle, policy, tags, images) = tokio::try_join!(
        lifecycle(&client, name),
        policy(&client, name),
        tags(&client, arn),
        async {
            if images {
                stored(&client, name, MOST).await
            } else {
                Ok(Vec::new())
            }
        },
    )?;

    settings.insert("lifecycle".to_owned(), lifecycle);
    settings.insert("policy".to_owned(), policy);
    let made_by = made_by(&tags);
    settings.insert("tags".to_owned(), own_tags(tags));
    Ok(ResourceFacts {
        settings: Some(settings),
        images,
        made_by,
        ..ResourceFacts::absent(key.clone())
    })
}

fn described_settings(repository: &Repository) -> Settings {
    let immutable = matches!(
        repository.image_tag_mutability(),
        Some(ImageTagMutability::Immutable)
    );
    let scan = repository
        .image_scanning_configuration()
        .is_some_and(ImageScanningConfiguration::scan_on_push);
    let key = repository
        .encryption_configuration()
        .and_then(EncryptionConfiguration::kms_key);
    Settings::from([
        ("immutable_tags".to_owned(), json!(immutable)),
        ("scan_on_push".to_owned(), json!(scan)),
        ("kms_key".to_owned(), json!(key)),
    ])
}

fn document(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null)
}

async fn lifecycle(client: &aws_sdk_ecr::Client, name: &str) -> Result<Value, ProviderError> {
    match client
        .get_lifecycle_policy()
        .repository_name(name)
        .send()
        .await
    {
        Ok(answer) => Ok(document(answer.lifecycle_policy_text())),
        Err(error) if code(&error) == "LifecyclePolicyNotFoundException" => Ok(Value::Null),
        Err(error) => Err(failed(
            "ecr:GetLifecyclePolicy",
            format!("reading the lifecycle policy of {name}"),
            &error,
        )),
    }
}

async fn policy(client: &aws_sdk_ecr::Client, name: &str) -> Result<Value, ProviderError> {
    match client
        .get_repository_policy()
        .repository_name(name)
        .send()
        .await
    {
        Ok(answer) => Ok(document(answer.policy_text())),
        Err(error) if code(&error) == "RepositoryPolicyNotFoundException" => Ok(Value::Null),
        Err(error) => Err(failed(
            "ecr:GetRepositoryPolicy",
            format!("reading the policy of {name}"),
            &error,
        )),
    }
}

/// Tags as a setting: without Amazon's own and shipit's.
fn own_tags(tags: HashMap<String, String>) -> Value {
    let own = tags.into_iter().filter(|(key, _)| !is_reserved(key));
    own.map(|(key, value)| (key, json!(value))).collect()
}

async fn tags(
    client: &aws_sdk_ecr::Client,
    arn: &str,
) -> Result<HashMap<String, String>, ProviderError> {
    let answer = client
        .list_tags_for_resource()
        .resource_arn(arn)
        .send()
        .await;
    let answer = answer.map_err(|error| {
        failed(
            "ecr:ListTagsForResource",
            format!("reading the tags of {arn}"),
            &error,
        )
    })?;
    let tags = answer.tags().iter();
    Ok(tags
        .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
        .collect())
}

/// Makes a repository, or its settings, what they should be. The lock is asked before each request
/// that changes something: a process that was stopped may go on at any of them.
pub(super) async fn ensure(
    aws: &Aws,
    wanted: &Resource,
    now: Option<&Settings>,
    permit: &Permit,
) -> Result<(), ProviderError> {
    let client = aws.ecr().await;
    let name = &wanted.key.name;
    let hold = &permit.hold;
    let made;
    let now = if let Some(now) = now {
        now
    } else {
        create(&client, wanted, &permit.scope).await?;
        made = observe(aws, &wanted.key, false)
            .await?
            .settings
            .unwrap_or_default();
        &made
    };

    for (setting, value) in wanted
        .settings
        .iter()
        .filter(|(setting, value)| now.get(*setting) != Some(*value))
    {
        hold.confirmed().await?;
        set(&client, name, setting, value, now).await?;
    }
    Ok(())
}

fn mutability(immutable: bool) -> ImageTagMutability {
    if immutable {
        ImageTagMutability::Immutable
    } else {
        ImageTagMutability::Mutable
    }
}

fn scanning(on_push: bool) -> ImageScanningConfiguration {
    ImageScanningConfiguration::builder()
        .scan_on_push(on_push)
        .build()
}

/// Deletes a repository. One that was empty a moment ago is deleted only if it still is; what is in
/// another one goes with it.
pub(super) async fn delete(aws: &Aws, key: &ResourceKey) -> Result<(), ProviderError> {
    let client = aws.ecr().await;
    let has_images = !images(aws, key).await?.is_empty();
    let request = client.delete_repository().repository_name(&key.name);
    match request.force(has_images).send().await {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == "RepositoryNotFoundException" => Ok(()),
        Err(error) => Err(failed(
            "ecr:DeleteRepository",
            format!("deleting {key}"),
            &error,
        )),
    }
}

/// Makes a repository with the marks of an environment, and without them for an identity that may
/// set no tags.
async fn create(
    client: &aws_sdk_ecr::Client,
    wanted: &Resource,
    scope: &Scope,
) -> Result<(), ProviderError> {
    let name = &wanted.key.name;
    let tag = |(key, value): (String, String)| Tag::builder().key(key).value(value).build();
    let tags: Vec<Tag> = marks(scope)
        .into_iter()
        .map(tag)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(name, &error))?;
    let request = creation(client, wanted)?;

    let mut sent = request.clone().set_tags(Some(tags)).send().await;
    if sent.as_ref().is_err_and(is_denied) {
        sent = request.send().await;
    }
    match sent {
        Ok(_) => Ok(()),
        // Another run was faster, or this one was killed after it: what differs is set below.
        Err(error) if code(&error) == "RepositoryAlreadyExistsException" => Ok(()),
        Err(error) => Err(failed(
            "ecr:CreateRepository",
            format!("making repository {name}"),
            &error,
        )),
    }
}

fn creation(
    client: &aws_sdk_ecr::Client,
    wanted: &Resource,
) -> Result<CreateRepositoryFluentBuilder, ProviderError> {
    let name = &wanted.key.name;
    let flag = |setting: &str| {
        wanted
            .settings
            .get(setting)
            .and_then(Value::as_bool)
            .unwrap_or(false)
    };
    let mut request = client
        .create_repository()
        .repository_name(name)
        .image_tag_mutability(mutability(flag("immutable_tags")))
        .image_scanning_configuration(scanning(flag("scan_on_push")));
    if let Some(key) = wanted.settings.get("kms_key").and_then(Value::as_str) {
        let encryption = EncryptionConfiguration::builder()
            .encryption_type(EncryptionType::Kms)
            .kms_key(key);
        let built = encryption.build().map_err(|error| invalid(name, &error))?;
        request = request.encryption_configuration(built);
    }
    Ok(request)
}

fn invalid(name: &str, error: &dyn std::fmt::Display) -> ProviderError {
    ProviderError::Failed {
        what: format!("repository {name}"),
        reason: error.to_string(),
        help: "look at `registry:` in the configuration".to_owned(),
    }
}

async fn set(
    client: &aws_sdk_ecr::Client,
    name: &str,
    setting: &str,
    value: &Value,
    now: &Settings,
) -> Result<(), ProviderError> {
    let what = format!("setting {setting} of repository {name}");
    match setting {
        "immutable_tags" => {
            let request = client.put_image_tag_mutability().repository_name(name);
            let request =
                request.image_tag_mutability(mutability(value.as_bool().unwrap_or(false)));
            let sent = request.send().await;
            sent.map(drop)
                .map_err(|error| failed("ecr:PutImageTagMutability", what, &error))
        }
        "scan_on_push" => {
            let request = client
                .put_image_scanning_configuration()
                .repository_name(name);
            let request =
                request.image_scanning_configuration(scanning(value.as_bool().unwrap_or(false)));
            let sent = request.send().await;
            sent.map(drop)
                .map_err(|error| failed("ecr:PutImageScanningConfiguration", what, &error))
        }
        "lifecycle" => set_lifecycle(client, name, value, what).await,
        "policy" => set_policy(client, name, value, what).await,
        "tags" => set_tags(client, name, value, now.get("tags").unwrap_or(&Value::Null)).await,
        _ => Err(invalid(name, &format!("{setting} cannot be changed"))),
    }
}

async fn set_lifecycle(
    client: &aws_sdk_ecr::Client,
    name: &str,
    value: &Value,
    what: String,
) -> Result<(), ProviderError> {
    if value.is_null() {
        let request = client.delete_lifecycle_policy().repository_name(name);
        let sent = request.send().await;
        return sent
            .map(drop)
            .map_err(|error| failed("ecr:DeleteLifecyclePolicy", what, &error));
    }
    let request = client.put_lifecycle_policy().repository_name(name);
    let request = request.lifecycle_policy_text(value.to_string());
    let sent = request.send().await;
    sent.map(drop)
        .map_err(|error| failed("ecr:PutLifecyclePolicy", what, &error))
}

async fn set_policy(
    client: &aws_sdk_ecr::Client,
    name: &str,
    value: &Value,
    what: String,
) -> Result<(), ProviderError> {
    if value.is_null() {
        let request = client.delete_repository_policy().repository_name(name);
        let sent = request.send().await;
        return sent
            .map(drop)
            .map_err(|error| failed("ecr:DeleteRepositoryPolicy", what, &error));
    }
    let request = client.set_repository_policy().repository_name(name);
    let sent = request.policy_text(value.to_string()).send().await;
    sent.map(drop)
        .map_err(|error| failed("ecr:SetRepositoryPolicy", what, &error))
}

async fn set_tags(
    client: &aws_sdk_ecr::Client,
    name: &str,
    wanted: &Value,
    now: &Value,
) -> Result<(), ProviderError> {
    let described = client
        .describe_repositories()
        .repository_names(name)
        .send()
        .await;
    let described = described.map_err(|error| {
        failed(
            "ecr:DescribeRepositories",
            format!("reading {name}"),
            &error,
        )
    })?;
    let arn = described
        .repositories()
        .first()
        .and_then(Repository::repository_arn)
        .unwrap_or_default();

    let map = |value: &Value| -> HashMap<String, String> {
        serde_json::from_value(value.clone()).unwrap_or_default()
    };
    let (wanted, now) = (map(wanted), map(now));
    let gone: Vec<String> = now
        .keys()
        .filter(|key| !wanted.contains_key(*key))
        .cloned()
        .collect();
    if !gone.is_empty() {
        untag(client, name, arn, gone).await?;
    }

    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    let tags: Vec<Tag> = wanted
        .iter()
        .map(tag)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(name, &error))?;

    let sent = client
        .tag_resource()
        .resource_arn(arn)
        .set_tags(Some(tags))
        .send()
        .await;
    sent.map(drop)
        .map_err(|error| failed("ecr:TagResource", format!("tagging {name}"), &error))
}

async fn untag(
    client: &aws_sdk_ecr::Client,
    name: &str,
    arn: &str,
    keys: Vec<String>,
) -> Result<(), ProviderError> {
    let sent = client
        .untag_resource()
        .resource_arn(arn)
        .set_tag_keys(Some(keys))
        .send()
        .await;
    sent.map(drop).map_err(|error| {
        failed(
            "ecr:UntagResource",
            format!("removing tags of {name}"),
            &error,
        )
    })
}
