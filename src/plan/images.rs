//! The images of a plan: which are there already, and which are built, and why.

use std::collections::BTreeMap;

use crate::model::desired::Desired;
use crate::model::observed::{ImageFacts, Observed};
use crate::model::plan::{Action, StepId};
use crate::model::workload::{Known, Workload};
use crate::model::{Address, ServiceName};
use crate::plan::draft::{Draft, Proposal};

/// The desired workloads, with the images that are there already.
pub fn known(desired: &Desired, observed: &Observed) -> BTreeMap<ServiceName, Workload> {
    let mut workloads = BTreeMap::new();
    for (name, service) in &desired.services {
        let mut workload = service.workload.clone();
        let found = observed
            .images
            .get(name)
            .and_then(|image| image.found.clone());
        if let Some(digest) = found {
            workload.image = Known::Value(digest);
        }
        workloads.insert(name.clone(), workload);
    }
    workloads
}

/// Builds what is not there; says why for each image.
pub fn build(
    draft: &mut Draft,
    desired: &Desired,
    observed: &Observed,
) -> BTreeMap<ServiceName, StepId> {
    let mut builds = BTreeMap::new();
    for (name, service) in &desired.services {
        let address = Address::Image(name.clone());
        let Some(image) = observed.images.get(name) else {
            draft.same(address, promoted(desired));
            continue;
        };
        if image.found.is_some() {
            let inputs = image.inputs.hash.short();
            draft.same(address, format!("inputs {inputs} are built already"));
            continue;
        }

        let action = Action::Build {
            spec: service.build.clone(),
            inputs: image.inputs.hash.clone(),
        };
        let step = draft.add(Proposal::new(address, action, why(image)));
        builds.insert(name.clone(), step);
    }
    builds
}

fn why(image: &ImageFacts) -> String {
    if image.rebuild {
        return "asked for, though it was built from the same inputs before".to_owned();
    }
    match image.changed_files {
        Some(1) => "1 file changed since the live release".to_owned(),
        Some(0) => "the build's own description changed".to_owned(),
        Some(files) => format!("{files} files changed since the live release"),
        None => match image.inputs.files.len() {
            1 => "no image was built from this 1 input file".to_owned(),
            files => format!("no image was built from these {files} input files"),
        },
    }
}

fn promoted(desired: &Desired) -> String {
    desired.promoted_from.as_ref().map_or_else(
        || "known".to_owned(),
        |from| {
            format!(
                "promoted from {} release {}",
                from.environment, from.release
            )
        },
    )
}
