//! What a registry's scan found in the images of a release.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::execute::Run;
use crate::execute::step::outcome::StepError;
use crate::model::Digest;
use crate::model::check::{Check, ScanCheck};
use crate::model::image::ImageHome;
use crate::model::workload::Workload;
use crate::port::checker::CheckFailed;
use crate::port::engine::Pull;
use crate::port::provider::Findings;

/// How long a scan that is not done is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// Compares the findings of every image with what may be.
pub(super) async fn scanned(
    run: &Arc<Run>,
    check: &Check,
    limits: &ScanCheck,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), StepError> {
    let workloads = run
        .plan()
        .target
        .iter()
        .flat_map(|target| target.workloads.values());
    let deadline = Instant::now() + limits.timeout.get();
    for workload in workloads {
        let service = &workload.service;
        let (repository, image) =
            scanned_image(run, workload).map_err(|reason| failed(check, reason))?;

        let found = loop {
            let provider = &run.acting().await?.provider;
            match provider.findings(&repository, &image).await? {
                Findings::Done(found) => break found,
                // What cannot be told is not "clean".
                Findings::Unavailable(reason) => {
                    let reason = format!("{service}: there is no result: {reason}");
                    return Err(failed(check, reason).into());
                }
                Findings::Pending if Instant::now() > deadline => {
                    let reason = format!("{service}: not done within {}", limits.timeout);
                    return Err(failed(check, reason).into());
                }
                Findings::Pending => {
                    say(&format!("{service} is being scanned"));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        if let Some((severity, count, limit)) = limits.exceeded(&found) {
            let reason = format!("{service} has {count} {severity} findings, and {limit} may be");
            return Err(failed(check, reason).into());
        }
    }
    Ok(())
}

/// The repository in the registry that scans, and the image in it.
fn scanned_image(run: &Run, workload: &Workload) -> Result<(String, Digest), String> {
    let service = &workload.service;
    let known = run.known(workload);
    let image = known.and_then(|workload| workload.image.value().cloned());
    let image = image.ok_or_else(|| format!("the image of {service} is not known"))?;

    let registry = &run.job.ports.registry;
    // What Amazon has cached of another registry is in the account's own, and is scanned as well.
    if let ImageHome::Elsewhere(home) = workload.home()
        && home.registry() != registry.place()
    {
        return Err(format!(
            "{service} runs an image of {}, which {} does not scan: fetch it by \
             `registry.pull_through`, and name it there",
            home.registry(),
            registry.place()
        ));
    }
    let Pull::Repository(reference) = registry.pull(workload.home()) else {
        return Err("this registry scans no images".to_owned());
    };
    let repository = reference
        .split_once('/')
        .map_or(reference.as_str(), |(_, name)| name);
    Ok((repository.to_owned(), image))
}

fn failed(check: &Check, reason: String) -> CheckFailed {
    CheckFailed {
        check: check.to_string(),
        reason,
        detail: Vec::new(),
    }
}
