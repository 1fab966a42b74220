//! What a step acts on, as one readable text.

use std::fmt;
use std::str::FromStr;

use crate::model::resource::ResourceKey;
use crate::model::{ObjectKey, ServiceName, Slot, TaskName};

/// A resource's address: `image.web`, `workload.green/web`, `slot.green`, `traffic.web`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A service's image for the build inputs of this plan.
    Image(ServiceName),
    /// A service's listeners.
    Route(ServiceName),
    /// A service in a slot.
    Workload(Slot, ServiceName),
    /// A task of the release in a slot.
    Task(Slot, TaskName),
    /// A slot as a whole: all of its workloads.
    Slot(Slot),
    /// An object of the environment that belongs to no slot.
    Object(ObjectKey),
    /// A resource of a provider.
    Resource(ResourceKey),
    /// Live traffic of the whole environment: all services switch at once.
    Traffic,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an address: `image.SERVICE`, `route.SERVICE`, `workload.SLOT/SERVICE`, \
     `task.SLOT/TASK`, `slot.SLOT`, `object.GROUP/VERSION/KIND/NAMESPACE/NAME`, `KIND.NAME` of a \
     provider, or `traffic`"
)]
pub struct AddressError(String);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Image(service) => format!("image.{service}"),
            Self::Route(service) => format!("route.{service}"),
            Self::Workload(slot, service) => format!("workload.{slot}/{service}"),
            Self::Task(slot, task) => format!("task.{slot}/{task}"),
            Self::Slot(slot) => format!("slot.{slot}"),
            Self::Object(key) => format!("object.{key}"),
            Self::Resource(key) => key.to_string(),
            Self::Traffic => "traffic".to_owned(),
        };
        f.pad(&text)
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).ok_or_else(|| AddressError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Address> {
    if text == "traffic" {
        return Some(Address::Traffic);
    }
    let (kind, rest) = text.split_once('.')?;
    match kind {
        "image" => rest.parse().ok().map(Address::Image),
        "route" => rest.parse().ok().map(Address::Route),
        "object" => rest.parse().ok().map(Address::Object),
        "slot" => rest.parse().ok().map(Address::Slot),
        "workload" => {
            let (slot, service) = rest.split_once('/')?;
            Some(Address::Workload(slot.parse().ok()?, service.parse().ok()?))
        }
        "task" => {
            let (slot, task) = rest.split_once('/')?;
            Some(Address::Task(slot.parse().ok()?, task.parse().ok()?))
        }
        _ => text.parse().ok().map(Address::Resource),
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back() {
        for text in [
            "image.web",
            "route.web",
            "workload.green/web",
            "task.green/migrate",
            "slot.blue",
            "object.apps/v1/Deployment/shop/web",
            "fargate_profile.apps",
            "repository.shop/web",
            "traffic",
        ] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
        for bad in [
            "",
            "image.",
            "image.Web",
            "workload.red/web",
            "workload.green",
            "disk.a",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
