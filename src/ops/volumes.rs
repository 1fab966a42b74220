//! What a plan says of the data of containers: folders that are not there, and folders that an
//! image keeps data in and nobody has given a volume to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use serde_json::Value;

use crate::model::image::ImageHome;
use crate::model::plan::{Action, Plan};
use crate::model::workload::{Container, ContainerKind, Workload};
use crate::ops::Session;

/// The notes about what a plan places.
pub async fn notes(session: &Session, plan: &Plan) -> Vec<String> {
    let placed = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Deploy { workload, .. } => Some((&workload.service, workload)),
        _ => None,
    });
    // One that is deployed stopped, and started behind its tasks, is deployed twice.
    let placed: BTreeMap<_, _> = placed.collect();
    let containers = placed
        .into_values()
        .filter_map(|workload| Some((workload, container(workload)?)));
    let noted = containers.map(|(workload, container)| async move {
        let mut notes = missing(session, workload, container);
        notes.extend(unnamed(session, workload, container).await);
        notes
    });
    join_all(noted).await.into_iter().flatten().collect()
}

fn container(workload: &Workload) -> Option<&Container> {
    let is_one = matches!(
        workload.runs_by(),
        Some(ContainerKind::Docker | ContainerKind::Own)
    );
    let process = workload.process().filter(|_| is_one)?;
    process.container.as_ref()
}

/// The folders of this machine that are to be volumes and are not there.
fn missing(session: &Session, workload: &Workload, container: &Container) -> Vec<String> {
    let host = session
        .configuration()
        .ok()
        .and_then(|it| it.cluster.host());
    if host.is_none_or(|host| host.at.is_some()) {
        return Vec::new();
    }
    let then = if workload.runs_by() == Some(ContainerKind::Docker) {
        "Docker makes it, with nothing in it"
    } else {
        "it has to be there before the apply"
    };

    let volumes = container.volumes.iter();
    let gone = volumes.filter(|(_, from)| from.starts_with('/') && !Path::new(from).exists());
    gone.map(|(inside, from)| {
        format!(
            "{from}, the volume {} of {}, is not on this machine: {then}",
            inside.display(),
            workload.service
        )
    })
    .collect()
}

/// The folders that an image says it keeps data in, and no volume is named for: what is written
/// there goes with each instance. Only of an image that is there already; of one that cannot be
/// asked about nothing is said.
async fn unnamed(session: &Session, workload: &Workload, container: &Container) -> Option<String> {
    let ImageHome::Elsewhere(repository) = workload.home() else {
        return None;
    };
    let image = workload.image.value()?;
    let reference = format!("{repository}@{image}");
    let found = session.ports.registry.base(&reference, &[]).await.ok()??;
    let found = found.images.into_values().next()?;
    let kept = declared(&found.config);
    let folders: Vec<String> = without_volume(&kept, container.volumes.keys())
        .map(|folder| folder.display().to_string())
        .collect();

    (!folders.is_empty()).then(|| {
        format!(
            "the image of {service} keeps data in {all}, and no volume is named for it: what is \
             written there goes with each instance. `volumes: {{{first}: NAME}}` keeps it",
            service = workload.service,
            all = folders.join(" and "),
            first = folders[0],
        )
    })
}

/// The folders that an image's configuration declares (`VOLUME`).
fn declared(configuration: &[u8]) -> BTreeSet<PathBuf> {
    let configuration: Value = serde_json::from_slice(configuration).unwrap_or_default();
    let volumes = configuration["config"]["Volumes"].as_object();
    let names = volumes.into_iter().flat_map(serde_json::Map::keys);
    names
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .collect()
}

/// Those of them that are in no volume.
fn without_volume<'a>(
    declared: &'a BTreeSet<PathBuf>,
    volumes: impl Iterator<Item = &'a PathBuf> + Clone,
) -> impl Iterator<Item = &'a PathBuf> {
    declared
        .iter()
        .filter(move |folder| volumes.clone().all(|volume| !folder.starts_with(volume)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_an_image_declares_wants_a_volume() {
        let image = br#"{"config": {"Volumes": {"/data": {}, "/var/lib/db": {}, "odd": {}}}}"#;
        let kept = declared(image);
        let without = |volumes: &[&str]| {
            let volumes: Vec<PathBuf> = volumes.iter().map(PathBuf::from).collect();
            let left = without_volume(&kept, volumes.iter()).cloned();
            left.collect::<Vec<_>>()
        };
        let (data, db) = (PathBuf::from("/data"), PathBuf::from("/var/lib/db"));
        assert_eq!(without(&[]), [data.clone(), db.clone()]);
        assert_eq!(without(&["/data"]), [db]);
        assert_eq!(without(&["/data/sub", "/var/lib"]), [data]);
        assert_eq!(declared(b"{}"), BTreeSet::new());
        assert_eq!(declared(b"no JSON"), BTreeSet::new());
    }
}
