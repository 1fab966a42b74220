//! Listeners that move, and that come back.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::*;
use crate::model::Role;
use crate::model::port::Protocol;
use crate::model::route::PortListeners;
use crate::plan::{abort, destroy};

/// An environment in which `web` and `api` are live, and what is desired of it.
fn two() -> (World, Wanted) {
    let mut world = World::new();
    let both = Wanted {
        services: BTreeMap::from([("web", 1), ("api", 1)]),
        ..Wanted::web(1)
    };
    world.carry_out(&world.apply(&both));
    (world, both)
}

/// What is desired, with the live listeners of these services elsewhere.
fn moved(wanted: &Wanted, to: &[(&str, &str)]) -> Desired {
    let mut desired = wanted.desired();
    for (name, address) in to {
        let service = desired.services.get_mut(*name).expect("a service");
        listeners_of(service).live = address.parse().expect("an address");
    }
    desired
}

fn live_of(facts: &Facts, name: &str) -> Vec<SocketAddr> {
    let found = facts.routes.get(name).map(Route::live_addresses);
    found.unwrap_or_default()
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The facts after each step, with the step's words.
fn story(plan: &Plan, facts: &Facts) -> Vec<(String, Facts)> {
    let mut facts = facts.clone();
    let steps = in_order(&plan.steps);
    let after = steps.iter().map(|step| {
        let one = std::slice::from_ref(step);
        facts = simulate(plan, one, &facts, Timestamp::UNIX_EPOCH);
        (words_of(step), facts.clone())
    });
    after.collect()
}

fn words_of(step: &Step) -> String {
    format!("{} {}", step.action.title(), step.address)
}

fn is_sound(plan: &Plan, facts: &Facts) {
    assert_eq!(verify(plan), []);
    assert_eq!(stale(plan, facts), []);
    live_traffic_is_always_on_something_ready(plan, facts).expect("live traffic is safe");
    the_way_back_restores_the_world(plan, facts).expect("the rollback is whole");
}

#[test]
fn a_live_listener_that_moves_closes_behind_the_release_and_not_before() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let (old, new) = (at("127.0.0.1:8119"), at("127.0.0.1:80"));
    let next = Wanted::web(2);
    let plan = apply(
        &moved(&next, &[("web", "127.0.0.1:80")]),
        &world.observed(&next),
        &world.state,
    );
    is_sound(&plan, &world.facts);
    assert_eq!(
        words(&plan),
        [
            "build image.web",
            "listen route.web",
            "deploy workload.green/web",
            "wait_until_ready slot.green",
            "switch traffic",
            "check traffic",
            "retain slot.blue",
            "listen route.web",
        ]
    );

    let story = story(&plan, &world.facts);
    let verified = story
        .iter()
        .position(|(words, _)| words.starts_with("check after"));
    for (number, (words, facts)) in story.iter().enumerate() {
        let live = live_of(facts, "web");
        if number <= verified.expect("it is verified") {
            assert!(live.contains(&old), "{words}: {live:?}");
        }
    }
    let (_, last) = story.last().expect("steps");
    assert_eq!(live_of(last, "web"), [new]);
    let arrives = vec![format!("live traffic arrives at {old}")];
    assert_eq!(lost(&plan), [("route.web", arrives)]);
}

/// What is desired, with a `sql` port of `web` there; without one nowhere.
fn with_sql(wanted: &Wanted, live: Option<u16>) -> Desired {
    let mut desired = wanted.desired();
    let listeners = listeners_of(desired.services.get_mut("web").expect("a service"));
    if let Some(live) = live {
        let port = PortListeners {
            protocol: Protocol::Tcp,
            live: Some(([127, 0, 0, 1], live).into()),
            ..PortListeners::default()
        };
        listeners.ports.insert("sql".parse().expect("a name"), port);
    }
    desired
}

fn sql_of(facts: &Facts) -> Vec<u16> {
    let listeners = facts.routes["web"].listeners().expect("listeners");
    let sql = listeners.ports.get("sql");
    let addresses = sql.into_iter().flat_map(PortListeners::live_addresses);
    addresses.map(|address| address.port()).collect()
}

