//! Whether the images of a release are signed.

use crate::execute::Run;
use crate::execute::step::outcome::StepError;
use crate::model::check::{Check, SignatureCheck};
use crate::model::signature::{command, signer};
use crate::port::Progress;
use crate::port::checker::CheckFailed;
use crate::port::registry::signed_at;

/// Holds what the registry has against the keys. No signature is never a right one.
pub(super) async fn signed(
    run: &Run,
    check: &Check,
    wanted: &SignatureCheck,
    say: Progress<'_>,
) -> Result<(), StepError> {
    let failed = |reason: String, detail: Vec<String>| CheckFailed {
        check: check.to_string(),
        reason,
        detail,
    };
    let registry = run.job.ports.registry.as_ref();
    for workload in run
        .plan()
        .target
        .iter()
        .flat_map(|target| target.workloads.values())
    {
        let service = &workload.service;
        let Some(image) = run
            .known(workload)
            .and_then(|workload| workload.image.value().cloned())
        else {
            return Err(failed(format!("the image of {service} is not known"), Vec::new()).into());
        };
        let found = registry.signatures(workload.home(), &image).await?;
        match signer(&found, &image, &wanted.keys) {
            Ok(key) => say(&format!("{service} is signed by {}", key.file.display())),
            Err(mut detail) => {
                let reason = match found.len() {
                    0 => format!("the image of {service} is not signed"),
                    1 => format!(
                        "the image of {service} is not signed: what looks like a signature does \
                         not count"
                    ),
                    count => {
                        format!(
                            "the image of {service} is not signed: none of {count} signatures \
                             counts"
                        )
                    }
                };
                if let Some(repository) = signed_at(registry, workload.home()) {
                    let command = command(&repository, &image);
                    detail.push(format!(
                        "help: sign it with `{command}`, and run the command again: nothing is \
                         built anew"
                    ));
                }
                return Err(failed(reason, detail).into());
            }
        }
    }
    Ok(())
}
