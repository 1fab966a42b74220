//! One plan, with each fault.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::outcome::Ending;
use crate::model::plan::Action;
use crate::model::promotion::Strategy;
use crate::model::rehearsal::{
    Compared, FaultKind, FaultSpec, RehearsedFault, RehearsedStep, Which,
};
use crate::model::resource::{MadeBy, Resource, ResourceFacts, Settings, StoredImage, images_held};
use crate::model::{Address, Digest, Slot};
use crate::plan::destroy_infrastructure;
use crate::simulate::samples::scenario;
use crate::simulate::{Locked, NoFaults, Rehearsal, Scenario, rehearse};

/// The second release, where the first is live.
async fn second(strategy: Strategy) -> Scenario {
    let first = scenario(1, strategy);
    let world = Arc::new(first.world());
    let locked = Locked::take(&first, &world, Arc::new(NoFaults), "0").await;
    let locked = locked.expect("the lock");
    let ran = Box::pin(locked.carry_out(&first, None)).await;
    assert!(ran.came.is_done(), "{:?}", ran.came);

    let second = scenario(2, strategy);
    let (observed, state) = (second.observe(&world).await, second.state(&world).await);
    let journal = world.store.journal("0");
    Scenario {
        observed,
        state,
        journal,
        ..second
    }
}

async fn rehearsed(strategy: Strategy, faults: &[FaultSpec]) -> Rehearsal {
    let scenario = second(strategy).await;
    let plan = (scenario.draw)(&scenario.observed, &scenario.state).expect("a plan");
    assert!(
        plan.steps
            .iter()
            .any(|step| matches!(step.action, Action::Build { .. }))
    );
    Box::pin(rehearse(&scenario, &plan, faults)).await
}

fn faults<'a>(steps: &'a [RehearsedStep], address: &Address) -> Vec<&'a RehearsedFault> {
    let steps = steps.iter().filter(|step| step.address == *address);
    steps.flat_map(|step| &step.faults).collect()
}

fn live(fault: &RehearsedFault) -> Option<(Slot, u64)> {
    let live = fault.end.live?;
    Some((live.slot, live.release.0))
}

#[tokio::test]
async fn each_fault_has_its_end_and_the_next_run_comes_to_the_same_one() {
    let every = [FaultSpec {
        which: Which::Every,
        kinds: FaultKind::ALL.to_vec(),
    }];
    for strategy in [Strategy::BlueGreen, Strategy::Rolling, Strategy::Recreate] {
        let rehearsal = Box::pin(rehearsed(strategy, &every)).await;
        assert_eq!(
            rehearsal.undisturbed.ending,
            Some(Ending::Done),
            "{strategy:?}"
        );
        assert!(rehearsal.steps.len() > 5, "{}", rehearsal.steps.len());
        for step in &rehearsal.steps {
            assert!(step.faults.len() > 1, "{strategy:?}: {step:#?}");
            for fault in &step.faults {
                let ends = [Some(&fault.end), fault.next.as_ref().map(|next| &next.end)];
                for end in ends.into_iter().flatten() {
                    assert_eq!(end.broken, Vec::<String>::new(), "{strategy:?}: {step:#?}");
                    assert!(end.live.is_some(), "{strategy:?}: {step:#?}");
                }
            }
        }
    }
}

/// The end of what is live, with a group of machines and a repository that has images.
async fn end_with_infrastructure() -> Scenario {
    let mut scenario = second(Strategy::BlueGreen).await;
    let made = |key: &str, images: &[StoredImage]| ResourceFacts {
        settings: Some(Settings::default()),
        made_by: Some(MadeBy {
            project: "shop".to_owned(),
            environment: "staging".to_owned(),
        }),
        images: images.to_vec(),
        ..ResourceFacts::absent(key.parse().expect("a key"))
    };
    let image = StoredImage {
        digest: Digest::of(b"image"),
        tags: Vec::new(),
        pushed_at: Timestamp::UNIX_EPOCH,
        size: Some(1),
    };
    let mut repository = made("repository.shop/web", &[image]);
    repository.holds = images_held(&repository.key, &repository.images);

    scenario.observed.resources = vec![repository, made("node_group.workers", &[])];
    let keys = scenario.observed.resources.iter().map(|facts| &facts.key);
    scenario.desired.resources = keys
        .map(|key| Resource {
            key: key.clone(),
            settings: Settings::default(),
        })
        .collect();
    let desired = scenario.desired.clone();
    scenario.draw =
        Arc::new(move |observed, state| Ok(destroy_infrastructure(&desired, observed, state)));
    scenario
}

#[tokio::test]
async fn an_end_with_its_infrastructure_comes_to_the_same_end_whatever_goes_wrong() {
    let every = [FaultSpec {
        which: Which::Every,
        kinds: FaultKind::ALL.to_vec(),
    }];
    let scenario = end_with_infrastructure().await;
    let plan = (scenario.draw)(&scenario.observed, &scenario.state).expect("a plan");
    let rehearsal = Box::pin(rehearse(&scenario, &plan, &every)).await;
    assert_eq!(rehearsal.undisturbed.ending, Some(Ending::Done));

    let of_resources = rehearsal
        .steps
        .iter()
        .filter(|step| matches!(step.address, Address::Resource(_)));
    assert_eq!(of_resources.count(), 2);
    for step in &rehearsal.steps {
        for fault in &step.faults {
            assert_eq!(fault.end.broken, Vec::<String>::new(), "{step:#?}");
            let last = fault.next.as_ref().map_or(&fault.end, |next| &next.end);
            assert_eq!(last.broken, Vec::<String>::new(), "{step:#?}");
            assert!(last.live.is_none(), "{step:#?}");
            let gone = last
                .left
                .iter()
                .filter(|it| matches!(it.address, Address::Resource(_)) && it.is == Compared::Gone);
            assert_eq!(gone.count(), 2, "{step:#?}");
        }
    }
}

#[tokio::test]
async fn what_fails_beside_live_traffic_leaves_it_and_what_fails_behind_the_switch_moves_it_back() {
    let faults_of = |text: &str| [text.parse::<FaultSpec>().expect("faults")];
    let before = Box::pin(rehearsed(Strategy::BlueGreen, &faults_of("image.web"))).await;
    let [error, kill] = faults(
        &before.steps,
        &Address::Image("web".parse().expect("a name")),
    )[..] else {
        panic!("{:#?}", before.steps);
    };
    assert!(
        matches!(error.end.ending, Some(Ending::Failed { .. })),
        "{error:#?}"
    );
    assert_eq!(
        (live(error), live(kill)),
        (Some((Slot::Blue, 1)), Some((Slot::Blue, 1)))
    );
    assert_eq!(kill.end.ending, None);

    let switch = Box::pin(rehearsed(Strategy::BlueGreen, &faults_of("traffic:all"))).await;
    let of_switch = switch
        .steps
        .iter()
        .find(|step| step.action.starts_with("switch"));
    let [error, kill, slow, lost] = &of_switch.expect("it switches").faults[..] else {
        panic!("{:#?}", switch.steps);
    };
    for fault in [error, lost] {
        assert!(
            matches!(fault.end.ending, Some(Ending::Reverted { .. })),
            "{fault:#?}"
        );
        assert_eq!(live(fault), Some((Slot::Blue, 1)));
    }
    assert_eq!(live(kill), Some((Slot::Green, 2)));
    assert_eq!(
        (slow.end.ending.as_ref(), slow.next.is_none()),
        (Some(&Ending::Done), true)
    );
}
