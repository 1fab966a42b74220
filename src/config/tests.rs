//! Faults as a person reads them, and that nothing makes the reader fall over.

mod approvals;
mod around;
mod elsewhere;
mod forms;
mod kinds;
mod limits;
mod marks;
mod ports;
mod refused;
mod schemas;
mod slips;
mod tasks;
mod tls;
mod values;
mod volumes;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::load;
use super::load::project;
use super::schema::BuildConfig;

const GOOD: &str = "version: 1\nproject: shop\nservices:\n  web:\n    build: {kind: pack, copy: \
                    {a: /a}, entrypoint: [/a]}\n    port: 8080\n";

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

/// The faults of a project, as `FILE:LINE:COLUMN: MESSAGE | HELP`.
fn faults(shipit: &str, staging: &str) -> Vec<String> {
    let error = project(shipit, staging).expect_err("it has faults");
    error
        .faults
        .iter()
        .map(|fault| format!("{fault} | {}", fault.help.clone().unwrap_or_default()))
        .collect()
}

#[test]
fn an_environment_is_the_project_with_its_own_file_laid_over_it() {
    let overlay = "strategy: rolling\nservices: {web: {replicas: 3, build: {entrypoint: [/b]}}}\n";
    let project = project(GOOD, overlay).expect("valid");
    let staging = project.environments.values().next().expect("one");
    let web = staging.services.values().next().expect("one");
    assert_eq!((web.replicas, web.port_number()), (3, Some(8080)));
    let Some(BuildConfig::Pack(_, pack)) = &web.build else {
        panic!("another kind: {:?}", web.build);
    };
    assert_eq!(pack.entrypoint, ["/b"], "lists are replaced");
    let without = super::tests::project(GOOD, "services: {web: {port: null}}").expect("valid");
    assert_eq!(
        without
            .environments
            .values()
            .next()
            .expect("one")
            .services
            .values()
            .next()
            .expect("one")
            .port,
        None
    );
}

#[test]
fn any_number_of_comments_may_stand_before_a_value() {
    let overlay = format!(
        "services:\n{}  web: {{replicas: 3}}\n",
        "  # old:\n".repeat(500)
    );
    let project = project(GOOD, &overlay).expect("valid");
    let staging = project.environments.values().next().expect("one");
    assert_eq!(staging.services.values().next().expect("one").replicas, 3);
}

#[test]
fn a_configuration_is_a_file_of_the_repository_and_no_line_of_another_is_shown() {
    let machine = tempfile::tempdir().expect("a folder");
    let root = machine.path().join("repository/project");
    write(machine.path(), "host", "TOPSECRET: [");
    write(&root, "shipit.yaml", GOOD);
    write(&root, "../shared.yaml", "strategy: rolling\n");
    fs::create_dir_all(root.join("../.git")).expect("a folder");
    fs::create_dir_all(root.join("environments")).expect("a folder");
    let staging = root.join("environments/staging.yaml");
    let link = |target: &Path| {
        let _ = fs::remove_file(&staging);
        std::os::unix::fs::symlink(target, &staging).expect("a link");
        load(&root)
    };

    link(Path::new("../../shared.yaml")).expect("a file of the repository");
    for target in [Path::new("../../../host"), &machine.path().join("host")] {
        let error = link(target).expect_err("a link out");
        let said = format!("{error:?}");
        assert!(said.contains("outside of"), "{said}");
        assert!(!said.contains("TOPSECRET"), "{said}");
    }

    fs::remove_dir(root.join("../.git")).expect("gone");
    let said = format!(
        "{:?}",
        link(Path::new("../../shared.yaml")).expect_err("alone")
    );
    assert!(said.contains("outside of"), "{said}");

    fs::remove_file(&staging).expect("gone");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &staging, kind, rustix::fs::Mode::RUSR, 0)
        .expect("a FIFO");
    let said = format!("{:?}", load(&root).expect_err("would wait for ever"));
    assert!(said.contains("is a pipe"), "{said}");
    fs::remove_file(&staging).expect("gone");
    write(
        &root,
        "environments/staging.yaml",
        &"# long\n".repeat(1 << 20),
    );
    let said = format!("{:?}", load(&root).expect_err("too large"));
    assert!(said.contains("more than"), "{said}");
}

