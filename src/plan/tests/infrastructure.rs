//! What goes with an environment, what stays, and what is said of it.

use proptest::prelude::*;
use serde_json::json;

use super::{Wanted, World, in_order, words};
use crate::model::Address;
use crate::model::loss::Holding;
use crate::model::plan::{Action, Intent, Plan};
use crate::model::resource::{MadeBy, Resource, ResourceFacts, ResourceKind, Settings};
use crate::plan::{destroy_infrastructure, verify};
use crate::rollout::no_rollback;

/// A resource that is there, made for this environment of `shop`.
fn made_for(environment: &str, key: &str) -> ResourceFacts {
    ResourceFacts {
        settings: Some(Settings::from([("a".to_owned(), json!(1))])),
        made_by: Some(MadeBy {
            project: "shop".to_owned(),
            environment: environment.to_owned(),
        }),
        ..ResourceFacts::absent(key.parse().expect("a key"))
    }
}

fn holding(key: &str, holds: &[Holding]) -> ResourceFacts {
    ResourceFacts {
        holds: holds.to_vec(),
        ..made_for("staging", key)
    }
}

fn images() -> Holding {
    Holding::Data {
        what: "2 images in shop/web".to_owned(),
        size: Some("3 MiB".to_owned()),
        policy: None,
    }
}

/// The plan where a release is live and these resources are there, in the order of the
/// configuration.
fn plan(found: &[ResourceFacts]) -> Plan {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let mut desired = Wanted::web(1).desired();
    let wanted = found.iter().filter(|facts| facts.wanted);
    desired.resources = wanted
        .map(|facts| Resource {
            key: facts.key.clone(),
            settings: Settings::new(),
        })
        .collect();
    let observed = crate::model::observed::Observed {
        facts: world.facts.clone(),
        resources: found.to_vec(),
        ..Default::default()
    };
    destroy_infrastructure(&desired, &observed, &world.state)
}

/// Any infrastructure: what is there or not, whoever has made it, uses it and has something in it.
pub(super) fn some() -> impl Strategy<Value = Vec<ResourceFacts>> {
    let keys = [
        "cluster.shop",
        "repository.shop/web",
        "repository.shop/api",
        "pull_through.docker-hub",
        "replication.eu-west-1/1",
        "node_group.workers",
        "fargate_profile.apps",
        "addon.coredns",
        "access_entry.arn:aws:iam::1:role/ci",
    ];
    let one = |key: &'static str| {
        let marks = prop_oneof![
            4 => Just(Some(("shop", "staging"))),
            1 => Just(Some(("shop", "production"))),
            1 => Just(Some(("other", "staging"))),
            1 => Just(None),
        ];
        let rare = || proptest::bool::weighted(0.1);
        let holds = proptest::collection::vec(super::holding(), 0..2);
        let flags = (proptest::bool::weighted(0.8), rare(), rare());
        (marks, flags, proptest::bool::ANY, holds).prop_map(
            move |(marks, (is_there, is_used, is_callers), wanted, holds)| ResourceFacts {
                settings: is_there.then(|| Settings::from([("a".to_owned(), json!(1))])),
                made_by: marks.map(|(project, environment)| MadeBy {
                    project: project.to_owned(),
                    environment: environment.to_owned(),
                }),
                used_by: is_used
                    .then(|| "production".to_owned())
                    .into_iter()
                    .collect(),
                is_callers,
                wanted,
                holds,
                ..made_for("staging", key)
            },
        )
    };
    let each: Vec<_> = keys
        .into_iter()
        .map(|key| proptest::option::of(one(key)))
        .collect();
    each.prop_map(|found| found.into_iter().flatten().collect())
}

/// Of what is there, what is the environment's own and nobody else's goes, behind all that is in
/// it; all else stays and is named. Nothing of it is put back.
pub(super) fn only_its_own_goes(plan: &Plan, found: &[ResourceFacts]) -> Result<(), TestCaseError> {
    let goes = deleted(plan);
    for facts in found {
        let key = facts.key.to_string();
        let marks = facts.made_by.as_ref();
        let is_ours = marks.is_some_and(|by| {
            let is_shared = facts.key.kind == ResourceKind::Repository;
            by.project == "shop" && (is_shared || by.environment == "staging")
        });
        let is_never = matches!(
            facts.key.kind,
            ResourceKind::Cluster | ResourceKind::PullThrough
        );
        let is_others = |holding: &&Holding| {
            !holding.may_go()
                && !holding.is_own()
                && !matches!(holding, Holding::LiveTraffic { .. })
        };
        let is_free = facts.used_by.is_empty() && !facts.is_callers;
        let is_empty = !facts.holds.iter().any(|it| is_others(&it));
        let may_go = is_ours && !is_never && is_free && is_empty;
        let is_there = facts.settings.is_some();
        prop_assert_eq!(goes.contains(&key), is_there && may_go, "{:?}", facts);

        let named = format!("{key} stays: ");
        let is_named = plan.notes.iter().any(|note| note.starts_with(&named));
        prop_assert_eq!(is_named, is_there && !may_go, "{:?}", plan.notes);
    }

    let is_resource = |address: &Address| matches!(address, Address::Resource(_));
    let steps = in_order(&plan.steps);
    let first = steps.iter().position(|step| is_resource(&step.address));
    let behind = &steps[first.unwrap_or(steps.len())..];
    prop_assert!(
        behind.iter().all(|step| is_resource(&step.address)),
        "{:?}",
        words(plan)
    );
    let mut back = plan.reverse.iter();
    prop_assert!(!back.any(|step| is_resource(&step.address)));
    Ok(())
}

