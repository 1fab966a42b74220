//! Whether two environments are alike: what is configured in both and what is live in both, field
//! by field, as the diff of a plan tells fields. What names an environment differs by itself: a
//! field that is the same but for the environments' own names is the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::comparison::{Comparison, Difference, FieldPattern, Part};
use crate::model::desired::{Desired, DesiredService};
use crate::model::facts::Facts;
use crate::model::fields::{Fields, change, flatten};
use crate::model::plan::Change;
use crate::model::resource::shown;
use crate::model::workload::Known;
use crate::model::{EnvironmentName, Slot};
use crate::plan::diff::{fields, object_fields, restates, route_fields};

/// One of two environments.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What is configured.
    pub desired: &'a Desired,
    /// What is there.
    pub facts: &'a Facts,
    /// What stands for the values of its secrets, by name: hashes with the same key on both sides;
    /// why one could not be read.
    pub secrets: &'a Hashes,
}

/// The hash of each secret's value, or why it is not known.
pub type Hashes = BTreeMap<String, Result<String, String>>;

impl<'a> Side<'a> {
    const fn name(&self) -> &'a EnvironmentName {
        &self.desired.environment
    }
}

/// Compares two environments.
#[must_use]
pub fn alike(left: Side<'_>, right: Side<'_>, may_differ: &[FieldPattern]) -> Comparison {
    let mut alike = Alike {
        names: (left.name().as_str(), right.name().as_str()),
        may_differ,
        unused: may_differ.iter().map(FieldPattern::as_str).collect(),
        comparison: Comparison {
            project: left.desired.project.clone(),
            left: left.name().clone(),
            right: right.name().clone(),
            compared: 0,
            differences: Vec::new(),
            allowed: Vec::new(),
            unknown: Vec::new(),
            notes: Vec::new(),
        },
    };
    alike.live(left.facts, right.facts);
    alike.configuration(left.desired, right.desired);
    alike.secrets(left.secrets, right.secrets);
    alike.finish()
}

struct Alike<'a> {
    names: (&'a str, &'a str),
    may_differ: &'a [FieldPattern],
    /// The patterns that no difference was met by yet.
    unused: BTreeSet<&'a str>,
    comparison: Comparison,
}

