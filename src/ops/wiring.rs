//! Which drivers a configuration means: the one place that names them.

use std::path::Path;
use std::sync::Arc;

use crate::config::types::ClusterKind;
use crate::config::{Environment, Project};
use crate::driver::builder::pack::Pack;
use crate::driver::check::Checks;
use crate::driver::host::HostEngine;
use crate::driver::registry::layout::Layout;
pub use crate::driver::render::{Recipe, render};
use crate::driver::secret::Secrets;
use crate::driver::state::local::LocalStore;
use crate::model::EnvironmentName;
use crate::ops::Error;
use crate::port::Ports;

/// The drivers for one environment.
pub fn ports(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &Environment,
) -> Result<Ports, Error> {
    if environment.cluster.kind != ClusterKind::Host {
        return Err(Error::Usage {
            what: format!("{} → {name}: this engine is not wired yet", project.name),
            help: "`host` is what runs today".to_owned(),
        });
    }
    Ok(Ports {
        engine: Arc::new(HostEngine::new(environment.cluster.directory(root))),
        registry: Arc::new(Layout::new(root.join(environment.registry.path()))),
        builder: Arc::new(Pack),
        store: Arc::new(local_store(root, environment)),
        checker: Arc::new(Checks::default()),
        secrets: Arc::new(Secrets::new(root.to_path_buf())),
    })
}

/// The state store, with what only the local one can do.
#[must_use]
pub fn local_store(root: &Path, environment: &Environment) -> LocalStore {
    LocalStore::new(root.join(environment.state.path()))
}
