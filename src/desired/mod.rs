//! From a configuration and a source to what should be true: pure, with templates rendered and
//! references resolved.

mod build;
pub mod cluster;
mod env_file;
mod environment;
mod files;
mod host;
mod infrastructure;
mod nginx;
pub mod render;
mod tasks;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub use environment::environment_for;
pub use files::{NamedFile, named_files};
pub use template::render_text;

use crate::config::schema::{EnvEntry, SecretConfig, ServiceConfig};
use crate::config::{EnvironmentConfig, Project};
use crate::desired::build::Builder;
use crate::desired::cluster::{Site, Sources, namespaces};
use crate::desired::template::Templates;
use crate::model::desired::{Desired, DesiredService, ImageSource};
use crate::model::promotion::{ServiceStrategy, Strategy};
use crate::model::secret::{Rotation, SecretRef};
use crate::model::source::Source;
use crate::model::workload::{
    EnvValue, Known, Process, SlotObjects, Workload, WorkloadFile, WorkloadKind,
};
use crate::model::{Address, EnvironmentName, ServiceName, endpoint};

/// Why a configuration cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DesiredError {
    /// What.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

/// What should be true for one environment, built from this source.
///
/// # Errors
/// When the environment is not there, or a template cannot be rendered.
pub fn resolve(
    project: &Project,
    environment: &EnvironmentName,
    source: &Source,
    sources: &Sources,
) -> Result<Desired, DesiredError> {
    let configuration = of(project, environment)?;
    let templates = Templates::new(&project.name, environment, source, &configuration.vars);
    let site = configuration.cluster.kubernetes().map(|cluster| {
        let namespaces = namespaces(&project.name, environment, configuration)?;
        let (project, templates) = (&project.name, &templates);
        Ok(Site {
            project,
            environment,
            configuration,
            cluster,
            templates,
            sources,
            namespaces,
            budget: cluster::ManifestBudget::default(),
        })
    });

    let site = site.transpose()?;
    let mut services = BTreeMap::new();
    for (name, service) in &configuration.services {
        let one = one(
            project,
            configuration,
            &templates,
            (site.as_ref(), sources),
            name,
            service,
        )?;
        services.insert(name.clone(), one);
    }

    let objects = match &site {
        Some(site) => {
            let objects = site.own_objects()?;
            site.refuse_twins(&objects, &services)?;
            objects
        }
        None => Vec::new(),
    };

    let secrets = configuration.secrets.iter();
    let unrotated = secrets.filter(|(_, secret)| secret.rotation == Rotation::Ignore);
    Ok(Desired {
        unrotated: unrotated.map(|(name, _)| name.clone()).collect(),
        objects,
        services,
        ..outline(project, environment, source)?
    })
}

/// The same without services and objects: what a release that stands there already is moved by.
///
/// # Errors
/// When the environment is not there, or a resource's name cannot be rendered.
pub fn outline(
    project: &Project,
    environment: &EnvironmentName,
    source: &Source,
) -> Result<Desired, DesiredError> {
    let configuration = of(project, environment)?;
    let templates = Templates::new(&project.name, environment, source, &configuration.vars);
    Ok(Desired {
        project: project.name.clone(),
        environment: environment.clone(),
        source: source.clone(),
        promoted_from: None,
        strategy: configuration.strategy,
        promotion: configuration.promotion.clone(),
        ready_within: configuration.ready_within,
        resources: infrastructure::resources(project, environment, configuration)?,
        unrotated: BTreeSet::new(),
        objects: Vec::new(),
        services: BTreeMap::new(),
        tasks: tasks::tasks(configuration, &templates)?,
    })
}

fn of<'a>(
    project: &'a Project,
    environment: &EnvironmentName,
) -> Result<&'a EnvironmentConfig, DesiredError> {
    project
        .environments
        .get(environment)
        .ok_or_else(|| DesiredError {
            what: format!("{} has no environment {environment}", project.name),
            help: format!("write environments/{environment}.yaml"),
        })
}

