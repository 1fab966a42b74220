//! The ports of a service as they are written.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::model::port::{PortName, Protocol, ServicePort};

/// Which port gets the traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrafficPort {
    /// This one, called `http`.
    Number(u16),
    /// The one that has this name under `ports`.
    Named(PortName),
    /// None.
    None,
}

/// A port: its number, or a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum PortConfig {
    /// The number of a port at which HTTP is spoken.
    Number(#[schemars(range(min = 1))] u16),
    /// The same in parts.
    Parts(PortParts),
}

/// A port in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortParts {
    /// Its number.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// What is spoken there. `tcp`, on a cluster alone: anything but HTTP.
    #[serde(default, skip_serializing_if = "Protocol::is_http")]
    pub protocol: Protocol,
}

impl From<&PortConfig> for ServicePort {
    fn from(config: &PortConfig) -> Self {
        let (number, protocol) = match config {
            PortConfig::Number(number) => (*number, Protocol::Http),
            PortConfig::Parts(parts) => (parts.port, parts.protocol),
        };
        Self { number, protocol }
    }
}

/// A number that is a port's. 0 is one here, and refused with what else is wrong.
fn number<E: Error>(number: u64, expected: &dyn serde::de::Expected) -> Result<u16, E> {
    u16::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), expected))
}

struct TrafficPortVisitor;

impl Visitor<'_> for TrafficPortVisitor {
    type Value = TrafficPort;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port from 1 to 65535, the name of one under `ports`, or `none`")
    }

    fn visit_u64<E: Error>(self, port: u64) -> Result<TrafficPort, E> {
        number(port, &self).map(TrafficPort::Number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TrafficPort, E> {
        if text == "none" {
            return Ok(TrafficPort::None);
        }
        let name = text.parse().map(TrafficPort::Named);
        name.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for TrafficPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TrafficPortVisitor)
    }
}

impl Serialize for TrafficPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u16(*number),
            Self::Named(name) => serializer.serialize_str(name.as_str()),
            Self::None => serializer.serialize_str("none"),
        }
    }
}

impl JsonSchema for TrafficPort {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TrafficPort".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let name = PortName::json_schema(generator);
        schemars::json_schema!({
            "description": "A port's number, the name of one under `ports`, or `none`.",
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, name],
        })
    }
}

struct PortVisitor;

impl<'de> Visitor<'de> for PortVisitor {
    type Value = PortConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port from 1 to 65535, or a map with `port` and `protocol`")
    }

    fn visit_u64<E: Error>(self, port: u64) -> Result<PortConfig, E> {
        number(port, &self).map(PortConfig::Number)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PortConfig, A::Error> {
        let map = serde::de::value::MapAccessDeserializer::new(map);
        PortParts::deserialize(map).map(PortConfig::Parts)
    }
}

impl<'de> Deserialize<'de> for PortConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}