impl Alike<'_> {
    fn finish(mut self) -> Comparison {
        let unused = self.unused.iter();
        let notes = unused.map(|pattern| {
            format!("`may_differ` has `{pattern}`, and nothing like it differs here")
        });
        self.comparison.notes.extend(notes);
        self.comparison
    }

    /// Keeps a difference, as one that may be or as one that may not.
    fn keep(&mut self, part: Part, change: Change) {
        let difference = Difference {
            part,
            field: change.field,
            left: change.before,
            right: change.after,
        };
        let mut may = false;
        for pattern in self.may_differ {
            if pattern.matches(&difference.field) {
                may = true;
                self.unused.remove(pattern.as_str());
            }
        }
        if may {
            self.comparison.allowed.push(difference);
        } else {
            self.comparison.differences.push(difference);
        }
    }

    /// The fields in which two sides differ, with their names behind `path`.
    fn differing(&mut self, path: &str, left: &Fields, right: &Fields) -> Vec<Change> {
        let (left, right) = (neutral(left, self.names.0), neutral(right, self.names.1));
        let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        self.comparison.compared += keys.len();
        let mut found = Vec::new();
        for key in keys {
            let (left, right) = (left.get(key), right.get(key));
            let is_same = match (left, right) {
                (Some(left), Some(right)) => {
                    left == right
                        || without_name(left, self.names.0) == without_name(right, self.names.1)
                }
                _ => false,
            };
            if !is_same {
                let field = format!("{path}{key}");
                found.extend(change(&field, left.copied(), right.copied()));
            }
        }
        found
    }

    fn compare(&mut self, part: Part, path: &str, left: &Fields, right: &Fields) {
        for change in self.differing(path, left, right) {
            self.keep(part, change);
        }
    }

    /// What is live: the images by their digests, and the commit.
    fn live(&mut self, left: &Facts, right: &Facts) {
        match (left.live(), right.live()) {
            (None, None) => self
                .comparison
                .notes
                .push("nothing is live in either of them".to_owned()),
            (left, right) => {
                let of = |live: Option<_>| live.map(|(_, there)| running(there));
                let (left, right) = (of(left), of(right));
                self.compare(
                    Part::Live,
                    "",
                    &left.unwrap_or_default(),
                    &right.unwrap_or_default(),
                );
            }
        }
    }

    fn configuration(&mut self, left: &Desired, right: &Desired) {
        self.compare(Part::Configuration, "", &settings(left), &settings(right));
        let names: BTreeSet<_> = left.services.keys().chain(right.services.keys()).collect();
        for name in names {
            let path = format!("services.{name}");
            match (left.services.get(name), right.services.get(name)) {
                (Some(left), Some(right)) => self.service(&path, left, right),
                (left, right) => {
                    let there = |service: Option<_>| service.map(|_| "(is there)".to_owned());
                    let (left, right) = (there(left), there(right));
                    for change in change(&path, left.as_ref(), right.as_ref()) {
                        self.keep(Part::Configuration, change);
                    }
                }
            }
        }
    }

    /// A service that both have. What an object of it only repeats is told once.
    fn service(&mut self, path: &str, left: &DesiredService, right: &DesiredService) {
        let of = |service: &DesiredService| fields(&service.workload, Slot::Blue);
        let own = self.differing("", &of(left), &of(right));
        let of =
            |service: &DesiredService| object_fields(service.workload.objects(Slot::Blue).to_vec());
        let mut objects = self.differing("", &of(left), &of(right));
        objects.retain(|object| !own.iter().any(|known| restates(known, object)));
        for found in own.into_iter().chain(objects) {
            let field = format!("{path}.{}", found.field);
            self.keep(Part::Configuration, Change { field, ..found });
        }

        let of = |service: &DesiredService| service.route.as_ref().map(route_fields);
        let (left, right) = (of(left).unwrap_or_default(), of(right).unwrap_or_default());
        self.compare(
            Part::Configuration,
            &format!("{path}.route."),
            &left,
            &right,
        );
    }

    /// A secret that could not be read on a side, unless it may differ anyway.
    fn unread(&mut self, field: &str, sides: [&Result<String, String>; 2]) {
        let mut patterns = self.may_differ.iter();
        if let Some(pattern) = patterns.find(|pattern| pattern.matches(field)) {
            self.unused.remove(pattern.as_str());
            return;
        }
        let names = [self.names.0, self.names.1];
        let why = names.iter().zip(sides).filter_map(|(name, side)| {
            let reason = side.as_ref().err()?;
            Some(format!("{name}: {reason}"))
        });
        let why: Vec<String> = why.collect();
        let text = format!(
            "whether {field} has the same value is not known: {}",
            why.join("; ")
        );
        self.comparison.unknown.push(text);
    }

    /// The values of secrets. Nothing of them is told but whether they are the same.
    fn secrets(&mut self, left: &Hashes, right: &Hashes) {
        let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for name in names {
            let field = format!("secrets.{name}");
            self.comparison.compared += 1;
            let (left, right) = match (left.get(name), right.get(name)) {
                (Some(Ok(left)), Some(Ok(right))) if left == right => continue,
                (Some(Ok(_)), Some(Ok(_))) => (Some("(a value)"), Some("(another value)")),
                (Some(left), Some(right)) => {
                    self.unread(&field, [left, right]);
                    continue;
                }
                (Some(_), None) => (Some("(is there)"), None),
                (None, _) => (None, Some("(is there)")),
            };
            let (left, right) = (left.map(str::to_owned), right.map(str::to_owned));
            for change in change(&field, left.as_ref(), right.as_ref()) {
                self.keep(Part::Secrets, change);
            }
        }
    }
}

/// What has live traffic.
fn running(there: &crate::model::facts::SlotFacts) -> Fields {
    let mut found = Fields::new();
    if let Some(commit) = &there.label.commit {
        found.insert("commit".to_owned(), commit.clone());
    }
    for (service, workload) in &there.workloads {
        let image = match &workload.spec.image {
            Known::Value(digest) => digest.to_string(),
            Known::After(_) => continue,
        };
        found.insert(format!("services.{service}.image"), image);
    }
    found
}

/// What is configured besides the services.
fn settings(desired: &Desired) -> Fields {
    let mut found = Fields::new();
    let json = |value: Result<Value, _>| value.unwrap_or_default();
    flatten(
        "strategy",
        &json(serde_json::to_value(desired.strategy)),
        &mut found,
    );
    flatten(
        "promotion",
        &json(serde_json::to_value(&desired.promotion)),
        &mut found,
    );
    found.insert("ready_within".to_owned(), desired.ready_within.to_string());
    for resource in &desired.resources {
        let path = format!("resources.{}", resource.key);
        found.insert(path.clone(), "(is there)".to_owned());
        for (name, value) in &resource.settings {
            found.insert(format!("{path}.{name}"), shown(value));
        }
    }

    let objects = object_fields(desired.objects.clone());
    found.extend(
        objects
            .into_iter()
            .map(|(field, value)| (format!("objects.{field}"), value)),
    );
    found
}

/// Fields by their names, without what an environment's own name is in them.
fn neutral<'a>(fields: &'a Fields, name: &str) -> BTreeMap<String, &'a String> {
    let all = fields.iter();
    all.map(|(field, value)| (without_name(field, name), value))
        .collect()
}