#[test]
fn a_further_port_moves_and_goes_behind_the_release_and_not_before() {
    let mut world = World::new();
    let first = Wanted::web(1);
    let plan = apply(
        &with_sql(&first, Some(5432)),
        &world.observed(&first),
        &world.state,
    );
    world.carry_out(&plan);
    assert_eq!(sql_of(&world.facts), [5432]);

    for (number, next, reason) in [
        (
            2,
            Some(6432),
            "127.0.0.1:6432 opens before 127.0.0.1:5432 closes",
        ),
        (
            3,
            None,
            "127.0.0.1:6432 closes once the release is verified",
        ),
    ] {
        let wanted = Wanted::web(number);
        let (desired, before) = (with_sql(&wanted, next), sql_of(&world.facts));
        let plan = apply(&desired, &world.observed(&wanted), &world.state);
        is_sound(&plan, &world.facts);
        let opens = plan.steps.iter().find(|step| step.reason == reason);
        assert!(opens.is_some(), "{reason}: {:#?}", plan.steps);
        for (words, facts) in story(&plan, &world.facts) {
            if !words.starts_with("retain") && !words.starts_with("listen") {
                assert!(sql_of(&facts).contains(&before[0]), "{words}");
            }
        }
        let arrives = format!("live traffic arrives at 127.0.0.1:{} (sql)", before[0]);
        assert_eq!(lost(&plan), [("route.web", vec![arrives])]);
        world.carry_out(&plan);
        assert_eq!(sql_of(&world.facts), Vec::from_iter(next));
    }
}

#[test]
fn a_run_that_died_between_the_two_goes_on_there() {
    let (mut world, both) = two();
    let desired = moved(&both, &[("web", "127.0.0.1:80")]);
    let plan = apply(&desired, &world.observed(&both), &world.state);
    let opened = &in_order(&plan.steps)[..1];
    world.facts = simulate(&plan, opened, &world.facts, Timestamp::UNIX_EPOCH);
    let live = [at("127.0.0.1:80"), at("127.0.0.1:8119")];
    assert_eq!(live_of(&world.facts, "web"), live);

    // And where it moves on, everything that answered goes on answering.
    let on = moved(&both, &[("web", "127.0.0.1:81")]);
    let on = apply(&on, &world.observed(&both), &world.state);
    is_sound(&on, &world.facts);
    let (_, between) = &story(&on, &world.facts)[0];
    let live = [at("127.0.0.1:81"), at("127.0.0.1:8119"), at("127.0.0.1:80")];
    assert_eq!(live_of(between, "web"), live);

    let again = apply(&desired, &world.observed(&both), &world.state);
    is_sound(&again, &world.facts);
    assert_eq!(words(&again), ["listen route.web"]);
    world.carry_out(&again);
    assert_eq!(live_of(&world.facts, "web"), [at("127.0.0.1:80")]);
}

#[test]
fn services_that_swap_addresses_do_it_in_one_step() {
    let (mut world, mut both) = two();
    both.services.insert("web", 2);
    let to = [("web", "127.0.0.1:8097"), ("api", "127.0.0.1:8119")];
    let plan = apply(&moved(&both, &to), &world.observed(&both), &world.state);
    is_sound(&plan, &world.facts);
    let last = plan.steps.last().expect("steps");
    assert_eq!(last.action.routes().count(), 2);
    let routes = plan
        .steps
        .iter()
        .filter(|it| it.action.routes().count() > 0);
    assert_eq!(routes.count(), 1, "{:?}", words(&plan));
    assert_eq!(last.reason, "api, web take over addresses from each other");

    world.carry_out(&plan);
    assert_eq!(live_of(&world.facts, "web"), [at("127.0.0.1:8097")]);
    assert_eq!(live_of(&world.facts, "api"), [at("127.0.0.1:8119")]);
}

