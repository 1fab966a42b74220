//! An environment that says another form than the project has that form alone.

use std::path::PathBuf;

use serde_json::Value;

use super::{GOOD, faults, project};
use crate::config::EnvironmentConfig;
use crate::config::forms::keys_at;
use crate::config::schema::{Manifests, SOURCES};
use crate::model::secret::SecretRef;

/// The environment of a project and an environment's file.
fn staging(more: &str, overlay: &str) -> EnvironmentConfig {
    let project = project(&format!("{GOOD}{more}"), overlay);
    let mut project = project.unwrap_or_else(|error| panic!("{overlay}: {:?}", error.faults));
    project.environments.pop_first().expect("one").1
}

#[test]
fn a_secret_comes_from_where_the_environment_says() {
    let file = "secrets: {db: {file: /run/db}}\n";
    let env = SecretRef::Env("DB".to_owned());
    for overlay in [
        "secrets: {db: {env: DB}}",
        "secrets: {db: {file: null, env: DB}}",
    ] {
        for shared in [file, "secrets: {db: {env: OTHER}}\n", ""] {
            let secret = &staging(shared, overlay).secrets["db"];
            assert_eq!(secret.source().as_ref(), Some(&env), "{overlay}");
        }
    }
    let other = staging(file, "secrets: {key: {env: DB}}");
    assert_eq!(
        other.secrets["db"].source(),
        Some(SecretRef::File(PathBuf::from("/run/db")))
    );
}

#[test]
fn two_forms_in_one_file_are_named() {
    assert_eq!(
        faults(GOOD, "secrets: {db: {file: /run/db, env: DB}, key: {}}"),
        [
            "environments/staging.yaml:1:11: secrets.db: one of `file`, `env`, `run`, `sops`, \
             `vault`, `aws_secret`, `aws_parameter` and `kubernetes` is needed here, and there are \
             `file` and `env` | keep one of them",
            "environments/staging.yaml:1:41: secrets.key: one of `file`, `env`, `run`, `sops`, \
             `vault`, `aws_secret`, `aws_parameter` and `kubernetes` is needed here, and there is \
             none | write `{file: PATH}`, for one",
        ]
    );
    let said = faults(
        GOOD,
        "services: {web: {health: {path: /up, run: [up]}}}\npromotion: {before: [{http: {path: /}, \
         tcp: {}}]}",
    );
    assert!(
        said[1].contains("and there are `http` and `tcp`"),
        "{said:?}"
    );
    assert!(
        said.iter()
            .all(|fault| fault.ends_with("| keep one of them")),
        "{said:?}"
    );
}

#[test]
fn a_secret_of_a_cluster_is_for_pods_alone() {
    let secret = "secrets: {db: {kubernetes: {secret: db, key: url}, rotation: ignore}}";
    assert_eq!(
        faults(GOOD, secret),
        [
            "environments/staging.yaml:1:16: secrets.db.kubernetes: only pods can have a Secret of \
             a cluster | write another source, as `file` or `vault`, for an environment on a host",
            "environments/staging.yaml:1:62: secrets.db.rotation: shipit does not read this \
             Secret, and so knows of no rotation | take the key out",
        ]
    );
}

#[test]
fn servers_and_paths_of_secrets_are_looked_at() {
    let wrong = "sources: {vault: {address: \"http://vault.example.com\", auth: {token: {env: T}, \
                 jwt: {role: a, token: {env: T}}}}}\nsecrets: {a: {vault: {path: secret, key: k}}, \
                 b: {vault: {path: x/y, key: k, mount: z}}, c: {aws_parameter: \"a:b\"}, d: {sops: \
                 {file: /etc/x, key: k}}}";
    let said = faults(GOOD, wrong);
    assert!(
        said[0].contains("one of `token`, `approle`, `kubernetes` and `jwt` is needed here"),
        "{said:?}"
    );
    let said = faults(
        GOOD,
        &wrong.replace(", jwt: {role: a, token: {env: T}}", ""),
    );
    let about = [
        "sources.vault.address: without TLS a login and secrets would go over the network in clear",
        "secrets.a.vault.path: a path with its mount is needed",
        "secrets.b.vault.mount: `x/y` does not begin with it",
        "secrets.c.aws_parameter: `a:b` is no name of a parameter",
        "secrets.d.sops.file: a path in the project's folder is needed",
    ];
    for text in about {
        assert!(
            said.iter().any(|fault| fault.contains(text)),
            "{text}: {said:#?}"
        );
    }
    assert_eq!(said.len(), about.len(), "{said:#?}");
}

