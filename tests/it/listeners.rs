//! Listeners that move, and that come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{World, finish, free_port, http, until};

/// A service that is the same as `web`, and listens elsewhere.
fn api() -> Vec<String> {
    let program = crate::support::storefront();
    let text = format!(
        "  api:\n    port: 8090\n    health: {{path: /healthz, interval: 100ms, start_within: 20s}}\n    \
         build:\n      kind: pack\n      context: other\n      copy: {{message.txt: /app/message.txt}}\n      \
         workdir: /app\n      entrypoint: [{}]",
        program.display()
    );
    text.lines().map(str::to_owned).collect()
}

/// Ports that nobody has now.
fn ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| free_port())
}

/// Where the services of an environment listen.
fn traffic(host: &str, listeners: &str) -> String {
    format!(
        "traffic: {{address: \"{host}\", listeners: {{{listeners}}}, limits: {{drain: 1s, hold: 5s}}}}"
    )
}

const PROMOTION: &str = "promotion: {mode: auto, probe: {linger: 50ms}}";

/// A service's own listeners, as they are written under `listeners`.
fn at(service: &str, live: u16, preview: u16) -> String {
    format!("{service}: {{live: {live}, preview: {preview}}}")
}

fn apply_and_close(world: &World, names: &[&str]) -> crate::support::Said {
    let mut arguments = vec!["apply", "--env", "staging", "--auto-approve"];
    for name in names {
        arguments.extend(["--allow-data-loss", name]);
    }
    world.run(&arguments)
}

fn answer(port: u16) -> String {
    let answer = http::get(&format!("127.0.0.1:{port}"), "/");
    answer.map_or_else(|_| "nobody".to_owned(), |answer| answer.body)
}

#[test]
fn a_release_that_fails_leaves_the_listener_that_it_would_have_moved() {
    let mut world = World::new();
    let [old, new, preview] = ports();
    let listen = |live: u16| traffic("127.0.0.1", &at("web", live, preview));
    world.staging = vec![PROMOTION.to_owned(), listen(old)];
    world.apply().code(0);

    world.message("v2");
    world
        .env
        .insert("FAIL_START".to_owned(), "no-database".to_owned());
    world.staging = vec![PROMOTION.to_owned(), listen(new)];
    apply_and_close(&world, &["route.web"])
        .code(1)
        .says("Live traffic was not touched; blue is active.");
    assert_eq!(
        (answer(old), answer(new)),
        ("v1".to_owned(), "nobody".to_owned())
    );

    world.env.clear();
    apply_and_close(&world, &["route.web"]).code(0);
    assert_eq!(
        (answer(old), answer(new)),
        ("nobody".to_owned(), "v2".to_owned())
    );
}

#[test]
fn both_addresses_answer_until_the_release_is_live() {
    let mut world = World::new();
    let [old, new, preview] = ports();
    let listen = |live: u16| traffic("127.0.0.1", &at("web", live, preview));
    world.staging = vec![PROMOTION.to_owned(), listen(old)];
    world.apply().code(0);

    world.message("v2");
    world.put("wait.sh", "until test -e go; do sleep 0.05; done");
    world.staging = vec![
        PROMOTION.replace("mode: auto", "mode: auto, before: [{run: [sh, wait.sh]}]"),
        listen(new),
    ];
    let arguments = [
        "apply",
        "--env",
        "staging",
        "--auto-approve",
        "--allow-data-loss",
        "route.web",
    ];
    let run = world.start(&arguments);
    until("the new address answers", || answer(new) == "v1");
    assert_eq!(answer(old), "v1");
    world.put("go", "");
    finish(run).code(0);
    assert_eq!(
        (answer(old), answer(new)),
        ("nobody".to_owned(), "v2".to_owned())
    );
}

#[test]
fn one_address_becomes_all_of_them_and_no_request_fails() {
    let mut world = World::new();
    let [port, preview] = ports();
    let listeners = at("web", port, preview);
    world.staging = vec![PROMOTION.to_owned(), traffic("127.0.0.1", &listeners)];
    world.apply().code(0);

    let (stop, address) = (
        Arc::new(AtomicBool::new(false)),
        format!("127.0.0.1:{port}"),
    );
    let visitor = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut wrong = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                match http::get(&address, "/") {
                    Ok(answer) if answer.status == 200 => {}
                    Ok(answer) => wrong.push(answer.status.to_string()),
                    Err(error) => wrong.push(error.to_string()),
                }
            }
            wrong
        }
    });
    for (message, host) in [("v2", "0.0.0.0"), ("v3", "127.0.0.1"), ("v4", "::")] {
        world.message(message);
        world.staging = vec![PROMOTION.to_owned(), traffic(host, &listeners)];
        apply_and_close(&world, &["route.web"]).code(0);
        assert_eq!(answer(port), message, "{host}");
    }
    stop.store(true, Ordering::SeqCst);
    assert_eq!(visitor.join().expect("it ends"), Vec::<String>::new());
}

