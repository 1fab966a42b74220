//! From a configuration and a source to what should be true: pure, with templates rendered and
//! references resolved.

mod build;
pub mod cluster;
mod env_file;
mod environment;
mod error;
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
pub use error::{DesiredError, DesiredErrors, DesiredPlace};
pub use files::{NamedFile, named_files};
pub use template::render_text;

use crate::config::schema::{EnvEntry, SecretConfig, ServiceConfig};
use crate::config::{EnvironmentConfig, Project};
use crate::desired::build::Builder;
use crate::desired::cluster::{Site, Sources, namespaces};
use crate::desired::template::Templates;
use crate::model::desired::{Desired, DesiredService, ImageSource};
use crate::model::promotion::{ServiceStrategy, Strategy};
use crate::model::schedule::ScheduledTask;
use crate::model::secret::{Rotation, SecretRef};
use crate::model::source::Source;
use crate::model::workload::{
    EnvValue, Known, Process, SlotObjects, Workload, WorkloadFile, WorkloadKind,
};
use crate::model::{Address, EnvironmentName, ObjectKey, ServiceName, TaskName, endpoint};

/// What should be true for one environment, built from this source.
///
/// # Errors
/// When the environment is not there, and each template that cannot be rendered and each file that
/// is named and not there.
pub fn resolve(
    project: &Project,
    environment: &EnvironmentName,
    source: &Source,
    sources: &Sources,
) -> Result<Desired, DesiredErrors> {
    let configuration = of(project, environment)?;
    let templates = Templates::new(&project.name, environment, source, &configuration.vars);
    let site = site(project, environment, (&templates, sources))?;
    let mut wrong = DesiredErrors::default();
    let mut services = BTreeMap::new();
    // What is wrong with them is told with the outline.
    let tasks = tasks::tasks(configuration, &templates).unwrap_or_default();
    for (name, service) in &configuration.services {
        let schedules = tasks::scheduled(&tasks, name);
        let one = one(
            project,
            configuration,
            &templates,
            (site.as_ref(), sources),
            (name, service),
            schedules,
        );
        services.extend(wrong.keep(one).map(|one| (name.clone(), one)));
    }

    let objects = match &site {
        Some(site) => wrong.keep(site.own_objects()).unwrap_or_default(),
        None => Vec::new(),
    };
    let outline = wrong.keep(outline(project, environment, source));
    let Some(outline) = outline.filter(|_| wrong.0.is_empty()) else {
        return Err(wrong);
    };
    if let Some(site) = &site {
        site.refuse_twins(&objects, &services)?;
    }

    let secrets = configuration.secrets.iter();
    let unrotated = secrets.filter(|(_, secret)| secret.rotation == Rotation::Ignore);
    Ok(Desired {
        unrotated: unrotated.map(|(name, _)| name.clone()).collect(),
        objects,
        services,
        ..outline
    })
}

/// Where each object of an environment's own manifests is written, for what a server says of them.
///
/// # Errors
/// When the manifests cannot be read: then there are no objects either.
pub fn places(
    project: &Project,
    environment: &EnvironmentName,
    source: &Source,
    sources: &Sources,
) -> Result<BTreeMap<ObjectKey, cluster::Written>, DesiredErrors> {
    let configuration = of(project, environment)?;
    let templates = Templates::new(&project.name, environment, source, &configuration.vars);
    match site(project, environment, (&templates, sources))? {
        Some(site) => cluster::places(&site),
        None => Ok(BTreeMap::new()),
    }
}

/// What is the same for all objects of an environment; none where it is on no cluster.
fn site<'a>(
    project: &'a Project,
    environment: &'a EnvironmentName,
    (templates, sources): (&'a Templates, &'a Sources),
) -> Result<Option<Site<'a>>, DesiredError> {
    let configuration = of(project, environment)?;
    let Some(cluster) = configuration.cluster.kubernetes() else {
        return Ok(None);
    };
    Ok(Some(Site {
        project: &project.name,
        environment,
        configuration,
        cluster,
        templates,
        sources,
        namespaces: namespaces(&project.name, environment, configuration)?,
        budget: cluster::ManifestBudget::default(),
    }))
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
    project.environments.get(environment).ok_or_else(|| {
        DesiredError::new(
            format!("{} has no environment {environment}", project.name),
            format!("write environments/{environment}.yaml"),
        )
    })
}

