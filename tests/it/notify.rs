//! Those who are told of runs: what arrives, what waits, and what is said nowhere.

use std::process::Command;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::support::receivers::{Asked, Mail, Receiver, slack};
use crate::support::tls::certificate;
use crate::support::vault::{Fake, ROOT};
use crate::support::{Said, World, until};

const TOKEN: &str = "canary-xoxb-1f2e";
const PASSWORD: &str = "canary-smtp-77ab";
const KEY: &str = "whsec_Y2FuYXJ5LWtleS1jYW5hcnkta2V5LWNhbmFyeS1rZXk=";

/// A world with a release, whose secrets are these files, and who is told this.
fn world(secrets: &[(&str, &str)], notify: &[String]) -> World {
    let mut world = World::new();
    let mut lines = vec!["secrets:".to_owned()];
    for (name, value) in secrets {
        // The key is no canary by itself: it is looked for as it is.
        world.put(&format!("keys/{name}"), value);
        lines.push(format!("  {name}: {{file: keys/{name}}}"));
    }
    lines.push("notify:".to_owned());
    lines.extend(notify.iter().map(|line| format!("  {line}")));
    world.project = lines;
    world
}

/// Nothing that is printed or kept has a credential in it.
#[track_caller]
fn is_clean(world: &World, said: &Said) {
    let text = format!("{}{}", said.stdout, said.stderr);
    let hidden = ["canary", "Y2FuYXJ5"];
    for word in hidden {
        assert!(!text.contains(word), "{text}");
    }
    let mut folders = vec![world.file("state"), world.agent_folder()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                let text = String::from_utf8_lossy(&bytes);
                for word in hidden {
                    assert!(!text.contains(word), "{}", path.display());
                }
            }
        }
    }
}

/// What is kept in the outbox.
fn outbox(world: &World) -> Vec<Value> {
    let folder = world.file("state/staging/outbox");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    paths.sort();
    let texts = paths.iter().filter_map(|path| std::fs::read(path).ok());
    texts
        .filter_map(|text| serde_json::from_slice(&text).ok())
        .collect()
}

/// Whether a webhook is signed as Standard Webhooks says.
#[track_caller]
fn is_signed(asked: &Asked) {
    let (id, at) = (
        &asked.headers["webhook-id"],
        &asked.headers["webhook-timestamp"],
    );
    let key = BASE64_STANDARD
        .decode(&KEY["whsec_".len()..])
        .expect("a key");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signature = asked.headers["webhook-signature"]
        .strip_prefix("v1,")
        .expect("v1");
    let signature = BASE64_STANDARD.decode(signature).expect("base64");
    let text = format!("{id}.{at}.{}", asked.body);
    hmac::verify(&key, text.as_bytes(), &signature).expect("signed by the key");
}

