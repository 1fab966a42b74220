//! Which drivers a configuration means: the one place that names them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::types::{ClusterKind, Conflicts, ReadyRule, RegistryKind, StateKind};
use crate::config::{Environment, Project};
use crate::desired;
use crate::driver::builder::Builders;
use crate::driver::check::Checks;
use crate::driver::cluster::kubernetes::ready::Rule;
use crate::driver::cluster::kubernetes::store::KubernetesStore;
use crate::driver::cluster::kubernetes::{Conflict, Connection, KubernetesEngine, Settings};
use crate::driver::host::HostEngine;
use crate::driver::registry::layout::Layout;
use crate::driver::registry::oci::remote::{DockerLogin, Remote, Trust};
use crate::driver::registry::oci::{Oci, Place};
use crate::driver::secret::Secrets;
use crate::model::EnvironmentName;
use crate::ops::Error;
use crate::port::{Engine, Ports, Registry, StateStore};

pub use crate::driver::render::{Recipe, render};
pub use crate::driver::state::local::LocalStore;

/// The drivers for one environment.
pub fn ports(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &Environment,
) -> Result<Ports, Error> {
    Ok(Ports {
        engine: engine(root, project, name, environment)?,
        registry: registry(root, project, name, environment)?,
        builder: Arc::new(Builders),
        store: store(root, project, name, environment)?,
        checker: Arc::new(Checks::default()),
        secrets: Arc::new(Secrets::new(root.to_path_buf())),
    })
}

fn engine(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &Environment,
) -> Result<Arc<dyn Engine>, Error> {
    let cluster = &environment.cluster;
    if cluster.kind == ClusterKind::Host {
        return Ok(Arc::new(HostEngine::new(cluster.directory(root))));
    }
    let settings = Settings {
        connection: connection(root, environment),
        namespaces: desired::cluster::namespaces(&project.name, name, environment)?,
        conflict: match cluster.conflicts {
            Conflicts::Stop => Conflict::Stop,
            Conflicts::TakeOver => Conflict::TakeOver,
            Conflicts::Leave => Conflict::Leave,
        },
        rules: cluster.ready.iter().map(|(kind, rule)| (kind.clone(), ready_rule(rule))).collect(),
        within: environment.ready_within,
    };
    Ok(Arc::new(KubernetesEngine::new(settings)))
}

fn ready_rule(rule: &ReadyRule) -> Rule {
    let value = rule.value.clone().map(|text| text.0).unwrap_or_default();
    Rule {
        condition: rule.condition.clone(),
        field: rule.field.clone().map(|field| (field, value)),
        failed: rule.failed.clone(),
    }
}

fn registry(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &Environment,
) -> Result<Arc<dyn Registry>, Error> {
    let registry = &environment.registry;
    if registry.kind == RegistryKind::Layout {
        return Ok(Arc::new(Layout::new(root.join(registry.path()))));
    }
    let mut repositories = BTreeMap::new();
    for service in environment.services.keys() {
        repositories.insert(service.clone(), desired::repository(project, name, environment, service)?);
    }
    let endpoint = registry.endpoint.clone().unwrap_or_default();
    let trust = Trust {
        endpoint: endpoint.clone(),
        ca: registry.ca.as_ref().map(|ca| root.join(ca)),
        plain_http: registry.plain_http,
    };
    let remote = Remote::new(Arc::new(DockerLogin), trust);
    Ok(Arc::new(Oci::new(Place { endpoint, repositories, pull: None }, remote)))
}

fn store(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &Environment,
) -> Result<Arc<dyn StateStore>, Error> {
    if environment.state.kind == StateKind::Local {
        return Ok(Arc::new(local_store(root, environment)));
    }
    let home = desired::cluster::namespaces(&project.name, name, environment)?.home;
    let namespace = environment.state.namespace.clone().unwrap_or(home);
    let failures = root.join(environment.state.path());
    Ok(Arc::new(KubernetesStore::new(
        connection(root, environment),
        namespace,
        project.name.clone(),
        failures,
    )))
}

fn connection(root: &Path, environment: &Environment) -> Connection {
    let cluster = &environment.cluster;
    Connection {
        kubeconfig: cluster.kubeconfig.as_ref().map(|path| root.join(path)),
        context: cluster.context.clone(),
        exec_plugins: cluster.exec_plugins,
    }
}

/// The state store, with what only the local one can do.
#[must_use]
pub fn local_store(root: &Path, environment: &Environment) -> LocalStore {
    LocalStore::new(root.join(environment.state.path()))
}
