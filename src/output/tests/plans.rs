//! Plans as a person, a change request and a program read them.

use super::{
    Places, State, Wanted, World, abort, apply, data, destroy, is_as_before, named, object,
    promote, replaced, rollback, tasks,
};
use crate::model::check::{Check, HttpCheck};
use crate::model::desired::{ImageSource, PromotedImage};
use crate::model::facts::Facts;
use crate::model::loss::Holding;
use crate::model::object::{ObjectFacts, ObjectState};
use crate::model::observed::Observed;
use crate::model::plan::{Change, MovedBy, Plan};
use crate::model::promotion::{Mode, ServiceStrategy, Strategy};
use crate::model::release::PromotedFrom;
use crate::model::resource::{MadeBy, ResourceFacts};
use crate::model::workload::Known;
use crate::model::{Digest, Period, ReleaseNumber, Slot};
use crate::output::Kind;
use crate::output::document::enveloped;
use crate::output::plan::{human, markdown};
use crate::plan::destroy_infrastructure;

fn reads(name: &str, plan: &Plan) {
    is_as_before(&format!("plan_{name}"), &human(plan).plain());
}

/// A world in which these were applied, one after the other.
fn after(applied: &[Wanted]) -> World {
    let mut world = World::new();
    for wanted in applied {
        world.carry_out(&world.apply(wanted));
    }
    world
}

fn manual(version: u8) -> Wanted {
    Wanted {
        mode: Mode::Manual,
        ..Wanted::web(version)
    }
}

/// Everything that the configuration names goes, and a volume with data in it.
fn destroyed() -> Plan {
    let World { facts, state, .. } = after(&[Wanted::web(1), Wanted::web(2)]);
    let found = [
        object(
            "v1/PersistentVolumeClaim/shop/data",
            ObjectState::Gone,
            &[data("claim data in shop")],
        ),
        object("v1/ConfigMap/shop/settings", ObjectState::Gone, &[]),
    ];
    destroy(&Wanted::web(2).desired(), &facts, &found, &state)
}

/// Objects of a cluster in every state, next to a release that stays.
fn cluster_objects() -> Plan {
    let change = |field: &str, before: Option<&str>, after: Option<&str>| Change {
        field: field.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        origin: None,
        by: None,
    };
    let differs = ObjectFacts {
        changes: vec![
            change("data.LOG_LEVEL", Some("info"), Some("debug")),
            Change {
                origin: Some("changed by kubectl at 2026-01-02T03:04:05Z".to_owned()),
                by: Some(MovedBy {
                    manager: "kubectl".to_owned(),
                    at: Some("2026-01-02T03:04:05Z".parse().expect("a time")),
                }),
                ..change("data.REGION", Some("eu"), None)
            },
        ],
        ..object("v1/ConfigMap/shop/settings", ObjectState::Differs, &[])
    };
    let replaced = ObjectFacts {
        changes: vec![change("spec.serviceName", Some("db"), Some("database"))],
        ..object(
            "apps/v1/StatefulSet/shop/db",
            replaced(),
            &[data("claim data-db-0 in shop")],
        )
    };
    let objects = vec![
        object("v1/ConfigMap/shop/features", ObjectState::Absent, &[]),
        differs,
        replaced,
        object(
            "v1/PersistentVolumeClaim/shop/old",
            ObjectState::Gone,
            &[data("claim old in shop")],
        ),
        object(
            "v1/Namespace//shop",
            ObjectState::Gone,
            &[Holding::Others {
                what: "Deployment/theirs in shop".to_owned(),
                owner: "kubectl".to_owned(),
            }],
        ),
        object("v1/Service/shop/db", ObjectState::Same, &[]),
        object("v1/Secret/shop/db", ObjectState::Same, &[]),
    ];
    let wanted = Wanted {
        objects,
        ..Wanted::web(1)
    };
    after(&[Wanted::web(1)]).apply(&wanted)
}