#[test]
fn a_password_in_an_address_is_refused_and_shown_nowhere() {
    for address in [
        "https://kim:hunter-2@vault.example.com",
        "https://kim:hunter-2@",
        "\"https://kim:\\x68unter-2@vault.example.com\"",
        "https://vault.example.com?token=hunter-2",
    ] {
        // Another fault beside it shows the same lines.
        let wrong = format!(
            "sources: {{vault: {{address: '{address}'}}}}\nsecrets: {{a: {{vault: {{path: x, key: \
             k}}}}}}"
        );
        let wrong = wrong.replace("'\"", "\"").replace("\"'", "\"");
        let folder = tempfile::tempdir().expect("a folder");
        super::write(folder.path(), "shipit.yaml", GOOD);
        super::write(folder.path(), "environments/staging.yaml", &wrong);
        let error = super::load(folder.path()).expect_err("it is refused");
        assert_eq!(error.faults.len(), 2, "{error:?}");
        assert!(!format!("{error:?}").contains("unter-2"), "{error:?}");
    }
    // What keeps the map from being read shows its lines, too.
    for wrong in [
        "sources: {vault: {address: 'https://kim:hunter-2@vault.example.com', adress: x}}",
        "sources: {vault: {address: 'https://kim:hunter-2@vault.example.com', plain_http: maybe}}",
        "sources: {vault: {address: ['https://kim:hunter-2@vault.example.com']}}",
        "sources: {vault: 'https://kim:hunter-2@vault.example.com'}",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        super::write(folder.path(), "shipit.yaml", GOOD);
        super::write(folder.path(), "environments/staging.yaml", wrong);
        let error = super::load(folder.path()).expect_err("it is refused");
        assert!(!format!("{error:?}").contains("hunter-2"), "{error:?}");
        assert!(!format!("{error}").contains("hunter-2"), "{error}");
    }
    let wrong = "sources: {vault: {address: 'https://kim:hunter-2@vault.example.com'}}";
    assert_eq!(
        faults(GOOD, wrong),
        [
            "environments/staging.yaml:1:28: sources.vault.address: an address has no login and no \
             question in it | write it as `https://vault.example.com:8200`; how to log in is said \
             by `sources.vault.auth`"
        ]
    );
}

#[test]
fn a_health_check_of_another_form_keeps_what_both_forms_have() {
    let shared = "    health: {path: /up, interval: 7s, liveness: {run: [dead], failures: 9}}\n";
    let overlay = "services: {web: {health: {run: [up], liveness: {path: /dead}}}}";
    let staging = staging(shared, overlay);
    let health = &staging.services.values().next().expect("one").health;
    let liveness = health.liveness.as_ref().expect("liveness");

    assert_eq!(
        (&health.path, &health.run),
        (&None, &Some(vec!["up".to_owned()]))
    );
    assert_eq!(health.interval.to_string(), "7s");
    assert_eq!(
        (liveness.path.as_deref(), &liveness.run, liveness.failures),
        (Some("/dead"), &None, 9)
    );
}

