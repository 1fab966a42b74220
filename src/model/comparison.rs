//! Whether two environments are alike, and in what they may differ.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{EnvironmentName, ProjectName};

/// Fields in which environments may differ: a field's path, in which `*` stands for any text. What
/// is beneath it is meant, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FieldPattern(String);

impl FieldPattern {
    /// Whether a field is meant.
    #[must_use]
    pub fn matches(&self, field: &str) -> bool {
        let pattern = self.0.trim();
        !pattern.is_empty() && begins(pattern, field)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for FieldPattern {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Whether a text is what a pattern says, or something beneath it.
fn begins(pattern: &str, text: &str) -> bool {
    let Some((fixed, rest)) = pattern.split_once('*') else {
        let beneath = text.strip_prefix(pattern);
        return beneath.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', ' ']));
    };
    let Some(after) = text.strip_prefix(fixed) else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    let mut ends = after.char_indices().map(|(at, _)| at);
    ends.any(|at| begins(rest, &after[at..]))
}

/// How two environments compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The project.
    pub project: ProjectName,
    /// One environment.
    pub left: EnvironmentName,
    /// The other.
    pub right: EnvironmentName,
    /// How many fields were compared.
    pub compared: usize,
    /// In what they differ although they should not.
    pub differences: Vec<Difference>,
    /// In what they differ as they may.
    pub allowed: Vec<Difference>,
    /// What could not be compared, and why: nobody can say that they are alike.
    pub unknown: Vec<String>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// Something that is not the same in two environments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In which part of them.
    pub part: Part,
    /// Which field.
    pub field: String,
    /// What it is in one; none when it is not there.
    pub left: Option<String>,
    /// What it is in the other; none when it is not there.
    pub right: Option<String>,
}

/// A part of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What has live traffic.
    Live,
    /// What the configuration says.
    Configuration,
    /// The values of secrets, of which nothing else is told.
    Secrets,
}

impl Part {
    /// As a heading.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Configuration => "configuration",
            Self::Secrets => "secrets",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_field_and_what_is_beneath_it() {
        let pattern = |text: &str| FieldPattern::from(text);
        for (text, field) in [
            ("strategy", "strategy"),
            ("services.web", "services.web.env.A"),
            ("services.*.replicas", "services.web.replicas"),
            ("services.*.env.URL", "services.web.env.URL"),
            (
                "services.web.Ingress/* spec.rules",
                "services.web.Ingress/web spec.rules[0].host",
            ),
            ("*", "anything"),
            ("secrets.*", "secrets.database_url"),
        ] {
            assert!(pattern(text).matches(field), "{text}: {field}");
        }
        for (text, field) in [
            ("", "strategy"),
            ("strat", "strategy"),
            ("services.web", "services.website.port"),
            ("services.*.env.URL", "services.web.env.URL2"),
            ("*.replicas", "services.web.port"),
        ] {
            assert!(!pattern(text).matches(field), "{text}: {field}");
        }
    }
}
