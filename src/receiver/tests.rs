//! What each sender sends, as recorded, and everything that a forger could send in its place.

use crate::model::digest::hex;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const SECRET: &str = "whsec_c2hpcGl0J3Mgc2VjcmV0IGZvciB0aGUgdGVzdHMgb2YgdGhlIHJlY2VpdmVy";
const COMMIT: &str = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c";
const NOW: i64 = 1_795_800_000;

/// A sender, with what it sends of a push to `staging`.
struct Sender {
    kind: SenderKind,
    body: String,
    headers: Vec<(&'static str, String)>,
    /// The header that proves it, which is one of `headers`.
    proof: &'static str,
}

fn hmac_hex(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex(hmac::sign(&key, body.as_bytes()).as_ref())
}

/// `v1,BASE64` by the specification of Standard Webhooks.
fn standard(id: &str, time: i64, body: &str) -> String {
    let key = BASE64_STANDARD
        .decode(SECRET.trim_start_matches("whsec_"))
        .expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{time}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(tag.as_ref()))
}

fn push_of_a_hub(name: &str) -> String {
    format!(
        r#"{{
  "ref": "refs/heads/staging",
  "before": "28e1879d029cb852e4844d9c718537df08844e03",
  "after": "{COMMIT}",
  "created": false, "deleted": false, "forced": false, "base_ref": null,
  "commits": [{{"id": "{COMMIT}", "message": "<script>alert(1)</script>"}}],
  "repository": {{"id": 186853002, "full_name": "shop/storefront", "clone_url": "https://evil.example.com/x.git"}},
  "pusher": {{"{name}": "kim", "email": "kim@example.com"}},
  "sender": {{"login": "kim"}}
}}"#
    )
}

fn senders() -> Vec<Sender> {
    let github = push_of_a_hub("name");
    let gitea = push_of_a_hub("login");
    let gitlab = format!(
        r#"{{"object_kind":"push","event_name":"push","before":"95790bf891e76fee5e1747ab589903a6a1f80f22","after":"{COMMIT}","ref":"refs/heads/staging","ref_protected":true,"checkout_sha":"{COMMIT}","user_name":"Kim","user_username":"kim","project":{{"id":15,"path_with_namespace":"shop/storefront"}},"commits":[],"total_commits_count":0,"push_options":{{}}}}"#
    );
    let cloud = format!(
        r#"{{"actor":{{"nickname":"kim"}},"repository":{{"full_name":"shop/storefront"}},"push":{{"changes":[
            {{"new":{{"type":"branch","name":"staging","target":{{"hash":"{COMMIT}"}}}},"old":null,"truncated":false}}]}}}}"#
    );
    let dc = format!(
        r#"{{"eventKey":"repo:refs_changed","actor":{{"name":"kim"}},"repository":{{"slug":"storefront"}},"changes":[
            {{"ref":{{"id":"refs/heads/staging","displayId":"staging","type":"BRANCH"}},"refId":"refs/heads/staging","fromHash":"{zero}","toHash":"{COMMIT}","type":"UPDATE"}}]}}"#,
        zero = "0".repeat(40)
    );
    let harbor = r#"{"type":"PUSH_ARTIFACT","occur_at":1690000000,"operator":"kim","event_data":{"resources":[{"digest":"sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4","tag":"1.2","resource_url":"harbor.example.com/shop/web:1.2"}],"repository":{"name":"web","namespace":"shop","repo_full_name":"shop/web","repo_type":"private"}}}"#;
    let cloud_event = r#"{"specversion":"1.0","requestid":"a","id":"66d2e6b0","source":"/projects/1/webhook/policies/3","type":"harbor.artifact.pushed","datacontenttype":"application/json","time":"2026-11-27T07:40:14Z","operator":"kim","data":{"resources":[{"digest":"sha256:954b","tag":"1.2","resource_url":"x"}],"repository":{"name":"web","namespace":"shop","repo_full_name":"shop/web","repo_type":"private"}}}"#;
    let distribution = r#"{"events":[
        {"id":"1","action":"push","target":{"mediaType":"application/octet-stream","digest":"sha256:aa","repository":"shop/web"},"actor":{"name":"kim"}},
        {"id":"2","action":"push","target":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"sha256:bb","repository":"shop/web","tag":"1.2"},"actor":{"name":"kim"}},
        {"id":"3","action":"pull","target":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"sha256:bb","repository":"shop/web"}}]}"#;
    let generic =
        format!(r#"{{"type":"push","ref":"refs/heads/staging","commit":"{COMMIT}","by":"kim"}}"#);

    let sha = |body: &str| hmac_hex(SECRET, body);
    let signed = |body: &str| {
        vec![
            ("webhook-id", "msg_1".to_owned()),
            ("webhook-timestamp", NOW.to_string()),
            (
                "webhook-signature",
                format!("v1,AAAA {}", standard("msg_1", NOW, body)),
            ),
        ]
    };
    let sender = |kind, body: &str, proof, headers| Sender {
        kind,
        body: body.to_owned(),
        headers,
        proof,
    };
    vec![
        sender(
            SenderKind::Github,
            &github,
            "x-hub-signature-256",
            vec![
                ("x-github-event", "push".to_owned()),
                ("x-github-delivery", "d-1".to_owned()),
                ("x-hub-signature-256", format!("sha256={}", sha(&github))),
            ],
        ),
        sender(
            SenderKind::Gitlab,
            &gitlab,
            "webhook-signature",
            signed(&gitlab),
        ),
        sender(
            SenderKind::GitlabToken,
            &gitlab,
            "x-gitlab-token",
            vec![
                ("x-gitlab-event", "Push Hook".to_owned()),
                ("idempotency-key", "k-1".to_owned()),
                ("x-gitlab-token", SECRET.to_owned()),
            ],
        ),
        sender(
            SenderKind::Gitea,
            &gitea,
            "x-gitea-signature",
            vec![
                ("x-gitea-event", "push".to_owned()),
                ("x-github-event", "push".to_owned()),
                ("x-gitea-delivery", "d-2".to_owned()),
                ("x-gitea-signature", sha(&gitea)),
            ],
        ),
        sender(
            SenderKind::Forgejo,
            &gitea,
            "x-forgejo-signature",
            vec![
                ("x-forgejo-event", "push".to_owned()),
                ("x-gitea-event", "push".to_owned()),
                ("x-gitea-delivery", "d-3".to_owned()),
                ("x-forgejo-signature", sha(&gitea)),
            ],
        ),
        sender(
            SenderKind::BitbucketCloud,
            &cloud,
            "x-hub-signature",
            vec![
                ("x-event-key", "repo:push".to_owned()),
                ("x-request-uuid", "r-1".to_owned()),
                ("x-hub-signature", format!("sha256={}", sha(&cloud))),
            ],
        ),
        sender(
            SenderKind::BitbucketDc,
            &dc,
            "x-hub-signature",
            vec![
                ("x-event-key", "repo:refs_changed".to_owned()),
                ("x-request-id", "r-2".to_owned()),
                ("x-hub-signature", format!("sha256={}", sha(&dc))),
            ],
        ),
        sender(
            SenderKind::Harbor,
            harbor,
            "authorization",
            vec![("authorization", SECRET.to_owned())],
        ),
        sender(
            SenderKind::Harbor,
            cloud_event,
            "authorization",
            vec![("authorization", SECRET.to_owned())],
        ),
        sender(
            SenderKind::Distribution,
            distribution,
            "authorization",
            vec![("authorization", format!("Bearer {SECRET}"))],
        ),
        sender(
            SenderKind::Generic,
            &generic,
            "webhook-signature",
            signed(&generic),
        ),
    ]
}

fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_str(value).expect("a value");
        map.append(HeaderName::from_static(name), value);
    }
    map
}

fn received_at(
    kind: SenderKind,
    pairs: &[(&'static str, String)],
    body: &[u8],
    now: i64,
) -> Received {
    let secrets = [
        SecretValue::new("another".to_owned()),
        SecretValue::new(SECRET.to_owned()),
    ];
    let door = Door {
        kind,
        secrets: &secrets,
    };
    let headers = headers(pairs);
    let now = Timestamp::from_second(now).expect("a time");
    receive(
        &door,
        &Incoming {
            headers: &headers,
            body,
            now,
        },
    )
}

fn received(kind: SenderKind, pairs: &[(&'static str, String)], body: &str) -> Received {
    received_at(kind, pairs, body.as_bytes(), NOW)
}

fn message(received: Received) -> Message {
    match received {
        Received::Authentic(message) => message,
        other => panic!("{other:?}"),
    }
}

fn is_refused(received: &Received) -> bool {
    matches!(received, Received::Refused { .. })
}

/// The same headers with another value for one of them.
fn with(pairs: &[(&'static str, String)], name: &str, value: &str) -> Vec<(&'static str, String)> {
    let changed = pairs.iter().map(|(key, old)| {
        let value = if *key == name { value } else { old };
        (*key, value.to_owned())
    });
    changed.collect()
}

#[test]
fn each_sender_is_understood() {
    for sender in senders() {
        let message = message(received(sender.kind, &sender.headers, &sender.body));
        let expected = match sender.kind {
            SenderKind::Harbor | SenderKind::Distribution => Trigger::Image {
                repository: "shop/web".to_owned(),
                tag: Some("1.2".to_owned()),
                by: "kim".to_owned(),
            },
            _ => Trigger::Ref {
                name: "refs/heads/staging".to_owned(),
                commit: COMMIT.to_owned(),
                by: "kim".to_owned(),
            },
        };
        assert_eq!(message.triggers, [expected], "{:?}", sender.kind);
        let has_none = matches!(sender.kind, SenderKind::Harbor | SenderKind::Distribution);
        let (DeliveryKey::Id(key) | DeliveryKey::Body(key)) = &message.key;
        assert!(!key.is_empty() && !key.contains(char::is_whitespace));
        assert_eq!(matches!(message.key, DeliveryKey::Body(_)), has_none);
    }
}

#[test]
fn nothing_is_taken_from_who_does_not_know_the_secret() {
    for sender in senders() {
        let Sender {
            kind,
            body,
            headers,
            proof,
        } = &sender;
        let stripped: Vec<_> = headers
            .iter()
            .filter(|(name, _)| name != proof)
            .cloned()
            .collect();
        let given = &headers
            .iter()
            .find(|(name, _)| name == proof)
            .expect("it is there")
            .1;
        let mut twice = headers.clone();
        twice.push((*proof, given.clone()));
        let mut forged = given.clone();
        let last = forged.pop().expect("a sign");
        forged.push(if last == '0' { '1' } else { '0' });

        let cases = [
            ("stripped", stripped),
            ("twice", twice),
            ("forged", with(headers, proof, &forged)),
            ("empty", with(headers, proof, "")),
            ("an empty tag", with(headers, proof, "sha256=")),
            (
                "SHA-1",
                with(headers, proof, &format!("sha1={}", "0".repeat(40))),
            ),
            (
                "zeros",
                with(headers, proof, &format!("sha256={}", "0".repeat(64))),
            ),
            ("the other secret", with(headers, proof, "another-one")),
        ];
        for (what, headers) in cases {
            let found = received(*kind, &headers, body);
            assert!(is_refused(&found), "{kind:?} {what}: {found:?}");
        }
        // What proves it by its bytes is of no other bytes.
        let proves_bytes = !matches!(
            kind,
            SenderKind::GitlabToken | SenderKind::Harbor | SenderKind::Distribution
        );
        let other = body.replace("staging", "Staging").replace("1.2", "1.3");
        assert_eq!(
            is_refused(&received(*kind, headers, &other)),
            proves_bytes,
            "{kind:?}"
        );
    }
}

#[test]
fn the_headers_of_one_sender_are_no_proof_for_another() {
    for one in senders() {
        for other in senders() {
            let is_alike = one.proof == other.proof && one.kind != SenderKind::Distribution;
            if one.kind == other.kind || is_alike && other.kind != SenderKind::Distribution {
                continue;
            }
            let found = received(other.kind, &one.headers, &one.body);
            assert!(
                is_refused(&found),
                "{:?} at {:?}: {found:?}",
                one.kind,
                other.kind
            );
        }
    }
}

#[test]
fn a_signature_with_a_time_is_of_its_time() {
    for sender in senders() {
        if sender.proof != "webhook-signature" {
            continue;
        }
        for (now, is_late) in [
            (NOW - 299, false),
            (NOW + 299, false),
            (NOW + 301, true),
            (NOW - 301, true),
            (NOW + 86_400, true),
        ] {
            let found = received_at(sender.kind, &sender.headers, sender.body.as_bytes(), now);
            assert_eq!(is_refused(&found), is_late, "{:?} {now}", sender.kind);
        }
        // A time that was not signed is none.
        let later = with(
            &sender.headers,
            "webhook-timestamp",
            &(NOW + 600).to_string(),
        );
        let found = received_at(sender.kind, &later, sender.body.as_bytes(), NOW + 600);
        assert!(is_refused(&found));
    }
}

#[test]
fn a_signed_message_never_falls_back_to_a_token() {
    let body = r#"{"object_kind":"push"}"#;
    let both = vec![
        ("x-gitlab-token", SECRET.to_owned()),
        ("webhook-signature", "v1,AAAA".to_owned()),
    ];
    assert!(is_refused(&received(SenderKind::GitlabToken, &both, body)));
    assert!(is_refused(&received(SenderKind::Gitlab, &both, body)));
}

#[test]
fn a_door_without_a_secret_lets_nobody_in() {
    let headers = headers(&[
        ("x-gitea-signature", hmac_hex("", "{}")),
        ("x-gitea-event", "push".to_owned()),
    ]);
    let incoming = Incoming {
        headers: &headers,
        body: b"{}",
        now: Timestamp::UNIX_EPOCH,
    };
    for secrets in [&[][..], &[SecretValue::new(String::new())]] {
        let door = Door {
            kind: SenderKind::Gitea,
            secrets,
        };
        assert!(is_refused(&receive(&door, &incoming)));
    }
}

/// What Gitea sends with a body and an event.
fn gitea(event: &str, body: &str) -> Message {
    let headers = [
        ("x-gitea-event", event.to_owned()),
        ("x-gitea-signature", hmac_hex(SECRET, body)),
    ];
    message(received(SenderKind::Gitea, &headers, body))
}

#[test]
fn what_means_nothing_says_why() {
    let zero = "0".repeat(40);
    let push =
        |name: &str, after: &str| serde_json::json!({"ref": name, "after": after}).to_string();
    for (event, body, words) in [
        (
            "push",
            push("refs/heads/staging", &zero),
            "refs/heads/staging was deleted",
        ),
        (
            "push",
            push("refs/heads/-x", COMMIT),
            "not a branch or a tag",
        ),
        (
            "push",
            push("refs/heads/a;b", COMMIT),
            "not a branch or a tag",
        ),
        (
            "push",
            push("refs/heads/$(x)", COMMIT),
            "not a branch or a tag",
        ),
        (
            "push",
            push("refs/heads/a\nb", COMMIT),
            "not a branch or a tag",
        ),
        (
            "push",
            push("refs/pull/3/head", COMMIT),
            "not a branch or a tag",
        ),
        (
            "push",
            push("refs/heads/staging", "HEAD"),
            "not the id of a commit",
        ),
        ("push", "{}".to_owned(), "not understood"),
        ("push", "nothing".to_owned(), "not understood"),
        (
            "issues",
            "{}".to_owned(),
            "nothing is deployed on the event `issues`",
        ),
    ] {
        let message = gitea(event, &body);
        assert!(message.triggers.is_empty(), "{body}");
        let reason = message.ignored.join("; ");
        assert!(reason.contains(words), "{body}: {reason}");
        assert!(!reason.contains(['\n', ';', '$']), "{reason}");
    }
}

#[test]
fn a_ping_of_data_center_has_no_signature_and_means_nothing() {
    let headers = [("x-event-key", "diagnostics:ping".to_owned())];
    let body = r#"{"test": true}"#;
    assert_eq!(
        received(SenderKind::BitbucketDc, &headers, body),
        Received::Ping
    );
    assert!(is_refused(&received(
        SenderKind::BitbucketCloud,
        &headers,
        body
    )));
}

#[test]
fn a_thousand_nested_lists_are_not_followed() {
    let depth = 100_000;
    let body = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let found = gitea("push", &body);
    assert!(found.triggers.is_empty() && found.ignored[0].contains("not understood"));
}

#[test]
fn the_same_delivery_has_the_same_key_and_another_another() {
    let key = |id: &str, body: &str| {
        let headers = [
            ("x-github-event", "push".to_owned()),
            ("x-github-delivery", id.to_owned()),
            (
                "x-hub-signature-256",
                format!("sha256={}", hmac_hex(SECRET, body)),
            ),
        ];
        message(received(SenderKind::Github, &headers, body)).key
    };
    assert_eq!(key("a", "{}"), key("a", "{ }"));
    assert_ne!(key("a", "{}"), key("b", "{}"));
    // What cannot be an id is none, and the body tells it apart.
    let long = "x".repeat(4096);
    assert_eq!(key(&long, "{}"), key("", "{}"));
    assert_ne!(key("", "{}"), key("", "{ }"));
}

proptest! {
    #[test]
    fn whatever_an_authentic_sender_sends_is_read_without_a_panic(
        body in prop_oneof![
            any::<Vec<u8>>(),
            "\\PC{0,200}".prop_map(String::into_bytes),
            r#"\{"ref": ?"[a-z/]{0,20}", ?"after": ?"[0-9a-f]{0,64}"(, ?"events": ?\[\])?\}"#.prop_map(String::into_bytes),
        ],
        event in "[a-z_:]{0,12}",
    ) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = hex(hmac::sign(&key, &body).as_ref());
        for (kind, proof, prefix, name) in [
            (SenderKind::Github, "x-hub-signature-256", "sha256=", "x-github-event"),
            (SenderKind::Gitea, "x-gitea-signature", "", "x-gitea-event"),
            (SenderKind::BitbucketCloud, "x-hub-signature", "sha256=", "x-event-key"),
        ] {
            let headers = [(proof, format!("{prefix}{tag}")), (name, event.clone())];
            let found = received_at(kind, &headers, &body, NOW);
            prop_assert!(matches!(found, Received::Authentic(_)));
        }
        for (kind, value) in [
            (SenderKind::Harbor, SECRET.to_owned()),
            (SenderKind::Distribution, format!("Bearer {SECRET}")),
        ] {
            let found = received_at(kind, &[("authorization", value)], &body, NOW);
            prop_assert!(matches!(found, Received::Authentic(_)));
        }
    }
}
