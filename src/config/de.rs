//! From a tree of nodes to typed values. An error knows the path of the node it is about, which is
//! how its place is found.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use crate::config::kinds::{BY_KIND, KIND};
use crate::config::node::{Key, Node, Value};

/// What is wrong, and with which node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    /// From the innermost name to the outermost.
    path: Vec<String>,
    pub kind: Kind,
    /// Whether nothing of the map that the node is in can be read without it: the node says which
    /// keys there are.
    pub is_decisive: bool,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    UnknownField {
        field: String,
        expected: Vec<&'static str>,
    },
    UnknownVariant {
        variant: String,
        expected: Vec<&'static str>,
    },
    MissingField(&'static str),
    /// Something else is there than is needed.
    WrongType {
        found: String,
        expected: String,
    },
    /// One key says which form a map has, and there is none, or more than one.
    Forms {
        known: Vec<&'static str>,
        given: Vec<String>,
    },
    Other(String),
}

impl Error {
    fn of(kind: Kind) -> Self {
        Self {
            path: Vec::new(),
            kind,
            is_decisive: false,
        }
    }

    fn below(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }

    /// The node's path, outermost name first.
    pub fn path(&self) -> Vec<String> {
        let mut path: Vec<String> = self.path.iter().rev().cloned().collect();
        if let Kind::UnknownField { field, .. } = &self.kind {
            path.push(field.clone());
        }
        path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::UnknownField { field, .. } => write!(f, "unknown key `{field}`"),
            Kind::UnknownVariant { variant, .. } => write!(f, "unknown value `{variant}`"),
            Kind::MissingField(field) => write!(f, "the key `{field}` is missing"),
            Kind::WrongType { found, expected } => {
                write!(f, "this is {found}, and {expected} is needed")
            }
            Kind::Forms { known, given } => {
                write!(f, "one of {} is needed here, and there ", listed(known))?;
                match given.as_slice() {
                    [] => f.write_str("is none"),
                    _ => write!(f, "are {}", listed(given)),
                }
            }
            Kind::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of(Kind::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::of(Kind::WrongType {
            found: words(found),
            expected: needed(&expected.to_string()),
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::of(Kind::UnknownField {
            field: field.to_owned(),
            expected: expected.to_vec(),
        })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::of(Kind::UnknownVariant {
            variant: variant.to_owned(),
            expected: expected.to_vec(),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::of(Kind::MissingField(field))
    }
}

/// Keys as a sentence names them: `a`, `b` and `c`.
pub(super) fn listed<T: fmt::Display>(keys: &[T]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => quoted.concat(),
    }
}

/// What Rust calls a type, in the words of a person.
fn needed(expected: &str) -> String {
    match expected {
        "a string" => "a text".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "u8" => "a whole number from 0 to 255".to_owned(),
        "a nonzero u8" => "a whole number from 1 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "a nonzero u16" => "a whole number from 1 to 65535".to_owned(),
        "a nonzero u32" | "a nonzero u64" => "a whole number from 1 on".to_owned(),
        "u32" | "u64" | "usize" => "a whole number".to_owned(),
        "a sequence" => "a list".to_owned(),
        other if other.starts_with("struct ") => "a map".to_owned(),
        other => other.to_owned(),
    }
}

fn words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("the text `{text}`"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Map => "a map".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Unit => "empty".to_owned(),
        Unexpected::Other(words) => words.to_owned(),
        other => other.to_string(),
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value, _) => match u64::try_from(*value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(*value),
            },
            Value::Float(_, digits) if has_zeros_before_it(digits) => {
                let found = format!("`{digits}`, which begins with a zero");
                Err(serde::de::Error::invalid_type(
                    Unexpected::Other(&found),
                    &visitor,
                ))
            }
            Value::Float(value, _) => visitor.visit_f64(*value),
            Value::String(value) => visitor.visit_borrowed_str(value),
            Value::List(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
            }),
            Value::Map(entries) => visitor.visit_map(Entries::of(entries, None)),
        }
    }

    /// How a [`Text`](crate::config::schema::Text) asks: a number is its digits as they were
    /// written.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Integer(_, digits) | Value::Float(_, digits) if !digits.is_empty() => {
                visitor.visit_str(digits)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::String(variant) => visitor.visit_enum(Variant {
                name: variant,
                node: None,
            }),
            Value::Map(entries) => {
                // `file: null` beside `env` takes away what may be there, and is no form.
                let is_given = |(_, node): &&(Key, Node)| node.value != Value::Null;
                let given: Vec<&(Key, Node)> = entries.iter().filter(is_given).collect();
                match (given.as_slice(), entries.as_slice()) {
                    ([(key, node)], _) | ([], [(key, node)]) => visitor.visit_enum(Variant {
                        name: &key.name,
                        node: Some(node),
                    }),
                    _ => Err(Error::of(Kind::Forms {
                        known: known.to_vec(),
                        given: given.iter().map(|(key, _)| key.name.clone()).collect(),
                    })),
                }
            }
            _ => Err(Error::of(Kind::Other(
                "a name, or a map with one key, is needed here".to_owned(),
            ))),
        }
    }

    /// How a type that comes in kinds asks: for the parts of a map.
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::Map(entries) if name == BY_KIND => visitor.visit_seq(Parts::of(entries)),
            Value::List(_) if name == BY_KIND => {
                Err(serde::de::Error::invalid_type(Unexpected::Seq, &visitor))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    /// A list has no keys: read by their positions, its items would be taken for what nobody wrote.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::List(_) => Err(serde::de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string byte_buf unit unit_struct seq
        tuple map identifier ignored_any
    }
}