#[test]
fn an_address_that_is_left_is_taken_over_behind_the_release_too() {
    let (mut world, both) = two();
    let to = [("web", "127.0.0.1:80"), ("api", "127.0.0.1:8119")];
    let plan = apply(&moved(&both, &to), &world.observed(&both), &world.state);
    is_sound(&plan, &world.facts);
    assert_eq!(words(&plan), ["listen route.web", "listen route.api"]);
    world.carry_out(&plan);
    assert_eq!(live_of(&world.facts, "api"), [at("127.0.0.1:8119")]);

    // A service that goes leaves its address first.
    let web = Wanted::web(1);
    let desired = moved(&web, &[("web", "127.0.0.1:8119")]);
    let plan = apply(&desired, &world.observed(&web), &world.state);
    is_sound(&plan, &world.facts);
    let listeners = words(&plan).split_off(words(&plan).len() - 2);
    assert_eq!(listeners, ["stop_listening route.api", "listen route.web"]);
}

#[test]
fn what_cannot_be_had_at_the_same_time_changes_behind_the_release() {
    let (world, both) = two();
    let mut desired = both.desired();
    let service = desired.services.get_mut("web").expect("a service");
    let own = listeners_of(service);
    (own.live, own.preview) = (own.preview, own.live);
    let plan = apply(&desired, &world.observed(&both), &world.state);
    is_sound(&plan, &world.facts);
    assert_eq!(words(&plan), ["listen route.web"]);
    assert_eq!(plan.steps[0].action.routes().count(), 1);
}

#[test]
fn all_addresses_and_one_of_them_answer_side_by_side() {
    let (world, both) = two();
    for to in ["0.0.0.0:8119", "[::]:8119"] {
        let desired = moved(&both, &[("web", to)]);
        let plan = apply(&desired, &world.observed(&both), &world.state);
        is_sound(&plan, &world.facts);
        let (_, between) = &story(&plan, &world.facts)[0];
        assert_eq!(live_of(between, "web"), [at(to), at("127.0.0.1:8119")]);
    }
}

#[test]
fn a_promotion_closes_what_its_release_left() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let manual = Wanted {
        mode: Mode::Manual,
        ..Wanted::web(2)
    };
    let desired = moved(&manual, &[("web", "127.0.0.1:80")]);
    let plan = apply(&desired, &world.observed(&manual), &world.state);
    is_sound(&plan, &world.facts);
    assert_eq!(lost(&plan), []);
    let note = "web goes on at 127.0.0.1:8119 until the release is promoted";
    assert!(plan.notes.iter().any(|it| it == note), "{:?}", plan.notes);
    world.carry_out(&plan);
    let again = apply(&desired, &world.observed(&manual), &world.state);
    assert!(again.is_empty(), "{:?}", words(&again));

    let plan = promote(&desired, &world.facts, &world.state, Slot::Green).expect("a plan");
    is_sound(&plan, &world.facts);
    assert_eq!(words(&plan).last().expect("steps"), "listen route.web");
    let arrives = vec!["live traffic arrives at 127.0.0.1:8119".to_owned()];
    assert_eq!(lost(&plan), [("route.web", arrives)]);
    world.carry_out(&plan);
    assert_eq!(live_of(&world.facts, "web"), [at("127.0.0.1:80")]);
    let settled = apply(&desired, &world.observed(&manual), &world.state);
    assert!(settled.is_empty(), "{:?}", words(&settled));
}

#[test]
fn a_release_that_is_given_up_takes_the_address_along_that_was_opened_for_it() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let manual = Wanted {
        mode: Mode::Manual,
        ..Wanted::web(2)
    };
    let old = live_of(&world.facts, "web");
    // A second release waits in place of the first, and moves on.
    for to in ["127.0.0.1:80", "127.0.0.1:81"] {
        let desired = moved(&manual, &[("web", to)]);
        world.carry_out(&apply(&desired, &world.observed(&manual), &world.state));
        assert!(live_of(&world.facts, "web").contains(&at(to)));
    }

    let plan = abort(&manual.desired(), &world.facts, &world.state).expect("a plan");
    is_sound(&plan, &world.facts);
    world.carry_out(&plan);
    assert_eq!(live_of(&world.facts, "web"), old);
    let next = world.apply(&Wanted::web(1));
    assert_eq!(lost(&next), [], "nothing has to be let go");
}