#[test]
fn all_faults_of_two_files_are_said_in_the_order_of_their_places() {
    let shipit = GOOD.replace("port: 8080", "prot: 8080\n    replicas: many");
    let staging = "strategy: blue-green\npromotion: {keep_previous: 10}\nsecrets: {a: {fiel: x}}\n";
    assert_eq!(
        faults(&shipit, staging),
        [
            "shipit.yaml:6:5: services.web.prot: unknown key `prot` | did you mean `port`?",
            "shipit.yaml:7:15: services.web.replicas: this is the text `many`, and a whole number \
             from 0 to 65535 is needed | ",
            "environments/staging.yaml:1:11: strategy: unknown value `blue-green` | did you mean \
             `blue_green`?",
            "environments/staging.yaml:2:28: promotion.keep_previous: this is the number 10, and a \
             text is needed | durations and sizes carry a unit, as `30s` and `10MiB`; a text that \
             looks like a number is quoted",
            "environments/staging.yaml:3:15: secrets.a.fiel: unknown key `fiel` | did you mean \
             `file`?",
        ]
    );
}

#[test]
fn of_a_file_that_is_no_yaml_nothing_else_is_said() {
    let broken = faults(&GOOD.replace("port: 8080", "port: [8080"), "strategi: x");
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(broken[0].starts_with("shipit.yaml:"), "{broken:?}");

    let broken = faults(&GOOD.replace("port: 8080", "port: true"), "vars: {a: [}");
    let places: Vec<&str> = broken
        .iter()
        .filter_map(|it| it.split(':').next())
        .collect();
    assert_eq!(places, ["shipit.yaml", "environments/staging.yaml"]);
}

#[test]
fn a_number_where_a_text_is_meant_keeps_its_digits() {
    let overlay =
        "vars: {a: 1.30, b: 007, c: -5, ä: 1e3, d: 0x1F}\nservices: {web: {env: {V: 1.10}}}\n";
    let project = project(GOOD, overlay).expect("valid");
    let staging = project.environments.values().next().expect("one");
    let vars: Vec<&str> = staging.vars.values().map(|text| text.0.as_str()).collect();
    assert_eq!(vars, ["1.30", "007", "-5", "0x1F", "1e3"]);
    let web = staging.services.values().next().expect("one");
    assert_eq!(serde_json::to_value(&web.env["V"]).expect("JSON"), "1.10");
    let said = faults(GOOD, "vars: {a: true}\n").join("\n");
    assert!(said.contains("vars.a: this is `true`"), "{said}");
}

#[test]
fn what_would_change_nothing_or_another_thing_is_refused_at_its_place() {
    for (overlay, expected) in [
        (
            "branches: {staging: {environment: staging}}",
            "staging.yaml:1:1: branches: this is for all environments",
        ),
        (
            "project: other",
            "staging.yaml:1:1: project: this is for all environments",
        ),
        (
            "services: {web: {health: {path: healthz}}}",
            "health.path: a path to ask begins with `/` | write `/healthz`",
        ),
        (
            "services: {web: {health: {path: /, liveness: {path: live}}}}",
            "health.liveness.path: a path to ask begins with `/`",
        ),
        ("services: {web: {env: {\"A=B\": c}}}", "has no `=` in it"),
        ("services: {web: {env: {\"\": c}}}", "is not empty"),
    ] {
        let said = faults(GOOD, overlay).join("\n");
        assert!(said.contains(expected), "{overlay}: {said}");
    }
}

#[test]
fn an_alias_of_a_number_keeps_the_digits_of_its_anchor() {
    let overlay =
        "vars: {a: &ver 1.10, b: *ver, c: &mode 0644, d: *mode, e: &t text, f: *t, g: *ver}\n";
    let project = project(GOOD, overlay).expect("valid");
    let staging = project.environments.values().next().expect("one");
    let vars: Vec<&str> = staging.vars.values().map(|text| text.0.as_str()).collect();
    assert_eq!(
        vars,
        ["1.10", "1.10", "0644", "0644", "text", "text", "1.10"]
    );
}

