//! Slips in keys: what was meant, and what is taken out so that the rest can be read.

use crate::config::de::{Error, Kind};
use crate::config::kinds::KIND;
use crate::config::node::{Node, Value};
use crate::config::problem::Problem;
use crate::config::suggest::meant;

/// What an unknown key was probably meant to be.
pub(super) fn misspelled(error: &Error) -> Option<&'static str> {
    match &error.kind {
        Kind::UnknownField { field, expected } => meant(field, expected),
        _ => None,
    }
}

/// Where the key that says the kind is missing and one is nearly it, that one is wrong.
pub(super) fn of_kind(mut error: Error, tree: &Node) -> Error {
    if error.kind != Kind::MissingField(KIND) {
        return error;
    }
    let map = tree.node_at(&error.path()).map(|node| &node.value);
    let Some(Value::Map(entries)) = map else {
        return error;
    };
    let mut keys = entries.iter().map(|(key, _)| &key.name);
    if let Some(key) = keys.find(|key| meant(key, &[KIND]).is_some()) {
        error.kind = Kind::UnknownField {
            field: key.clone(),
            expected: vec![KIND],
        };
        error.is_decisive = false;
    }
    error
}

/// What is taken out to go on: the node that is wrong; where something is missing, what it is
/// missing from, unless that is the whole.
pub(super) fn path_to_prune(error: &Error, path: &[String], tree: &Node) -> Vec<String> {
    let mut at = path.to_vec();
    if error.is_decisive {
        at.pop();
    }
    if matches!(error.kind, Kind::MissingField(_)) && at.is_empty() {
        return at;
    }
    // The path of a variant ends with its name, which is a key of the tree only in its long form.
    while !at.is_empty() && !tree.clone().prune(&at) {
        at.pop();
    }
    if is_all_of_an_item(tree, &at) {
        at.pop();
    }
    at
}

/// Whether nothing would be left of an item of a list, which says its form by its one key.
fn is_all_of_an_item(tree: &Node, at: &[String]) -> bool {
    let Some((_, item)) = at.split_last() else {
        return false;
    };
    let list = item.split_last().and_then(|(_, list)| tree.node_at(list));
    let is_in_list = list.is_some_and(|list| matches!(list.value, Value::List(_)));
    let entries = tree.node_at(item).map(|item| &item.value);
    is_in_list && matches!(entries, Some(Value::Map(entries)) if entries.len() == 1)
}

/// Whether a problem is of the kind that asks which ports a service has, and one of them was taken
/// out.
pub(super) fn asks_ports(problem: &Problem, taken_out: &[String]) -> bool {
    let [services, service, port, ..] = taken_out else {
        return false;
    };
    if services != "services" || !matches!(port.as_str(), "port" | "ports") {
        return false;
    }

    match problem.path.as_slice() {
        [first, second, ..] if first == "services" => second == service,
        [first, ..] => matches!(first.as_str(), "promotion" | "tasks" | "traffic"),
        [] => false,
    }
}