/// A text with a word for an environment's name, wherever that stands as a word of its own.
fn without_name(text: &str, name: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let is_word = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        let is_whole = is_word(
            before
                .chars()
                .next_back()
                .or_else(|| out.chars().next_back()),
        ) && is_word(after.chars().next());
        out.push_str(before);
        out.push_str(if is_whole { "(environment)" } else { name });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{Wanted, World};

    /// What `web` of two environments would be, and what is live in both.
    struct Two {
        left: (Desired, Facts, Hashes),
        right: (Desired, Facts, Hashes),
    }

    impl Two {
        fn new() -> Self {
            let one = |name: &str| {
                let mut world = World::new();
                let wanted = Wanted::web(1);
                let plan = world.apply(&wanted);
                world.carry_out(&plan);
                let desired = Desired {
                    environment: name.parse().expect("a name"),
                    ..wanted.desired()
                };
                (desired, world.facts, BTreeMap::new())
            };
            Self {
                left: one("staging"),
                right: one("production"),
            }
        }

        fn compared(&self, may_differ: &[&str]) -> Comparison {
            let patterns: Vec<FieldPattern> =
                may_differ.iter().map(|text| (*text).into()).collect();
            let left = Side {
                desired: &self.left.0,
                facts: &self.left.1,
                secrets: &self.left.2,
            };
            let right = Side {
                desired: &self.right.0,
                facts: &self.right.1,
                secrets: &self.right.2,
            };
            alike(left, right, &patterns)
        }
    }

    fn fields_of(differences: &[Difference]) -> Vec<&str> {
        differences.iter().map(|one| one.field.as_str()).collect()
    }

    #[test]
    fn environments_that_differ_in_their_names_alone_are_alike() {
        let found = Two::new().compared(&[]);
        assert_eq!(fields_of(&found.differences), [""; 0]);
        assert!(found.compared > 10, "{}", found.compared);
    }

    #[test]
    fn what_differs_is_a_difference_unless_it_may() {
        let mut two = Two::new();
        let web = two.right.0.services.values_mut().next().expect("one");
        web.workload.replicas = 6;
        two.right.0.ready_within = crate::model::Period::from_secs(7);
        let found = two.compared(&[]);
        assert_eq!(
            fields_of(&found.differences),
            ["ready_within", "services.web.replicas"]
        );
        assert_eq!(found.differences[1].right.as_deref(), Some("6"));

        let found = two.compared(&["services.*.replicas", "vars"]);
        assert_eq!(fields_of(&found.differences), ["ready_within"]);
        assert_eq!(fields_of(&found.allowed), ["services.web.replicas"]);
        assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
        assert!(found.notes[0].contains("`vars`"));

        two.right.0.services.clear();
        let found = two.compared(&["ready_within"]);
        assert_eq!(fields_of(&found.differences), ["services.web"]);
    }

    #[test]
    fn what_is_live_is_compared_by_digest() {
        let mut two = Two::new();
        let mut world = World::new();
        let plan = world.apply(&Wanted::web(2));
        world.carry_out(&plan);
        two.right.1 = world.facts;
        let found = two.compared(&[]);
        let live: Vec<&str> = found
            .differences
            .iter()
            .filter(|one| one.part == Part::Live)
            .map(|one| one.field.as_str())
            .collect();
        assert_eq!(live, ["services.web.image"]);

        two.right.1 = Facts::default();
        two.left.1 = Facts::default();
        assert_eq!(
            two.compared(&[]).notes,
            ["nothing is live in either of them"]
        );
    }

    #[test]
    fn of_secrets_only_whether_they_are_the_same_is_told() {
        let mut two = Two::new();
        let of = |pairs: &[(&str, Option<&str>)]| {
            let all = pairs.iter();
            all.map(|(name, hash)| {
                let hash = hash.map(str::to_owned);
                (
                    (*name).to_owned(),
                    hash.ok_or_else(|| "X is not set".to_owned()),
                )
            })
            .collect::<Hashes>()
        };
        two.left.2 = of(&[
            ("same", Some("1")),
            ("other", Some("2")),
            ("unread", None),
            ("left", None),
        ]);
        two.right.2 = of(&[
            ("same", Some("1")),
            ("other", Some("3")),
            ("unread", Some("4")),
        ]);
        let found = two.compared(&[]);
        assert_eq!(
            fields_of(&found.differences),
            ["secrets.left", "secrets.other"]
        );
        assert_eq!(
            found.unknown,
            ["whether secrets.unread has the same value is not known: staging: X is not set"]
        );
        let text = serde_json::to_string(&found).expect("json");
        assert!(text.contains("(another value)"), "{text}");
        let found = two.compared(&["secrets.*"]);
        assert_eq!(fields_of(&found.differences), [""; 0]);
        assert_eq!(found.unknown, [""; 0]);
    }

    #[test]
    fn a_name_is_taken_out_only_where_it_is_a_word() {
        let cases = [
            ("shop-staging", "shop-(environment)"),
            (
                "staging.example.com/staging",
                "(environment).example.com/(environment)",
            ),
            (
                "upstaging stagings staging",
                "upstaging stagings (environment)",
            ),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(without_name(text, "staging"), expected);
        }
    }
}