#[test]
fn all_are_told_of_a_release_and_of_the_next_one_that_fails() {
    let (chat, hook, teams) = (
        Receiver::slack(TOKEN),
        Receiver::obliging(),
        Receiver::obliging(),
    );
    let mail = Mail::start(Some(PASSWORD), None);
    let mut world = world(
        &[
            ("chat", TOKEN),
            ("hook", KEY),
            ("mail", PASSWORD),
            ("teams", &format!("{}/canary-teams", teams.address)),
        ],
        &[
            format!(
                "chat: {{slack: {{channel: C1, token: {{secret: chat}}, api: \"{}\"}}, on: [started, done, failed]}}",
                chat.address
            ),
            format!(
                "hook: {{webhook: {{url: \"{}/shop\", secret: {{secret: hook}}}}}}",
                hook.address
            ),
            format!(
                "mail: {{email: {{server: \"{}\", tls: none, user: ship, password: {{secret: mail}}, \
                 from: \"shipit <ship@example.com>\", to: [ops@example.com, \"Kim <kim@example.com>\"]}}}}",
                mail.address
            ),
            "teams: {teams: {webhook: {secret: teams}}, in: [staging]}".to_owned(),
        ],
    );
    let said = world.apply().code(0);
    is_clean(&world, &said);

    // A bot has one message for a release, which it keeps up to date, and a thread below it.
    let asked = chat.asked();
    assert_eq!(
        chat.paths(),
        ["/chat.postMessage", "/chat.update", "/chat.postMessage"]
    );
    let (first, update, reply) = (asked[0].json(), asked[1].json(), asked[2].json());
    assert!(
        first["text"]
            .as_str()
            .expect("a text")
            .contains("release 1 is being deployed")
    );
    assert!(
        update["text"]
            .as_str()
            .expect("a text")
            .contains("release 1 is live")
    );
    assert_eq!(
        (&update["ts"], &reply["thread_ts"]),
        (&"17.0".into(), &"17.0".into())
    );
    assert_eq!(reply["reply_broadcast"], false);

    let asked = hook.asked();
    assert_eq!(hook.paths(), ["/shop"], "every end, and not the start");
    is_signed(&asked[0]);
    let document = asked[0].json();
    assert_eq!(document["type"], "shipit.run.done");
    assert_eq!(document["data"]["release"], 1);
    assert_eq!(document["data"]["environment"], "staging");

    let letters = mail.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].user.as_deref(), Some("ship"));
    assert_eq!(letters[0].to, ["ops@example.com", "kim@example.com"]);
    assert!(
        letters[0]
            .text
            .contains("\nAuto-Submitted: auto-generated\n")
    );
    let card = teams.asked()[0].json();
    assert_eq!(
        card["attachments"][0]["content"]["body"][0]["color"],
        "Good"
    );

    let task = serde_json::json!(["/bin/sh", "-c", "exit 3"]);
    world
        .staging
        .push(format!("tasks: {{migrate: {{run: {task}}}}}"));
    world.message("v2");
    let said = world.apply().code(1);
    is_clean(&world, &said);
    assert_eq!(world.get(), "v1", "traffic stays");
    let reply = chat.asked()[5].json();
    assert_eq!(
        reply["reply_broadcast"], true,
        "what has failed is shown in the channel"
    );
    assert!(reply.to_string().contains("exit code 3"), "{reply}");
    let document = hook.asked()[1].json();
    is_signed(&hook.asked()[1]);
    assert_eq!(document["type"], "shipit.run.failed");
    assert!(mail.letters()[1].text.contains("exit code 3"));
    assert!(teams.asked()[1].body.contains("exit code 3"));
    let statuses: Vec<Value> = outbox(&world)
        .iter()
        .flat_map(|entry| entry["deliveries"].as_object().expect("a map").clone())
        .map(|(_, delivery)| delivery["status"].clone())
        .collect();
    assert!(
        statuses.iter().all(|status| status == "sent"),
        "{statuses:?}"
    );
}

#[test]
fn a_run_that_is_killed_between_its_end_and_the_delivery_is_reported_once_by_the_next_command() {
    let hook = Receiver::obliging();
    let mut world = world(
        &[],
        &[format!(
            "hook: {{webhook: {{url: \"{}\", secret: {{secret: hook}}}}}}",
            hook.address
        )],
    );
    // Whoever reads the key waits for ever, and so does the delivery.
    let gate = world.file("gate");
    let made = Command::new("mkfifo").arg(&gate).status();
    assert!(made.expect("mkfifo").success());
    let key = format!("hook: {{run: [cat, \"{}\"]}}", gate.display());
    world.project[0] = format!("secrets: {{{key}}}");

    let mut run = world.start_apply();
    let journal = |world: &World| {
        let folder = world.file("state/staging/journal");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        texts.collect::<String>()
    };
    until("the run has ended", || {
        journal(&world).contains("\"what\":\"ended\"")
    });
    run.kill().expect("it can be killed");
    run.wait().expect("it ends");
    assert_eq!(world.get(), "v1");
    assert!(hook.asked().is_empty());
    assert_eq!(outbox(&world)[0]["deliveries"]["hook"]["status"], "waiting");

    std::fs::remove_file(&gate).expect("it was there");
    world.put("gate", KEY);
    let said = world
        .run(&["notify", "--env", "staging"])
        .code(0)
        .says("sent");
    is_clean(&world, &said);
    world.apply().code(0).says("No changes");
    world.run(&["notify", "--env", "staging"]).code(0);
    let asked = hook.asked();
    assert_eq!(asked.len(), 1, "once");
    is_signed(&asked[0]);
    assert_eq!(asked[0].json()["data"]["release"], 1);
}