fn deleted(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter().filter(|step| {
        matches!(
            (&step.action, &step.address),
            (Action::Delete, Address::Resource(_))
        )
    });
    steps.map(|step| step.address.to_string()).collect()
}

#[test]
fn the_last_made_goes_first_and_all_behind_the_environment() {
    let orphan = ResourceFacts {
        wanted: false,
        ..made_for("staging", "fargate_profile.old")
    };
    let plan = plan(&[
        holding("repository.shop/web", &[images()]),
        made_for("staging", "replication.eu-west-1/1"),
        made_for("staging", "node_group.workers"),
        made_for("staging", "addon.coredns"),
        orphan,
        ResourceFacts::absent("repository.shop/none".parse().expect("a key")),
    ]);
    assert_eq!(plan.intent, Intent::DestroyInfrastructure);
    assert_eq!(
        deleted(&plan),
        [
            "fargate_profile.old",
            "addon.coredns",
            "node_group.workers",
            "replication.eu-west-1/1",
            "repository.shop/web"
        ]
    );
    assert_eq!(verify(&plan), vec![]);

    // Each waits for the one before, and the first for all that the environment has.
    let first = plan.steps.iter().position(|step| {
        step.address.to_string() == "fargate_profile.old" && step.action == Action::Delete
    });
    let (before, from) = plan.steps.split_at(first.expect("it goes"));
    let needed = |id| {
        let mut later = plan.steps.iter();
        later.any(|step| step.needs.contains(&id))
    };
    assert!(before.len() > 1 && before.iter().all(|step| needed(step.id)));
    for pair in from.windows(2) {
        assert_eq!(pair[1].needs, [pair[0].id]);
    }
    assert!(plan.reverse.iter().all(|step| {
        let undone = step.undoes.and_then(|id| plan.step(id));
        undone.is_some_and(|step| !matches!(step.address, Address::Resource(_)))
    }));
}

#[test]
fn images_are_a_loss_by_the_repositorys_name_and_do_not_come_back() {
    let plan = plan(&[holding("repository.shop/web", &[images()])]);
    let lost: Vec<_> = plan.losses.iter().filter(|loss| loss.is_loss()).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0].name, "repository.shop/web");
    assert_eq!(lost[0].holds, [images()]);
    assert!(
        plan.notes.iter().any(|note| note.contains("not put back")),
        "{:?}",
        plan.notes
    );

    let begun = plan.steps.iter().map(|step| step.id).collect();
    let stays = no_rollback(&plan, &begun).expect("no rollback");
    assert!(stays.contains("2 images in shop/web, 3 MiB"), "{stays}");
}

#[test]
fn an_environment_whose_machines_are_going_is_not_put_back() {
    let plan = plan(&[made_for("staging", "node_group.workers")]);
    let all = plan.steps.iter().map(|step| step.id).collect();
    assert_eq!(
        no_rollback(&plan, &all).as_deref(),
        Some("the deletion of node_group.workers has begun, so the environment is not put back")
    );
    let last = plan.steps.last().map(|step| step.id);
    let before = plan.steps.iter().map(|step| step.id);
    let before = before.filter(|id| Some(*id) != last).collect();
    assert_eq!(no_rollback(&plan, &before), None);
}

#[test]
fn what_is_shared_or_not_ours_stays_and_is_named() {
    let used = ResourceFacts {
        used_by: vec!["production, whose configuration names it".to_owned()],
        ..made_for("staging", "repository.shop/used")
    };
    let unmarked = ResourceFacts {
        made_by: None,
        ..made_for("staging", "repository.shop/unmarked")
    };
    let mut foreign = made_for("staging", "repository.shop/foreign");
    foreign.made_by = Some(MadeBy {
        project: "other".to_owned(),
        environment: "staging".to_owned(),
    });
    let own_access = ResourceFacts {
        is_callers: true,
        ..made_for("staging", "access_entry.arn:aws:iam::1:role/me")
    };
    let others = Holding::Others {
        what: "1 pod".to_owned(),
        owner: "namespace team".to_owned(),
    };
    let unseen = Holding::Unseen {
        what: "what runs on it".to_owned(),
        why: "forbidden".to_owned(),
    };
    let stay = [
        used,
        unmarked,
        foreign,
        own_access,
        made_for("production", "node_group.theirs"),
        made_for("staging", "cluster.shop"),
        made_for("staging", "pull_through.docker-hub"),
        holding("fargate_profile.shared", &[others]),
        holding("fargate_profile.dark", &[unseen]),
    ];
    let plan = plan(&stay);
    assert_eq!(deleted(&plan), Vec::<String>::new());
    for facts in &stay {
        let named = format!("{} stays: ", facts.key);
        let of_it = plan.notes.iter().filter(|note| note.starts_with(&named));
        assert_eq!(of_it.count(), 1, "{named}: {:?}", plan.notes);
    }
    assert!(!plan.notes.iter().any(|note| note.contains("not put back")));
}

#[test]
fn the_last_environment_takes_its_projects_repository_along_and_its_own_pods_hold_nothing() {
    let live = Holding::LiveTraffic {
        what: "2 pods of web".to_owned(),
    };
    let plan = plan(&[
        made_for("gone", "repository.shop/web"),
        holding("fargate_profile.apps", &[live]),
    ]);
    assert_eq!(
        deleted(&plan),
        ["fargate_profile.apps", "repository.shop/web"]
    );
    assert!(!plan.losses.iter().any(crate::model::loss::Loss::is_loss));
}
