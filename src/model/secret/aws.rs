//! Secrets that Amazon keeps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A secret of Amazon's Secrets Manager.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsSecret {
    /// Its name or ARN.
    pub name: String,
    /// The key of a value, of a secret that is a map in JSON; all of it without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The id of the version that is read; the current one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A parameter of the Parameter Store of Amazon's Systems Manager.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AwsParameter {
    /// Its name or ARN.
    pub name: String,
    /// The version that is read; the newest without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl AwsParameter {
    /// As Amazon's own tools take it: `/shop/flags`, or `/shop/flags:3` for a version. None when
    /// what is behind the colon is no version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The parts of an ARN have colons between them, and none in the parameter's name.
        let name = text
            .rsplit_once(":parameter")
            .map_or(text, |(_, name)| name);
        let (name, version) = match name.split_once(':') {
            None => (text, None),
            Some((_, version)) => {
                let name = &text[..text.len() - version.len() - 1];
                (name, Some(version.parse().ok()?))
            }
        };
        let is_named = !name.is_empty() && version != Some(0);
        is_named.then(|| Self {
            name: name.to_owned(),
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_named_as_amazons_tools_name_it() {
        let arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/flags";
        for (text, name, version) in [
            ("/shop/flags", "/shop/flags", None),
            ("flags:3", "flags", Some(3)),
            (arn, arn, None),
            (&format!("{arn}:7"), arn, Some(7)),
        ] {
            let found = AwsParameter::parse(text).expect(text);
            assert_eq!((found.name.as_str(), found.version), (name, version));
        }
        for wrong in ["", "flags:label", "flags:0", "flags:", ":1"] {
            assert_eq!(AwsParameter::parse(wrong), None, "{wrong}");
        }
    }
}