#[test]
fn a_rollback_opens_the_listeners_of_a_service_that_went() {
    for strategy in [Rollout::BlueGreen, Rollout::Rolling] {
        let (mut world, both) = two();
        let elsewhere = moved(&both, &[("api", "127.0.0.1:80")]);
        let plan = apply(&elsewhere, &world.observed(&both), &world.state);
        world.carry_out(&plan);
        let web = Wanted {
            strategy,
            ..Wanted::web(1)
        };
        world.carry_out(&world.apply(&web));
        assert_eq!(live_of(&world.facts, "api"), []);

        let back = rollback(&web.desired(), &world.facts, &world.state, None).expect("a plan");
        is_sound(&back, &world.facts);
        let nothing = |note: &String| note.contains("nothing listens");
        assert!(!back.notes.iter().any(nothing), "{:?}", back.notes);
        world.carry_out(&back);
        assert_eq!(live_of(&world.facts, "api"), [at("127.0.0.1:80")]);
    }
}

#[test]
fn a_rollback_after_the_end_opens_all_that_was_there() {
    let (mut world, both) = two();
    let end = destroy(&both.desired(), &world.facts, &[], &world.state);
    let before = world.facts.routes.clone();
    world.carry_out(&end);
    assert!(world.facts.routes.is_empty());
    let none = Wanted {
        services: BTreeMap::new(),
        ..both
    };
    let back = rollback(&none.desired(), &world.facts, &world.state, None).expect("a plan");
    is_sound(&back, &world.facts);
    world.carry_out(&back);
    assert_eq!(world.facts.routes, before);
}

#[test]
fn a_rollback_says_why_it_opens_no_listener_and_what_does() {
    let (mut world, _) = two();
    let web = Wanted::web(1);
    world.carry_out(&world.apply(&web));
    let desired = moved(&web, &[("web", "127.0.0.1:8097")]);
    let plan = apply(&desired, &world.observed(&web), &world.state);
    world.carry_out(&plan);
    let back = rollback(&desired, &world.facts, &world.state, None).expect("a plan");
    let note = "nothing listens for api: web has its address now (live on 127.0.0.1:8097, preview \
                on 127.0.0.1:9097); give one of them another address, then `shipit apply`";
    assert_eq!(back.notes.last().expect("a note"), note);

    for release in &mut world.state.releases {
        release.closed.clear();
    }
    let back = rollback(&desired, &world.facts, &world.state, None).expect("a plan");
    let note = "nothing listens for api: no record has its listeners, and neither has the \
                configuration; `shipit apply` of one that has api opens them";
    assert_eq!(back.notes.last().expect("a note"), note);
}

#[test]
fn listeners_that_were_closed_outlive_the_record_of_the_release_that_had_them() {
    let (mut world, both) = two();
    let (_, first) = world.live().expect("live");
    let again = Wanted {
        log_level: 1,
        ..both
    };
    world.carry_out(&world.apply(&again));
    let (_, second) = world.live().expect("live");
    assert_ne!(first, second);
    world.carry_out(&world.apply(&Wanted::web(1)));

    let [first, second] = [first, second].map(ReleaseNumber);
    let api = "api".parse().expect("a name");
    let closed = |number| world.state.release(number).expect("known").closed.get(&api);
    assert_eq!(closed(first), None);
    let kept = closed(second).expect("it was live when they were closed");

    let state = world.state.clone().without(second);
    assert_eq!(state.release(second), None);
    assert_eq!(state.closed(first, &api), Some(kept));
    let none = state.without(first);
    assert_eq!(none.closed(first, &api), None, "no release has the service");
}

/// The end that green has after a plan was carried out as far as this step, and taken back.
fn end_after(plan: &Plan, begun: usize, facts: &Facts) -> Option<Timestamp> {
    let done = &in_order(&plan.steps)[..begun];
    let there = simulate(plan, done, facts, Timestamp::UNIX_EPOCH);
    let is_begun = |step: &&Step| done.iter().any(|done| Some(done.id) == step.undoes);
    let back: Vec<Step> = plan.reverse.iter().filter(is_begun).cloned().collect();
    let restored = simulate(plan, &back, &there, Timestamp::UNIX_EPOCH);
    restored.slots[&Slot::Green].stops_at
}

