//! What was once lost without a word: it is carried over, or named.

use super::{CANARY, of, proposed};

fn says(text: &str, wanted: &[&str]) {
    let proposal = proposed(text);
    for wanted in wanted {
        assert!(proposal.contains(wanted), "{wanted} is not in\n{proposal}");
    }
}

#[test]
fn a_variable_keeps_the_text_that_was_written() {
    for (written, kept) in [
        ("022", "\"022\""),
        ("'022'", "\"022\""),
        ("1.50", "\"1.50\""),
        ("0x1F", "\"0x1F\""),
        ("on", "\"on\""),
        ("yes", "\"yes\""),
        ("true", "\"true\""),
        ("'true'", "\"true\""),
        ("12:30:45", "\"12:30:45\""),
    ] {
        let service = format!("{{image: 'a:1', environment: {{VALUE: {written}}}}}");
        let text = proposed(&format!("services: {{web: {service}}}"));
        let line = text.lines().find(|line| line.contains("VALUE: "));
        let (_, value) = line.and_then(|line| line.split_once(": ")).expect("a line");
        let bare = kept.trim_matches('"');
        assert!(value == kept || value == bare, "{written}: {text}");
        let of_list = format!("services: {{web: {{image: 'a:1', environment: ['VALUE={bare}']}}}}");
        assert!(proposed(&of_list).contains(value), "{written}: {of_list}");
    }
}

#[test]
fn ruby_s_words_are_flags_to_kamal_and_texts_to_others() {
    let of = |value: &str| {
        format!("service: a\nimage: a/a\nservers: [h]\nenv: {{clear: {{X: {value}}}}}\n")
    };
    for (written, given) in [
        ("on", "true"),
        ("no", "false"),
        ("'on'", "on"),
        ("true", "true"),
    ] {
        let text = proposed(&of(written));
        let line = text.lines().find(|line| line.contains("X: "));
        let value = line
            .and_then(|line| line.split_once(": "))
            .expect("a line")
            .1;
        assert_eq!(value.trim_matches('"'), given, "{written}: {text}");
    }
}

#[test]
fn what_builds_an_image_is_carried_over_or_named() {
    let kamal = format!(
        "service: a\nimage: a/a\nservers: [h]\nbuilder:\n  arch: amd64\n  remote: ssh://b\n  \
         args: {{RUBY: 3.3.0, TOKEN: {CANARY}, REV: '<%= `git rev-parse` %>'}}\n  \
         secrets: [GITHUB_TOKEN]\n"
    );
    says(
        &kamal,
        &[
            "RUBY: \"3.3.0\"",
            "left out: builder.args.TOKEN",
            "left out: builder.args.REV",
            "left out: builder.secrets GITHUB_TOKEN",
            "left out: builder.remote",
        ],
    );
    let copilot = format!(
        "name: web\ntype: Backend Service\nimage:\n  port: 80\n  build:\n    dockerfile: D\n    \
         args: {{A: 1, TOKEN: {CANARY}}}\n    cache_from: [x]\n  depends_on: {{db: start}}\n"
    );
    says(
        &copilot,
        &[
            "A: \"1\"",
            "left out: image.build.args.TOKEN",
            "left out: image.build.cache_from",
            "left out: image.depends_on",
        ],
    );
}

#[test]
fn a_secret_of_another_name_comes_from_the_variable_of_that_name() {
    let kamal = "service: a\nimage: a/a\nservers: {web: [h], job: {hosts: [h], \
                 env: {secret: ['DB_PASS:OTHER_PASSWORD']}}}\nenv: {secret: \
                 ['DB_PASS:DATABASE_PASSWORD', 'BAD:a b']}\n";
    let proposal = of(kamal).expect("a proposal");
    let text = super::read_back(&proposal);
    for wanted in [
        "    env: DATABASE_PASSWORD",
        "    env: OTHER_PASSWORD",
        "left out: env.secret BAD:a b",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}

#[test]
fn checks_are_carried_over_or_named_key_by_key() {
    says(
        "services: {web: {image: 'a:1', healthcheck: {test: [CMD, ok], interval: 5s, \
         start_interval: 1s}}}",
        &["interval: \"5s\"", "left out: healthcheck.start_interval"],
    );
    says(
        "name: web\ntype: Load Balanced Web Service\nimage: {location: 'a:1', port: 80, \
         healthcheck: {command: [CMD-SHELL, ok], retries: 5}}\nhttp:\n  path: /\n  healthcheck: \
         {path: /up, interval: 7s, success_codes: '200,301', healthy_threshold: 3, \
         unhealthy_threshold: 4, grace_period: 90s}\n",
        &[
            "path: /up",
            "interval: \"7s\"",
            "failures: 4",
            "left out: http.healthcheck.success_codes",
            "left out: http.healthcheck.healthy_threshold",
            "left out: image.healthcheck",
        ],
    );
    says(
        "service: a\nimage: a/a\nservers: [h]\nhealthcheck: {path: /alive, port: 4000, \
         interval: 9s, max_attempts: 7}\n",
        &[
            "path: /alive",
            "port: 4000",
            "interval: \"9s\"",
            "left out: healthcheck.max_attempts",
        ],
    );
}

#[test]
fn erb_in_lines_of_its_own_is_passed_over() {
    let text = "<% require \"dotenv\"; Dotenv.load(\".env\") %>\nservice: a\nimage: a/a\n\
                servers: [h]\n<% if ENV[\"X\"] -%>\nenv: {clear: {REV: '<%= 1 %>'}}\n<% end %>\n";
    says(text, &["project: a", "REV"]);
    let error = of("service: a\nservers: [<%= a: [ %>\n").expect_err("no YAML");
    assert!(error.help.contains("ERB"), "{error:?}");
    assert!(!error.help.contains("Compose"), "{error:?}");
}

/// What Docker has under the file's name alone is an empty volume: the data is in another.
#[test]
fn a_volume_is_called_as_docker_knows_it() {
    let of = |volumes: &str| {
        format!(
            "name: Shop.1\nservices: {{db: {{image: 'a:1', volumes: ['data:/data']}}}}\n\
             volumes: {{{volumes}}}\n"
        )
    };
    says(&of("data: {}"), &["/data: shop1_data", "docker volume ls"]);
    says(&of("data:"), &["/data: shop1_data"]);
    says(&of("data: {name: prod_pg}"), &["/data: prod_pg"]);
    says(&of("data: {external: true}"), &["/data: data"]);
    says(&of("data: {external: {name: pg}}"), &["/data: pg"]);
    says(
        &of("data: {name: '${STAGE}_pg'}"),
        &["the name that `volumes` gives to it is not filled in"],
    );
}

#[test]
fn any_number_of_comments_may_stand_before_a_service() {
    let comments = "  # old: {image: 'b:1'}\n".repeat(500);
    says(
        &format!("services:\n{comments}  web: {{image: 'a:1'}}\n"),
        &["a:1"],
    );
}

/// A dump beside a database has its volume, and two databases on one folder destroy it.
#[test]
fn a_database_is_never_there_twice_though_others_have_its_volume() {
    let text = "services:\n  db: {image: 'registry.example.com/library/postgres:17', volumes: \
                ['pg:/data']}\n  dump: {image: 'a:1', volumes: ['pg:/data']}\n";
    let proposal = proposed(text);
    let db = proposal.split("db:").nth(1).expect("a service");
    let db = db.split("dump:").next().unwrap_or_default();
    assert!(
        db.contains("shared: true") && db.contains("strategy: recreate"),
        "{proposal}"
    );
}
