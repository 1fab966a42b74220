//! The images of a plan: which are there already, which are built or fetched, and why.

use std::collections::BTreeMap;

use crate::model::build::BuildSpec;
use crate::model::desired::{Desired, ImageSource};
use crate::model::facts::WorkloadFacts;
use crate::model::image::ImageName;
use crate::model::observed::{ImageFacts, Observed};
use crate::model::plan::{Action, StepId};
use crate::model::release::PromotedFrom;
use crate::model::state::State;
use crate::model::workload::{Known, Workload};
use crate::model::{Address, Digest, ServiceName};
use crate::plan::draft::{Draft, Proposal};
use crate::plan::secrets;

/// The desired workloads, with the images that are there already and the versions that their
/// secrets have now.
#[must_use]
pub fn known(desired: &Desired, observed: &Observed) -> BTreeMap<ServiceName, Workload> {
    let mut workloads = BTreeMap::new();
    for (name, service) in &desired.services {
        let mut workload = service.workload.clone();
        let built = observed.images.get(name);
        let built = built.and_then(|image| image.found.as_ref());
        if let Some(digest) = built.or_else(|| observed.named.get(name)) {
            workload.image = Known::Value(digest.clone());
        }
        workloads.insert(name.clone(), workload);
    }
    secrets::pin(desired, observed, &mut workloads);
    workloads
}

/// By which name each image is found that the project does not build.
pub fn names(desired: &Desired) -> BTreeMap<ServiceName, ImageName> {
    let services = desired.services.iter();
    services
        .filter_map(|(name, service)| Some((name.clone(), service.image.name()?.clone())))
        .collect()
}

/// Builds and fetches what is not there; says why for each image.
pub fn make(
    draft: &mut Draft,
    desired: &Desired,
    observed: &Observed,
    state: &State,
) -> BTreeMap<ServiceName, StepId> {
    let mut steps = BTreeMap::new();
    for (service, wanted) in &desired.services {
        let step = match &wanted.image {
            ImageSource::Named(name) => {
                let named = Named {
                    service,
                    name,
                    workload: &wanted.workload,
                };
                fetch(draft, &named, observed, state)
            }
            ImageSource::Promoted(promoted) => {
                let PromotedFrom {
                    environment,
                    release,
                } = &promoted.from;
                let reason = format!("promoted from {environment} release {release}");
                draft.same(Address::Image(service.clone()), reason);
                None
            }
            ImageSource::Build(spec) => build(draft, service, spec, observed),
            // It is looked up before a plan is made.
            ImageSource::LiveIn(_) => None,
        };
        steps.extend(step.map(|step| (service.clone(), step)));
    }
    steps
}

fn build(
    draft: &mut Draft,
    service: &ServiceName,
    spec: &BuildSpec,
    observed: &Observed,
) -> Option<StepId> {
    let address = Address::Image(service.clone());
    let Some(image) = observed.images.get(service) else {
        draft.same(address, "known");
        return None;
    };
    if image.found.is_some() {
        let inputs = image.inputs.hash.short();
        draft.same(address, format!("inputs {inputs} are built already"));
        return None;
    }

    let action = Action::Build {
        spec: spec.clone(),
        inputs: image.inputs.hash.clone(),
    };
    Some(draft.add(Proposal::new(address, action, why(image))))
}

/// A service whose image somebody else has made.
struct Named<'a> {
    service: &'a ServiceName,
    name: &'a ImageName,
    workload: &'a Workload,
}

/// Fetches an image that no slot has.
fn fetch(
    draft: &mut Draft,
    named: &Named<'_>,
    observed: &Observed,
    state: &State,
) -> Option<StepId> {
    let address = Address::Image(named.service.clone());
    let image = observed.named.get(named.service);
    let image = image.or_else(|| named.workload.image.value())?;
    let has_it = |there: &WorkloadFacts| {
        there.spec.image.value() == Some(image)
            && there.spec.repository == named.workload.repository
    };

    let slots = observed.facts.slots.values();
    let mut there = slots.filter_map(|slot| slot.workloads.get(named.service));
    if there.any(has_it) {
        let reason = match &named.name.digest {
            Some(_) => format!("{} is there already", short(named.name)),
            None => format!("{} is {}, which is there already", named.name, brief(image)),
        };
        draft.same(address, reason);
        return None;
    }

    let action = Action::Fetch {
        name: named.name.clone(),
        image: image.clone(),
    };
    let reason = moved(named, image, observed, state);
    let reason = reason.unwrap_or_else(|| format!("{} → {image}", named.name));
    Some(draft.add(Proposal::new(address, action, reason)))
}

/// How a tag differs from what it was in the live release; none when it is another one, or was
/// never live.
fn moved(named: &Named<'_>, image: &Digest, observed: &Observed, state: &State) -> Option<String> {
    let (_, live) = observed.facts.live()?;
    let before = live.workloads.get(named.service)?.spec.image.value()?;
    let then = state.release(live.label.number)?.names.get(named.service)?;
    let is_the_same = then == named.name && named.name.digest.is_none();
    (is_the_same && before != image).then(|| format!("{} moved: {before} → {image}", named.name))
}

/// A name with as much of its digest as a person compares.
fn short(name: &ImageName) -> String {
    let whole = name.to_string();
    match &name.digest {
        Some(digest) => whole.replace(digest.as_str(), &brief(digest)),
        None => whole,
    }
}

fn brief(image: &Digest) -> String {
    format!("sha256:{}", image.short())
}

fn why(image: &ImageFacts) -> String {
    if image.rebuild {
        return "asked for, though it was built from the same inputs before".to_owned();
    }
    match image.changed_files {
        Some(1) => "1 file changed since the live release".to_owned(),
        Some(0) => unseen(image),
        Some(files) => format!("{files} files changed since the live release"),
        None => match image.inputs.files.len() {
            1 => "no image was built from this 1 input file".to_owned(),
            files => format!("no image was built from these {files} input files"),
        },
    }
}

/// What may have changed where no file did that Git sees.
fn unseen(image: &ImageFacts) -> String {
    let own = "the build's own description";
    let own = if image.inputs.bases.is_empty() {
        own.to_owned()
    } else {
        format!("{own} or what it is built on")
    };
    let ignored = match image.ignored_files.as_slice() {
        [] => return format!("{own} changed"),
        [only] => only.clone(),
        [first, rest @ ..] => format!("one of {first} and {} more", rest.len()),
    };
    format!("no file that Git sees changed: {own} did, or {ignored}, ignored by Git")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::ContentHash;
    use crate::model::build::Inputs;

    #[test]
    fn what_git_does_not_see_is_a_reason_to_build_that_is_named() {
        let mut image = ImageFacts {
            inputs: Inputs {
                hash: ContentHash::of(b"a"),
                files: BTreeMap::new(),
                bases: BTreeMap::new(),
            },
            found: None,
            changed_files: Some(0),
            ignored_files: Vec::new(),
            rebuild: false,
        };
        assert_eq!(why(&image), "the build's own description changed");
        image.ignored_files = vec!["app/gen.txt".to_owned()];
        assert_eq!(
            why(&image),
            "no file that Git sees changed: the build's own description did, or app/gen.txt, \
             ignored by Git"
        );
    }
}
