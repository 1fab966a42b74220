//! `diff`: what runs against what should run, as a unified diff of their YAML.

use std::collections::BTreeMap;

use similar::TextDiff;

use crate::model::ServiceName;
use crate::model::workload::Workload;
use crate::observe::observe;
use crate::ops::{Error, Session, promote};
use crate::plan;

/// The differences; empty when there are none.
pub async fn diff(session: &Session) -> Result<String, Error> {
    let mut desired = session.desired().await?;
    promote::look_up(session, &mut desired).await?;
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

    let wanted = plan::known_workloads(&desired, &observed);
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
