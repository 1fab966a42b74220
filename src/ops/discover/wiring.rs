//! Who lists what runs already.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::driver::aws::{Aws, inventory};
use crate::driver::inventory::{docker, namespace};
use crate::driver::kubernetes::client::ClusterConnection;
use crate::ops::Error;
use crate::port::inventory::{Listed, RunningContainer, Sought, StockedRepository};
use crate::redact::Redactor;

/// The containers that run on this machine.
pub(super) async fn containers() -> Result<Vec<RunningContainer>, Error> {
    Ok(docker::containers().await?)
}

/// The workloads of a namespace, by the kubeconfig that everybody uses.
pub(super) async fn objects(
    root: &Path,
    namespace: &str,
    context: Option<&str>,
) -> Result<BTreeMap<Sought, Listed>, Error> {
    let connection = ClusterConnection {
        login: None,
        kubeconfig: None,
        context: context.map(str::to_owned),
        exec_plugins: false,
        project: Some(root.to_owned()),
        redactor: Redactor::default(),
        answered: Arc::default(),
    };
    Ok(namespace::objects(&connection, namespace).await?)
}

/// The ECR repositories of a region, by the credentials that every AWS tool takes.
pub(super) async fn repositories(region: &str) -> Result<Vec<StockedRepository>, Error> {
    let aws = Aws::new(Some(region.to_owned()), Redactor::default());
    Ok(inventory::repositories(&aws).await?)
}