#[test]
fn two_services_swap_their_ports_in_one_step() {
    let mut world = World::new();
    world.others = api();
    world.put("other/message.txt", "api");
    let [one, other, preview, next] = ports();
    let listen = |web: u16, api: u16| {
        let both = [at("web", web, preview), at("api", api, next)];
        traffic("127.0.0.1", &both.join(", "))
    };
    world.staging = vec![PROMOTION.to_owned(), listen(one, other)];
    world.apply().code(0);
    assert_eq!(
        (answer(one), answer(other)),
        ("v1".to_owned(), "api".to_owned())
    );

    world.staging = vec![PROMOTION.to_owned(), listen(other, one)];
    apply_and_close(&world, &["route.web", "route.api"])
        .code(0)
        .says("api, web take over addresses from each other");
    assert_eq!(
        (answer(one), answer(other)),
        ("api".to_owned(), "v1".to_owned())
    );
}

#[test]
fn a_rollback_listens_again_for_a_service_that_went() {
    let mut world = World::new();
    world.others = api();
    world.put("other/message.txt", "api");
    let [web, preview, api, next] = ports();
    let web = at("web", web, preview);
    let both = [web.clone(), at("api", api, next)].join(", ");
    world.staging = vec![PROMOTION.to_owned(), traffic("127.0.0.1", &both)];
    world.apply().code(0);

    world.others.clear();
    world.staging = vec![PROMOTION.to_owned(), traffic("127.0.0.1", &web)];
    apply_and_close(&world, &["route.api"]).code(0);
    assert_eq!(answer(api), "nobody");

    let back = ["rollback", "--env", "staging", "--auto-approve"];
    world.run(&back).code(0);
    assert_eq!(answer(api), "api");
}

#[test]
fn a_rollback_after_the_end_listens_again() {
    let world = World::live();
    for command in ["destroy", "rollback"] {
        world
            .run(&[command, "--env", "staging", "--auto-approve"])
            .code(0);
    }
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_retained_slot_keeps_its_end_when_the_next_release_fails() {
    let mut world = World::live();
    world.message("v2");
    world.apply().code(0);
    let end = |world: &World| world.status()["facts"]["slots"]["blue"]["stops_at"].clone();
    let before = end(&world);
    assert!(before.is_string(), "{before}");

    world.message("v3");
    world
        .env
        .insert("FAIL_START".to_owned(), "no-database".to_owned());
    world.apply().code(1);
    assert_eq!(end(&world), before);
    world
        .run(&["status", "--env", "staging"])
        .code(0)
        .says(", stops in ");
}

#[test]
fn a_service_that_is_added_in_place_and_fails_is_taken_out_with_its_listeners() {
    let mut world = World::new();
    let [web, preview, api_live, next] = ports();
    let listeners = [at("web", web, preview), at("api", api_live, next)].join(", ");
    world.staging = vec![PROMOTION.to_owned(), "strategy: rolling".to_owned()];
    let first = at("web", web, preview);
    world.staging.push(traffic("127.0.0.1", &first));
    world.apply().code(0);

    world.others = api();
    for line in &mut world.others {
        *line = line.replace(
            "/healthz, interval: 100ms, start_within: 20s",
            "/nothing, start_within: 1s",
        );
    }
    world.put("other/message.txt", "api");
    world.staging.pop();
    world.staging.push(traffic("127.0.0.1", &listeners));
    world
        .apply()
        .code(3)
        .says("Traffic was moved back; blue is active.");
    assert_eq!(
        (answer(web), answer(api_live)),
        ("v1".to_owned(), "nobody".to_owned())
    );
}

#[test]
fn environments_may_want_one_port_and_only_one_on_a_machine_has_it() {
    let mut world = World::new();
    let [live, preview, other, beside] = ports();
    let listen = |live, preview| traffic("127.0.0.1", &at("web", live, preview));
    world.staging = vec![listen(live, preview)];
    world.configure();
    let staging = world.read("environments/staging.yaml");
    world.put("environments/production.yaml", &staging);
    world.run(&["validate"]).code(0);

    world.apply().code(0);
    world
        .run(&["plan", "--env", "production"])
        .code(6)
        .says("web of staging listens there, on this machine")
        .says("`traffic.listeners` of production");

    world.staging = vec![listen(other, beside)];
    world.configure();
    apply_and_close(&world, &["route.web"]).code(0);
    world.run(&["plan", "--env", "production"]).code(0);
    assert_eq!(answer(other), "v1");
}
