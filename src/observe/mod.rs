//! From what is desired to what was found, through the ports, in parallel. Uses `port` and `model`.

mod built;
mod secrets;

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::try_join_all;

use crate::model::build::BuildSpec;
use crate::model::desired::Desired;
use crate::model::image::ImageName;
use crate::model::loss::resource_can_hold;
use crate::model::observed::{ImageFacts, Observed};
use crate::model::resource::{ResourceFacts, images_held};
use crate::model::{Digest, ServiceName, workload::Known};
use crate::observe::built::Built;
use crate::port::builder::BuildError;
use crate::port::engine::{EngineError, Scope};
use crate::port::provider::ProviderError;
use crate::port::registry::{RegistryError, bases};
use crate::port::{Engine, Ports, Provider, Registry};

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
    /// A tag could not be looked up.
    #[error("services.{service}.image, {name}: {source}")]
    Image {
        /// Whose.
        service: ServiceName,
        /// What was looked up.
        name: ImageName,
        /// Why.
        source: RegistryError,
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
    let unknown = || {
        let services = desired.services.iter();
        services.filter(|(_, service)| matches!(service.workload.image, Known::After(_)))
    };
    let built = &built;
    let to_build = unknown().filter_map(|(name, service)| Some((name, service.image.build()?)));
    let images = to_build.map(|(name, spec)| async move {
        Ok::<_, ObserveError>((name.clone(), image(name, spec, (ports, built), root).await?))
    });
    let to_look_up = unknown().filter_map(|(name, service)| Some((name, service.image.name()?)));
    let named = named(to_look_up, ports.registry.as_ref());
    let standing = standing(desired, ports.engine.as_ref(), ports.provider.as_ref());
    let (standing, images, named) = tokio::try_join!(standing, try_join_all(images), named)?;
    let Observed {
        facts,
        objects,
        mut resources,
        ..
    } = standing;

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
        look_into(ports, &scope, facts).await?;
    }
    let secrets = secrets::look(desired, ports, &scope, &facts).await;
    Ok(Observed {
        facts,
        images,
        named,
        objects,
        resources,
        secrets,
        // What only the journals know.
        left: None,
    })
}

/// Looks at what stands, and into each resource that may be deleted with the environment.
pub async fn infrastructure(desired: &Desired, ports: &Ports) -> Result<Observed, ObserveError> {
    let scope = Scope {
        project: desired.project.clone(),
        environment: desired.environment.clone(),
    };
    let there = async { Ok::<_, ObserveError>(ports.engine.observe_with(&scope, &[]).await?) };
    let resources = async { Ok(ports.provider.observe(&scope, &desired.resources).await?) };
    let ((facts, objects), mut resources) = tokio::try_join!(there, resources)?;

    for facts in &mut resources {
        if facts.settings.is_some() && resource_can_hold(&facts.key) {
            look_into(ports, &scope, facts).await?;
        }
    }
    Ok(Observed {
        facts,
        objects,
        resources,
        ..Observed::default()
    })
}

/// What would go with a resource that is deleted.
async fn look_into(
    ports: &Ports,
    scope: &Scope,
    facts: &mut ResourceFacts,
) -> Result<(), ObserveError> {
    facts.images = ports.provider.images(&facts.key).await?;
    facts.holds = images_held(&facts.key, &facts.images);
    let occupants = ports.engine.occupants(scope, &facts.key).await?;
    facts.holds.extend(occupants);
    Ok(())
}

/// Looks at what stands, and at nothing that only a build needs.
pub async fn standing(
    desired: &Desired,
    engine: &dyn Engine,
    provider: &dyn Provider,
) -> Result<Observed, ObserveError> {
    let scope = Scope {
        project: desired.project.clone(),
        environment: desired.environment.clone(),
    };
    let there =
        async { Ok::<_, ObserveError>(engine.observe_with(&scope, &desired.objects).await?) };
    let resources = async { Ok(provider.observe(&scope, &desired.resources).await?) };
    let ((facts, objects), resources) = tokio::try_join!(there, resources)?;
    Ok(Observed {
        facts,
        objects,
        resources,
        ..Observed::default()
    })
}

/// What tags are now, all of them asked at once; one that several services name is asked for once.
async fn named<'a>(
    services: impl Iterator<Item = (&'a ServiceName, &'a ImageName)>,
    registry: &dyn Registry,
) -> Result<BTreeMap<ServiceName, Digest>, ObserveError> {
    let mut by_name: BTreeMap<&ImageName, Vec<&ServiceName>> = BTreeMap::new();
    for (service, name) in services {
        by_name.entry(name).or_default().push(service);
    }
    let asked = by_name.iter().map(|(name, services)| async move {
        let failed = |source| ObserveError::Image {
            service: services[0].clone(),
            name: (*name).clone(),
            source,
        };
        let digest = registry.resolve(name).await.map_err(failed)?;
        let found = services.iter().map(|service| (*service).clone());
        Ok::<_, ObserveError>(found.map(move |service| (service, digest.clone())))
    });
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
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
        ignored_files: Vec::new(),
        rebuild: false,
    })
}
