//! What runs where, as a table and as a document.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use jiff::Timestamp;

use crate::model::facts::{Facts, HealthState, SlotFacts};
use crate::model::outcome::Url;
use crate::model::{EnvironmentName, ProjectName, Role};
use crate::output::history::trimmed;
use crate::output::paint::{BOLD, DIM, paint};

/// An environment's status.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Status {
    /// The version of this document.
    pub format: u32,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// What the engine says.
    pub facts: Facts,
    /// Where services answer live.
    pub live: Vec<Url>,
    /// Where the preview slot answers.
    pub preview: Vec<Url>,
    /// Who holds the lock, in words.
    pub lock: Option<String>,
    /// What the reader should know besides.
    pub notes: Vec<String>,
}

/// The status for a person.
#[must_use]
pub fn human(status: &Status, now: Timestamp) -> String {
    let mut text = format!(
        "{} → {}\n\n",
        paint(BOLD, &status.project),
        paint(BOLD, &status.environment)
    );
    if status.facts.slots.is_empty() {
        text.push_str("Nothing runs here yet. `shipit apply` makes the first release.\n");
    } else {
        text.push_str(&table(status, now));
    }
    for note in status.lock.iter().chain(&status.notes) {
        let _ = write!(text, "\n{} {note}\n", paint(DIM, "note:"));
    }
    text
}

fn table(status: &Status, now: Timestamp) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "SLOT", "ROLE", "RELEASE", "COMMIT", "SERVICE", "HEALTH", "SINCE", "URL",
    ]);
    for (slot, there) in &status.facts.slots {
        let role = if status.facts.active == Some(*slot) {
            Role::Active
        } else {
            Role::Preview
        };
        for (index, (service, workload)) in there.workloads.iter().enumerate() {
            let first = |text: String| if index == 0 { text } else { String::new() };
            let ready = workload
                .instances
                .iter()
                .filter(|i| i.health == HealthState::Ready);
            let health = if workload.running {
                format!(
                    "{} {}/{}",
                    workload.health().word(),
                    ready.count(),
                    workload.spec.replicas
                )
            } else {
                "stopped".to_owned()
            };
            let urls = if role == Role::Active {
                &status.live
            } else {
                &status.preview
            };
            let url = urls
                .iter()
                .find(|url| url.service == *service && workload.running);
            table.add_row([
                first(slot.to_string()),
                first(role.to_string()),
                first(there.label.number.to_string()),
                first(commit(there)),
                service.to_string(),
                health,
                since(there, workload.instances.iter().map(|i| i.since).max(), now),
                url.map(|url| url.url.clone()).unwrap_or_default(),
            ]);
        }
    }
    trimmed(&table)
}

fn commit(there: &SlotFacts) -> String {
    there
        .label
        .commit
        .as_ref()
        .map_or_else(|| "-".to_owned(), |commit| commit.chars().take(7).collect())
}

fn since(there: &SlotFacts, changed: Option<Timestamp>, now: Timestamp) -> String {
    let since = changed.unwrap_or(there.placed_at);
    let mut text = ago(since, now);
    if let Some(stops_at) = there.stops_at {
        let _ = write!(text, ", stops in {}", ago(now, stops_at));
    }
    text
}

/// A length of time to its largest unit: `45s`, `12m`, `3h`, `2d`.
#[must_use]
pub fn ago(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}
