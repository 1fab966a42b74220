//! What a registry's scan found in the images of a release.

use std::sync::Arc;

use crate::execute::Run;
use crate::execute::step::outcome::StepError;
use crate::model::check::{Check, ScanCheck};
use crate::port::checker::CheckFailed;
use crate::port::engine::Pull;
use crate::port::provider::Findings;

/// Holds the findings of every image against what may be.
pub(super) async fn scanned(
    run: &Arc<Run>,
    check: &Check,
    limits: &ScanCheck,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), StepError> {
    let failed = |reason: String| CheckFailed {
        check: check.to_string(),
        reason,
        detail: Vec::new(),
    };
    let workloads = run
        .plan()
        .target
        .iter()
        .flat_map(|target| target.workloads.values());
    let deadline = tokio::time::Instant::now() + limits.timeout.get();
    for workload in workloads {
        let service = &workload.service;
        let Some(image) = run
            .known(workload)
            .and_then(|workload| workload.image.value().cloned())
        else {
            return Err(failed(format!("the image of {service} is not known")).into());
        };
        let Pull::Repository(reference) = run.job.ports.registry.pull(service) else {
            return Err(failed("this registry scans no images".to_owned()).into());
        };
        let repository = reference
            .split_once('/')
            .map_or(reference.as_str(), |(_, name)| name);
        let found = loop {
            match run
                .acting()
                .await?
                .provider
                .findings(repository, &image)
                .await?
            {
                Findings::Done(found) => break found,
                // What cannot be told is not "clean".
                Findings::Unavailable(reason) => {
                    return Err(failed(format!("{service}: there is no result: {reason}")).into());
                }
                Findings::Pending if tokio::time::Instant::now() > deadline => {
                    return Err(
                        failed(format!("{service}: not done within {}", limits.timeout)).into(),
                    );
                }
                Findings::Pending => {
                    say(&format!("{service} is being scanned"));
                    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
                }
            }
        };
        if let Some((severity, count, limit)) = limits.exceeded(&found) {
            return Err(failed(format!(
                "{service} has {count} {severity} findings, and {limit} may be"
            ))
            .into());
        }
    }
    Ok(())
}
