//! What is recorded, so that the next agent goes on where this one was.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use jiff::Timestamp;

use crate::agent::Directory;
use crate::files;
use crate::model::port::PortName;
use crate::model::release::{Actor, Label};
use crate::model::route::Route;
use crate::model::task::{TaskExit, TaskId};
use crate::model::test_report::TestReport;
use crate::model::workload::{ContainerKind, Workload};
use crate::model::{Digest, Fingerprint, LiveTraffic, ServiceName, Slot};
use crate::port::engine::Scope;

/// One environment. Never holds a secret's value.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct EnvironmentRecord {
    /// Which environment.
    pub scope: Scope,
    /// Whose it is.
    pub lineage: Option<String>,
    /// The highest fencing number seen.
    pub fence: u64,
    /// Who changed it last.
    pub changed_by: Option<Actor>,
    /// When.
    pub changed_at: Option<Timestamp>,
    /// The slot with live traffic.
    #[serde(rename = "active")]
    pub traffic: LiveTraffic,
    /// When traffic was last switched.
    pub switched_at: Option<Timestamp>,
    /// What stands in the slots.
    pub slots: BTreeMap<Slot, SlotRecord>,
    /// The listeners.
    pub routes: BTreeMap<ServiceName, Route>,
}

/// What stands in a slot.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct SlotRecord {
    /// Which release.
    pub label: Label,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When it is stopped.
    pub stops_at: Option<Timestamp>,
    /// Its workloads.
    pub workloads: BTreeMap<ServiceName, WorkloadRecord>,
}

/// One service in a slot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WorkloadRecord {
    /// What runs.
    pub spec: Workload,
    /// Whether it is meant to.
    pub running: bool,
    /// What stands for the values that its secrets were given, by name: keyed hashes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
}

/// A process that an agent started.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcessRecord {
    /// In which slot.
    pub slot: Slot,
    /// Of which service.
    pub service: ServiceName,
    /// Which of its instances.
    pub index: u16,
    /// The process id.
    pub pid: u32,
    /// Its start time in clock ticks since boot: with the boot's id, what makes the pid certain.
    pub started: u64,
    /// The boot that it was started in.
    pub boot: String,
    /// Where it listens for the traffic.
    pub port: Option<u16>,
    /// Where it listens besides, by the port's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<PortName, u16>,
    /// How often it was started again.
    pub restarts: u32,
    /// Whether it was ever ready: then it may have traffic.
    #[serde(default = "yes")]
    pub ready: bool,
    /// What it was started as: while one release replaces another in place, processes of both
    /// stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Fingerprint>,
    /// Its image, whose files it may be reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// The name of its container or unit, if it runs in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The folder of the files that it finds, if it finds any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<PathBuf>,
    /// What it and all that it starts are marked with, where nothing else holds them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

/// Agents before this was recorded took everything back as ready.
const fn yes() -> bool {
    true
}

impl EnvironmentRecord {
    /// The lineage of the state that owns the environment: nobody's when nothing of it is there.
    #[must_use]
    pub fn owner(&self) -> Option<&String> {
        let is_empty = self.slots.is_empty() && self.routes.is_empty();
        self.lineage.as_ref().filter(|_| !is_empty)
    }

    /// An environment that nothing was done to.
    #[must_use]
    pub const fn new(scope: Scope) -> Self {
        Self {
            scope,
            lineage: None,
            fence: 0,
            changed_by: None,
            changed_at: None,
            traffic: LiveTraffic::Off,
            switched_at: None,
            slots: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }

    /// Whether the Docker Engine has to be asked for anything.
    #[must_use]
    pub fn is_dockers(&self) -> bool {
        let slots = self.slots.values();
        let mut workloads = slots.flat_map(|there| there.workloads.values());
        workloads.any(|workload| workload.spec.runs_by() == Some(ContainerKind::Docker))
    }

    /// Where what is recorded of it is.
    #[must_use]
    pub fn folder(directory: &Directory, scope: &Scope) -> PathBuf {
        directory
            .records()
            .join(scope.project.as_str())
            .join(scope.environment.as_str())
    }

    /// Writes it down; returns when the disk has it.
    pub fn save(&self, directory: &Directory) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        files::replace(
            &Self::folder(directory, &self.scope).join("record.json"),
            &bytes,
        )
    }

    /// Every environment that is recorded.
    pub fn load_all(directory: &Directory) -> io::Result<Vec<Self>> {
        let mut records = Vec::new();
        for project in folders(&directory.records())? {
            for environment in folders(&project)? {
                let path = environment.join("record.json");
                let bytes = match fs::read(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    other => other?,
                };
                let damaged =
                    |error| io::Error::other(format!("{} cannot be read: {error}", path.display()));
                records.push(serde_json::from_slice(&bytes).map_err(damaged)?);
            }
        }
        Ok(records)
    }
}

fn folders(path: &std::path::Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(entries) => Ok(entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|p| p.is_dir())
            .collect()),
    }
}

/// The processes of one environment, as they were last started.
#[derive(Debug, Clone, Default)]
pub struct Processes;

impl Processes {
    fn path(directory: &Directory, scope: &Scope) -> PathBuf {
        EnvironmentRecord::folder(directory, scope).join("processes.json")
    }

    /// Writes them down.
    pub fn save(
        directory: &Directory,
        scope: &Scope,
        processes: &[ProcessRecord],
    ) -> io::Result<()> {
        files::replace(
            &Self::path(directory, scope),
            &serde_json::to_vec_pretty(processes)?,
        )
    }

    /// Those that were recorded; none when that cannot be read, for then they are started again.
    #[must_use]
    pub fn load(directory: &Directory, scope: &Scope) -> Vec<ProcessRecord> {
        let bytes = fs::read(Self::path(directory, scope)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }
}

/// A task that was begun. Never holds a secret's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TaskFile {
    /// How it ended; none while it runs, and of one whose agent has ended before it.
    pub exit: Option<TaskExit>,
    /// The last lines of its output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// What its tests say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestReport>,
}

/// Of how many tasks an environment keeps what became of them: the last ones.
const TASKS: usize = 64;

impl TaskFile {
    fn folder(directory: &Directory, scope: &Scope) -> PathBuf {
        EnvironmentRecord::folder(directory, scope).join("tasks")
    }

    fn path(directory: &Directory, scope: &Scope, id: &TaskId) -> PathBuf {
        Self::folder(directory, scope).join(format!("{id}.json"))
    }

    /// What was recorded of a task; none when it was never begun. What cannot be read was begun,
    /// and nobody knows how it ended.
    #[must_use]
    pub fn load(directory: &Directory, scope: &Scope, id: &TaskId) -> Option<Self> {
        match fs::read(Self::path(directory, scope, id)) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(_) => Some(Self::default()),
            Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap_or_default()),
        }
    }

    /// Writes it down; returns when the disk has it.
    pub fn save(&self, directory: &Directory, scope: &Scope, id: &TaskId) -> io::Result<()> {
        Self::forget_oldest(&Self::folder(directory, scope));
        let path = Self::path(directory, scope, id);
        files::replace(&path, &serde_json::to_vec_pretty(self)?)
    }

    /// Forgets a task.
    pub fn remove(directory: &Directory, scope: &Scope, id: &TaskId) {
        let _ = fs::remove_file(Self::path(directory, scope, id));
    }

    fn forget_oldest(folder: &std::path::Path) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let over = files.len().saturating_sub(TASKS);
        for (_, path) in files.into_iter().take(over) {
            let _ = fs::remove_file(path);
        }
    }
}

/// This boot's id: a pid and a start time mean something only within it.
#[must_use]
pub fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
