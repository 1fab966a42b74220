//! What runs where, as a table and as a document.

mod ports;
mod schedules;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::model::approval::{SignedBy, names};
use crate::model::facts::{Facts, HealthState, SlotFacts, WorkloadFacts};
use crate::model::outcome::Url;
use crate::model::schedule::ScheduleFacts;
use crate::model::source;
use crate::model::{EnvironmentName, ProjectName, Role, ServiceName, Slot};
use crate::output::paint::BOLD;
use crate::output::{Line, Page};

/// An environment's status.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StatusView {
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
    /// The addresses of the cloud's load balancers for live traffic; null for one that has none
    /// yet.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub load_balancers: BTreeMap<ServiceName, Option<String>>,
    /// Who signed the plans of the release in each slot; left out where nobody did.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub approvals: BTreeMap<Slot, Vec<SignedBy>>,
    /// The tasks of the live release that run by themselves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleFacts>,
    /// Who holds the lock, in words.
    pub lock: Option<String>,
    /// What the reader should know besides.
    pub notes: Vec<String>,
}

/// The status for a person.
#[must_use]
pub fn human(status: &StatusView, now: Timestamp) -> Page {
    let title = Line::new()
        .paint(BOLD, &status.project)
        .text(" → ")
        .paint(BOLD, &status.environment);
    let mut page = Page::of(title);
    page.blank();
    if status.facts.slots.is_empty() {
        page.line("Nothing runs here yet. `shipit apply` makes the first release.");
    } else {
        page.extend(table(status, now));
        page.extend(ports::table(status));
        page.extend(schedules::table(status, now));
    }
    let (balancers, changed) = (balancers(status), changed(status));
    let approved = approved(status);
    let notes = status.lock.iter().chain(&balancers).chain(&status.notes);
    for note in notes.chain(&approved).chain(&changed) {
        page.blank();
        page.line(Line::note(note));
    }
    page
}

/// Where the cloud's load balancers answer.
fn balancers(status: &StatusView) -> Vec<String> {
    let all = status.load_balancers.iter();
    all.map(|(service, address)| match address {
        Some(address) => format!("the load balancer of {service} is {address}"),
        None => format!("the load balancer of {service} has no address yet"),
    })
    .collect()
}

/// By whose word it runs.
fn approved(status: &StatusView) -> Vec<String> {
    let all = status.approvals.iter();
    all.filter_map(|(slot, signed)| {
        let release = status.facts.slots.get(slot)?.label.number;
        Some(format!(
            "release {release} in {slot} was approved by {}",
            names(signed)
        ))
    })
    .collect()
}

/// What runs from files that are not its image's any more.
fn changed(status: &StatusView) -> Vec<String> {
    let workloads = status.facts.slots.iter().flat_map(|(slot, there)| {
        let named = there.workloads.iter();
        named.map(move |(service, workload)| (slot, service, workload))
    });
    let words = workloads.filter_map(|(slot, service, workload)| {
        if let Some(change) = &workload.changed_on_disk {
            return Some(format!(
                "the image of {service} in {slot} changed on disk: {change}. `shipit apply` \
                 repairs it"
            ));
        }
        let change = workload.altered()?;
        Some(format!(
            "{service} in {slot}: {change}. `shipit apply` makes it anew"
        ))
    });
    words.collect()
}

fn table(status: &StatusView, now: Timestamp) -> Page {
    let header = [
        "SLOT", "ROLE", "RELEASE", "COMMIT", "SERVICE", "HEALTH", "SINCE", "URL",
    ];
    let mut rows = Vec::new();
    for (slot, there) in &status.facts.slots {
        let role = if status.facts.traffic.reaches(*slot) {
            Role::Active
        } else {
            Role::Preview
        };
        for (index, (service, workload)) in there.workloads.iter().enumerate() {
            let first = |text: String| if index == 0 { text } else { String::new() };
            let urls = if role == Role::Active {
                &status.live
            } else {
                &status.preview
            };
            let url = urls
                .iter()
                .find(|url| url.service == *service && url.port.is_none() && workload.running);
            rows.push([
                first(slot.to_string()),
                first(role.to_string()),
                first(there.label.number.to_string()),
                first(commit(there)),
                service.to_string(),
                health(workload),
                since(there, workload.instances.iter().map(|i| i.since).max(), now),
                url.map(|url| url.url.clone()).unwrap_or_default(),
            ]);
        }
    }

    Page::table(header, rows)
}

fn health(workload: &WorkloadFacts) -> String {
    let health = running(workload);
    match workload.changed_on_disk {
        Some(_) => format!("{health}, changed on disk"),
        None => health,
    }
}

fn running(workload: &WorkloadFacts) -> String {
    if !workload.running {
        return "stopped".to_owned();
    }
    let ready = workload
        .instances
        .iter()
        .filter(|i| i.health == HealthState::Ready);
    format!(
        "{} {}/{}",
        workload.health().word(),
        ready.count(),
        workload.spec.replicas
    )
}

fn commit(there: &SlotFacts) -> String {
    let Some(commit) = &there.label.commit else {
        return "-".to_owned();
    };
    source::shown(commit, there.label.dirty)
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
