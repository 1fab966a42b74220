//! The repositories of an ECR registry.

use std::time::Duration;

use aws_sdk_ecr::types::{ImageScanningConfiguration, ImageTagMutability, Repository};
use futures_util::future::try_join_all;

use crate::driver::aws::images::newest;
use crate::driver::aws::{Aws, failed};
use crate::port::inventory::{InventoryError, StockedRepository};
use crate::port::provider::ProviderError;

/// How long all of it may take.
const WITHIN: Duration = Duration::from_mins(2);

/// The most repositories that are looked at.
const MOST: usize = 1_000;

/// The repositories of an account, as far as this identity may see them.
///
/// # Errors
/// Amazon refuses, or does not answer.
pub async fn repositories(aws: &Aws) -> Result<Vec<StockedRepository>, InventoryError> {
    let listed = tokio::time::timeout(WITHIN, list(aws)).await;
    let silent = |_| InventoryError {
        what: "looking at the repositories".to_owned(),
        reason: format!("no answer within {} s", WITHIN.as_secs()),
        help: "is Amazon reached from here? AWS_ENDPOINT_URL names another address".to_owned(),
    };
    listed.map_err(silent)?.map_err(|error| match error {
        ProviderError::Failed { what, reason, help } => InventoryError { what, reason, help },
        other => InventoryError {
            what: "looking at the repositories".to_owned(),
            reason: other.to_string(),
            help: "run the command again".to_owned(),
        },
    })
}

async fn list(aws: &Aws) -> Result<Vec<StockedRepository>, ProviderError> {
    let client = aws.ecr().await;
    let pages = client.describe_repositories().into_paginator();
    let listed: Result<Vec<Repository>, _> = pages.items().send().collect().await;
    let mut listed = listed.map_err(|error| {
        failed(
            "ecr:DescribeRepositories",
            "looking at the repositories",
            &error,
        )
    })?;
    listed.truncate(MOST);
    let stocked = listed.iter().map(|repository| stocked(aws, repository));
    let mut stocked = try_join_all(stocked).await?;
    stocked.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(stocked)
}

async fn stocked(aws: &Aws, repository: &Repository) -> Result<StockedRepository, ProviderError> {
    let name = repository.repository_name().unwrap_or_default();
    let immutable_tags = repository.image_tag_mutability() == Some(&ImageTagMutability::Immutable);
    let scan_on_push = repository
        .image_scanning_configuration()
        .is_some_and(ImageScanningConfiguration::scan_on_push);
    Ok(StockedRepository {
        name: name.to_owned(),
        account: repository.registry_id().unwrap_or_default().to_owned(),
        immutable_tags,
        scan_on_push,
        newest: newest(aws, name).await?,
    })
}
