//! Secrets in a Vault: a version is a release, and each release has its own.

use serde_json::json;

use crate::support::http::Load;
use crate::support::vault::{Fake, ROOT, SECRET_ID};
use crate::support::{Said, World, finish, until};

const PATH: &str = "shop/web";

/// A world whose service has a secret of this Vault, in its first version.
fn world(fake: &Fake) -> World {
    let mut world = World::new();
    world.put("secret-id", SECRET_ID);
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    world.staging.push(format!(
        "sources: {{vault: {{address: \"{}\", auth: {{approle: {{role_id: shop, secret_id: {{file: secret-id}}}}}}}}}}",
        fake.address
    ));
    world
        .staging
        .push("secrets: {token: {vault: {path: secret/shop/web, key: token}}}".to_owned());
    rotate(fake, 1);
    world
}

fn rotate(fake: &Fake, number: usize) {
    fake.put(PATH, json!({"token": value(number)}));
}

fn value(number: usize) -> String {
    format!("canary-value-{number}-e5")
}

#[track_caller]
fn plan(world: &World) -> Said {
    let said = world.run(&["plan", "--env", "staging", "--detailed-exitcode"]);
    is_clean(&said);
    said
}

#[track_caller]
fn is_clean(said: &Said) {
    let text = format!("{}{}", said.stdout, said.stderr);
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn another_version_is_a_release_and_the_rollback_has_its_own() {
    let fake = Fake::start();
    let world = world(&fake);
    world.apply().code(0);
    assert_eq!(world.get_path("/env?TOKEN"), value(1));
    plan(&world).code(0);

    rotate(&fake, 2);
    plan(&world)
        .code(2)
        .says("secret token")
        .says("version 1")
        .says("version 2");
    let said = world.apply().code(0);
    is_clean(&said);
    assert_eq!(world.get_path("/env?TOKEN"), value(2));
    plan(&world).code(0);

    // From the history: nothing holds the first version any more.
    rotate(&fake, 3);
    world.apply().code(0);
    world.run(&["agent", "stop"]).code(0);
    let back = [
        "rollback",
        "--to",
        "1",
        "--env",
        "staging",
        "--auto-approve",
    ];
    world.run(&back).code(0);
    assert_eq!(world.get_path("/env?TOKEN"), value(1));

    let known = fake.known.lock().expect("known");
    let logins = known
        .asked
        .iter()
        .filter(|(_, path, _)| path.ends_with("approle/login"));
    let revoked = known
        .asked
        .iter()
        .filter(|(_, path, _)| path.ends_with("revoke-self"));
    assert_eq!(logins.count(), revoked.count(), "each token is given back");
    assert!(known.asked.iter().all(|(_, _, token)| token != ROOT));
}

#[test]
fn a_version_that_is_gone_is_told_and_makes_a_plan_stale() {
    let fake = Fake::start();
    let world = world(&fake);
    world.apply().code(0);
    rotate(&fake, 2);
    world.apply().code(0);
    rotate(&fake, 3);

    let file = world.file("p.json").display().to_string();
    world
        .run(&["plan", "--env", "staging", "--out", &file])
        .code(0);
    let apply = ["apply", &file, "--auto-approve"];
    rotate(&fake, 4);
    let said = world.run(&apply).code(5);
    is_clean(&said.says("the secret `token` was version 3 when it was made, and is version 4 now"));

    fake.destroy(PATH, 2);
    plan(&world)
        .code(2)
        .says("release 2 cannot be deployed again: of its secret `token`, version 2 of secret/shop/web is destroyed");
    world.apply().code(0);
    let said = world.run(&[
        "rollback",
        "--to",
        "2",
        "--env",
        "staging",
        "--auto-approve",
    ]);
    // It stands in the other slot still, as it was started.
    is_clean(&said.code(0));
    fake.destroy(PATH, 1);
    let said = world.run(&[
        "rollback",
        "--to",
        "1",
        "--env",
        "staging",
        "--auto-approve",
    ]);
    let said = said
        .code(5)
        .says("version 1 of secret/shop/web is destroyed");
    is_clean(&said);
    assert_eq!(world.get_path("/env?TOKEN"), value(2));
}

#[test]
fn a_rollback_to_what_still_stands_asks_no_vault() {
    let fake = Fake::start();
    let world = world(&fake);
    world.apply().code(0);
    rotate(&fake, 2);
    world.apply().code(0);

    let before = fake.count("");
    let back = ["rollback", "--env", "staging", "--auto-approve"];
    is_clean(&world.run(&back).code(0));
    assert_eq!(world.get_path("/env?TOKEN"), value(1));
    assert_eq!(
        fake.count(""),
        before,
        "nothing is started, so nothing is read"
    );
}

#[test]
fn a_vault_with_an_authority_of_its_own_is_trusted_by_its_file_alone() {
    let folder = World::new();
    let certificate = crate::support::tls::certificate(&folder);
    let fake = Fake::with_tls(&certificate.chain, &certificate.key);
    let mut world = world(&fake);
    let said = world.apply().code(1).says("cannot be trusted");
    is_clean(&said.says("sources.vault.ca"));

    let at = world.staging.len() - 2;
    let ca = format!("{{vault: {{ca: {}, ", certificate.authority.display());
    world.staging[at] = world.staging[at].replace("{vault: {", &ca);
    world.apply().code(0);
    assert_eq!(world.get_path("/env?TOKEN"), value(1));
}

#[test]
fn a_vault_that_does_not_answer_keeps_nobody_from_planning() {
    let fake = Fake::start();
    let mut world = world(&fake);
    world.apply().code(0);
    let nowhere = Fake::start().address.replace("127.0.0.1", "127.0.0.2");
    let away = world.staging[world.staging.len() - 2].replace(&fake.address, &nowhere);
    let at = world.staging.len() - 2;
    world.staging[at] = away;
    plan(&world)
        .code(0)
        .says("whether the secret `token` has another value is not known");
    until("the service answers", || {
        world.get_path("/env?TOKEN") == value(1)
    });
}

#[test]
fn a_vault_of_this_machine_is_spoken_to_past_the_proxy() {
    let fake = Fake::start();
    let world = world(&fake);
    let mut command = world.command(&["doctor", "--env", "staging"]);
    // Nobody listens there.
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let said = finish(command.spawn().expect("shipit starts"));
    is_clean(&said);
    said.says("lets this in by AppRole, for another 60 min");
}

#[test]
fn doctor_tells_who_is_let_in_and_for_how_long() {
    let fake = Fake::start();
    let world = world(&fake);
    let said = world.run(&["doctor", "--env", "staging"]);
    is_clean(&said);
    said.says("lets this in by AppRole, for another 60 min")
        .says("the secret token can be read: version 1");

    world.put("secret-id", "canary-of-somebody-else");
    let said = world.run(&["doctor", "--env", "staging"]).code(1);
    is_clean(&said);
    said.says("invalid role or secret ID");
}

#[test]
fn rotations_under_load_lose_no_request_and_each_rollback_has_its_own() {
    const ROTATIONS: usize = 20;

    let fake = Fake::start();
    let world = world(&fake);
    world.apply().code(0);
    let load = Load::start(&world.live_address(), 16, 400);
    for number in 2..=ROTATIONS {
        rotate(&fake, number);
        is_clean(&world.apply().code(0));
        assert_eq!(world.get_path("/env?TOKEN"), value(number));
        is_clean(
            &world
                .run(&["rollback", "--env", "staging", "--auto-approve"])
                .code(0),
        );
        assert_eq!(world.get_path("/env?TOKEN"), value(number - 1));
        is_clean(&world.apply().code(0));
        assert_eq!(world.get_path("/env?TOKEN"), value(number));
    }

    let seen = load.stop();
    assert!(
        seen.failures.is_empty(),
        "{:?}",
        seen.failures.iter().take(3).collect::<Vec<_>>()
    );
    assert!(seen.requests > 100, "the load was on: {}", seen.requests);
}
