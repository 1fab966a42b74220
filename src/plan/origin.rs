//! Where the differences of one object come from, in the few words that stand for all of them.

use crate::model::plan::Change;

/// Where changes come from; none when all of them are the configuration's own. What the server or a
/// webhook sets below a field that the configuration changes is a part of that change.
pub(super) fn origin(changes: &[Change]) -> Option<String> {
    let is_own = |change: &Change| change.origin.is_none() && change.by.is_none();
    let is_own = changes.iter().any(is_own);

    let mut moved: Vec<&str> = changes
        .iter()
        .filter(|change| change.by.is_some())
        .filter_map(|change| change.origin.as_deref())
        .collect();
    moved.dedup();
    let moved = moved.join("; ");

    match (moved.is_empty(), is_own) {
        (false, true) => Some(format!("differs, in part {moved}")),
        (false, false) => Some(moved),
        (true, true) => None,
        (true, false) => changes.iter().find_map(|change| change.origin.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::MovedBy;

    fn own() -> Change {
        Change {
            field: "spec.ports[dns].port".to_owned(),
            before: Some("53".to_owned()),
            after: Some("54".to_owned()),
            origin: None,
            by: None,
        }
    }

    fn defaulted() -> Change {
        Change {
            field: "spec.ports[dns].targetPort".to_owned(),
            origin: Some("set by the server or a webhook".to_owned()),
            ..own()
        }
    }

    fn moved(by: &str) -> Change {
        Change {
            field: "spec.type".to_owned(),
            origin: Some(format!("changed by {by}")),
            by: Some(MovedBy {
                manager: by.to_owned(),
                at: None,
            }),
            ..own()
        }
    }

    #[test]
    fn a_default_below_what_the_commit_changes_does_not_speak_for_the_object() {
        assert_eq!(origin(&[own(), defaulted()]), None);
        assert_eq!(origin(&[defaulted(), own()]), None);
        assert_eq!(
            origin(&[defaulted()]).as_deref(),
            Some("set by the server or a webhook")
        );
    }

    #[test]
    fn who_else_moved_a_field_is_named_beside_the_commit() {
        assert_eq!(
            origin(&[defaulted(), moved("kim")]).as_deref(),
            Some("changed by kim")
        );
        assert_eq!(
            origin(&[own(), moved("kim"), moved("kim"), moved("hpa")]).as_deref(),
            Some("differs, in part changed by kim; changed by hpa")
        );
    }
}
