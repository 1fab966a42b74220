//! Where live traffic goes.

use std::fmt;

use crate::model::Slot;

/// Which slot gets live traffic.
///
/// Today it is one slot, or none. A split between two ready slots would be a third variant here:
/// whoever has to do something else then matches on this type, and the others ask
/// [`LiveTraffic::slot`] for the slot that gets all of it.
///
/// In documents it is the slot's name, or `null` while it is off.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(from = "Option<Slot>", into = "Option<Slot>")]
pub enum LiveTraffic {
    /// No slot gets it: requests wait for a moment, and then get 503.
    #[default]
    Off,
    /// All of it goes to one slot.
    All(Slot),
}

impl LiveTraffic {
    /// The slot that gets all of it; none while it is off.
    #[must_use]
    pub const fn slot(self) -> Option<Slot> {
        match self {
            Self::Off => None,
            Self::All(slot) => Some(slot),
        }
    }

    /// Whether a slot gets some of it.
    #[must_use]
    pub fn reaches(self, slot: Slot) -> bool {
        match self {
            Self::Off => false,
            Self::All(live) => live == slot,
        }
    }

    /// Whether no slot gets any.
    #[must_use]
    pub const fn is_off(self) -> bool {
        matches!(self, Self::Off)
    }

    /// The slot's name, or `off`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::All(slot) => slot.as_str(),
        }
    }
}

impl From<Option<Slot>> for LiveTraffic {
    fn from(slot: Option<Slot>) -> Self {
        slot.map_or(Self::Off, Self::All)
    }
}

impl From<LiveTraffic> for Option<Slot> {
    fn from(traffic: LiveTraffic) -> Self {
        traffic.slot()
    }
}

impl fmt::Display for LiveTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_documents_it_is_a_slot_or_null() {
        for (traffic, text) in [
            (LiveTraffic::Off, "null"),
            (LiveTraffic::All(Slot::Green), "\"green\""),
        ] {
            assert_eq!(serde_json::to_string(&traffic).expect("a text"), text);
            assert_eq!(
                serde_json::from_str::<LiveTraffic>(text).expect("it is read"),
                traffic
            );
        }
    }
}