#[test]
fn a_first_release() {
    reads("first_release", &World::new().apply(&Wanted::web(1)));
    let all = Wanted {
        services: [("api", 1), ("web", 1), ("worker", 1)].into(),
        ..manual(1)
    };
    reads("first_release_of_three_services", &World::new().apply(&all));
}

#[test]
fn a_code_change() {
    let plan = after(&[Wanted::web(1)]).apply(&Wanted::web(2));
    reads("code_change", &plan);
    is_as_before("plan_code_change_markdown", &markdown(&plan).plain());
    is_as_before("plan_code_change_json", &json(&plan));
}

#[test]
fn a_code_change_with_tasks() {
    let wanted = Wanted {
        tasks: tasks(&["break", "drop", "load", "mail", "migrate"]),
        ..Wanted::web(2)
    };
    let plan = after(&[Wanted::web(1)]).apply(&wanted);
    reads("code_change_with_tasks", &plan);
}

#[test]
fn a_code_change_with_checks() {
    let check = |path: &str| {
        Check::Http(HttpCheck {
            path: path.to_owned(),
            service: None,
            port: None,
            host: None,
            expect: 200,
            contains: None,
            hold: None,
            timeout: Period::from_secs(5),
        })
    };
    let (world, wanted) = (after(&[Wanted::web(1)]), Wanted::web(2));
    let mut desired = wanted.desired();
    desired.promotion.before = vec![check("/healthz")];
    desired.promotion.after = vec![check("/")];
    let plan = apply(&desired, &world.observed(&wanted), &world.state);
    reads("code_change_with_checks", &plan);
}

#[test]
fn an_image_that_somebody_else_has_made() {
    let mut world = World::new();
    let first = named(&world, "nginx:1.27", 1);
    reads("image_by_name", &first);
    world.carry_out(&first);
    reads("image_by_name_unchanged", &named(&world, "nginx:1.27", 1));
    reads("image_by_name_moved", &named(&world, "nginx:1.27", 2));
}

#[test]
fn a_change_of_the_configuration() {
    let wanted = Wanted {
        log_level: 1,
        places: Places::Moved,
        ..Wanted::web(1)
    };
    reads("config_change", &after(&[Wanted::web(1)]).apply(&wanted));
}

#[test]
fn a_change_in_place() {
    for (name, strategy) in [
        ("rolling", Strategy::Rolling),
        ("recreate", Strategy::Recreate),
    ] {
        let version = |version| Wanted {
            strategy,
            ..Wanted::web(version)
        };
        reads(name, &after(&[version(1)]).apply(&version(2)));
    }
}

#[test]
fn a_service_that_never_runs_twice() {
    let both = |version| Wanted {
        services: [("web", version), ("api", version)].into(),
        own: [("api", ServiceStrategy::Recreate)].into(),
        ..Wanted::web(version)
    };
    reads("exclusive", &after(&[both(1)]).apply(&both(2)));
    let waits = Wanted {
        mode: Mode::Manual,
        ..both(2)
    };
    reads("exclusive_waits", &after(&[both(1)]).apply(&waits));
    let World { facts, state, .. } = after(&[both(1), waits.clone()]);
    let promoted = promote(&waits.desired(), &facts, &state, Slot::Green);
    reads("exclusive_promote", &promoted.expect("a plan"));
    let rolling = |version| Wanted {
        strategy: Strategy::Rolling,
        ..both(version)
    };
    reads(
        "exclusive_in_place",
        &after(&[rolling(1)]).apply(&rolling(2)),
    );
}

#[test]
fn nothing_to_do() {
    let plan = after(&[Wanted::web(1)]).apply(&Wanted::web(1));
    reads("nothing_to_do", &plan);
    is_as_before("plan_nothing_to_do_markdown", &markdown(&plan).plain());
}

