//! Texts, and the values of environment variables.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A text. A number is taken as its text; `true` and `false` must be quoted, so that nobody has to
/// guess.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "TextSchema")]
pub struct Text(pub String);

#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum TextSchema {
    Text(String),
    Number(f64),
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvEntry {
    /// A text.
    Text(Text),
    /// A secret of the environment, by its name.
    Secret(SecretEntry),
}

/// A secret by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretEntry {
    /// The name under the environment's `secrets`.
    pub secret: String,
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = EnvEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text (in quotes, if it looks like something else)")
    }

    fn visit_str<E>(self, text: &str) -> Result<EnvEntry, E> {
        Ok(EnvEntry::Text(Text(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<EnvEntry, E> {
        Ok(EnvEntry::Text(Text(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<EnvEntry, E> {
        Ok(EnvEntry::Text(Text(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<EnvEntry, E> {
        Ok(EnvEntry::Text(Text(number.to_string())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnvEntry, A::Error> {
        let map = serde::de::value::MapAccessDeserializer::new(map);
        SecretEntry::deserialize(map).map(EnvEntry::Secret)
    }
}

impl<'de> Deserialize<'de> for EnvEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_bytes(TextVisitor)? {
            EnvEntry::Text(text) => Ok(text),
            EnvEntry::Secret(_) => Err(serde::de::Error::custom(
                "a text is needed here, and no secret",
            )),
        }
    }
}
