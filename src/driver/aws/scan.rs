//! What Amazon's scans of images have found.

use aws_sdk_ecr::operation::describe_image_scan_findings::DescribeImageScanFindingsOutput;
use aws_sdk_ecr::types::{ImageIdentifier, ScanStatus};

use crate::driver::aws::{Aws, code, failed};
use crate::model::Digest;
use crate::port::provider::{Findings, ProviderError};

/// What the scan of an image found. One that was never begun is begun.
pub(super) async fn findings(
    aws: &Aws,
    repository: &str,
    image: &Digest,
) -> Result<Findings, ProviderError> {
    let client = aws.ecr().await;
    let id = ImageIdentifier::builder()
        .image_digest(image.to_string())
        .build();
    let asked = client
        .describe_image_scan_findings()
        .repository_name(repository)
        .image_id(id.clone())
        .send()
        .await;

    let answer = match asked {
        Ok(answer) => answer,
        Err(error) if code(&error) == "ScanNotFoundException" => {
            return begin_scan(&client, repository, image, id).await;
        }
        Err(error) if code(&error) == "ImageNotFoundException" => {
            return Ok(Findings::Unavailable(format!(
                "{repository} does not have the image"
            )));
        }
        Err(error) => {
            return Err(failed(
                "ecr:DescribeImageScanFindings",
                format!("asking what was found in {repository}"),
                &error,
            ));
        }
    };
    Ok(found(&answer))
}

async fn begin_scan(
    client: &aws_sdk_ecr::Client,
    repository: &str,
    image: &Digest,
    id: ImageIdentifier,
) -> Result<Findings, ProviderError> {
    let begun = client
        .start_image_scan()
        .repository_name(repository)
        .image_id(id)
        .send()
        .await;
    match begun {
        Ok(_) => Ok(Findings::Pending),
        // Enhanced scanning begins by itself.
        Err(error) if code(&error) == "ValidationException" => Ok(Findings::Pending),
        Err(error) => Err(failed(
            "ecr:StartImageScan",
            format!("scanning {repository}@{image}"),
            &error,
        )),
    }
}

/// What an answer says of a scan.
fn found(answer: &DescribeImageScanFindingsOutput) -> Findings {
    let status = answer.image_scan_status();
    let why = status
        .and_then(|status| status.description())
        .unwrap_or_default();

    match status.and_then(|status| status.status()) {
        Some(ScanStatus::Complete | ScanStatus::Active) => {
            let counts = answer
                .image_scan_findings()
                .and_then(|findings| findings.finding_severity_counts());
            let counts = counts.into_iter().flatten();
            Findings::Done(
                counts
                    .map(|(severity, count)| {
                        (
                            severity.as_str().to_lowercase(),
                            u64::try_from(*count).unwrap_or(u64::MAX),
                        )
                    })
                    .collect(),
            )
        }
        Some(ScanStatus::InProgress | ScanStatus::Pending) => Findings::Pending,
        Some(other) => Findings::Unavailable(format!("{} {why}", other.as_str()).trim().to_owned()),
        None => Findings::Unavailable("Amazon says nothing of it".to_owned()),
    }
}
