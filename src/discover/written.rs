//! Scalars as they are written. YAML takes `022` for a number and `on`, in its older form, for a
//! flag; whoever wrote them into a variable meant the text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What `on`, `off`, `yes` and `no` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Texts, as YAML 1.2 and the readers of Go have it.
    Texts,
    /// Flags, as YAML 1.1 and Ruby have it.
    Flags,
}

/// Reads a document once more that was read with types: what was a number is its text, and so is
/// what was a flag, but for `true` and `false` and what else is said to be one.
pub(super) struct Written<'a>(pub &'a Value, pub Words);

impl<'de> DeserializeSeed<'de> for Written<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.0 {
            Value::Array(_) => from.deserialize_seq(self),
            Value::Object(_) => from.deserialize_map(self),
            Value::Number(_) | Value::Bool(_) => from.deserialize_string(self),
            Value::Null | Value::String(_) => {
                from.deserialize_ignored_any(IgnoredAny)?;
                Ok(self.0.clone())
            }
        }
    }
}

impl<'de> Visitor<'de> for Written<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was there before")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        let is_flag = matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE");
        Ok(match self.0 {
            Value::Bool(_) if is_flag || self.1 == Words::Flags => self.0.clone(),
            _ => Value::String(text.to_owned()),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        for typed in self.0.as_array().into_iter().flatten() {
            match items.next_element_seed(Written(typed, self.1))? {
                Some(item) => read.push(item),
                None => break,
            }
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let typed = self.0.get(&key).unwrap_or(&Value::Null);
            let value = entries.next_value_seed(Written(typed, self.1))?;
            read.insert(key, value);
        }
        Ok(Value::Object(read))
    }
}
