//! Hooks: what is called around the stages of a run.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::schema::{CommandWords, EnvEntry, SecretEntry};
use crate::model::hook::{HookPoint, HookStage};
use crate::model::task::OnFailure;
use crate::model::{EnvironmentName, HookName, Period};

/// All hooks, by names of your own.
pub type Hooks = BTreeMap<HookName, HookConfig>;

/// Something that is called around a stage of a run. Exactly one of `before` and `after`, and
/// exactly one of `run` and `http`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookConfig {
    /// Before this stage begins. Its failure stops the run before anything of the stage is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<HookStage>,
    /// Once this stage is done. Its failure is noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<HookStage>,
    /// This command runs in the project's folder, without a shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<CommandWords>,
    /// This server is asked, by a webhook that is signed as Standard Webhooks says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HookHttp>,
    /// How long it may take. It is ended then, and has failed.
    #[serde(default = "a_minute")]
    pub timeout: Period,
    /// What its failure means: `stop` without it for a hook that is `before`, `note` for one that
    /// is `after` or around a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// `run`: variables that it has: texts, or `{secret: NAME}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvEntry>,
    /// `run`: variables of this process that it has, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass: Vec<String>,
    /// In which environments; in all without it.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub environments: Option<BTreeSet<EnvironmentName>>,
}

/// A server that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookHttp {
    /// Its address.
    pub url: String,
    /// The key that both know: `whsec_`, and 24 to 64 bytes in base64.
    pub secret: SecretEntry,
}

impl HookConfig {
    /// When it is called; none when no key or both say it, which a checked configuration never has.
    #[must_use]
    pub const fn point(&self) -> Option<HookPoint> {
        match (self.before, self.after) {
            (Some(stage), None) => Some(HookPoint::before(stage)),
            (None, Some(stage)) => Some(HookPoint::after(stage)),
            _ => None,
        }
    }

    /// What its failure means.
    #[must_use]
    pub fn means(&self) -> OnFailure {
        let is_before = self
            .before
            .is_some_and(|stage| stage != HookStage::Rollback);
        let usual = if is_before {
            OnFailure::Stop
        } else {
            OnFailure::Note
        };
        self.on_failure.unwrap_or(usual)
    }

    /// Whether it is called in this environment.
    #[must_use]
    pub fn is_for(&self, environment: &EnvironmentName) -> bool {
        let named = self.environments.as_ref();
        named.is_none_or(|named| named.contains(environment))
    }

    /// The secrets that it names, by the keys that name them.
    #[must_use]
    pub fn secrets(&self) -> Vec<(Vec<&str>, &str)> {
        let of_env = self.env.iter().filter_map(|(name, entry)| match entry {
            EnvEntry::Secret(secret) => Some((vec!["env", name], secret.secret.as_str())),
            EnvEntry::Text(_) => None,
        });
        let http = self.http.iter();
        let of_http = http.map(|http| (vec!["http", "secret"], http.secret.secret.as_str()));
        of_env.chain(of_http).collect()
    }
}

const fn a_minute() -> Period {
    Period::from_secs(60)
}
