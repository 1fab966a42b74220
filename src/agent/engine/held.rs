//! The values of a workload's secrets that the agent holds: in memory only.

use std::collections::BTreeMap;

use crate::model::secret::{SecretRef, SecretValue};
use crate::model::workload::Workload;

/// The values of one workload's secrets, and of those that the workload before it had.
///
/// The rollback needs the latter: the configuration of a new release may no longer say where an old
/// secret comes from, and then nobody but the agent has its value.
#[derive(Debug, Clone, Default)]
pub(in crate::agent) struct Held {
    now: BTreeMap<String, Value>,
    before: BTreeMap<String, Value>,
}

/// A value, and where it was read from: under the same name another release may have had another
/// secret.
#[derive(Debug, Clone)]
struct Value {
    from: SecretRef,
    value: SecretValue,
}

impl Held {
    /// The same workload, and what came for it this time.
    pub fn renew(&mut self, workload: &Workload, given: &BTreeMap<String, SecretValue>) {
        self.now.extend(came(workload, given));
    }

    /// Another workload in its place: of its secrets, those that did not come keep the value that
    /// is held.
    pub fn replaced_by(&self, workload: &Workload, given: &BTreeMap<String, SecretValue>) -> Self {
        let secrets = workload.secrets().into_iter();
        let kept = secrets
            .filter_map(|(name, from)| Some((name.to_owned(), self.find(name, from)?.clone())));
        let mut now: BTreeMap<String, Value> = kept.collect();
        now.extend(came(workload, given));

        Self {
            now,
            before: self.now.clone(),
        }
    }

    /// No workload in its place.
    pub fn removed(self) -> Self {
        Self {
            now: BTreeMap::new(),
            before: self.now,
        }
    }

    /// The values for the workload that is there now.
    pub fn values(&self) -> BTreeMap<String, SecretValue> {
        let now = self.now.iter();
        now.map(|(name, held)| (name.clone(), held.value.clone()))
            .collect()
    }

    /// The first secret of a workload of which there is no value. A file is read when an instance
    /// starts.
    pub fn missing<'a>(&self, workload: &'a Workload) -> Option<&'a str> {
        let mut secrets = workload.secrets().into_iter();
        let missing = secrets.find(|(name, from)| {
            !matches!(from, SecretRef::File(_)) && !self.now.contains_key(*name)
        });
        missing.map(|(name, _)| name)
    }

    fn find(&self, name: &str, from: &SecretRef) -> Option<&Value> {
        let mut places = [&self.now, &self.before].into_iter();
        places.find_map(|place| place.get(name).filter(|held| held.from == *from))
    }
}

fn came(
    workload: &Workload,
    given: &BTreeMap<String, SecretValue>,
) -> impl Iterator<Item = (String, Value)> {
    let secrets = workload.secrets().into_iter();
    secrets.filter_map(|(name, from)| {
        let (from, value) = (from.clone(), given.get(name)?.clone());
        Some((name.to_owned(), Value { from, value }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::Health;
    use crate::model::workload::{EnvValue, Known, Process, WorkloadKind};
    use crate::model::{Address, ServiceName};

    fn workload(name: &str, variable: &str) -> Workload {
        let service: ServiceName = "web".parse().unwrap();
        let secret = EnvValue::Secret {
            name: name.to_owned(),
            from: SecretRef::Env(variable.to_owned()),
        };
        Workload {
            image: Known::After(Address::Image(service.clone())),
            repository: None,
            service,
            port: None,
            replicas: 1,
            health: Health::default(),
            strategy: None,
            kind: WorkloadKind::Process(Box::new(Process {
                env: [("A".to_owned(), secret)].into(),
                ..Process::default()
            })),
        }
    }

    fn given(name: &str, value: &str) -> BTreeMap<String, SecretValue> {
        [(name.to_owned(), SecretValue::new(value.to_owned()))].into()
    }

    fn shown(held: &Held) -> Vec<(String, String)> {
        let values = held.values().into_iter();
        values
            .map(|(name, value)| (name, value.expose().to_owned()))
            .collect()
    }

    #[test]
    fn the_workload_before_has_its_values_again_when_none_come() {
        let (old, new) = (workload("aa", "A"), workload("bb", "B"));
        let held = Held::default().replaced_by(&old, &given("aa", "one"));
        let held = held.replaced_by(&new, &given("bb", "two"));
        assert_eq!(shown(&held), [("bb".to_owned(), "two".to_owned())]);

        let back = held.replaced_by(&old, &BTreeMap::new());
        assert_eq!(shown(&back), [("aa".to_owned(), "one".to_owned())]);
        let back = held.removed().replaced_by(&new, &BTreeMap::new());
        assert_eq!(shown(&back), [("bb".to_owned(), "two".to_owned())]);
    }

    #[test]
    fn a_value_from_elsewhere_is_not_the_secrets() {
        let (old, new) = (workload("aa", "A"), workload("aa", "B"));
        let held = Held::default().replaced_by(&new, &given("aa", "two"));
        let back = held.replaced_by(&old, &BTreeMap::new());
        assert_eq!(shown(&back), []);
        assert_eq!(back.missing(&old), Some("aa"));
    }

    #[test]
    fn what_comes_is_newer_than_what_is_held() {
        let web = workload("aa", "A");
        let mut held = Held::default().replaced_by(&web, &given("aa", "one"));
        held.renew(&web, &given("aa", "two"));
        assert_eq!(shown(&held), [("aa".to_owned(), "two".to_owned())]);
        let held = held.replaced_by(&web, &given("aa", "three"));
        assert_eq!(shown(&held), [("aa".to_owned(), "three".to_owned())]);
    }
}
