//! Who may approve plans, and what an environment wants of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU8;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::model::Period;
use crate::model::approval::{ApprovalRule, Approver};
use crate::model::sshsig::SshKey;

/// People who may approve plans, by name.
pub type Approvers = BTreeMap<String, ApproverConfig>;

/// Somebody who may approve plans: a public SSH key alone, or keys with what else is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ApproverConfig {
    /// The line of a `.pub` file.
    Key(SshKey),
    /// With what else is known.
    Detailed(DetailedApprover),
}

/// Somebody who may approve plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailedApprover {
    /// Public SSH keys, each as the line of its `.pub` file. All of them are one person's.
    pub keys: Vec<SshKey>,
    /// The addresses that their commits have; `not_author` needs them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub email: BTreeSet<String>,
    /// The groups that they are in, by names of your own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
}

impl ApproverConfig {
    /// With all that is known.
    #[must_use]
    pub fn approver(&self, name: &str) -> Approver {
        let (keys, email, groups) = match self {
            Self::Key(key) => (vec![key.clone()], BTreeSet::new(), BTreeSet::new()),
            Self::Detailed(detailed) => (
                detailed.keys.clone(),
                detailed.email.clone(),
                detailed.groups.clone(),
            ),
        };
        Approver {
            name: name.to_owned(),
            keys,
            emails: email.iter().map(|email| email.to_lowercase()).collect(),
            groups,
        }
    }
}

/// All of them.
#[must_use]
pub fn approvers(given: &Approvers) -> Vec<Approver> {
    let each = given.iter();
    each.map(|(name, config)| config.approver(name)).collect()
}

struct ApproverVisitor;

impl<'de> Visitor<'de> for ApproverVisitor {
    type Value = ApproverConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a public SSH key, or a map with `keys`")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<ApproverConfig, E> {
        SshKey::try_from(key.to_owned())
            .map(ApproverConfig::Key)
            .map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ApproverConfig, A::Error> {
        DetailedApprover::deserialize(MapAccessDeserializer::new(map)).map(ApproverConfig::Detailed)
    }
}

impl<'de> Deserialize<'de> for ApproverConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ApproverVisitor)
    }
}

/// How many people must have signed a plan before it is carried out, and who counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalsConfig {
    /// How many people.
    pub count: NonZeroU8,
    /// Names or groups of `approvers` whose approval counts; without any, that of all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// Whether the approval of whoever wrote a commit since the live release does not count.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub not_author: bool,
    /// How old an approval may be when the plan is carried out; without it, any age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Period>,
}

impl Default for ApprovalsConfig {
    fn default() -> Self {
        Self {
            count: NonZeroU8::MIN,
            by: Vec::new(),
            not_author: false,
            within: None,
        }
    }
}

impl ApprovalsConfig {
    /// What it wants.
    #[must_use]
    pub fn rule(&self) -> ApprovalRule {
        ApprovalRule {
            count: usize::from(self.count.get()),
            by: self.by.clone(),
            not_author: self.not_author,
            within: self.within,
        }
    }
}
