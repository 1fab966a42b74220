//! What of ours was found that nothing asks for, and goes with this run. When the last of a kind
//! has gone from a namespace, it needs not be looked for there any more, by an account that may not
//! be let look there any more.

use std::collections::{BTreeMap, BTreeSet};

use crate::driver::kubernetes::client::api::Kind;
use crate::driver::kubernetes::engine::record::{Elsewhere, Record};
use crate::model::{Manifest, ObjectKey};

/// What an observation found to be leaving, and what has gone since.
#[derive(Debug, Default)]
pub(super) struct Leavings {
    /// What is still there; nothing is known before the first observation.
    left: Option<BTreeSet<ObjectKey>>,
    /// Where the record looks and nothing is expected, with how many objects of ours are left.
    places: BTreeMap<Place, usize>,
    /// Where this process has put something, or will.
    kept: BTreeSet<Place>,
}

/// A kind in a namespace, or wherever it may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    group: String,
    kind: String,
    /// None: anywhere.
    namespace: Option<String>,
}

impl Place {
    fn in_namespace(elsewhere: &Elsewhere) -> Self {
        Self {
            group: elsewhere.group.clone(),
            kind: elsewhere.kind.clone(),
            namespace: Some(elsewhere.namespace.clone()),
        }
    }

    fn anywhere(kind: &Kind) -> Self {
        Self {
            group: kind.group().to_owned(),
            kind: kind.kind.clone(),
            namespace: None,
        }
    }

    /// Where an object is found.
    fn of(key: &ObjectKey) -> impl Iterator<Item = Self> + use<> {
        let anywhere = Self {
            group: key.group().to_owned(),
            kind: key.kind.clone(),
            namespace: None,
        };
        let namespace = key.namespace.clone();
        let own = namespace.map(|namespace| Self {
            namespace: Some(namespace),
            ..anywhere.clone()
        });
        own.into_iter().chain([anywhere])
    }
}