#[test]
fn a_chat_that_is_busy_is_asked_again_and_one_that_refuses_fails_no_run() {
    let chat = Receiver::start(|asked, before| {
        if before.is_empty() {
            return (429, "retry-after: 1\r\n".to_owned(), String::new());
        }
        slack(TOKEN, asked, before)
    });
    let line = format!(
        "chat: {{slack: {{channel: C1, token: {{secret: chat}}, api: \"{}\"}}}}",
        chat.address
    );
    let world = world(&[("chat", TOKEN)], &[line]);
    world.apply().code(0);
    assert_eq!(chat.paths(), ["/chat.postMessage", "/chat.postMessage"]);

    world.put("keys/chat", "canary-another-token");
    world.message("v2");
    let said = world.apply().code(0);
    is_clean(&world, &said);
    said.says("the notification chat was not delivered: Slack answers invalid_auth");
    assert_eq!(world.get(), "v2");
    world.message("v3");
    world.apply().code(0);

    world.put("keys/chat", TOKEN);
    let before = chat.asked().len();
    world.run(&["notify", "--env", "staging"]).code(0);
    let texts: Vec<String> = chat.asked()[before..]
        .iter()
        .map(|asked| asked.json()["text"].as_str().expect("a text").to_owned())
        .collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0].contains("release 2") && texts[1].contains("release 3"),
        "{texts:?}"
    );
}

#[test]
fn nobody_is_led_away_and_a_server_that_hangs_holds_up_a_run_for_seconds_only() {
    let elsewhere = Receiver::obliging();
    let target = elsewhere.address.clone();
    let leads =
        Receiver::start(move |_, _| (307, format!("location: {target}/\r\n"), String::new()));
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let hanging = hangs.local_addr().expect("bound");
    let world = world(
        &[("hook", KEY)],
        &[
            format!(
                "leads: {{webhook: {{url: \"{}\", secret: {{secret: hook}}}}}}",
                leads.address
            ),
            format!("hangs: {{webhook: {{url: \"http://{hanging}\", secret: {{secret: hook}}}}}}"),
        ],
    );
    world
        .apply()
        .code(0)
        .says("the notification leads was not delivered: it answers 307")
        .says("the notification hangs was not delivered: it was not done within");
    assert!(elsewhere.asked().is_empty(), "no redirect is followed");
    assert_eq!(leads.asked().len(), 1);
}

#[test]
fn a_test_goes_to_one_or_to_all_over_tls_where_that_is_wanted() {
    let folder = World::new();
    let made = certificate(&folder);
    let mail = Mail::start(Some(PASSWORD), Some((&made.chain, &made.key)));
    let refuses = Receiver::start(|_, _| (404, String::new(), "no such hook".to_owned()));
    let world = world(
        &[("mail", PASSWORD), ("hook", KEY)],
        &[
            format!(
                "mail: {{email: {{server: \"{}\", ca: \"{}\", user: ship, password: {{secret: mail}}, \
                 from: ship@example.com, to: [ops@example.com]}}, title: \"{{{{ project }}}}!\"}}",
                mail.address,
                made.authority.display()
            ),
            format!(
                "hook: {{webhook: {{url: \"{}\", secret: {{secret: hook}}}}}}",
                refuses.address
            ),
        ],
    );
    let test = ["notify", "--env", "staging", "--test"];
    world
        .run(&[&test[..], &["mail"]].concat())
        .code(0)
        .says("mail: delivered");
    let letters = mail.letters();
    assert!(letters[0].encrypted && letters[0].text.contains("Subject: shop!\n"));
    world
        .run(&test)
        .code(1)
        .says("hook: not delivered: it answers 404")
        .says("mail: delivered");
    world
        .run(&[&test[..], &["chat"]].concat())
        .code(64)
        .says("staging has no notification chat");
    assert!(outbox(&world).is_empty(), "nothing of a test is kept");
}