#[test]
fn a_slot_that_is_retained_has_its_end_again_after_the_rollback() {
    let mut world = World::new();
    for version in 1..=3 {
        world.carry_out(&world.apply(&Wanted::web(version)));
    }
    let end = Timestamp::from_second(600).expect("a time");
    world
        .facts
        .slots
        .get_mut(&Slot::Green)
        .expect("retained")
        .stops_at = Some(end);
    let back = rollback(&Wanted::web(3).desired(), &world.facts, &world.state, None);
    for plan in [world.apply(&Wanted::web(4)), back.expect("a plan")] {
        for begun in 0..=plan.steps.len() {
            let found = end_after(&plan, begun, &world.facts);
            assert_eq!(found, Some(end), "{begun} of {:?}", words(&plan));
        }
    }
}

#[test]
fn only_services_that_a_slot_has_are_said_to_answer() {
    let (mut world, both) = two();
    let manual = Wanted {
        mode: Mode::Manual,
        ..Wanted::web(2)
    };
    world.carry_out(&world.apply(&manual));
    assert!(both.services.len() > manual.services.len());
    let services = |role| -> Vec<String> {
        let urls = world.facts.urls(role).into_iter();
        urls.map(|url| url.service.to_string()).collect()
    };
    assert_eq!(services(Role::Active), ["api", "web"]);
    assert_eq!(services(Role::Preview), ["web"]);
}

#[test]
fn a_protected_object_of_an_entry_point_is_a_loss_of_every_plan_that_closes_it() {
    let (mut world, both) = two();
    let key: ObjectKey = "v1/Service/shop/web".parse().expect("a key");
    let web: ServiceName = "web".parse().expect("a name");
    let protected = BTreeMap::from([(web, BTreeSet::from([key]))]);
    world.facts.protected_entries = protected;

    let desired = both.desired();
    let plans = [
        destroy(&desired, &world.facts, &[], &world.state),
        apply(
            &moved(&both, &[("web", "127.0.0.1:80")]),
            &world.observed(&both),
            &world.state,
        ),
    ];
    for plan in plans {
        let loss = plan.losses.iter().find(|loss| loss.is_protected);
        assert_eq!(loss.expect("declared").name, "Service/web");
        let refused = crate::policy::may_lose(&plan, crate::policy::Protection::Off);
        let what = refused.expect_err("refused").what;
        assert!(what.contains("Service/web is protected"), "{what}");
    }

    // What changes nothing loses nothing.
    let same = apply(&desired, &world.observed(&both), &world.state);
    assert!(same.losses.iter().all(|loss| !loss.is_protected));
}

#[test]
fn what_was_opened_for_a_release_that_waited_closes_when_another_one_waits_in_its_place() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let waits = |names: &[&'static str], version| Wanted {
        services: names.iter().map(|name| (*name, version)).collect(),
        mode: Mode::Manual,
        ..Wanted::web(version)
    };
    world.carry_out(&world.apply(&waits(&["web", "api"], 2)));
    let name: ServiceName = "api".parse().expect("a name");
    let api = world.facts.routes[&name].clone();

    let plan = world.apply(&waits(&["web"], 3));
    is_sound(&plan, &world.facts);
    let closes = |plan: &Plan| words(plan).contains(&"stop_listening route.api".to_owned());
    assert!(closes(&plan), "{:?}", words(&plan));
    assert!(plan.losses.iter().all(|loss| !loss.is_loss()));

    // So it is where the release waits already, as a run before this version has left it.
    world.carry_out(&plan);
    assert!(world.apply(&waits(&["web"], 3)).is_empty());
    world.facts.routes.insert(api.service.clone(), api);
    let plan = world.apply(&waits(&["web"], 3));
    is_sound(&plan, &world.facts);
    assert!(closes(&plan), "{:?}", words(&plan));

    // What the live release has goes on until the promotion.
    let mut world = World::new();
    let (both, version) = (["web", "api"], 1);
    world.carry_out(&world.apply(&Wanted {
        mode: Mode::Auto,
        ..waits(&both, version)
    }));
    assert!(!closes(&world.apply(&waits(&["web"], 2))));
}
