//! What `drift`, `diff --with` and `state list` print.

use jiff::Timestamp;
use serde_json::json;

use super::is_as_before;
use crate::model::comparison::{Comparison, Difference, Part};
use crate::model::drift::{DriftReport, Moved, MovedField, Movement};
use crate::model::resource::Settings;
use crate::output::state::{HeldItem, StateList, list};
use crate::output::{comparison, drift};

fn moved(address: &str, what: Movement, about: &str, fields: Vec<MovedField>) -> Moved {
    Moved {
        address: address.to_owned(),
        what,
        about: about.to_owned(),
        fields,
    }
}

#[test]
fn what_moved_is_shown_with_who_moved_it_and_when() {
    let field = |field: &str, was, is, by: Option<&str>| MovedField {
        field: field.to_owned(),
        was,
        is,
        by: by.map(str::to_owned),
        at: by.map(|_| Timestamp::UNIX_EPOCH),
    };
    let replicas = field(
        "spec.replicas",
        Some("2".to_owned()),
        Some("5".to_owned()),
        Some("kubectl-edit"),
    );
    let scan = field("scan_on_push", Some("true".to_owned()), None, None);
    let report = DriftReport {
        project: "shop".parse().expect("a name"),
        environment: "production".parse().expect("a name"),
        looked_at: 12,
        moved: vec![
            moved(
                "object.apps/v1/Deployment/shop/web-blue",
                Movement::Changed,
                "of workload.blue/web",
                vec![replicas],
            ),
            moved(
                "object.v1/Service/shop/web",
                Movement::Gone,
                "of route.web",
                Vec::new(),
            ),
            moved(
                "object.v1/ConfigMap/shop/a",
                Movement::Added,
                "it belongs to kim",
                Vec::new(),
            ),
            moved("repository.shop/web", Movement::Changed, "", vec![scan]),
        ],
        notes: vec!["whether anybody did more is not known".to_owned()],
    };
    is_as_before("drift", &drift::human(&report).plain());
    is_as_before("drift_markdown", &drift::markdown(&report).plain());

    let nothing = DriftReport {
        moved: Vec::new(),
        notes: Vec::new(),
        ..report
    };
    is_as_before("drift_nothing_markdown", &drift::markdown(&nothing).plain());
}

#[test]
fn what_differs_between_environments_is_shown_side_by_side() {
    let difference = |part, field: &str, left, right| Difference {
        part,
        field: field.to_owned(),
        left,
        right,
    };
    let comparison = Comparison {
        project: "shop".parse().expect("a name"),
        left: "staging".parse().expect("a name"),
        right: "production".parse().expect("a name"),
        compared: 40,
        differences: vec![
            difference(Part::Live, "commit", Some("3f2c1ab".to_owned()), None),
            difference(
                Part::Configuration,
                "services.web.env.LOG_LEVEL",
                Some("debug".to_owned()),
                Some("info".to_owned()),
            ),
            difference(
                Part::Secrets,
                "secrets.database_url",
                Some("(a value)".to_owned()),
                Some("(another value)".to_owned()),
            ),
        ],
        allowed: vec![difference(
            Part::Configuration,
            "services.web.replicas",
            Some("2".to_owned()),
            Some("6".to_owned()),
        )],
        unknown: Vec::new(),
        notes: vec!["`may_differ` has `vars`, and nothing like it differs here".to_owned()],
    };
    is_as_before(
        "environments_differ",
        &comparison::human(&comparison).plain(),
    );

    let alike = Comparison {
        differences: Vec::new(),
        notes: Vec::new(),
        ..comparison
    };
    is_as_before(
        "environments_alike_markdown",
        &comparison::markdown(&alike).plain(),
    );
}

#[test]
fn what_is_held_is_a_table() {
    let item = |address: &str, about: &str| HeldItem {
        address: address.to_owned(),
        about: about.to_owned(),
        can_be_forgotten: false,
        settings: Settings::new(),
    };
    let settings = json!({"immutable_tags": true, "scan_on_push": false});
    let repository = HeldItem {
        settings: serde_json::from_value(settings).expect("settings"),
        ..item("repository.shop/web", "at the provider")
    };
    let held = StateList {
        project: "shop".parse().expect("a name"),
        environment: "staging".parse().expect("a name"),
        place: "state/staging/state.json".to_owned(),
        lineage: Some("5f0c".to_owned()),
        serial: 7,
        items: vec![
            item("release.1", "superseded, 3f2c1ab, by kim"),
            item("slot.blue", "release 1, stopped"),
            repository,
        ],
        note: Some("this state is behind: release 3 is in blue".to_owned()),
    };
    is_as_before("state_list", &list(&held).plain());

    let nothing = StateList {
        items: Vec::new(),
        note: None,
        ..held
    };
    is_as_before("state_list_nothing", &list(&nothing).plain());
}
