//! The history of releases as a table.

use crate::model::approval::names;
use crate::model::command::CommandRecord;
use crate::model::release::{Release, ReleaseStatus};
use crate::output::{Line, Page};

/// What a state has of an environment's past.
#[derive(Debug, Clone, serde::Serialize)]
pub struct HistoryView {
    /// The releases, oldest first.
    pub releases: Vec<Release>,
    /// What people ran (`exec`, `run`, `restart`) and how they changed the state, oldest first.
    pub commands: Vec<CommandRecord>,
    /// That there may be more of them, in words.
    pub note: Option<String>,
}

/// The history for a person.
#[must_use]
pub fn page(history: &HistoryView) -> Page {
    let mut page = table(&history.releases);
    if !history.commands.is_empty() {
        page.blank();
        page.extend(commands(&history.commands));
    }
    if let Some(note) = &history.note {
        page.blank();
        page.line(Line::note(note));
    }
    page
}

/// The releases, newest first.
fn table(releases: &[Release]) -> Page {
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

/// The commands, newest first.
fn commands(commands: &[CommandRecord]) -> Page {
    let header = ["COMMAND", "SLOT", "SERVICE", "AT", "BY", "EXIT"];
    let row = |command: &CommandRecord| {
        let words = command.command.join(" ");
        [
            format!("{} {words}", command.place.word())
                .trim_end()
                .to_owned(),
            command
                .slot
                .map_or_else(|| "-".to_owned(), |slot| slot.to_string()),
            command
                .service
                .as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string),
            format!("{:.0}", command.at),
            command.actor.user.clone(),
            command
                .exit
                .map_or_else(|| "-".to_owned(), |exit| exit.to_string()),
        ]
    };
    Page::table(header, commands.iter().rev().map(row).collect())
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

    if !release.approvals.is_empty() {
        notes.push(format!("approved by {}", names(&release.approvals)));
    }

    if let Some(reason) = &release.outside_window {
        notes.push(format!("outside of the windows: {reason}"));
    }

    if let Some(probe) = &release.probe {
        notes.push(format!(
            "{} of {} probes failed",
            probe.failures, probe.requests
        ));
    }

    notes.join("; ")
}
