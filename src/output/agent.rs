//! An agent, for a person and as a document.

use crate::model::LiveTraffic;
use crate::output::Page;

/// Whether an agent runs in a folder, and what it has.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AgentView {
    /// The folder.
    pub directory: String,
    /// The agent that runs there.
    pub agent: Option<RunningAgent>,
}

/// An agent that runs.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RunningAgent {
    /// Which shipit it is.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when, RFC 3339.
    pub since: String,
    /// The environments that it knows.
    pub environments: Vec<ManagedEnvironment>,
}

/// An environment of an agent.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ManagedEnvironment {
    /// Its project and its name.
    pub name: String,
    /// Where live traffic goes.
    #[serde(rename = "active")]
    pub traffic: LiveTraffic,
    /// How many instances run.
    pub instances: usize,
    /// How many addresses it listens at.
    pub listeners: usize,
}

/// The agent for a person.
#[must_use]
pub fn human(view: &AgentView) -> Page {
    let directory = &view.directory;
    let Some(agent) = &view.agent else {
        return Page::of(format!(
            "No agent runs in {directory}. `shipit apply` starts one."
        ));
    };

    let (version, pid, since) = (&agent.version, agent.pid, &agent.since);
    let mut page = Page::of(format!(
        "shipit agent {version}, pid {pid}, since {since}, in {directory}"
    ));
    for one in &agent.environments {
        let active = one.traffic.slot().map_or_else(
            || "nothing live".to_owned(),
            |slot| format!("{slot} is active"),
        );
        let (name, instances, listeners) = (&one.name, one.instances, one.listeners);
        page.line(format!(
            "  {name}: {active}, {instances} instances, {listeners} listeners"
        ));
    }
    page
}
