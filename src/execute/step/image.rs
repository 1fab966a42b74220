//! Images: built, pushed, described, and last of all tagged; or fetched from where somebody else
//! keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::execute::Run;
use crate::execute::step::outcome::{Done, StepError};
use crate::execute::step::secrets::note_if_shown;
use crate::execute::step::{documents, unless_stopped};
use crate::model::build::BuildSpec;
use crate::model::image::{ImageHome, ImageName};
use crate::model::journal::Direction;
use crate::model::plan::Step;
use crate::model::{ContentHash, Digest, ServiceName};
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::engine::Pull;
use crate::port::registry::{bases, inputs_tag};

pub(super) async fn build(
    run: &Arc<Run>,
    step: &Step,
    service: &ServiceName,
    spec: &BuildSpec,
    inputs: &ContentHash,
) -> Result<Done, StepError> {
    let ports = &run.job.ports;
    let say = run.teller(step);
    let names = ports.builder.bases(&run.job.root, spec).await?;
    let found = async { Ok(bases(&names, spec, ports.registry.as_ref()).await?) };
    let bases = unless_stopped(run, Direction::Forward, found).await?;
    let mut secrets = BTreeMap::new();
    if let BuildSpec::Dockerfile(spec) = spec {
        for (id, from) in &spec.secrets {
            let value = ports.secrets.read(id, from).await?.value;
            note_if_shown(run, id, &value);
            secrets.insert(id.clone(), value);
        }
    }
    let request = BuildRequest {
        title: format!("{} {service}", run.plan().project),
        service: service.clone(),
        root: run.job.root.clone(),
        spec: spec.clone(),
        bases,
        secrets,
        source: run.plan().source.clone(),
        expects: inputs.clone(),
    };
    let image = match run
        .acting()
        .await?
        .builder
        .build(&request, &say, &run.soft)
        .await
    {
        Err(BuildError::Cancelled) => return Err(StepError::Stopped),
        other => other?,
    };

    // By its tags the image is found by the next run, which attaches nothing: they come last. An
    // upload may take its time, so that the lock is looked at again before anybody can see its
    // result.
    let pushed = async {
        let registry = &run.acting().await?.registry;
        let digest = registry.push(service, &image, &[], &say).await?;
        if documents::wanted(registry.as_ref()) {
            documents::attach(run, &request, &image, &say).await?;
        }
        Ok(digest)
    };
    // A registry that is slow, or says nothing, holds nobody up who has asked to stop: what is half
    // there has no name.
    let digest = unless_stopped(run, Direction::Forward, pushed).await?;
    let registry = &run.acting().await?.registry;
    registry.tag(service, &digest, &tags(run, inputs)).await?;
    run.remember(service, digest.clone());
    Ok(Done {
        result: digest.to_string(),
        digest: Some(digest),
    })
}

/// Brings an image that somebody else has made to where the engine fetches it. One that the engine
/// fetches itself is looked for before anything is started.
pub(super) async fn fetch(
    run: &Arc<Run>,
    step: &Step,
    name: &ImageName,
    image: &Digest,
) -> Result<Done, StepError> {
    let say = run.teller(step);
    let home = ImageHome::Elsewhere(&name.repository);
    let bring = async {
        let registry = &run.acting().await?.registry;
        if let Pull::Repository(_) = registry.bring(home, image, &say).await? {
            registry.verify(home, image).await?;
        }
        Ok(())
    };
    unless_stopped(run, Direction::Forward, bring).await?;
    Ok(Done::say(image.to_string()))
}

/// The labels of an image: how it is found again by its inputs, and by people.
fn tags(run: &Run, inputs: &ContentHash) -> Vec<String> {
    let source = &run.plan().source;
    let mut tags = vec![inputs_tag(inputs)];
    if run.job.ports.registry.moves_tags() {
        tags.push(run.plan().environment.to_string());
    }
    tags.extend(source.tag());
    tags
}