#[test]
fn what_is_no_registry_s_address_or_name_is_said_before_the_network_is_asked() {
    let cases = [
        (
            "kind: oci, endpoint: \"http://127.0.0.1:5809\"",
            "registry.endpoint: a host is written without its scheme",
        ),
        (
            "kind: oci, endpoint: example.com/shop",
            "registry.endpoint: a host has no path",
        ),
        (
            "kind: oci, endpoint: \"kim:pw@example.com\"",
            "registry.endpoint: a host has no user",
        ),
        (
            "kind: oci, endpoint: \"example.com:x\"",
            "registry.endpoint: this is no port",
        ),
        (
            "kind: oci, endpoint: a, repository: \"Shop/{{ service }}\"",
            "registry.repository: a repository has lower-case",
        ),
        (
            "kind: oci, endpoint: a, repository: \"shop/{{ service }}:latest\"",
            "registry.repository: a repository has neither a tag",
        ),
        (
            "kind: oci, endpoint: a, repository: \"../{{ service }}\"",
            "registry.repository: a repository has parts",
        ),
        (
            "auth_hosts: [\"https://auth.example.com\"]",
            "registry.auth_hosts: `https://auth.example.com`: a host is written",
        ),
        (
            "kind: ecr, region: eu-central-1, account: \"1.example.com/\"",
            "registry.account: an account has twelve digits",
        ),
        (
            "kind: ecr, region: x.example.com/, account: \"123456789012\"",
            "registry.region: this is no region",
        ),
        (
            "kind: ecr, region: eu-central-1, account: \"123456789012\", plain_http: true",
            "registry.plain_http: without an `endpoint`",
        ),
        (
            "kind: oci, endpoint: a, endpoint_gets_credentials: true",
            "registry.endpoint_gets_credentials: `endpoint_gets_credentials` belongs to `kind: \
             ecr`",
        ),
    ];
    for (registry, message) in cases {
        let said = faults(GOOD, &format!("registry: {{{registry}}}\n")).join("\n");
        assert!(said.contains(message), "{registry}: {said}");
    }
    for registry in [
        "kind: oci, endpoint: \"[::1]:5000\", repository: \"{{ project }}/{{ service }}\", \
         auth_hosts: [\"auth.example.com:8443\"]",
        "kind: oci, endpoint: localhost, repository: \"{% if service == 'web' %}A{% endif %}\"",
        "auth_hosts: [auth.example.com]",
    ] {
        let valid = project(GOOD, &format!("registry: {{{registry}}}\n"));
        assert!(valid.is_ok(), "{registry}: {valid:?}");
    }
}

#[test]
fn what_traffic_asks_for_lets_somebody_through_and_believes_somebody_named() {
    let cases = [
        (
            "traffic: {limits: {client_requests: 0}}",
            "traffic.limits.client_requests: 0 lets nobody in",
        ),
        (
            "traffic: {limits: {header_timeout: 0s}}",
            "traffic.limits.header_timeout: no time at all",
        ),
        (
            "traffic: {kind: nginx, nginx: {server_names: [\"a;b\"]}}",
            "traffic.nginx.server_names: `a;b` is no name of a host",
        ),
        (
            "traffic: {trusted_proxies: [10.0.0.7/8]}",
            "write `10.0.0.0/8` for the network",
        ),
        (
            "traffic: {trusted_proxies: [0.0.0.0/0]}",
            "`0.0.0.0/0` is everybody",
        ),
        (
            "cluster: {kind: kubernetes}\ntraffic: {trusted_proxies: [10.0.0.0/8]}",
            "traffic.kind: a cluster has no router of shipit's own",
        ),
        (
            "cluster: {kind: kubernetes}\ntraffic: {kind: service, trusted_proxies: [10.0.0.0/8]}",
            "traffic.trusted_proxies: `trusted_proxies` belongs to `kind: embedded` and `kind: \
             nginx`",
        ),
    ];
    for (overlay, expected) in cases {
        let said = faults(GOOD, overlay).join("\n");
        assert!(said.contains(expected), "{overlay}: {said}");
    }
}

