//! Types that come in kinds: `kind` says which keys a map has.
//!
//! [`by_kind`] makes such a type: an enum with a variant for each kind, which has its keys in one
//! or more parts. Kinds that share keys share a part. `de` gives the parts of a map one after the
//! other, so that each value keeps its place.

use std::fmt;
use std::sync::LazyLock;

use schemars::Schema;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, Visitor};
use serde_json::{Map, Value, json};

use crate::config::json_schema::schema;

/// The name by which a type that comes in kinds asks for its parts: first its kind, if that is
/// given, then each part, then that nothing is left over.
pub(super) const BY_KIND: &str = "$kind";

/// The key that says which other keys there are.
pub(super) const KIND: &str = "kind";

/// Makes a type whose key `kind` says which other keys there are. `default` names the variant that
/// is meant without the key, and the types of its parts.
macro_rules! by_kind {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident $(by default $default:ident($($empty:ty),+))? {
            $(
                $(#[doc = $doc:literal])+
                $kind:literal => $variant:ident($($part:ident: $type:ty),+),
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(clippy::large_enum_variant)] // there are few of them, and none is moved often
        pub enum $name {
            $( $(#[doc = $doc])+ $variant($($type),+), )+
        }

        impl $name {
            /// The value of the key `kind`.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self { $( Self::$variant(..) => $kind, )+ }
            }
        }

        $(
            impl Default for $name {
                fn default() -> Self {
                    Self::$default($(<$empty>::default()),+)
                }
            }
        )?

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Parts;

                impl<'de> serde::de::Visitor<'de> for Parts {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a map")
                    }

                    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut parts: A) -> Result<$name, A::Error> {
                        let known: &'static [&'static str] = &[$($kind),+];
                        let default: Option<&'static str> = None;
                        $( let default = default.or(Some($name::$default($(<$empty>::default()),+).kind())); )?
                        let kind = crate::config::kinds::OneOf { known, default };
                        match parts.next_element_seed(kind)?.unwrap_or_default() {
                            $(
                                $kind => {
                                    let whole = $name::$variant(
                                        $(crate::config::kinds::part::<$type, A>(&mut parts)?),+
                                    );
                                    let () = crate::config::kinds::part(&mut parts)?;
                                    Ok(whole)
                                }
                            )+
                            other => Err(serde::de::Error::unknown_variant(other, known)),
                        }
                    }
                }

                deserializer.deserialize_tuple_struct(crate::config::kinds::BY_KIND, 0, Parts)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut keys = serde_json::Map::new();
                keys.insert("kind".to_owned(), self.kind().into());
                match self {
                    $(
                        Self::$variant($($part),+) => {
                            $( crate::config::kinds::add($part, &mut keys).map_err(serde::ser::Error::custom)?; )+
                        }
                    )+
                }
                serde::Serialize::serialize(&keys, serializer)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let default: Option<&'static str> = None;
                $( let default = default.or(Some(Self::$default($(<$empty>::default()),+).kind())); )?
                let kinds = vec![
                    $( crate::config::kinds::one(
                        $kind,
                        default,
                        concat!($($doc),+),
                        vec![$(<$type as schemars::JsonSchema>::json_schema(generator)),+],
                    ), )+
                ];
                schemars::json_schema!({ "description": concat!($($about),+).trim(), "oneOf": kinds })
            }
        }
    };
}
pub(super) use by_kind;

/// Reads the name of a kind.
pub(super) struct OneOf {
    pub known: &'static [&'static str],
    /// The kind that is meant where none is named; none where one must be.
    pub default: Option<&'static str>,
}

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for OneOf {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a kind")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<&'static str, E> {
        let known = self.known.iter().find(|known| **known == name);
        known
            .copied()
            .ok_or_else(|| E::unknown_variant(name, self.known))
    }

    fn visit_none<E: Error>(self) -> Result<&'static str, E> {
        self.default.ok_or_else(|| E::missing_field(KIND))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_str(self)
    }
}

/// The next part of a map.
pub(super) fn part<'de, T: Deserialize<'de>, A: serde::de::SeqAccess<'de>>(
    parts: &mut A,
) -> Result<T, A::Error> {
    parts
        .next_element()?
        .ok_or_else(|| A::Error::custom("a part of this map is missing"))
}

/// Adds the keys of a part.
pub(super) fn add(
    part: &impl serde::Serialize,
    keys: &mut Map<String, Value>,
) -> Result<(), serde_json::Error> {
    if let Value::Object(own) = serde_json::to_value(part)? {
        keys.extend(own);
    }
    Ok(())
}

/// The schema of one kind: its name, and the keys of its parts.
pub(super) fn one(kind: &str, default: Option<&str>, about: &str, parts: Vec<Schema>) -> Value {
    let mut properties = Map::new();
    properties.insert(KIND.to_owned(), json!({"const": kind}));
    for mut part in parts {
        if let Some(Value::Object(own)) = part.remove("properties") {
            properties.extend(own);
        }
    }

    let mut schema = json!({
        "description": about.trim(),
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if default != Some(kind) {
        schema["required"] = json!(["kind"]);
    }
    schema
}

/// Changes the schema of a type that comes in kinds to that of a part of it, which is laid over
/// another part: the kind may be said there, and a key of any kind may be removed.
pub(super) fn lay_over(definition: &mut Value) {
    let is_kind = |one: &Value| one.pointer("/properties/kind/const").is_some();
    let Some(Value::Array(mut kinds)) = definition.get("oneOf").cloned() else {
        return;
    };
    if !kinds.iter().all(is_kind) {
        return;
    }
    for kind in kinds.iter_mut().filter_map(Value::as_object_mut) {
        kind.remove("required");
        kind.insert("additionalProperties".to_owned(), json!({"type": "null"}));
    }
    if let Some(definition) = definition.as_object_mut() {
        definition.remove("oneOf");
        definition.insert("anyOf".to_owned(), kinds.into());
    }
}

/// The kinds that have a key which the kind in the document does not have, by the key's path in the
/// document.
pub(super) fn having(path: &[String]) -> Vec<String> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| schema().to_value());
    let mut kinds = Vec::new();
    follow(&SCHEMA, &SCHEMA, path, None, &mut kinds);
    kinds
}

/// Follows a path through a schema and through every kind that is on the way.
fn follow(root: &Value, at: &Value, path: &[String], kind: Option<&str>, found: &mut Vec<String>) {
    if let Some(reference) = at["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#'));
        return follow(root, target.unwrap_or(&Value::Null), path, kind, found);
    }
    for choice in ["oneOf", "anyOf"] {
        for one in at[choice].as_array().into_iter().flatten() {
            let named = one.pointer("/properties/kind/const");
            let kind = named.and_then(Value::as_str).or(kind);
            follow(root, one, path, kind, found);
        }
    }

    let Some((key, rest)) = path.split_first() else {
        return;
    };
    let named = at["properties"].get(key);
    if rest.is_empty() {
        let is_new = |kind: &&str| named.is_some() && !found.iter().any(|other| other == kind);
        let kind = kind.filter(is_new).map(str::to_owned);
        found.extend(kind);
        return;
    }
    let patterns = at["patternProperties"].as_object();
    let others = patterns.into_iter().flat_map(Map::values);
    let others = others.chain([&at["additionalProperties"], &at["items"]]);
    let next: Vec<&Value> = named.map_or_else(|| others.collect(), |named| vec![named]);
    for next in next {
        follow(root, next, rest, kind, found);
    }
}
