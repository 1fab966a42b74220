//! The images of ECR repositories.

use jiff::Timestamp;

use crate::driver::aws::{Aws, code, failed};
use crate::model::resource::{ResourceKey, StoredImage};
use crate::port::provider::ProviderError;

/// The most images that are looked at to know what a lifecycle policy would do.
pub(super) const MOST: usize = 10_000;
/// The most images that Amazon keeps in one repository, and more than fit in a plan.
const MOST_IN_A_REPOSITORY: usize = 100_000;

/// All images of a repository; none of one that is not there.
pub(super) async fn images(
    aws: &Aws,
    key: &ResourceKey,
) -> Result<Vec<StoredImage>, ProviderError> {
    stored(&aws.ecr().await, &key.name, MOST_IN_A_REPOSITORY).await
}

/// A tag of the newest image of a repository, or that image's digest; none of an empty one.
pub(super) async fn newest(aws: &Aws, name: &str) -> Result<Option<String>, ProviderError> {
    let images = stored(&aws.ecr().await, name, MOST_IN_A_REPOSITORY).await?;
    let newest = images.into_iter().max_by_key(|image| image.pushed_at);
    Ok(newest.map(|image| {
        let is_fixed = |tag: &&String| *tag != "latest";
        let tag = image.tags.iter().find(is_fixed).cloned();
        tag.unwrap_or_else(|| image.digest.to_string())
    }))
}

/// Its images, at most so many.
pub(super) async fn stored(
    client: &aws_sdk_ecr::Client,
    name: &str,
    most: usize,
) -> Result<Vec<StoredImage>, ProviderError> {
    let mut pages = client
        .describe_images()
        .repository_name(name)
        .into_paginator()
        .send();

    let mut images = Vec::new();
    while let Some(page) = pages.next().await {
        if let Err(error) = &page
            && code(error) == "RepositoryNotFoundException"
        {
            return Ok(Vec::new());
        }
        let page = page.map_err(|error| {
            failed(
                "ecr:DescribeImages",
                format!("reading the images of {name}"),
                &error,
            )
        })?;
        for image in page.image_details() {
            let at = image
                .image_pushed_at()
                .map_or(0, aws_sdk_ecr::primitives::DateTime::secs);
            let (Some(Ok(digest)), Ok(pushed_at)) = (
                image.image_digest().map(str::parse),
                Timestamp::from_second(at),
            ) else {
                continue;
            };
            images.push(StoredImage {
                digest,
                tags: image.image_tags().to_vec(),
                pushed_at,
                size: image
                    .image_size_in_bytes()
                    .and_then(|bytes| u64::try_from(bytes).ok()),
            });
        }

        if images.len() > most {
            let reason = format!("it has more than {most} images");
            let help = "a lifecycle policy keeps a repository small".to_owned();
            return Err(ProviderError::Failed {
                what: format!("reading repository {name}"),
                reason,
                help,
            });
        }
    }
    Ok(images)
}