fn one(
    project: &Project,
    configuration: &EnvironmentConfig,
    templates: &Templates,
    (site, sources): (Option<&Site<'_>>, &Sources),
    name: &ServiceName,
    service: &ServiceConfig,
) -> Result<DesiredService, DesiredError> {
    let program = program(project, configuration, templates, sources, (name, service))?;
    let (kind, route) = if let Some(site) = site {
        let slots = site.objects(&program)?;
        let mut secrets = BTreeMap::new();
        for name in cluster::secrets(&slots) {
            let at = format!("services.{}.manifests", program.name);
            secrets.insert(name.clone(), value(project, configuration, &name, &at)?);
        }
        let kind = WorkloadKind::Objects(SlotObjects { slots, secrets });
        (kind, site.route(name, service)?)
    } else {
        let listeners = configuration.listeners(name, service);
        let process = Process {
            command: program.command,
            env: program.env,
            files: program.files,
            ports: service
                .other_ports()
                .into_iter()
                .map(|(name, port)| (name, port.number))
                .collect(),
            routed: listeners
                .map(|listeners| listeners.ports.into_keys().collect())
                .unwrap_or_default(),
            socket: service.socket,
            stop_grace: service.stop_grace,
            container: host::container(configuration, name, service)?,
        };
        let route = host::route(configuration, templates, sources, (name, service))?;
        (WorkloadKind::Process(Box::new(process)), route)
    };

    let mut workload = Workload {
        service: name.clone(),
        image: Known::After(Address::Image(name.clone())),
        repository: None,
        port: service.port_number(),
        replicas: service.replicas,
        health: service.health.clone(),
        strategy: service.strategy.and_then(own_strategy),
        kind,
    };
    let builder = Builder {
        project,
        configuration,
        templates,
        name,
    };
    let image = builder.image(service)?;
    if let ImageSource::Named(name) = &image {
        workload.repository = Some(name.repository.clone());
        if let Some(digest) = &name.digest {
            workload.image = Known::Value(digest.clone());
        }
    }
    Ok(DesiredService {
        image,
        workload,
        route,
    })
}

/// What a service says of itself that its environment does not say anyway.
const fn own_strategy(strategy: Strategy) -> Option<ServiceStrategy> {
    match strategy {
        Strategy::BlueGreen => None,
        Strategy::Rolling => Some(ServiceStrategy::Rolling),
        Strategy::Recreate => Some(ServiceStrategy::Recreate),
    }
}

/// What is run for a service, its templates rendered.
struct Program<'a> {
    name: &'a ServiceName,
    service: &'a ServiceConfig,
    command: Vec<String>,
    env: BTreeMap<String, EnvValue>,
    files: BTreeMap<PathBuf, WorkloadFile>,
}

fn program<'a>(
    project: &Project,
    configuration: &EnvironmentConfig,
    templates: &Templates,
    sources: &Sources,
    (name, service): (&'a ServiceName, &'a ServiceConfig),
) -> Result<Program<'a>, DesiredError> {
    let words = service.command.iter();
    let command = words
        .map(|word| templates.render(&format!("services.{name}.command"), name, word))
        .collect::<Result<_, _>>()?;

    let of_files = files::variables(configuration, sources, name, service)?;
    let plain = |(name, value)| (name, EnvValue::Plain(value));
    let mut env: BTreeMap<String, EnvValue> = of_files.into_iter().map(plain).collect();
    for (variable, entry) in &service.env {
        let value = match entry {
            EnvEntry::Text(text) => {
                let at = format!("services.{name}.env.{variable}");
                EnvValue::Plain(templates.render(&at, name, &text.0)?)
            }
            EnvEntry::Secret(entry) => EnvValue::Secret {
                name: entry.secret.clone(),
                from: secret(project, configuration, &entry.secret)?,
            },
        };
        env.insert(variable.clone(), value);
    }

    Ok(Program {
        name,
        service,
        command,
        env,
        files: files::files(project, configuration, templates, sources, (name, service))?,
    })
}

/// Where a secret is read from. A file is named absolutely: the agent reads it, and does not know
/// the project's folder.
fn secret(
    project: &Project,
    configuration: &EnvironmentConfig,
    name: &str,
) -> Result<SecretRef, DesiredError> {
    let configured = configuration.secrets.get(name);
    let from = configured.and_then(SecretConfig::source);
    let from = from.ok_or_else(|| DesiredError {
        what: format!("there is no secret `{name}`"),
        help: "add it under `secrets:` of the environment".to_owned(),
    })?;
    Ok(match from {
        SecretRef::File(path) => SecretRef::File(project.root.join(path)),
        SecretRef::Env(_)
        | SecretRef::Run(_)
        | SecretRef::Sops(_)
        | SecretRef::Vault(_)
        | SecretRef::AwsSecret(_)
        | SecretRef::AwsParameter(_)
        | SecretRef::Kubernetes(_) => from,
    })
}

/// The same where the value itself is needed: a Secret of the cluster is named, and not read.
fn value(
    project: &Project,
    configuration: &EnvironmentConfig,
    name: &str,
    at: &str,
) -> Result<SecretRef, DesiredError> {
    match secret(project, configuration, name)? {
        SecretRef::Kubernetes(other) => Err(DesiredError {
            what: format!(
                "{at}: the secret `{name}` is the Secret/{} of the cluster, whose value shipit does not read",
                other.secret
            ),
            help: format!(
                "name it where it is used (`secretKeyRef: {{name: {}, key: {}}}`), or give `{name}` another source",
                other.secret, other.key
            ),
        }),
        other => Ok(other),
    }
}

/// The repository of a service's images in a registry; `PROJECT/SERVICE` unless the configuration
/// says otherwise.
///
/// # Errors
/// When the configuration's template cannot be rendered.
pub fn repository(
    project: &Project,
    environment: &EnvironmentName,
    configuration: &EnvironmentConfig,
    service: &ServiceName,
) -> Result<String, DesiredError> {
    let remote = configuration.registry.remote();
    let Some(template) = remote.and_then(|remote| remote.repository.as_ref()) else {
        return Ok(format!("{}/{service}", project.name));
    };

    let templates = Templates::new(
        &project.name,
        environment,
        &Source::default(),
        &configuration.vars,
    );
    let name = templates.render("registry.repository", service, template)?;
    match endpoint::repository_problem(&name) {
        None => Ok(name),
        Some(reason) => Err(DesiredError {
            what: format!("registry.repository: `{name}` for {service}: {reason}"),
            help: "write `repository: \"shop/{{ service }}\"`".to_owned(),
        }),
    }
}
