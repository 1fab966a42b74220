//! Images that somebody else has made: fetched once, bound to a digest, and explained when a tag
//! moves.

use super::*;
use crate::model::desired::PromotedImage;
use crate::model::image::ImageName;
use crate::model::plan::Unchanged;
use crate::model::release::PromotedFrom;
use crate::plan::{Difference, difference};

fn name(text: &str) -> ImageName {
    text.parse().expect("an image's name")
}

/// A digest that a tag has at some time.
fn digest(version: u8) -> Digest {
    Digest::of(&[version])
}

/// What is desired, with the image of `web` named, and what was found with the tag at a version.
fn named(world: &World, text: &str, version: u8) -> (Desired, Observed) {
    let wanted = Wanted::web(1);
    let (mut desired, mut observed) = (wanted.desired(), world.observed(&wanted));
    let web = desired.services.values_mut().next().expect("one");
    let name = name(text);
    web.workload.repository = Some(name.repository.clone());
    observed.images.clear();
    if let Some(digest) = &name.digest {
        web.workload.image = Known::Value(digest.clone());
    } else {
        let service = web.workload.service.clone();
        observed.named.insert(service, digest(version));
    }
    web.image = ImageSource::Named(name);
    (desired, observed)
}

/// The plan for an image that somebody else has made, with its tag at a version.
pub(crate) fn plan(world: &World, text: &str, version: u8) -> Plan {
    let (desired, observed) = named(world, text, version);
    apply(&desired, &observed, &world.state)
}

/// What is fetched, and why.
fn fetches(plan: &Plan) -> Vec<(&Digest, &str)> {
    let steps = plan.steps.iter();
    steps
        .filter_map(|step| match &step.action {
            Action::Fetch { image, .. } => Some((image, step.reason.as_str())),
            _ => None,
        })
        .collect()
}

fn same(plan: &Plan) -> Option<&Unchanged> {
    let image = "image.web".parse().expect("an address");
    plan.unchanged.iter().find(|same| same.address == image)
}

#[test]
fn an_image_by_name_is_fetched_and_the_release_runs_its_digest() {
    let mut world = World::new();
    let first = plan(&world, "nginx:1.27", 1);
    let reason = format!("nginx:1.27 → {}", digest(1));
    assert_eq!(fetches(&first), [(&digest(1), reason.as_str())]);
    assert_eq!(verify(&first), []);
    world.carry_out(&first);

    let (_, live) = world.facts.live().expect("it is live");
    let web = live.workloads.values().next().expect("one");
    assert_eq!(web.spec.image.value(), Some(&digest(1)));
    let release = world.state.live().expect("a release");
    let recorded: Vec<_> = release.names.values().map(ToString::to_string).collect();
    assert_eq!(recorded, ["nginx:1.27"]);

    let again = plan(&world, "nginx:1.27", 1);
    assert!(again.is_empty(), "{:?}", again.steps);
    let reason = format!(
        "nginx:1.27 is sha256:{}, which is there already",
        digest(1).short()
    );
    assert_eq!(same(&again).map(|same| &same.reason), Some(&reason));
}

#[test]
fn every_deployment_waits_for_the_image() {
    let plan = plan(&World::new(), "nginx:1.27", 1);
    let fetch = plan
        .steps
        .iter()
        .find(|step| matches!(step.action, Action::Fetch { .. }));
    let fetch = fetch.expect("a fetch").id;
    let mut deploys = plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::Deploy { .. }));
    assert!(deploys.all(|step| step.needs.contains(&fetch)));
}

#[test]
fn a_tag_that_moved_is_a_change_that_is_explained() {
    let mut world = World::new();
    world.carry_out(&plan(&world, "nginx:1.27", 1));
    let moved = plan(&world, "nginx:1.27", 2);
    let reason = format!("nginx:1.27 moved: {} → {}", digest(1), digest(2));
    assert_eq!(fetches(&moved), [(&digest(2), reason.as_str())]);

    // Another name is not a tag that moved.
    let other = plan(&world, "nginx:1.28", 2);
    let reason = format!("nginx:1.28 → {}", digest(2));
    assert_eq!(fetches(&other), [(&digest(2), reason.as_str())]);
}

#[test]
fn another_tag_of_the_same_image_changes_nothing() {
    let mut world = World::new();
    world.carry_out(&plan(&world, "nginx:1.27", 1));
    assert!(plan(&world, "nginx:1.27.3", 1).is_empty());
    let by_digest = format!("nginx@{}", digest(1));
    assert!(plan(&world, &by_digest, 9).is_empty());
}

#[test]
fn the_same_image_elsewhere_is_another_release() {
    let mut world = World::new();
    world.carry_out(&plan(&world, "nginx:1.27", 1));
    let mirror = plan(&world, "mirror.example.com/nginx:1.27", 1);
    assert_eq!(fetches(&mirror).len(), 1);
    assert!(mirror.switches());
}

#[test]
fn from_a_build_to_a_name_and_back() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let given = plan(&world, "nginx:1.27", 1);
    world.carry_out(&given);
    let back = rollback(&Wanted::web(1).desired(), &world.facts, &world.state, None);
    let back = back.expect("a plan");
    let target = back.target.as_ref().expect("a target");
    assert!(target.names.is_empty());
    assert!(target.workloads.values().all(|it| it.repository.is_none()));
    world.carry_out(&back);

    let again = rollback(
        &Wanted::web(1).desired(),
        &world.facts,
        &world.state,
        Some(ReleaseNumber(2)),
    );
    let target = again.expect("a plan").target.expect("a target");
    assert_eq!(target.names.len(), 1);
    assert!(target.workloads.values().all(|it| it.repository.is_some()));
}

#[test]
fn a_plan_file_says_which_tag_moved_since() {
    let world = World::new();
    let (given, fresh) = (plan(&world, "nginx:1.27", 1), plan(&world, "nginx:1.27", 2));
    let Some(Difference::Moved(said)) = difference(&given, &fresh) else {
        panic!("a moved tag makes a plan stale");
    };
    let wanted = format!(
        "nginx:1.27 was {} when it was made, and is {} now",
        digest(1),
        digest(2)
    );
    assert_eq!(said, wanted);
}

#[test]
fn an_image_of_another_environment_is_neither_built_nor_fetched() {
    let world = World::new();
    let wanted = Wanted::web(1);
    let (mut desired, mut observed) = (wanted.desired(), world.observed(&wanted));
    observed.images.clear();
    let web = desired.services.values_mut().next().expect("one");
    web.workload.image = Known::Value(digest(7));
    web.image = ImageSource::Promoted(PromotedImage {
        from: PromotedFrom {
            environment: "develop".parse().expect("a name"),
            release: ReleaseNumber(4),
        },
        name: None,
    });

    let plan = apply(&desired, &observed, &world.state);
    assert_eq!(fetches(&plan), []);
    let reason = same(&plan).map(|same| same.reason.as_str());
    assert_eq!(reason, Some("promoted from develop release 4"));
    let target = plan.target.expect("a target");
    assert!(
        target
            .workloads
            .values()
            .all(|it| it.image.value() == Some(&digest(7)))
    );
}
