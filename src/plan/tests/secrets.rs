//! Secrets that have another version.

use super::*;
use crate::model::observed::SecretFacts;
use crate::model::plan::Change;
use crate::model::secret::{SecretRef, SecretVersion, VaultSecret};
use crate::plan::rollback;
use crate::plan::same::{Difference, difference};

fn url(version: Option<u64>) -> SecretRef {
    SecretRef::Vault(VaultSecret {
        path: "secret/shop".to_owned(),
        key: "url".to_owned(),
        version,
        mount: None,
        kv: None,
    })
}

/// `web` has a secret of Vault.
fn desired(web: u8) -> Desired {
    let mut desired = Wanted::web(web).desired();
    let service = desired.services.get_mut("web").expect("a service");
    let WorkloadKind::Process(process) = &mut service.workload.kind else {
        panic!("a process");
    };
    let secret = EnvValue::Secret {
        name: "url".to_owned(),
        from: url(None),
    };
    process.env.insert("URL".to_owned(), secret);
    desired
}

fn plan_of(world: &World, desired: &Desired, web: u8, facts: SecretFacts) -> Plan {
    let observed = Observed {
        secrets: BTreeMap::from([("url".to_owned(), facts)]),
        ..world.observed(&Wanted::web(web))
    };
    apply(desired, &observed, &world.state)
}

fn version(number: u64, hash: Option<&str>) -> SecretFacts {
    SecretFacts::Known {
        version: Some(SecretVersion::Number(number)),
        hash: hash.map(str::to_owned),
    }
}

fn unknown() -> SecretFacts {
    let reason = "Vault is sealed".to_owned();
    SecretFacts::Unknown { reason }
}

/// The secret that the target runs with.
fn pinned(plan: &Plan) -> Option<SecretRef> {
    let web = &plan.target.as_ref()?.workloads["web"];
    web.secrets().get("url").map(|from| (*from).clone())
}

fn changes(plan: &Plan) -> Vec<Change> {
    let steps = plan.steps.iter();
    steps.flat_map(|step| step.changes.clone()).collect()
}

fn deployed(facts: SecretFacts) -> World {
    let mut world = World::new();
    let first = plan_of(&world, &desired(1), 1, facts);
    world.carry_out(&first);
    world
}

#[test]
fn another_version_is_a_release_that_says_which() {
    let mut world = deployed(version(4, None));
    let same = plan_of(&world, &desired(1), 1, version(4, None));
    assert!(same.is_empty(), "{same:?}");

    let next = plan_of(&world, &desired(1), 1, version(5, None));
    assert_eq!(pinned(&next), Some(url(Some(5))));
    let told = changes(&next);
    let [change] = told.as_slice() else {
        panic!("one change: {told:?}");
    };
    assert_eq!(change.field, "secret url");
    assert_eq!(change.before.as_deref(), Some("version 4"));
    assert_eq!(change.after.as_deref(), Some("version 5"));

    world.carry_out(&next);
    let back = rollback(&desired(1), &world.facts, &world.state, None).expect("a rollback");
    assert_eq!(pinned(&back), Some(url(Some(4))), "with its own version");
}

#[test]
fn the_same_version_with_another_value_is_a_release_too() {
    let mut world = deployed(version(1, None));
    for slot in world.facts.slots.values_mut() {
        let web = slot.workloads.get_mut("web").expect("deployed");
        web.secrets.insert("url".to_owned(), "aaaaaaaa".to_owned());
    }
    let told = changes(&plan_of(
        &world,
        &desired(1),
        1,
        version(1, Some("bbbbbbbb")),
    ));
    assert_eq!(told[0].after.as_deref(), Some("value bbbbbbb"));
    let both = changes(&plan_of(
        &world,
        &desired(1),
        1,
        version(2, Some("bbbbbbbb")),
    ));
    assert_eq!(both.len(), 1, "it is told once: {both:?}");
}

#[test]
fn a_version_that_cannot_be_told_is_taken_for_unchanged() {
    let world = deployed(version(4, None));
    let plan = plan_of(&world, &desired(1), 1, unknown());
    assert!(plan.is_empty(), "{plan:?}");
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("Vault is sealed"))
    );
    let next = plan_of(&world, &desired(2), 2, unknown());
    assert_eq!(pinned(&next), Some(url(Some(4))));

    let first = plan_of(&World::new(), &desired(1), 1, unknown());
    assert_eq!(pinned(&first), Some(url(None)), "the newest is read");
}

#[test]
fn what_was_deployed_without_a_version_stays_while_its_value_does() {
    let mut world = deployed(unknown());
    for slot in world.facts.slots.values_mut() {
        let web = slot.workloads.get_mut("web").expect("deployed");
        web.secrets.insert("url".to_owned(), "aaaaaaaa".to_owned());
    }
    let same = plan_of(&world, &desired(1), 1, version(4, Some("aaaaaaaa")));
    assert!(same.is_empty(), "{same:?}");
    let other = plan_of(&world, &desired(1), 1, version(4, Some("bbbbbbbb")));
    assert_eq!(pinned(&other), Some(url(Some(4))));
}

#[test]
fn a_rotation_that_is_ignored_comes_with_the_next_release() {
    let world = deployed(version(4, Some("aaaaaaaa")));
    let unrotated = |web: u8| Desired {
        unrotated: ["url".to_owned()].into(),
        ..desired(web)
    };
    let alone = plan_of(&world, &unrotated(1), 1, version(5, Some("bbbbbbbb")));
    assert!(alone.is_empty(), "{alone:?}");
    let next = plan_of(&world, &unrotated(2), 2, version(5, Some("bbbbbbbb")));
    assert_eq!(pinned(&next), Some(url(Some(5))));
}

#[test]
fn a_plan_of_another_version_is_stale_and_not_edited() {
    let world = deployed(version(4, None));
    let given = plan_of(&world, &desired(1), 1, version(5, None));
    let fresh = plan_of(&world, &desired(1), 1, version(6, None));
    let moved = "the secret `url` was version 5 when it was made, and is version 6 now";
    assert_eq!(
        difference(&given, &fresh),
        Some(Difference::Moved(moved.to_owned()))
    );
}