/// A Vault with these values at `shop/ci`: the real one where there is one. Gives its address and
/// the token to come in with.
fn vault(values: &Value) -> (String, String) {
    let Ok(named) = std::env::var("SHIPIT_TEST_VAULT") else {
        let fake = Fake::start();
        fake.put("shop/ci", values.clone());
        return (fake.address, ROOT.to_owned());
    };
    let (address, token) = named.trim().split_once(' ').expect("ADDRESS TOKEN");
    let mount = serde_json::json!({"type": "kv", "options": {"version": "2"}});
    for (path, body) in [
        ("sys/mounts/secret", mount),
        ("secret/data/shop/ci", serde_json::json!({"data": values})),
    ] {
        let sent = Command::new("curl")
            .args(["-s", "-X", "POST", "-H", &format!("X-Vault-Token: {token}")])
            .args(["-d", &body.to_string(), &format!("{address}/v1/{path}")])
            .output();
        assert!(sent.expect("curl starts").status.success(), "{path}");
    }
    (address.to_owned(), token.to_owned())
}

/// The tail of a pipeline that is started by a push to Gitolite: what it does with shell, Vault's
/// command and curl, and what goes wrong there when the middle of it fails.
#[test]
fn a_build_that_fills_its_index_in_the_new_instance_and_tells_the_team() {
    let chat = Receiver::slack(TOKEN);
    let mail = Mail::real_or_played(PASSWORD);
    let (address, token) = vault(&serde_json::json!({"slack": TOKEN, "smtp": PASSWORD}));
    let mut world = World::live();
    world.put("vault-token", &token);
    world.project = vec![
        format!(
            "sources: {{vault: {{address: \"{address}\", auth: {{token: {{file: vault-token}}}}}}}}"
        ),
        "secrets:".to_owned(),
        "  slack: {vault: {path: secret/shop/ci, key: slack}}".to_owned(),
        "  smtp: {vault: {path: secret/shop/ci, key: smtp}}".to_owned(),
        "notify:".to_owned(),
        format!(
            "  team: {{slack: {{channel: C1, token: {{secret: slack}}, api: \"{}\"}}, on: [started, done, failed]}}",
            chat.address
        ),
        format!(
            "  ops: {{email: {{server: \"{}\", tls: none, user: ship, password: {{secret: smtp}}, \
             from: ship@example.com, to: [ops@example.com]}}}}",
            mail.address
        ),
    ];
    let filled = world.file("filled").display().to_string();
    let fill = |script: &str| {
        let words = serde_json::json!(["/bin/sh", "-c", script]);
        format!("tasks: {{fill: {{exec: {words}, in: new}}}}")
    };
    let index = world.staging.len();
    world.staging.push(fill(&format!("echo $PORT > {filled}")));
    world.message("v2");
    let said = world.apply().code(0);
    is_clean(&world, &said);
    assert_eq!(world.get(), "v2");
    assert!(!world.read("filled").is_empty());
    assert!(mail.letters()[0].text.contains("release 2 is live"));
    assert_eq!(chat.paths().len(), 3);

    world.staging[index] = fill("echo the index is broken; exit 5");
    world.message("v3");
    let said = world.apply().code(1).says("the index is broken");
    is_clean(&world, &said);
    assert_eq!(world.get(), "v2", "traffic stays");
    assert!(mail.letters()[1].text.contains("release 3 has failed"));
    let reply = chat.asked()[5].json();
    assert_eq!(reply["reply_broadcast"], true);
    assert!(reply.to_string().contains("exit code 5"), "{reply}");
}
