//! Each field of a plan in a file, changed by somebody who makes its checksum anew.

use serde_json::Value;

use super::{Wanted, World};
use crate::model::plan::Plan;
use crate::plan::{difference, reads_same};

/// Who refuses these fields instead, before plans are compared: they say which plan it is
/// (`ops::plan_file`).
const ELSEWHERE: [&str; 5] = ["/format", "/project", "/environment", "/state/", "/intent"];

/// A plan with builds, objects, checks, a switch and a rollback.
fn plan() -> Plan {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let next = Wanted {
        services: [("web", 2), ("api", 1)].into(),
        log_level: 1,
        ..Wanted::web(2)
    };
    world.apply(&next)
}

/// The places of all values, and of all that is in lists and maps, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(number, item)| (number.to_string(), item))
                .collect()
        }
        Value::Object(map) => {
            let escaped = |key: &String| key.replace('~', "~0").replace('/', "~1");
            map.iter().map(|(key, item)| (escaped(key), item)).collect()
        }
        _ => Vec::new(),
    };
    for (key, item) in inner {
        let at = format!("{at}/{key}");
        places(item, &at, found);
        found.push(at);
    }
}

/// What somebody may put in the place of a value.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(flag) => vec![Value::Bool(!flag)],
        Value::Number(number) => {
            let number = number.as_u64().unwrap_or_default();
            vec![(number + 1).into(), 0.into()]
        }
        Value::String(text) => {
            let mut other = text.clone();
            let last = other.pop();
            other.push(if last == Some('0') { '1' } else { '0' });
            vec![
                other.into(),
                format!("{text}0").into(),
                "green".into(),
                "blue".into(),
            ]
        }
        Value::Array(items) => {
            let mut turned = items.clone();
            turned.reverse();
            vec![Value::Array(Vec::new()), Value::Array(turned)]
        }
        Value::Null | Value::Object(_) => Vec::new(),
    }
}

/// The document without what is in a place.
fn without(document: &Value, place: &str) -> Value {
    let mut document = document.clone();
    let (parent, key) = place.rsplit_once('/').expect("a place");
    let key = key.replace("~1", "/").replace("~0", "~");
    match document.pointer_mut(parent) {
        Some(Value::Array(items)) => {
            items.remove(key.parse().expect("a number"));
        }
        Some(Value::Object(map)) => {
            map.remove(&key);
        }
        _ => panic!("{place} is in nothing"),
    }
    document
}

/// Words for readers: a plan that is carried out shows those of the fresh one.
fn is_for_readers(place: &str) -> bool {
    let is_of_step = place.contains("/reason") || place.contains("/changes");
    is_of_step || place.starts_with("/unchanged") || place.starts_with("/rollback_blockers")
}

/// Notes, and how many files an image was built from: both depend on the checkout.
fn is_counted(document: &Value, place: &str) -> bool {
    let of_image = place.strip_suffix("/reason").is_some_and(|step| {
        let address = document.pointer(&format!("{step}/address"));
        address
            .and_then(Value::as_str)
            .is_some_and(|it| it.starts_with("image."))
    });
    of_image || place.starts_with("/notes")
}

#[test]
fn no_field_of_a_plan_is_changed_unseen() {
    let fresh = plan();
    let document = serde_json::to_value(&fresh).expect("JSON");
    let mut all = Vec::new();
    places(&document, "", &mut all);
    assert!(all.len() > 200, "{}", all.len());

    let (mut unseen, mut tried) = (Vec::new(), 0);
    for place in &all {
        let there = document.pointer(place).expect("it is there");
        let mut edited: Vec<Value> = others(there)
            .into_iter()
            .map(|other| {
                let mut edited = document.clone();
                *edited.pointer_mut(place).expect("it is there") = other;
                edited
            })
            .collect();
        edited.push(without(&document, place));

        for edited in edited {
            // What no plan says is refused when the file is read.
            let Ok(given) = serde_json::from_value::<Plan>(edited.clone()) else {
                continue;
            };
            if given == fresh {
                continue;
            }
            tried += 1;
            let is_seen = if is_for_readers(place) {
                // Whoever signs has read the words of the fresh plan, and nobody else sees these.
                reads_same(&given, &fresh).is_err()
            } else {
                difference(&given, &fresh).is_some()
            };
            let is_elsewhere = ELSEWHERE.iter().any(|it| place.starts_with(it));
            if !is_seen && !is_elsewhere && !is_counted(&document, place) {
                unseen.push(format!("{place}: {:?}", edited.pointer(place)));
            }
        }
    }
    assert!(tried > 200, "{tried}");
    assert!(unseen.is_empty(), "{unseen:#?}");
}
