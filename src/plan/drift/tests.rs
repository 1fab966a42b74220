use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::model::LiveTraffic;
use crate::model::facts::Facts;
use crate::model::plan::MovedBy;
use crate::model::release::Actor;
use crate::plan::tests::{Wanted, World, object};

/// A world with release 1 live in blue.
fn live() -> World {
    let mut world = World::new();
    let plan = world.apply(&Wanted::web(1));
    world.carry_out(&plan);
    world.state.lineage = Some("ours".to_owned());
    world.facts.lineage = Some("ours".to_owned());
    world.facts.changed_by = Some(Actor {
        user: "kim".to_owned(),
        host: "laptop".to_owned(),
        run: "7".to_owned(),
        ci: None,
    });
    world.facts.changed_at = Some(Timestamp::UNIX_EPOCH);
    world
}

fn seen(world: &World, observed: Observed, last_run: LastRun) -> DriftReport {
    let observed = Observed {
        facts: world.facts.clone(),
        ..observed
    };
    drift(&Wanted::web(1).desired(), &observed, &world.state, last_run)
}

/// Each thing that moved, and its fields: `field: was → is`.
fn said(report: &DriftReport) -> Vec<String> {
    let text = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".to_owned());
    let one = |moved: &Moved| {
        let fields = moved.fields.iter().map(|field| {
            format!(
                "{}: {} → {}",
                field.field,
                text(&field.was),
                text(&field.is)
            )
        });
        let fields: Vec<String> = fields.collect();
        format!("{} {:?} {}", moved.address, moved.what, fields.join("; "))
    };
    report.moved.iter().map(one).collect()
}

fn moved(world: &World) -> Vec<String> {
    said(&seen(world, Observed::default(), LastRun::Ended))
}

#[test]
fn what_has_live_traffic_and_stands_stopped_has_moved() {
    let mut world = live();
    let there = world.facts.slots.values_mut().next().expect("a slot");
    for workload in there.workloads.values_mut() {
        workload.running = false;
        workload.instances.clear();
    }
    let said = moved(&world);
    assert_eq!(said, ["workload.blue/web Changed state: running → stopped"]);
}

#[test]
fn what_is_as_it_was_left_has_not_moved() {
    let report = seen(&live(), Observed::default(), LastRun::Ended);
    assert!(!report.has_moved(), "{report:?}");
    assert!(report.looked_at > 2, "{report:?}");

    let never = World::new();
    let report = seen(&never, Observed::default(), LastRun::Ended);
    assert_eq!(report.looked_at, 0);
    assert!(report.notes[0].contains("nothing was ever applied"));
}

#[test]
fn what_was_done_with_another_state_has_moved() {
    let mut world = live();
    let blue = world.facts.slots[&Slot::Blue].clone();
    let mut other = blue.clone();
    other.label.number = ReleaseNumber(2);
    world.facts.slots.insert(Slot::Green, other);
    world.facts.traffic = LiveTraffic::All(Slot::Green);
    assert_eq!(
        moved(&world),
        [
            "slot.green Changed release: - → release 2",
            "traffic Changed live: blue → green"
        ]
    );
    let report = seen(&world, Observed::default(), LastRun::Ended);
    let field = &report.moved[1].fields[0];
    assert_eq!(field.by.as_deref(), Some("kim@laptop (run 7)"));
    assert_eq!(field.at, Some(Timestamp::UNIX_EPOCH));

    let prepared = LastRun::Prepared(ReleaseNumber(2));
    let report = seen(&world, Observed::default(), prepared);
    assert_eq!(said(&report), ["traffic Changed live: blue → green"]);
    let report = seen(&world, Observed::default(), LastRun::CutOff(None));
    assert_eq!(said(&report), [""; 0]);

    world.facts = Facts {
        slots: [].into(),
        traffic: LiveTraffic::Off,
        ..world.facts
    };
    assert_eq!(
        moved(&world),
        [
            "slot.blue Gone release: release 1 → -",
            "traffic Changed live: blue → -"
        ]
    );
}

#[test]
fn what_runs_is_compared_with_the_record_of_its_release_and_with_its_image() {
    let mut world = live();
    let blue = world.facts.slots.get_mut(&Slot::Blue).expect("there");
    let web = blue.workloads.values_mut().next().expect("there");
    web.spec.replicas += 1;
    web.changed_on_disk = Some("app/web has other content".to_owned());
    let found = moved(&world);
    assert!(
        found[0].starts_with("workload.blue/web Changed replicas: "),
        "{found:?}"
    );
    assert!(
        found[1].ends_with("files: as in its image → app/web has other content"),
        "{found:?}"
    );

    let blue = world.facts.slots.get_mut(&Slot::Blue).expect("there");
    blue.workloads.clear();
    assert_eq!(moved(&world), ["workload.blue/web Gone "]);
}

