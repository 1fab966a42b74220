//! The history of releases as a table.

use comfy_table::{Table, presets};

use crate::model::release::{Release, Status};

/// The releases, newest first.
#[must_use]
pub fn table(releases: &[Release]) -> String {
    if releases.is_empty() {
        return "No release yet. `shipit apply` makes the first one.\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "RELEASE", "STATUS", "SLOT", "COMMIT", "BRANCH", "MADE", "BY", "NOTE",
    ]);
    for release in releases.iter().rev() {
        table.add_row([
            release.number.to_string(),
            release.status.word().to_owned(),
            release.slot.to_string(),
            release.source.short(),
            release.source.branch.clone().unwrap_or_default(),
            format!("{:.0}", release.created_at),
            release.created_by.user.clone(),
            note(release),
        ]);
    }
    trimmed(&table)
}

/// The table without blanks at the ends of its lines.
pub(super) fn trimmed(table: &Table) -> String {
    table
        .lines()
        .flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()])
        .collect()
}

fn note(release: &Release) -> String {
    let mut notes = Vec::new();
    if let Some(from) = &release.carried_from {
        notes.push(format!(
            "from {} release {}",
            from.environment, from.release
        ));
    }
    match &release.status {
        Status::Failed { reason } | Status::Reverted { reason } => notes.push(reason.clone()),
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
