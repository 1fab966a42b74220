//! Which branch deploys where.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::model::EnvironmentName;
use crate::model::branch::{
    BranchRule, DirectCommits, MergeKind, MergeKinds, Offshoots, ReleaseRule,
};

/// The key beside the branches. A branch may have that name all the same: a rule is a map.
const FETCH: &str = "fetch";

/// Which branch deploys where, and what may reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Branches {
    /// Whether what the rules need of the remote is fetched, as `--fetch` does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fetch: bool,
    /// The rules, by the branch's name or a glob.
    #[serde(flatten)]
    pub rules: BTreeMap<String, Branch>,
}

/// One branch's rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// The environment that it deploys to. A branch without one has rules only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
    /// The branches from which it takes merges, and from whose environments it takes promotions.
    #[serde(default)]
    pub accepts: Vec<String>,
    /// The only branches that may take it. Without it whoever accepts it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives: Option<Vec<String>>,
    /// Whether commits may be made on it directly.
    #[serde(default = "yes")]
    pub direct_commits: bool,
    /// How an accepted branch may come to it: by merge commits, by squash merges, by rebase merges.
    /// Each new commit of the latter two has to be exactly what the merge gives. They need Git 2.38
    /// or later.
    #[serde(default = "merge_commits")]
    pub merges: MergeKinds,
    /// Whether other branches may be made from it. With `false` only the branches that accept it
    /// may have its own commits.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub offshoots: bool,
    /// The commit or tag with which the rules about commits begin: it, and what it has behind it,
    /// is not looked at. Without one the whole history is, at a first release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Which tags its commits have. A word alone, as `beta` or `stable`, is for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseConfig>,
}

impl Branch {
    /// The rule of the branches that a name or a glob matches.
    #[must_use]
    pub fn rule(&self, pattern: &str) -> BranchRule {
        BranchRule {
            pattern: pattern.to_owned(),
            environment: self.environment.clone(),
            accepts: self.accepts.clone(),
            gives: self.gives.clone(),
            merges: self.merges.clone(),
            since: self.since.clone(),
            direct_commits: if self.direct_commits {
                DirectCommits::Allowed
            } else {
                DirectCommits::Refused
            },
            offshoots: if self.offshoots {
                Offshoots::Allowed
            } else {
                Offshoots::Refused
            },
            release: self.release.as_ref().and_then(ReleaseConfig::rule),
        }
    }
}

impl Branches {
    /// The rules, those with a name before those with a glob.
    #[must_use]
    pub fn branch_rules(&self) -> Vec<BranchRule> {
        let rules = self.rules.iter();
        let mut rules: Vec<BranchRule> = rules.map(|(name, branch)| branch.rule(name)).collect();
        rules.sort_by_key(|rule| rule.pattern.contains('*'));
        rules
    }
}

/// The releases of a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ReleaseConfig {
    /// A word for people.
    Word(String),
    /// Which tag each commit has.
    Rule(ReleaseRule),
}

impl ReleaseConfig {
    /// What is asked of tags; nothing by a word.
    #[must_use]
    pub fn rule(&self) -> Option<ReleaseRule> {
        match self {
            Self::Word(_) => None,
            Self::Rule(rule) => Some(rule.clone()),
        }
    }
}

struct ReleaseVisitor;

impl<'de> Visitor<'de> for ReleaseVisitor {
    type Value = ReleaseConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word (`beta`), or a map with `kind`")
    }

    fn visit_str<E>(self, text: &str) -> Result<ReleaseConfig, E> {
        Ok(ReleaseConfig::Word(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ReleaseConfig, A::Error> {
        ReleaseRule::deserialize(MapAccessDeserializer::new(map)).map(ReleaseConfig::Rule)
    }
}

impl<'de> Deserialize<'de> for ReleaseConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReleaseVisitor)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde gives a reference
const fn is_yes(value: &bool) -> bool {
    *value
}

fn merge_commits() -> MergeKinds {
    MergeKinds::from([MergeKind::Merge])
}

const fn yes() -> bool {
    true
}

/// What stands at the key `fetch`.
enum Entry {
    Fetch(bool),
    Rule(Branch),
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`true`, `false` or the rule of a branch of that name")
    }

    fn visit_bool<E>(self, fetch: bool) -> Result<Entry, E> {
        Ok(Entry::Fetch(fetch))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        Branch::deserialize(MapAccessDeserializer::new(map)).map(Entry::Rule)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct BranchesVisitor;

impl<'de> Visitor<'de> for BranchesVisitor {
    type Value = Branches;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Branches, A::Error> {
        let mut branches = Branches::default();
        while let Some(name) = map.next_key::<String>()? {
            if name != FETCH {
                branches.rules.insert(name, map.next_value()?);
                continue;
            }
            match map.next_value()? {
                Entry::Fetch(fetch) => branches.fetch = fetch,
                Entry::Rule(rule) => {
                    branches.rules.insert(name, rule);
                }
            }
        }
        Ok(branches)
    }
}

impl<'de> Deserialize<'de> for Branches {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BranchesVisitor)
    }
}

impl JsonSchema for Branches {
    fn schema_name() -> Cow<'static, str> {
        "Branches".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rule = generator.subschema_for::<Branch>();
        json_schema!({
            "description": "Which branch deploys where, and what may reach it.",
            "type": "object",
            "properties": {
                FETCH: {
                    "description": "Whether what the rules need of the remote is fetched, as \
                                    `--fetch` does; or the rule of a branch of that name.",
                    "anyOf": [{"type": "boolean"}, rule]
                }
            },
            "additionalProperties": rule
        })
    }
}