fn change(field: &str, by: Option<&str>) -> Change {
    Change {
        field: field.to_owned(),
        before: Some("2".to_owned()),
        after: Some("1".to_owned()),
        origin: None,
        by: by.map(|manager| MovedBy {
            manager: manager.to_owned(),
            at: Some(Timestamp::UNIX_EPOCH),
        }),
    }
}

#[test]
fn of_an_object_what_others_moved_has_moved_and_what_the_configuration_changed_has_not() {
    let facts = |name: &str, state: ObjectState, changes: Vec<Change>| ObjectFacts {
        changes,
        ..object(&format!("v1/ConfigMap/shop/{name}"), state, &[])
    };
    let observed = Observed {
        objects: vec![
            facts("same", ObjectState::Same, Vec::new()),
            facts("absent", ObjectState::Absent, Vec::new()),
            facts(
                "both",
                ObjectState::Differs,
                vec![
                    change("data.a", Some("kubectl-edit")),
                    change("data.b", None),
                ],
            ),
            facts("ours", ObjectState::Differs, vec![change("data.b", None)]),
            facts("left", ObjectState::Gone, Vec::new()),
        ],
        ..Observed::default()
    };
    let report = seen(&live(), observed, LastRun::Ended);
    assert_eq!(
        said(&report),
        [
            "object.v1/ConfigMap/shop/absent Gone ",
            "object.v1/ConfigMap/shop/both Changed data.a: 1 → 2",
        ]
    );
    assert_eq!(
        report.moved[1].fields[0].by.as_deref(),
        Some("kubectl-edit")
    );
    assert!(report.notes[0].starts_with("3 more"), "{:?}", report.notes);
}

#[test]
fn objects_of_slots_and_entry_points_are_told_with_what_they_belong_to() {
    let mut world = live();
    let key = "apps/v1/Deployment/shop/web".parse().expect("a key");
    let drift = Drift {
        key,
        missing: false,
        changes: vec![change("spec.replicas", Some("kubectl"))],
        conflicts: Vec::new(),
    };
    let blue = world.facts.slots.get_mut(&Slot::Blue).expect("there");
    let web = blue.workloads.values_mut().next().expect("there");
    web.drift.push(drift.clone());
    let service = world.facts.routes.keys().next().expect("one").clone();
    let gone = Drift {
        missing: true,
        changes: Vec::new(),
        ..drift
    };
    world.facts.route_drift.insert(service, vec![gone]);
    let report = seen(&world, Observed::default(), LastRun::Ended);
    assert_eq!(
        said(&report),
        [
            "object.apps/v1/Deployment/shop/web Changed spec.replicas: 1 → 2",
            "object.apps/v1/Deployment/shop/web Gone ",
        ]
    );
    let about: Vec<&str> = report
        .moved
        .iter()
        .map(|moved| moved.about.as_str())
        .collect();
    assert_eq!(about, ["of workload.blue/web", "of route.web"]);
}

#[test]
fn a_setting_at_the_provider_is_compared_with_the_configuration() {
    let world = live();
    let resource = |key: &str| Resource {
        key: key.parse().expect("a key"),
        settings: serde_json::from_value(json!({"scan_on_push": true})).expect("settings"),
    };
    let facts = |key: &str, settings: Option<serde_json::Value>| ResourceFacts {
        settings: settings.map(|settings| serde_json::from_value(settings).expect("settings")),
        ..ResourceFacts::absent(key.parse().expect("a key"))
    };
    let desired = Desired {
        resources: vec![
            resource("repository.shop/a"),
            resource("repository.shop/b"),
            resource("repository.shop/c"),
        ],
        ..Wanted::web(1).desired()
    };
    let observed = Observed {
        facts: world.facts.clone(),
        resources: vec![
            facts("repository.shop/a", Some(json!({"scan_on_push": true}))),
            facts("repository.shop/b", Some(json!({"scan_on_push": false}))),
            facts("repository.shop/c", None),
        ],
        ..Observed::default()
    };
    let report = drift(&desired, &observed, &world.state, LastRun::Ended);
    assert_eq!(
        said(&report),
        [
            "repository.shop/b Changed scan_on_push: true → false",
            "repository.shop/c Gone ",
        ]
    );
}
