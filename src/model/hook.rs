//! Hooks: what a project has called around the stages of a run.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::plan::Plan;
use crate::model::release::Actor;
use crate::model::secret::SecretRef;
use crate::model::task::OnFailure;
use crate::model::{EnvironmentName, HookName, Period, ProjectName};

/// A stage of a run that something may be called around.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum HookStage {
    /// The plan is made.
    Plan,
    /// Images are built.
    Build,
    /// The release is deployed beside the live one, and becomes ready.
    Deploy,
    /// Live traffic is switched, or the live release is replaced in place.
    Switch,
    /// Live traffic goes back to an earlier release: by `shipit rollback`, or because a run has
    /// failed after its switch.
    Rollback,
}

/// Before or after a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookSide {
    /// Before it begins.
    Before,
    /// Once it is done.
    After,
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HookPoint {
    /// On which side.
    pub side: HookSide,
    /// Of which stage.
    pub stage: HookStage,
}

impl HookPoint {
    /// Before a stage.
    #[must_use]
    pub const fn before(stage: HookStage) -> Self {
        let side = HookSide::Before;
        Self { side, stage }
    }

    /// After a stage.
    #[must_use]
    pub const fn after(stage: HookStage) -> Self {
        let side = HookSide::After;
        Self { side, stage }
    }
}

impl HookStage {
    /// As it is written in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Build => "build",
            Self::Deploy => "deploy",
            Self::Switch => "switch",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            HookSide::Before => "before",
            HookSide::After => "after",
        };
        write!(f, "{side} {}", self.stage.as_str())
    }
}

/// A hook, with everything that is to be known of it before it is called.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hook {
    /// Its name.
    pub name: HookName,
    /// When it is called.
    pub point: HookPoint,
    /// What is called.
    pub call: HookCall,
    /// How long it may take. It is ended then, and has failed.
    pub timeout: Period,
    /// What its failure means.
    pub on_failure: OnFailure,
}

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookCall {
    /// A program in the project's folder.
    Run {
        /// The argument vector.
        command: Vec<String>,
        /// Variables that it has besides those of every hook.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        /// Variables whose values are secrets: by which name each is under `secrets`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        secrets: BTreeMap<String, HookSecret>,
        /// Variables that it has from the process that applies.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pass: Vec<String>,
    },
    /// A server, by a webhook.
    Http {
        /// Its address.
        url: String,
        /// The key that both know.
        key: HookSecret,
    },
}

/// A secret by its name, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HookSecret {
    /// The name under the environment's `secrets`.
    pub name: String,
    /// Where it comes from.
    pub from: SecretRef,
}

impl HookCall {
    /// What is called, for a reader.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Run { command, .. } => command.join(" "),
            Self::Http { url, .. } => {
                let end = url.find(['?', '#']).unwrap_or(url.len());
                format!("POST {}", &url[..end])
            }
        }
    }
}

/// What a hook is told of the run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HookFacts {
    /// The hook's name.
    pub hook: HookName,
    /// When it is called, as `before switch`.
    pub point: String,
    /// The project.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// The run's id. A hook that is called again for the same run has the same.
    pub run: String,
    /// Who runs it.
    pub actor: String,
    /// The release that is deployed or gets live traffic.
    pub release: Option<u64>,
    /// The slot that it is in.
    pub slot: Option<String>,
    /// The slot that has live traffic when the plan is made.
    pub active: Option<String>,
    /// The full commit id.
    pub commit: Option<String>,
    /// The branch.
    pub branch: Option<String>,
    /// The image of each service, as far as it is known.
    pub images: BTreeMap<String, String>,
}

impl HookFacts {
    /// What is known from a plan. Images are those that it names.
    #[must_use]
    pub fn of_plan(plan: &Plan, hook: &Hook, actor: &Actor) -> Self {
        let target = plan.target.as_ref();
        let source = target.map_or(&plan.source, |target| &target.source);
        Self {
            release: target.map(|target| target.release.0),
            slot: target.map(|target| target.slot.to_string()),
            active: plan.active.as_ref().map(|active| active.slot.to_string()),
            commit: source.commit.clone(),
            branch: source.branch.clone(),
            ..Self::new(hook, (&plan.project, &plan.environment), actor)
        }
    }

    /// What is known before there is a plan.
    #[must_use]
    pub fn new(
        hook: &Hook,
        (project, environment): (&ProjectName, &EnvironmentName),
        actor: &Actor,
    ) -> Self {
        Self {
            hook: hook.name.clone(),
            point: hook.point.to_string(),
            project: project.to_string(),
            environment: environment.to_string(),
            run: actor.run.clone(),
            actor: format!("{}@{}", actor.user, actor.host),
            release: None,
            slot: None,
            active: None,
            commit: None,
            branch: None,
            images: BTreeMap::new(),
        }
    }

    /// The same as variables. What is not known is not set.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let known = [
            ("SHIPIT_HOOK", Some(self.hook.to_string())),
            ("SHIPIT_POINT", Some(self.point.replace(' ', "_"))),
            ("SHIPIT_PROJECT", Some(self.project.clone())),
            ("SHIPIT_ENVIRONMENT", Some(self.environment.clone())),
            ("SHIPIT_RUN", Some(self.run.clone())),
            ("SHIPIT_ACTOR", Some(self.actor.clone())),
            ("SHIPIT_RELEASE", self.release.map(|it| it.to_string())),
            ("SHIPIT_SLOT", self.slot.clone()),
            ("SHIPIT_ACTIVE_SLOT", self.active.clone()),
            ("SHIPIT_COMMIT", self.commit.clone()),
            ("SHIPIT_BRANCH", self.branch.clone()),
        ];
        let known = known.into_iter();
        known
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}
