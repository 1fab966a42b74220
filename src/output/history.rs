//! The history of releases as a table.

use crate::model::release::{Release, ReleaseStatus};
use crate::output::Page;

/// The releases, newest first.
#[must_use]
pub fn table(releases: &[Release]) -> Page {
    if releases.is_empty() {
        return Page::of("No release yet. `shipit apply` makes the first one.");
    }
    let header = [
        "RELEASE", "STATUS", "SLOT", "COMMIT", "BRANCH", "CREATED", "BY", "NOTE",
    ];
    let row = |release: &Release| {
        [
            release.number.to_string(),
            release.status.word().to_owned(),
            release.slot.to_string(),
            release.source.short(),
            release.source.branch.clone().unwrap_or_default(),
            format!("{:.0}", release.created_at),
            release.created_by.user.clone(),
            note(release),
        ]
    };
    Page::table(header, releases.iter().rev().map(row).collect())
}

fn note(release: &Release) -> String {
    let mut notes = Vec::new();
    if let Some(from) = &release.promoted_from {
        notes.push(format!(
            "from {} release {}",
            from.environment, from.release
        ));
    }
    match &release.status {
        ReleaseStatus::Failed { reason } | ReleaseStatus::Reverted { reason } => {
            notes.push(reason.clone());
        }
        _ => {}
    }
    if let Some(probe) = &release.probe {
        notes.push(format!(
            "{} of {} probes failed",
            probe.failures, probe.requests
        ));
    }
    notes.join("; ")
}
