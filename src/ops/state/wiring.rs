//! Which state store a configuration means: the one place that names them.

use std::path::Path;
use std::sync::Arc;

use crate::config::schema::{S3State, StateConfig};
use crate::config::{EnvironmentConfig, Project};
use crate::desired;
use crate::driver::aws::Aws;
use crate::driver::host::HostEngine;
use crate::driver::kubernetes::client::ClusterConnection;
use crate::driver::redacted::RedactedStore;
use crate::driver::state::host;
use crate::driver::state::kubernetes::{ClusterLock, KubernetesStore};
use crate::driver::state::objects::ObjectStore;
use crate::driver::state::s3::{self, Bucket};
use crate::model::EnvironmentName;
use crate::ops::wiring::Around;
use crate::ops::{Error, Session};
use crate::port::StateStore;
use crate::redact::Redactor;

pub use crate::driver::state::local::LocalStore;

/// A store, and who else has its lock.
struct StoreAt {
    store: Arc<dyn StateStore>,
    /// Whether its lock is the one in the cluster that every run of the environment takes.
    is_home: bool,
}

/// The store that the configuration names, under the lock of whoever else has one.
pub(in crate::ops) fn store(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &EnvironmentConfig,
    around: &Around,
) -> Result<Arc<dyn StateStore>, Error> {
    let at = store_alone(root, project, name, environment, around)?;
    // State in the environment's home has its lock there.
    if environment.cluster.host().is_some() || at.is_home {
        return Ok(at.store);
    }
    let home = desired::cluster::namespaces(&project.name, name, environment)?.home;
    let cluster = in_cluster(root, project, environment, &around.connection, &home);
    Ok(Arc::new(ClusterLock::new(at.store, cluster, name.clone())))
}

/// The store that the configuration names, with no lock but its own.
fn store_alone(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &EnvironmentConfig,
    around: &Around,
) -> Result<StoreAt, Error> {
    let elsewhere = |store: Arc<dyn StateStore>| StoreAt {
        store,
        is_home: false,
    };
    Ok(match &environment.state {
        StateConfig::Local(_) => elsewhere(Arc::new(local_store(root, environment))),
        StateConfig::S3(bucket) => {
            let store = in_bucket(root, project, environment, bucket, &around.redactor);
            elsewhere(Arc::new(store))
        }
        StateConfig::Host(state) => {
            let failures = root.join(state.path.as_deref().unwrap_or(Path::new("state")));
            let agent = match &around.machine {
                Some(machine) => HostEngine::on(machine.clone()),
                None => HostEngine::new(
                    environment
                        .cluster
                        .host()
                        .and_then(|host| host.directory(root)),
                ),
            };
            elsewhere(Arc::new(host::store(agent, &project.name, failures)))
        }
        StateConfig::Kubernetes(state) => {
            let home = desired::cluster::namespaces(&project.name, name, environment)?.home;
            let namespace = state.namespace.as_ref().unwrap_or(&home);
            let store = in_cluster(root, project, environment, &around.connection, namespace);
            StoreAt {
                store: Arc::new(store),
                is_home: *namespace == home,
            }
        }
    })
}

fn in_cluster(
    root: &Path,
    project: &Project,
    environment: &EnvironmentConfig,
    connection: &ClusterConnection,
    namespace: &str,
) -> KubernetesStore {
    let failures = root.join(environment.state.path());
    let (connection, project) = (connection.clone(), project.name.clone());
    KubernetesStore::new(connection, namespace.to_owned(), project, failures)
}

/// The store that an environment's state was in before.
pub struct FormerStore {
    /// The store, with no lock but its own.
    pub store: Arc<dyn StateStore>,
    /// Whether who has the lock of the store that the configuration names has this one's, too.
    pub shares_lock: bool,
}

/// The store that the session's environment would have with this in its configuration.
pub fn former_store(session: &Session, state: &StateConfig) -> Result<FormerStore, Error> {
    let (root, project, name) = (&session.root, &session.project, &session.environment);
    let redactor = &session.ports.redactor;
    let before = EnvironmentConfig {
        state: state.clone(),
        ..session.configuration()?.clone()
    };
    if let (StateConfig::Host(_), None) = (state, before.cluster.host()) {
        return Err(Error::Usage {
            what: format!("{name} is on no host: no agent had its state"),
            help: "--from local:FOLDER and --from kubernetes:NAMESPACE name other places"
                .to_owned(),
        });
    }
    if let (StateConfig::Kubernetes(_), Some(_)) = (state, before.cluster.host()) {
        return Err(Error::Usage {
            what: format!("{name} is on no cluster: its state was in none"),
            help: "--from local:FOLDER and --from s3://BUCKET/PREFIX name other places".to_owned(),
        });
    }
    let around = Around::of(root, &before, redactor)?;
    let at = store_alone(root, project, name, &before, &around)?;
    Ok(FormerStore {
        store: Arc::new(RedactedStore::new(at.store, redactor.clone())),
        shares_lock: at.is_home,
    })
}

/// State in a bucket, whose region may be another than those of registry and cluster.
fn in_bucket(
    root: &Path,
    project: &Project,
    environment: &EnvironmentConfig,
    state: &S3State,
    redactor: &Redactor,
) -> ObjectStore {
    let bucket = Bucket {
        name: state.bucket.clone().unwrap_or_default(),
        prefix: state.prefix.clone().unwrap_or_else(|| "shipit".to_owned()),
        endpoint: state.endpoint.clone(),
        path_style: state.path_style,
    };
    let aws = Aws::new(state.region.clone(), redactor.clone());
    let failures = root.join(environment.state.path());
    s3::store(Arc::new(aws), bucket, &project.name, failures)
}

/// The state store, with what only the local one can do.
#[must_use]
pub fn local_store(root: &Path, environment: &EnvironmentConfig) -> LocalStore {
    LocalStore::new(root.join(environment.state.path()))
}