impl Leavings {
    /// Of one observation: where it looked by its record, what is expected, and what of ours is
    /// not.
    pub fn of<'a>(
        record: &Record,
        expected: impl Iterator<Item = &'a ObjectKey>,
        leaving: impl Iterator<Item = &'a ObjectKey>,
    ) -> Self {
        let expected: BTreeSet<Place> = expected.flat_map(Place::of).collect();
        let places = record.elsewhere.iter().map(Place::in_namespace);
        let all = places.chain(record.kinds.iter().map(Place::anywhere));
        let free = all.filter(|place| !expected.contains(place));
        let mut own = Self {
            left: Some(leaving.cloned().collect()),
            places: free.map(|place| (place, 0)).collect(),
            kept: BTreeSet::new(),
        };
        for place in own.left.iter().flatten().flat_map(Place::of) {
            if let Some(count) = own.places.get_mut(&place) {
                *count += 1;
            }
        }
        own
    }

    /// Takes over what a newer observation found. What was announced before may not be made yet.
    pub fn renew(&mut self, newer: Self) {
        self.left = newer.left;
        self.places = newer.places;
        self.places.retain(|place, _| !self.kept.contains(place));
    }

    /// Something will be there after all.
    pub fn keep(&mut self, manifests: &[Manifest]) {
        for place in manifests.iter().flat_map(|one| Place::of(&one.key())) {
            self.places.remove(&place);
            self.kept.insert(place);
        }
    }

    /// An object has gone, or is not ours any more. Gives whether it was the last somewhere.
    pub fn gone(&mut self, key: &ObjectKey) -> bool {
        let was_there = self.left.as_mut().is_some_and(|left| left.remove(key));
        let mut is_last = false;
        for place in Place::of(key).filter(|_| was_there) {
            if let Some(count) = self.places.get_mut(&place) {
                *count -= 1;
                is_last |= *count == 0;
            }
        }
        is_last
    }

    /// Whether something of ours is known to be left.
    pub fn are_some(&self) -> bool {
        self.left.as_ref().is_some_and(|left| !left.is_empty())
    }

    /// Takes out of a record where nothing is left.
    pub fn vacate(&self, record: &mut Record) {
        let is_empty = |place: &Place| self.places.get(place) == Some(&0);
        let elsewhere = &mut record.elsewhere;
        elsewhere.retain(|elsewhere| !is_empty(&Place::in_namespace(elsewhere)));
        record
            .kinds
            .retain(|kind| !is_empty(&Place::anywhere(kind)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(text: &str) -> ObjectKey {
        text.parse().expect("a key")
    }

    fn place(namespace: &str) -> Elsewhere {
        Elsewhere {
            group: String::new(),
            kind: "ConfigMap".to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    fn kind(version: &str, kind: &str, namespaced: bool) -> Kind {
        Kind {
            api_version: version.to_owned(),
            kind: kind.to_owned(),
            plural: format!("{}s", kind.to_lowercase()),
            namespaced,
        }
    }

    /// Of two objects in `a`, one in `b` and none in `c`, where one in `b` is expected; and of one
    /// in no namespace.
    fn leavings() -> (Record, Leavings) {
        let record = Record {
            elsewhere: ["a", "b", "c"].map(place).into(),
            kinds: [
                kind("v1", "ConfigMap", true),
                kind("rbac.authorization.k8s.io/v1", "ClusterRole", false),
            ]
            .into(),
            ..Record::default()
        };
        let expected = [key("v1/ConfigMap/b/wanted")];
        let leaving = [
            "v1/ConfigMap/a/one",
            "v1/ConfigMap/a/two",
            "v1/ConfigMap/b/one",
            "rbac.authorization.k8s.io/v1/ClusterRole//reader",
        ]
        .map(key);
        let found = Leavings::of(&record, expected.iter(), leaving.iter());
        (record, found)
    }

    /// The namespaces and the kinds that are left in a record.
    fn left(record: &Record, leavings: &Leavings) -> String {
        let mut record = record.clone();
        leavings.vacate(&mut record);
        let places = record.elsewhere.into_iter().map(|place| place.namespace);
        let kinds = record.kinds.into_iter().map(|kind| kind.kind);
        places.chain(kinds).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_place_is_looked_into_until_the_last_of_it_has_gone() {
        let (record, mut leavings) = leavings();
        assert_eq!(left(&record, &leavings), "a b ConfigMap ClusterRole");

        assert!(!leavings.gone(&key("v1/ConfigMap/a/one")));
        assert!(!leavings.gone(&key("v1/ConfigMap/a/one")), "only once");
        assert!(leavings.gone(&key("v1/ConfigMap/a/two")));
        assert_eq!(left(&record, &leavings), "b ConfigMap ClusterRole");

        let role = key("rbac.authorization.k8s.io/v1/ClusterRole//reader");
        assert!(leavings.gone(&role));
        assert_eq!(left(&record, &leavings), "b ConfigMap");

        // What is expected keeps its place.
        assert!(leavings.are_some());
        assert!(!leavings.gone(&key("v1/ConfigMap/b/one")));
        assert_eq!(left(&record, &leavings), "b ConfigMap");
        assert!(!leavings.are_some());
    }

    #[test]
    fn a_place_into_which_something_comes_stays() {
        let (record, mut leavings) = leavings();
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "new", "namespace": "c"}});
        leavings.keep(&[Manifest::try_from(body).expect("a manifest")]);
        assert_eq!(left(&record, &leavings), "a b c ConfigMap ClusterRole");

        // Another observation may be too early to see it.
        let (_, newer) = self::leavings();
        leavings.renew(newer);
        assert_eq!(left(&record, &leavings), "a b c ConfigMap ClusterRole");
    }

    #[test]
    fn nothing_is_taken_for_empty_that_was_never_looked_at() {
        let (record, _) = leavings();
        let mut unknown = Leavings::default();
        assert!(!unknown.are_some());
        assert!(!unknown.gone(&key("v1/ConfigMap/a/one")));
        assert_eq!(left(&record, &unknown), "a b c ConfigMap ClusterRole");
    }
}