/// Whether it is `080`: YAML takes it for a number with a fraction, as no octal one begins so.
fn has_zeros_before_it(digits: &str) -> bool {
    digits.len() > 1
        && digits.starts_with('0')
        && digits.chars().all(|digit| digit.is_ascii_digit())
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some((index, item)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(item)
            .map(Some)
            .map_err(|error| error.below(&index.to_string()))
    }
}

struct Entries<'de> {
    left: std::slice::Iter<'de, (Key, Node)>,
    /// The keys that are looked at; all of them without it.
    only: Option<&'static [&'static str]>,
    current: Option<&'de (Key, Node)>,
}

impl<'de> Entries<'de> {
    fn of(entries: &'de [(Key, Node)], only: Option<&'static [&'static str]>) -> Self {
        Self {
            left: entries.iter(),
            only,
            current: None,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let only = self.only;
        let is_looked_at =
            |(key, _): &&(Key, Node)| only.is_none_or(|only| only.contains(&key.name.as_str()));
        self.current = self.left.find(is_looked_at);
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        let name: StrDeserializer<'de, Error> = key.name.as_str().into_deserializer();
        seed.deserialize(name)
            .map(Some)
            .map_err(|error| match error.kind {
                // The path of an unknown key already ends with it.
                Kind::UnknownField { .. } => error,
                _ => error.below(&key.name),
            })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, node)) = self.current else {
            return Err(Error::of(Kind::Other("a value without a key".to_owned())));
        };
        seed.deserialize(node)
            .map_err(|error| error.below(&key.name))
    }
}

/// A map in parts: its kind, then the keys of each part, then nothing that is left over.
struct Parts<'de> {
    entries: &'de [(Key, Node)],
    /// The keys that its parts have so far; none before the kind was asked for.
    known: Vec<&'static str>,
}

impl<'de> Parts<'de> {
    const fn of(entries: &'de [(Key, Node)]) -> Self {
        Self {
            entries,
            known: Vec::new(),
        }
    }

    fn kind<T: DeserializeSeed<'de>>(&self, seed: T) -> Result<T::Value, Error> {
        let Some((_, kind)) = self.entries.iter().find(|(key, _)| key.name == KIND) else {
            return seed.deserialize(().into_deserializer());
        };
        seed.deserialize(kind).map_err(|error| Error {
            is_decisive: true,
            ..error.below(KIND)
        })
    }
}

impl<'de> SeqAccess<'de> for Parts<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.known.is_empty() {
            self.known.push(KIND);
            return self.kind(seed).map(Some);
        }
        seed.deserialize(Part(self)).map(Some)
    }
}

/// The next part: a struct takes the keys that it knows, and `()` what is left over, which is an
/// error.
struct Part<'a, 'de>(&'a mut Parts<'de>);

impl<'de> Deserializer<'de> for Part<'_, 'de> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.known.extend(fields);
        visitor.visit_map(Entries::of(self.0.entries, Some(fields)))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Parts { entries, known } = self.0;
        let mut keys = entries.iter().map(|(key, _)| key.name.as_str());
        match keys.find(|key| !known.contains(key)) {
            None => visitor.visit_unit(),
            Some(key) => Err(Error::of(Kind::UnknownField {
                field: key.to_owned(),
                expected: known.clone(),
            })),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::of(Kind::Other("a part is a struct".to_owned())))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Variant<'de> {
    name: &'de str,
    node: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'de, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.node {
            None => Ok(()),
            Some(_) => Err(Error::of(Kind::Other(format!(
                "`{}` takes nothing",
                self.name
            )))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let missing = || Error::of(Kind::Other(format!("`{}` needs a value", self.name)));
        seed.deserialize(self.node.ok_or_else(missing)?)
            .map_err(|error| error.below(self.name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.struct_variant(&[], visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let missing = || Error::of(Kind::Other(format!("`{}` needs a value", self.name)));
        self.node
            .ok_or_else(missing)?
            .deserialize_struct("", fields, visitor)
            .map_err(|error| error.below(self.name))
    }
}