#[test]
fn what_is_named_must_be_there() {
    let cases = [
        (
            "services: {web: {env: {DB: {secret: databse}}}}\nsecrets: {database: {env: DB}}",
            "did you mean `database`?",
        ),
        (
            "promotion: {before: [{http: {path: /, service: wbe}}]}",
            "did you mean `web`?",
        ),
        (
            "branches: {main: {environment: stagign}}",
            "did you mean `staging`?",
        ),
        (
            "branches: {main: {environment: staging, accepts: [mian]}}",
            "did you mean `main`?",
        ),
        (
            "traffic: {listeners: {wbe: {live: 1}}}",
            "did you mean `web`?",
        ),
        (
            "traffic: {listeners: {web: {live: 9000, preview: 9000}}}",
            "would be preview of web in staging",
        ),
        (
            "traffic: {listeners: {web: {live: 0}}}",
            "traffic.listeners.web.live: 0 is not a port",
        ),
        (
            "cluster: {runtime: docker}\nservices: {web: {volumes: {/data: d}}}",
            "services.web.volumes./data: d is for one instance at a time, and two releases would \
             have it at once",
        ),
        (
            "cluster: {runtime: docker}\nstrategy: recreate\nservices: {web: {replicas: 2, \
             volumes: {/data: d}}}",
            "2 instances would have it at once",
        ),
        (
            "cluster: {runtime: docker}\nservices: {web: {strategy: recreate, replicas: 2, \
             volumes: {/data: d}}}",
            "2 instances would have it at once",
        ),
        (
            "cluster: {runtime: docker}\nstrategy: recreate\nservices: {web: {strategy: rolling, \
             volumes: {/data: d}}}",
            "two releases would have it at once",
        ),
        (
            "services: {web: {strategy: rolling}}",
            "services.web.strategy: a service of a blue/green environment comes up beside the live \
             one",
        ),
        (
            "strategy: rolling\nservices: {web: {strategy: blue_green}}",
            "services.web.strategy: only an environment as a whole is blue/green",
        ),
        (
            "cluster: {runtime: docker}\nservices: {web: {volumes: {/data: /srv/../etc}}}",
            "services.web.volumes./data: a path inside, and a volume or a folder",
        ),
        (
            "cluster: {runtime: docker}\nservices: {web: {volumes: {/data: {from: d, sharde: \
             true}}}}",
            "did you mean `shared`?",
        ),
        (
            "services: {web: {health: {path: /, interval: 0s}}}",
            "services.web.health.interval: no time at all",
        ),
        (
            "services: {web: {health: {path: /, liveness: {timeout: 0ms}}}}",
            "services.web.health.liveness.timeout: no time at all",
        ),
        (
            "services: {web: {build: {inputs: ['[']}}}",
            "services.web.build.inputs: `[` is not a glob",
        ),
        (
            "cluster: {kind: kubernetes}\nservices: {web: {replicas: 2, autoscale: {min: 1, max: \
             3, cpu: 50}}}",
            "services.web.replicas: how many pods there are is `autoscale`'s matter here",
        ),
    ];
    for (overlay, expected) in cases {
        // Branches are the project's own.
        let (shipit, overlay) = if overlay.starts_with("branches") {
            (format!("{GOOD}{overlay}\n"), "")
        } else {
            (GOOD.to_owned(), overlay)
        };
        let said = faults(&shipit, overlay).join("\n");
        assert!(said.contains(expected), "{overlay}: {said}");
    }
}

#[test]
fn a_fault_is_shown_with_its_line_and_a_mark_under_the_word() {
    let error = project(&GOOD.replace("port", "prot"), "").expect_err("a fault");
    let handler =
        miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor());
    let mut text = String::new();
    handler.render_report(&mut text, &error).expect("rendered");
    assert!(
        text.contains("shipit.yaml:6:5")
            && text.contains("prot: 8080")
            && text.contains("did you mean"),
        "{text}"
    );
}

