//! `diff`: what runs against what should run, as a unified diff of their YAML.

use std::collections::BTreeMap;

use similar::TextDiff;

use crate::model::ServiceName;
use crate::model::workload::{Known, Workload};
use crate::observe::observe;
use crate::ops::{Error, Session};

/// The differences; empty when there are none.
pub async fn diff(session: &Session) -> Result<String, Error> {
    let desired = session.desired().await?;
    let observed = observe(&desired, &session.ports, &session.root).await?;
    let live: BTreeMap<ServiceName, Workload> = observed
        .facts
        .live()
        .map(|(_, there)| {
            there
                .workloads
                .iter()
                .map(|(name, w)| (name.clone(), w.spec.clone()))
                .collect()
        })
        .unwrap_or_default();

    let wanted: BTreeMap<ServiceName, Workload> = desired
        .services
        .iter()
        .map(|(name, service)| {
            let found = observed
                .images
                .get(name)
                .and_then(|image| image.found.clone());
            let image = found.map_or_else(|| service.workload.image.clone(), Known::Value);
            (
                name.clone(),
                Workload {
                    image,
                    ..service.workload.clone()
                },
            )
        })
        .collect();
    Ok(unified(&yaml(&live), &yaml(&wanted)))
}

fn yaml(workloads: &BTreeMap<ServiceName, Workload>) -> String {
    if workloads.is_empty() {
        return String::new();
    }
    serde_saphyr::to_string(workloads).unwrap_or_default()
}

/// A unified diff of two texts.
#[must_use]
pub fn unified(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after)
        .unified_diff()
        .header("live", "wanted")
        .to_string()
}