#[test]
fn a_host_is_sent_with_a_path_alone() {
    let host = "services: {web: {health: {host: shop.test}}}";
    assert_eq!(
        faults(GOOD, host),
        [
            "environments/staging.yaml:1:33: services.web.health.host: a host is sent with a \
          `path` alone | take the key out; `host: null` does it for one environment"
        ]
    );
    let url = "services: {web: {health: {path: /up, host: \"http://shop.test\"}}}";
    assert!(
        faults(GOOD, url)[0].contains("`http://shop.test` is no host: write `shop.example.com`")
    );
}

#[test]
fn manifests_of_another_tool_lose_the_keys_of_the_first() {
    let cluster = "registry: {kind: oci, endpoint: r.test}\ncluster: {kind: kubernetes}\ntraffic: \
                   {kind: service}\nmanifests: {helm: chart, values: v.yaml, hooks: leave_out}\n";
    let staging = staging(cluster, "manifests: {kustomize: deploy}");
    let Some(Manifests::Rendered(tool)) = staging.manifests else {
        panic!("another form: {:?}", staging.manifests);
    };
    assert_eq!(tool.kustomize.as_deref(), Some("deploy"));
    assert_eq!((tool.helm, tool.values), (None, None));
}

#[test]
fn images_expire_by_the_rule_that_the_environment_says() {
    let ecr = "registry: {kind: ecr, region: eu-west-1, account: \"123456789012\", \
               lifecycle_policy: {rules: []}}\n";
    let overlay = "registry: {retention: {tagged: 3}}";
    let faults = project(&format!("{GOOD}{ecr}"), overlay).err();
    assert!(faults.is_none(), "{faults:?}");
}

/// A type whose variants are keys of a map takes one key: where it is in a map of maps, an
/// environment can say another.
#[test]
fn every_type_of_one_key_has_its_forms_here() {
    let schema = crate::config::schema().to_value();
    let definitions = schema["$defs"].as_object().expect("types");
    let keys = |one: &Value| one["required"][0].as_str().map(str::to_owned);
    let is_form = |one: &Value| {
        one["required"]
            .as_array()
            .is_some_and(|keys| keys.len() == 1)
            && one["properties"]["kind"].is_null()
    };

    for (name, definition) in definitions {
        let Some(forms) = definition["oneOf"].as_array() else {
            continue;
        };
        // Checks stand in lists, and a list is replaced as a whole.
        if name == "Check" || !forms.iter().all(is_form) {
            continue;
        }
        let known: Vec<String> = forms.iter().filter_map(keys).collect();
        let at: &[&[&str]] = match name.as_str() {
            "VaultAuth" => &[&["sources", "vault", "auth"]],
            "Credential" => &[
                &["sources", "vault", "auth", "token"],
                &["sources", "vault", "auth", "approle", "secret_id"],
                &["sources", "vault", "auth", "jwt", "token"],
            ],
            _ => panic!("{name}: {known:?} want a place in config/forms"),
        };
        for path in at {
            assert_eq!(known, keys_at(path), "{path:?}");
        }
    }
    assert_eq!(keys_at(&["secrets", "*"]), SOURCES);
}

#[test]
fn a_program_goes_with_the_keys_that_only_it_has() {
    let shared = "secrets: {db: {run: [op, read, x], timeout: 5s}}\n";
    let staging = staging(shared, "secrets: {db: {env: DB}}");
    assert_eq!(staging.secrets["db"].timeout, None);

    let wrong = "secrets: {a: {run: []}, b: {env: B, timeout: 5s}, c: {run: [op], timeout: 0s}}";
    assert_eq!(
        faults(GOOD, wrong),
        [
            "environments/staging.yaml:1:20: secrets.a.run: there is no program | write `run: [op, \
             read, \"op://prod/db/password\"]`",
            "environments/staging.yaml:1:46: secrets.b.timeout: only a program (`run`) has a time \
             of its own | take the key out",
            "environments/staging.yaml:1:75: secrets.c.timeout: no time at all | write how long, \
             as `30s`",
        ]
    );
}