fn one(
    project: &Project,
    configuration: &EnvironmentConfig,
    templates: &Templates,
    (site, sources): (Option<&Site<'_>>, &Sources),
    (name, service): (&ServiceName, &ServiceConfig),
    schedules: BTreeMap<TaskName, ScheduledTask>,
) -> Result<DesiredService, DesiredErrors> {
    let mut wrong = DesiredErrors::default();
    let program = program(project, configuration, templates, sources, (name, service));
    let program = wrong.keep(program);
    let builder = Builder {
        project,
        configuration,
        templates,
        name,
    };
    let image = wrong.keep(builder.image(service));
    let (Some(program), Some(image)) = (program, image) else {
        return Err(wrong);
    };
    let (kind, route) = if let Some(site) = site {
        let slots = site.objects(&program, &schedules)?;
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
            schedules,
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
) -> Result<Program<'a>, DesiredErrors> {
    let mut wrong = DesiredErrors::default();
    let mut command = Vec::new();
    for word in &service.command {
        let rendered = templates.render(&format!("services.{name}.command"), name, word);
        command.extend(wrong.keep(rendered));
    }

    let of_files = wrong.keep(files::variables(configuration, sources, name, service));
    let plain = |(name, value)| (name, EnvValue::Plain(value));
    let of_files = of_files.into_iter().flatten();
    let mut env: BTreeMap<String, EnvValue> = of_files.map(plain).collect();
    for (variable, entry) in &service.env {
        let at = format!("services.{name}.env.{variable}");
        let value = match entry {
            EnvEntry::Text(text) => templates.render(&at, name, &text.0).map(EnvValue::Plain),
            EnvEntry::Secret(entry) => {
                secret(project, configuration, &entry.secret).map(|from| EnvValue::Secret {
                    name: entry.secret.clone(),
                    from,
                })
            }
        };
        let value = wrong.keep(value.map_err(|error| error.or_of_key(&at)));
        env.extend(value.map(|value| (variable.clone(), value)));
    }

    let files = files::files(project, configuration, templates, sources, (name, service));
    let files = wrong.keep(files);
    wrong.unless_any(Program {
        name,
        service,
        command,
        env,
        files: files.unwrap_or_default(),
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
    let from = from.ok_or_else(|| {
        DesiredError::new(
            format!("there is no secret `{name}`"),
            "add it under `secrets:` of the environment",
        )
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
        SecretRef::Kubernetes(other) => Err(DesiredError::new(
            format!(
                "{at}: the secret `{name}` is the Secret/{} of the cluster, whose value shipit \
                 does not read",
                other.secret
            ),
            format!(
                "name it where it is used (`secretKeyRef: {{name: {}, key: {}}}`), or give \
                 `{name}` another source",
                other.secret, other.key
            ),
        )),
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

    // Where images are kept is asked by commands that look at no commit.
    let nowhere = Source::default();
    let templates = Templates::new(&project.name, environment, &nowhere, &configuration.vars);
    let name = templates
        .render("registry.repository", service, template)
        .map_err(|error| DesiredError {
            help: "it sees project, environment, service and vars: a repository is of no commit \
                   and of no branch"
                .to_owned(),
            ..error
        })?;
    match endpoint::repository_problem(&name) {
        None => Ok(name),
        Some(reason) => Err(DesiredError::new(
            format!("registry.repository: `{name}` for {service}: {reason}"),
            "write `repository: \"shop/{{ service }}\"`",
        )
        .of_key("registry.repository")),
    }
}
