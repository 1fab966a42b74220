//! What names one object of a cluster.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::model::object_name::{check_api_version, check_kind, check_name, check_namespace};

/// Names one object of a cluster: `apps/v1/Deployment/shop-green/web`.
///
/// Its identity is group, kind, namespace and name. The version only says how it is asked for: keys
/// that differ in nothing else name one object, and are equal.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// None for what belongs to no namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// The group: empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        group_of(&self.api_version)
    }

    /// The version within the group.
    #[must_use]
    pub fn version(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or(&self.api_version, |(_, version)| version)
    }

    /// Kind and name, for a reader who knows the namespace: `Deployment/web`.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// Its kind and name, with its namespace where that is none of these. Without any it is the
    /// same as [`Self::short`].
    #[must_use]
    pub fn named_in(&self, own: &BTreeSet<String>) -> String {
        match &self.namespace {
            Some(namespace) if !own.is_empty() && !own.contains(namespace) => {
                format!("{} in {namespace}", self.short())
            }
            _ => self.short(),
        }
    }

    fn identity(&self) -> (&str, &str, Option<&str>, &str) {
        let namespace = self.namespace.as_deref();
        (self.group(), &self.kind, namespace, &self.name)
    }
}

/// The group of an `apiVersion`: empty for the core group.
#[must_use]
pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl PartialEq for ObjectKey {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ObjectKey {}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for ObjectKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            api_version,
            kind,
            namespace,
            name,
        } = self;
        match namespace {
            Some(namespace) => write!(f, "{api_version}/{kind}/{namespace}/{name}"),
            None => write!(f, "{api_version}/{kind}//{name}"),
        }
    }
}

/// Why a text is not an object's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an object: it is written `GROUP/VERSION/KIND/NAMESPACE/NAME`, with an empty \
     namespace for none"
)]
pub struct ObjectKeyError(String);

impl FromStr for ObjectKey {
    type Err = ObjectKeyError;
    fn from_str(text: &str) -> Result<Self, ObjectKeyError> {
        parse(text).ok_or_else(|| ObjectKeyError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<ObjectKey> {
    let parts: Vec<&str> = text.split('/').collect();
    let (api_version, rest) = match parts[..] {
        [version, ref rest @ ..] if rest.len() == 3 => (version.to_owned(), rest),
        [group, version, ref rest @ ..] if rest.len() == 3 => (format!("{group}/{version}"), rest),
        _ => return None,
    };
    let (kind, namespace, name) = (rest[0], rest[1], rest[2]);

    check_api_version(&api_version).ok()?;
    check_kind(kind).ok()?;
    check_name(group_of(&api_version), kind, name).ok()?;
    if !namespace.is_empty() {
        check_namespace(namespace).ok()?;
    }
    Some(ObjectKey {
        kind: kind.to_owned(),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: name.to_owned(),
        api_version,
    })
}

impl TryFrom<String> for ObjectKey {
    type Error = ObjectKeyError;
    fn try_from(text: String) -> Result<Self, ObjectKeyError> {
        text.parse()
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_reads_back() {
        for text in [
            "apps/v1/Deployment/shop/web",
            "v1/Namespace//shop",
            "v1/Secret/a/b",
            "rbac.authorization.k8s.io/v1/ClusterRole//system:a",
        ] {
            assert_eq!(text.parse::<ObjectKey>().expect(text).to_string(), text);
        }
        for bad in [
            "",
            "v1/Pod/a",
            "a/b/c/d/e/f",
            "v1//a/b",
            "v1/Pod/a/",
            "v1/Pod/a/..",
            "v1/Pod/../a",
            "v1/Pod/a/b?c",
            "v1?/Pod/a/b",
        ] {
            assert!(bad.parse::<ObjectKey>().is_err(), "{bad}");
        }
    }

    fn key(text: &str) -> ObjectKey {
        text.parse().expect(text)
    }

    #[test]
    fn a_version_does_not_make_another_object() {
        let (old, new) = (key("autoscaling/v1/H/a/h"), key("autoscaling/v2/H/a/h"));
        assert_eq!(old, new);
        assert_eq!(BTreeSet::from([old.clone(), new.clone()]).len(), 1);
        assert_eq!(HashSet::from([old, new]).len(), 1);
    }

    #[test]
    fn group_kind_namespace_and_name_each_make_another_object() {
        let all = [
            "apps/v1/Kind/a/b",
            "batch/v1/Kind/a/b",
            "v1/Kind/a/b",
            "apps/v1/Other/a/b",
            "apps/v1/Kind/c/b",
            "apps/v1/Kind//b",
            "apps/v1/Kind/a/c",
        ];
        let keys: BTreeSet<ObjectKey> = all.into_iter().map(key).collect();
        assert_eq!(keys.len(), all.len());
    }

    #[test]
    fn a_namespace_is_named_where_it_is_not_one_of_the_environments() {
        let own = BTreeSet::from(["shop".to_owned()]);
        let named = |text: &str| key(text).named_in(&own);
        assert_eq!(named("v1/ConfigMap/shop/c"), "ConfigMap/c");
        assert_eq!(named("v1/ConfigMap/default/c"), "ConfigMap/c in default");
        assert_eq!(named("v1/Namespace//shop"), "Namespace/shop");
        let none = BTreeSet::new();
        let object = key("v1/ConfigMap/default/c");
        assert_eq!(object.named_in(&none), "ConfigMap/c");
    }

    proptest! {
        #[test]
        fn order_and_equality_agree(
            a in ("(|[a-c]/)v[12]", "[AB]", "(|[ab])", "[ab]"),
            b in ("(|[a-c]/)v[12]", "[AB]", "(|[ab])", "[ab]"),
        ) {
            let of = |(version, kind, place, name): &(String, String, String, String)| {
                key(&format!("{version}/{kind}/{place}/{name}"))
            };
            let (one, two) = (of(&a), of(&b));
            prop_assert_eq!(one == two, one.cmp(&two) == Ordering::Equal);
            let is_same = (group_of(&a.0), &a.1, &a.2, &a.3) == (group_of(&b.0), &b.1, &b.2, &b.3);
            prop_assert_eq!(one == two, is_same);
        }
    }
}
