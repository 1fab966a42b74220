//! From what is desired to what was found, through the ports, in parallel. Uses `port` and `model`.

mod built;
mod secrets;

use std::path::Path;

use futures_util::future::try_join_all;

use crate::model::build::BuildSpec;
use crate::model::desired::Desired;
use crate::model::loss::resource_can_hold;
use crate::model::observed::{ImageFacts, Observed};
use crate::model::{ServiceName, workload::Known};
use crate::observe::built::Built;
use crate::port::Ports;
use crate::port::builder::BuildError;
use crate::port::engine::{EngineError, Scope};
use crate::port::provider::ProviderError;
use crate::port::registry::{RegistryError, bases};

/// Why something could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The engine did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The build's inputs could not be read.
    #[error("the build inputs of {service}: {source}")]
    Inputs {
        /// Whose.
        service: ServiceName,
        /// Why.
        source: BuildError,
    },
    /// The provider did not answer.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The registry did not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Looks at everything that a plan is made from.
pub async fn observe(
    desired: &Desired,
    ports: &Ports,
    root: &Path,
) -> Result<Observed, ObserveError> {
    let scope = Scope {
        project: desired.project.clone(),
        environment: desired.environment.clone(),
    };
    let built = Built::new(ports, &desired.project, &desired.environment);
    let there = async { Ok(ports.engine.observe_with(&scope, &desired.objects).await?) };
    let unknown = desired
        .services
        .iter()
        .filter(|(_, service)| matches!(service.workload.image, Known::After(_)));
    let built = &built;
    let images = unknown.map(|(name, service)| async move {
        Ok::<_, ObserveError>((
            name.clone(),
            image(name, &service.build, (ports, built), root).await?,
        ))
    });
    let resources = async { Ok(ports.provider.observe(&scope, &desired.resources).await?) };
    let ((facts, objects), mut resources, images) =
        tokio::try_join!(there, resources, try_join_all(images))?;

    // A checkout whose history is lost, or that never had one, learns from the slots what was
    // built.
    let images = images.into_iter().map(|(name, mut image)| async {
        if image.found.is_none() {
            image.found = built.in_slots(&name, &image.inputs.hash, &facts).await?;
        }
        Ok::<_, ObserveError>((name, image))
    });
    let images = try_join_all(images).await?.into_iter().collect();

    // What would be deleted or replaced is looked into first.
    for facts in resources
        .iter_mut()
        .filter(|facts| resource_can_hold(&facts.key) && facts.is_leaving(&desired.resources))
    {
        facts.holds = ports.engine.occupants(&scope, &facts.key).await?;
    }
    let secrets = secrets::look(desired, ports, &scope, &facts).await;
    Ok(Observed {
        facts,
        images,
        objects,
        resources,
        secrets,
    })
}

async fn image(
    service: &ServiceName,
    spec: &BuildSpec,
    (ports, built): (&Ports, &Built<'_>),
    root: &Path,
) -> Result<ImageFacts, ObserveError> {
    let failed = |source| ObserveError::Inputs {
        service: service.clone(),
        source,
    };
    let names = ports.builder.bases(root, spec).await.map_err(failed)?;
    let bases = bases(&names, spec, ports.registry.as_ref()).await?;
    let inputs = ports
        .builder
        .inputs(root, spec, &bases)
        .await
        .map_err(failed)?;
    let found = built.find(service, &inputs.hash).await?;

    Ok(ImageFacts {
        inputs,
        found,
        changed_files: None,
        rebuild: false,
    })
}
