//! What is attached to an image that was built: where it comes from, and what is in it.

use std::collections::BTreeMap;

use crate::execute::Run;
use crate::execute::step::outcome::StepError;
use crate::model::Digest;
use crate::model::provenance::{self, Statement};
use crate::model::sbom::{self, Bill, Contents};
use crate::port::Progress;
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::engine::Pull;
use crate::port::registry::{Built, Registry, layers};

/// Whether a registry wants any.
pub(super) fn wanted(registry: &dyn Registry) -> bool {
    registry.wants_provenance() || registry.wants_sbom()
}

/// Attaches what the registry wants to an image that is there: what is in it to the image of each platform.
pub(super) async fn attach(
    run: &Run,
    request: &BuildRequest,
    built: &Built,
    say: Progress<'_>,
) -> Result<(), StepError> {
    let registry = run.job.ports.registry.as_ref();
    let digest = built.digest();
    let repository = match registry.pull(&request.service) {
        Pull::Repository(repository) => repository,
        Pull::Layout(folder) => folder.display().to_string(),
    };
    let bases: BTreeMap<&str, &Digest> = request
        .bases
        .iter()
        .map(|(name, base)| (name.as_str(), &base.digest))
        .collect();
    if registry.wants_provenance() {
        let statement = Statement {
            repository: &repository,
            image: &digest,
            spec: &request.spec,
            source: &request.source,
            inputs: &request.expects,
            bases: bases.clone(),
            run: &run.job.permit.actor.run,
        };
        let document = statement.json().to_string();
        run.acting()
            .await?
            .registry
            .attach(
                &request.service,
                &digest,
                provenance::ARTIFACT,
                document.as_bytes(),
            )
            .await?;
        say("its provenance is attached");
    }
    if !registry.wants_sbom() {
        return Ok(());
    }
    for image in &built.images {
        let digest = image.digest();
        let layers = layers(image, registry).await?;
        let contents = run
            .job
            .ports
            .builder
            .contents(&request.spec, layers)
            .await?;
        let bill = Bill {
            repository: &repository,
            image: &digest,
            bases: bases.clone(),
            contents: &contents,
        };
        let document = bill
            .json()
            .map_err(|reason| BuildError::Invalid { reason })?;
        run.acting()
            .await?
            .registry
            .attach(&request.service, &digest, sbom::ARTIFACT, &document)
            .await?;
        say(&told(&contents));
    }
    Ok(())
}

fn told(contents: &Contents) -> String {
    let (packages, files) = (contents.packages.len(), contents.files.len());
    let listed = format!("what is in it is attached: {packages} packages, {files} copied files");
    match contents.gaps.len() {
        0 => listed,
        gaps => format!("{listed}; not looked into: {gaps}"),
    }
}