#[test]
fn a_release_that_waits_and_its_promotion_or_abort() {
    let world = after(&[Wanted::web(1)]);
    reads("manual", &world.apply(&manual(2)));

    let World { facts, state, .. } = after(&[Wanted::web(1), manual(2)]);
    let desired = manual(2).desired();
    let promoted = promote(&desired, &facts, &state, Slot::Green);
    reads("promote", &promoted.expect("a plan"));
    reads("abort", &abort(&desired, &facts, &state).expect("a plan"));
}

#[test]
fn a_promotion_from_another_environment() {
    let wanted = Wanted::web(1);
    let mut desired = wanted.desired();
    let from = PromotedFrom {
        environment: "develop".parse().expect("a name"),
        release: ReleaseNumber(17),
    };
    desired.promoted_from = Some(from.clone());
    for service in desired.services.values_mut() {
        service.workload.image = Known::Value(Digest::of(b"web of develop"));
        service.image = ImageSource::Promoted(PromotedImage {
            from: from.clone(),
            name: None,
        });
    }
    let world = World::new();
    let mut observed = world.observed(&wanted);
    observed.images.clear();
    let plan = apply(&desired, &observed, &world.state);
    reads("promote_from", &plan);
}

#[test]
fn a_rollback() {
    let World { facts, state, .. } = after(&[Wanted::web(1), Wanted::web(2), Wanted::web(3)]);
    let to = |number: Option<u64>| rolled_back(&facts, &state, number);
    reads("rollback", &to(None));
    reads("rollback_from_history", &to(Some(1)));
    reads("rollback_to_what_is_live", &to(Some(3)));

    let blocked = Plan {
        rollback_blockers: vec![
            "the image of web in release 3 is not in the registry any more".to_owned(),
        ],
        ..to(None)
    };
    reads("rollback_blocked", &blocked);
}

fn rolled_back(facts: &Facts, state: &State, number: Option<u64>) -> Plan {
    let desired = Wanted::web(3).desired();
    let plan = rollback(&desired, facts, state, number.map(ReleaseNumber));
    plan.expect("a plan")
}

#[test]
fn what_destroys_something() {
    let plan = destroyed();
    reads("destroy", &plan);
    is_as_before("plan_destroy_markdown", &markdown(&plan).plain());
    is_as_before("plan_destroy_json", &json(&plan));
}

#[test]
fn what_destroys_the_infrastructure_too() {
    let World { facts, state, .. } = after(&[Wanted::web(1)]);
    let made = |key: &str, used_by: &[&str], holds: &[Holding]| ResourceFacts {
        settings: Some([("scan_on_push".to_owned(), true.into())].into()),
        made_by: Some(MadeBy {
            project: "shop".to_owned(),
            environment: "staging".to_owned(),
        }),
        used_by: used_by.iter().map(|by| (*by).to_owned()).collect(),
        holds: holds.to_vec(),
        ..ResourceFacts::absent(key.parse().expect("a key"))
    };
    let images = Holding::Data {
        what: "12 images in shop/web".to_owned(),
        size: Some("340 MiB".to_owned()),
        policy: None,
    };
    let shared = ["production, whose configuration names it"];
    let observed = Observed {
        facts,
        resources: vec![
            made("repository.shop/web", &[], &[images]),
            made("repository.shop/base", &shared, &[]),
        ],
        ..Observed::default()
    };
    let plan = destroy_infrastructure(&Wanted::web(1).desired(), &observed, &state);
    reads("destroy_infrastructure", &plan);
}

#[test]
fn the_objects_of_a_cluster() {
    let plan = cluster_objects();
    reads("cluster_objects", &plan);
    is_as_before("plan_cluster_objects_markdown", &markdown(&plan).plain());
    is_as_before("plan_cluster_objects_json", &json(&plan));
}

/// As `--output json` prints it.
fn json(plan: &Plan) -> String {
    serde_json::to_string_pretty(&enveloped(Kind::Plan, plan)).expect("a document")
}
