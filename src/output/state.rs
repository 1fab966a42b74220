//! What shipit holds in an environment, and what was done with its state.

use serde_json::{Value, json};

use crate::model::resource::{Settings, shown};
use crate::model::{EnvironmentName, ProjectName};
use crate::output::{Line, Page};

/// One thing that shipit holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HeldItem {
    /// What names it.
    pub address: String,
    /// How it is, in words.
    pub about: String,
    /// Whether `state rm` may be asked for it.
    pub can_be_forgotten: bool,
    /// The settings of a provider's resource.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
}

/// What shipit holds in an environment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StateList {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Where the state is.
    pub place: String,
    /// Which line of history; none before the first run.
    pub lineage: Option<String>,
    /// How far it has come.
    pub serial: u64,
    /// What is held.
    pub items: Vec<HeldItem>,
    /// That the state is behind, in words.
    pub note: Option<String>,
}

/// What is held, for a person.
#[must_use]
pub fn list(list: &StateList) -> Page {
    let lineage = list.lineage.as_deref().unwrap_or("none yet");
    let mut page = Page::of(format!(
        "{} → {} · serial {} of lineage {lineage} · in {}",
        list.project, list.environment, list.serial, list.place
    ));
    page.blank();
    if list.items.is_empty() {
        page.line("Nothing is held. `shipit apply` makes the first release.");
    } else {
        page.extend(table(&list.items));
    }
    if let Some(note) = &list.note {
        page.blank();
        page.line(Line::note(note));
    }
    page
}

fn table(items: &[HeldItem]) -> Page {
    let mut rows = Vec::new();
    for item in items {
        rows.push([item.address.clone(), item.about.clone()]);
        for (name, value) in &item.settings {
            rows.push([format!("  {name}"), shown(value)]);
        }
    }
    Page::table(["ADDRESS", "WHAT"], rows)
}

/// What would be forgotten, for a person who is asked.
#[must_use]
pub fn removal(about: &str, follows: &[String]) -> Page {
    let mut page = Page::of(format!("shipit forgets {about}"));
    for line in follows {
        page.line(format!("  - {line}"));
    }
    page
}

/// What was forgotten, for a program.
#[must_use]
pub fn removed(address: &str, follows: &[String], serial: u64) -> Value {
    json!({"removed": address, "follows": follows, "serial": serial})
}
