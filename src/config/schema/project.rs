//! What a project is: the document whose parts the other files have.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::schema::{
    ApprovalsConfig, Approvers, Branches, ClusterConfig, Hooks, Manifests, Notify, PolicyConfig,
    RegistryConfig, SecretConfig, ServiceConfig, SourcesConfig, StateConfig, TaskConfig, Text,
    TrafficConfig,
};
use crate::model::comparison::FieldPattern;
use crate::model::promotion::{Promotion, Strategy};
use crate::model::ticket::TicketRule;
use crate::model::window::{Freeze, Window};
use crate::model::{Period, ProjectName, ServiceName, Slot, TaskName};

/// What a project is and where it goes: `shipit.yaml`. A file `environments/NAME.yaml` may override
/// any key for its environment: maps are merged, everything else is replaced, and `null` takes a
/// key away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "shipit.yaml")]
pub struct EnvironmentConfig {
    /// The version of this format: 1.
    pub version: u32,
    /// The project's name.
    pub project: ProjectName,
    /// Which branch deploys where, and what may reach it; by the branch's name or a glob as
    /// `feature/*`.
    #[serde(default)]
    pub branches: Branches,
    /// Rules of the project's own, asked of every plan. An environment's list takes the place of
    /// the project's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<PolicyConfig>,
    /// When live traffic may be touched; without one at any time. Rollbacks are never held up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// When it may not, whatever the windows say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// What a change has to name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketRule>,
    /// Who may approve plans with an SSH key, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub approvers: Approvers,
    /// How many of `approvers` must have signed a plan before it is carried out; without it nobody.
    /// Rollbacks want no approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<ApprovalsConfig>,
    /// Whether nothing that holds data may be deleted or replaced here, and the environment not
    /// deleted, whoever consents to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// In what this environment may differ from others, for `shipit diff ENV --with ENV`: paths of
    /// fields as that prints them, in which `*` stands for any text, as `services.*.replicas`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_differ: Vec<FieldPattern>,
    /// Where images are kept.
    #[serde(default)]
    pub registry: RegistryConfig,
    /// Where releases run.
    #[serde(default)]
    pub cluster: ClusterConfig,
    /// Where history, journal and lock are kept.
    #[serde(default)]
    pub state: StateConfig,
    /// What is kept of the past.
    #[serde(default)]
    pub retention: Retention,
    /// The services.
    pub services: BTreeMap<ServiceName, ServiceConfig>,
    /// What runs once for each release, as a step of its plan: migrations, an index that is filled.
    /// `shipit task NAME` runs one by hand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<TaskName, TaskConfig>,
    /// `kubernetes`: objects of the environment that belong to no slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Manifests>,
    /// How a new release replaces the old one.
    #[serde(default)]
    pub strategy: Strategy,
    /// Where the two slots are, when they are apart. Kubernetes only.
    #[serde(default)]
    pub slots: BTreeMap<Slot, SlotPlace>,
    /// How traffic comes to the services.
    #[serde(default)]
    pub traffic: TrafficConfig,
    /// How a release comes to live traffic.
    #[serde(default)]
    pub promotion: Promotion,
    /// How long a new release has to become ready.
    #[serde(default = "two_minutes")]
    pub ready_within: Period,
    /// Where secrets come from, by name. They are read while a plan is made and while applying, and
    /// never recorded.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretConfig>,
    /// Servers that keep secrets, and how to log in to them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sources: SourcesConfig,
    /// What is called around the stages of a run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: Hooks,
    /// Who is told of runs: a chat, people by e-mail, other programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notify: Notify,
    /// Values for templates, as `{{ vars.NAME }}`.
    #[serde(default)]
    pub vars: BTreeMap<String, Text>,
}

impl EnvironmentConfig {
    /// The services to which traffic comes.
    pub(in crate::config) fn with_ports(&self) -> Vec<&str> {
        let services = self.services.iter();
        services
            .filter(|(_, service)| service.traffic_port().is_some())
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The service that a task names; the only one without a name.
    #[must_use]
    pub fn service_of<'a>(&'a self, task: &'a TaskConfig) -> Option<&'a ServiceName> {
        let mut services = self.services.keys();
        match (&task.service, services.next(), services.next()) {
            (Some(named), ..) => self.services.contains_key(named).then_some(named),
            (None, Some(only), None) => Some(only),
            (None, ..) => None,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

const fn two_minutes() -> Period {
    Period::from_secs(120)
}

/// What is kept of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Of how many releases the images are kept, so that `rollback --to` can reach them.
    pub releases: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { releases: 10 }
    }
}

/// Where one slot is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlotPlace {
    /// Its namespace.
    pub namespace: Option<String>,
}