#[test]
fn yaml_that_is_none_is_explained_at_its_place() {
    let bomb = {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (from, to) in ('a'..'i').zip('b'..='i') {
            let line = format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(", "));
            text.push_str(&line);
        }
        text
    };
    let cases = [
        (
            GOOD.replace("project: shop", "project: shop\nproject: shop"),
            "3:1",
        ),
        (GOOD.replace("  web:", "\tweb:"), "tabs"),
        (bomb, "shipit.yaml:"),
        (GOOD.replace("    port", "   port"), "shipit.yaml:"),
        (
            "version: 1\n".repeat(200_000),
            "it has more than 1048576 bytes",
        ),
        (String::new(), "the key `version` is missing"),
        (
            GOOD.replace("version: 1", "version: 2"),
            "version 2 is not known",
        ),
    ];
    for (yaml, expected) in cases {
        let said = faults(&yaml, "").join("\n");
        assert!(said.contains(expected), "expected `{expected}` in {said}");
    }
}

#[test]
fn a_few_aliases_make_no_more_than_a_file_may_have() {
    let mut text = "l0: &l0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..6 {
        let before = vec![format!("*l{}", level - 1); 8].join(", ");
        let line = format!("l{level}: &l{level} [{before}]\n");
        text.push_str(&line);
    }
    let said = faults(&text, "").join("\n");
    assert!(said.contains("alias") && said.contains("limit"), "{said}");
}

#[test]
fn a_folder_without_a_configuration_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = load(folder.path()).expect_err("nothing there");
    assert!(
        error.faults[0]
            .help
            .as_ref()
            .is_some_and(|help| help.contains("shipit init")),
        "{error:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_fall_over(text in "[a-z0-9:\\-\\[\\]{}&*!|>'\"#%@,? \n\t]{0,200}") {
        let _ = project(&text, &text);
        let _ = project(GOOD, &text);
        let _ = project(&format!("{GOOD}{text}"), "");
    }
}

#[test]
fn a_misspelled_key_is_one_fault_and_what_is_below_it_is_read() {
    let checks = "promotion: {before: [{http: {path: /}}]}\ntraffic: {listeners: {web: {live: \
                  8080, preview: 8081}}}\n";
    let overlay = "services: {web: {replicas: 2}}\n";

    let of_the_base = GOOD.replace("services:", "servises:") + checks;
    let expected = ["shipit.yaml:3:1: servises: unknown key `servises` | did you mean `services`?"];
    assert_eq!(faults(&of_the_base, overlay), expected);
    assert_eq!(faults(&of_the_base, ""), expected);

    let below = GOOD.replace("port:", "prot:") + checks;
    let expected =
        ["shipit.yaml:6:5: services.web.prot: unknown key `prot` | did you mean `port`?"];
    assert_eq!(faults(&below, overlay), expected);

    let wrong_below = GOOD
        .replace("services:", "servises:")
        .replace("8080", "http");
    let said = faults(&wrong_below, overlay);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(
        said[1].starts_with("shipit.yaml:6:11: services.web.port: "),
        "{said:#?}"
    );

    let of_the_overlay = faults(
        &(GOOD.to_owned() + checks),
        "servces: {web: {replicas: 2}}\n",
    );
    assert_eq!(of_the_overlay.len(), 1, "{of_the_overlay:#?}");
}

#[test]
fn a_preview_listener_is_for_this_machine_unless_it_says_more() {
    let address = |traffic: &str| {
        let project = project(GOOD, traffic).expect("valid");
        let staging = project.environments.into_values().next().expect("one");
        let host = staging.traffic.host().cloned().expect("a host's");
        host.preview_address().to_string()
    };
    assert_eq!(address(""), "127.0.0.1");
    assert_eq!(address("traffic: {address: 0.0.0.0}"), "127.0.0.1");
    assert_eq!(address("traffic: {address: '::'}"), "::1");
    assert_eq!(address("traffic: {address: 127.0.0.2}"), "127.0.0.2");
    let named = "traffic: {address: 0.0.0.0, preview_address: 10.0.0.1}";
    assert_eq!(address(named), "10.0.0.1");
}
