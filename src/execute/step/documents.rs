//! What is attached to an image that was built: where it comes from, and what is in it.

use std::collections::BTreeMap;

use crate::execute::Run;
use crate::execute::step::outcome::StepError;
use crate::model::Digest;
use crate::model::image::ImageHome;
use crate::model::provenance::{self, Statement};
use crate::model::sbom::{self, Bill, Contents};
use crate::port::Progress;
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::engine::Pull;
use crate::port::registry::{Built, BuiltImage, Registry, layers};

/// Whether a registry wants any.
pub(super) fn wanted(registry: &dyn Registry) -> bool {
    registry.wants_provenance() || registry.wants_sbom()
}

/// Attaches what the registry wants to an image that is there: what is in it to the image of each
/// platform.
pub(super) async fn attach(
    run: &Run,
    request: &BuildRequest,
    built: &Built,
    say: Progress<'_>,
) -> Result<(), StepError> {
    let registry = run.job.ports.registry.as_ref();
    let subject = Subject {
        run,
        request,
        repository: match registry.pull(ImageHome::Project(&request.service)) {
            Pull::Repository(repository) => repository,
            Pull::Layout(folder) => folder.display().to_string(),
        },
        bases: request
            .bases
            .iter()
            .map(|(name, base)| (name.as_str(), &base.digest))
            .collect(),
    };

    if registry.wants_provenance() {
        subject.attach_provenance(&built.digest()).await?;
        say("its provenance is attached");
    }
    if registry.wants_sbom() {
        for image in &built.images {
            say(&told(&subject.attach_sbom(image).await?));
        }
    }
    Ok(())
}

/// A build, as its documents name it.
struct Subject<'a> {
    run: &'a Run,
    request: &'a BuildRequest,
    repository: String,
    bases: BTreeMap<&'a str, &'a Digest>,
}

impl Subject<'_> {
    async fn attach_provenance(&self, image: &Digest) -> Result<(), StepError> {
        let Self { run, request, .. } = self;
        let statement = Statement {
            repository: &self.repository,
            image,
            spec: &request.spec,
            source: &request.source,
            inputs: &request.expects,
            bases: self.bases.clone(),
            run: &run.job.permit.actor.run,
        };
        let document = statement.json().to_string();
        self.attach(image, provenance::ARTIFACT, document.as_bytes())
            .await
    }

    async fn attach_sbom(&self, image: &BuiltImage) -> Result<Contents, StepError> {
        let (ports, spec) = (&self.run.job.ports, &self.request.spec);
        let digest = image.digest();
        let layers = layers(image, ports.registry.as_ref()).await?;
        let contents = ports.builder.contents(spec, layers).await?;

        let bill = Bill {
            repository: &self.repository,
            image: &digest,
            bases: self.bases.clone(),
            contents: &contents,
        };
        let document = bill
            .json()
            .map_err(|reason| BuildError::Invalid { reason })?;
        self.attach(&digest, sbom::ARTIFACT, &document).await?;
        Ok(contents)
    }

    async fn attach(&self, image: &Digest, kind: &str, document: &[u8]) -> Result<(), StepError> {
        let registry = &self.run.acting().await?.registry;
        registry
            .attach(&self.request.service, image, kind, document)
            .await?;
        Ok(())
    }
}

fn told(contents: &Contents) -> String {
    let (packages, files) = (contents.packages.len(), contents.files.len());
    let listed = format!("what is in it is attached: {packages} packages, {files} copied files");
    match contents.gaps.len() {
        0 => listed,
        gaps => format!("{listed}; not looked into: {gaps}"),
    }
}
