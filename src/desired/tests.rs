//! Which environment is meant, and what templates become.

use std::fs;

use super::{DesiredPlace, environment_for, resolve};
use crate::config::{Project, load};
use crate::model::EnvironmentName;
use crate::model::desired::ImageSource;
use crate::model::secret::SecretRef;
use crate::model::source::Source;
use crate::model::workload::EnvValue;

fn project(extra: &str, env: &str) -> Project {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = format!(
        "version: 1\nproject: shop\n{extra}\nservices:\n  web:\n    build: {{kind: pack, copy: \
         {{a: /a}}, entrypoint: [/a]}}\n    port: 8080\n    env: {{{env}}}\n"
    );
    fs::write(folder.path().join("shipit.yaml"), yaml).expect("a file");
    fs::create_dir(folder.path().join("environments")).expect("a folder");
    fs::write(
        folder.path().join("environments/staging.yaml"),
        "vars: {greeting: hi}",
    )
    .expect("a file");
    let production = "traffic: {listeners: {web: {live: 9080, preview: 9081}}}";
    fs::write(
        folder.path().join("environments/production.yaml"),
        production,
    )
    .expect("a file");
    load(folder.path()).expect("valid")
}

const BRANCHES: &str =
    "branches: {main: {environment: production}, \"feature/*\": {environment: staging}}";

fn meant(named: Option<&str>, branch: Option<&str>) -> Result<String, String> {
    let found = environment_for(&project(BRANCHES, ""), named, branch);
    found
        .map(|name| name.to_string())
        .map_err(|error| format!("{error}: {}", error.help))
}

#[test]
fn the_environment_is_the_one_that_was_named_or_the_branch_s() {
    assert_eq!(
        meant(Some("staging"), Some("main")).as_deref(),
        Ok("staging")
    );
    assert_eq!(meant(None, Some("main")).as_deref(), Ok("production"));
    assert_eq!(meant(None, Some("feature/cart")).as_deref(), Ok("staging"));
    assert!(
        meant(Some("stagign"), None)
            .expect_err("unknown")
            .contains("did you mean `staging`?")
    );
    assert!(
        meant(None, Some("other"))
            .expect_err("no rule")
            .contains("production, staging")
    );
}

fn value(env: &str) -> Result<EnvValue, String> {
    let project = project("secrets: {db: {file: keys/db}}", env);
    let staging: EnvironmentName = "staging".parse().expect("a name");
    let source = Source {
        branch: Some("main".to_owned()),
        ..Source::default()
    };
    let desired = resolve(
        &project,
        &staging,
        &source,
        &super::cluster::Sources::default(),
    )
    .map_err(|error| error.to_string())?;
    let web = desired.services.into_values().next().expect("one");
    let env = &web.workload.process().expect("a process").env;
    Ok(env.values().next().expect("one").clone())
}

#[test]
fn templates_see_what_is_known_and_nothing_else() {
    let rendered =
        value("A: \"{{ vars.greeting }} from {{ service }} in {{ environment }} on {{ branch }}\"");
    assert_eq!(
        rendered,
        Ok(EnvValue::Plain("hi from web in staging on main".to_owned()))
    );
    let unknown = value("A: \"{{ colour }}\"").expect_err("undefined");
    assert!(
        unknown.contains("services.web.env.A") && unknown.contains("undefined"),
        "{unknown}"
    );
}

#[test]
fn what_there_is_none_of_is_not_defined() {
    assert_eq!(
        value("A: \"{{ commit | default('none') }}\""),
        Ok(EnvValue::Plain("none".to_owned()))
    );
    assert_eq!(
        value("A: \"{% if commit %}{{ commit }}{% else %}none{% endif %}\""),
        Ok(EnvValue::Plain("none".to_owned()))
    );
    let error = value("A: \"rel-{{ commit }}\"").expect_err("there is no commit");
    assert!(error.contains("undefined"), "{error}");
}

#[test]
fn a_repository_is_of_no_branch() {
    let named = |template: &str| {
        let registry =
            format!("registry: {{kind: oci, endpoint: r.test, repository: \"{template}\"}}");
        let (project, staging) = (project(&registry, ""), "staging".parse().expect("a name"));
        let configuration = &project.environments[&staging];
        let web = "web".parse().expect("a name");
        super::repository(&project, &staging, configuration, &web)
            .map_err(|error| format!("{error}: {}", error.help))
    };
    assert_eq!(
        named("{{ environment }}/{{ service }}").as_deref(),
        Ok("staging/web")
    );
    let error = named("shop/{{ branch | lower }}").expect_err("no branch is known there");
    assert!(error.contains("of no branch"), "{error}");
}

#[test]
fn everything_that_cannot_be_resolved_is_said_at_once_and_of_its_key() {
    let env = "A: \"{{ nope }}\", B: \"{{ unclosed\"";
    let project = project("secrets: {db: {file: keys/db}}", env);
    let staging: EnvironmentName = "staging".parse().expect("a name");
    let sources = super::cluster::Sources::default();
    let errors = resolve(&project, &staging, &Source::default(), &sources).expect_err("wrong");
    let keys: Vec<_> = errors.0.into_iter().map(|error| error.place).collect();
    let key = |name: &str| Some(DesiredPlace::Key(format!("services.web.env.{name}")));
    assert_eq!(keys, [key("A"), key("B")]);
}

#[test]
fn a_secret_stays_a_reference_and_its_file_is_named_absolutely() {
    let Ok(EnvValue::Secret {
        name,
        from: SecretRef::File(path),
    }) = value("A: {secret: db}")
    else {
        panic!("a secret")
    };
    assert!(
        name == "db" && path.is_absolute() && path.ends_with("keys/db"),
        "{}",
        path.display()
    );
}

/// Where the image of a service comes from, with this commit.
fn image(text: &str, commit: Option<&str>) -> Result<ImageSource, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = format!("version: 1\nproject: shop\nservices: {{web: {{image: {text}}}}}\n");
    fs::write(folder.path().join("shipit.yaml"), yaml).expect("a file");
    fs::create_dir(folder.path().join("environments")).expect("a folder");
    fs::write(
        folder.path().join("environments/staging.yaml"),
        "vars: {version: 1.30}",
    )
    .expect("a file");
    let source = Source {
        commit: commit.map(str::to_owned),
        ..Source::default()
    };
    let desired = resolve(
        &load(folder.path()).expect("valid"),
        &"staging".parse().expect("a name"),
        &source,
        &super::cluster::Sources::default(),
    );
    let desired = desired.map_err(|errors| format!("{errors} | {}", errors.0[0].help))?;
    let web = desired.services.into_values().next().expect("one");
    let has_repository = web.workload.repository.is_some();
    assert_eq!(has_repository, web.image.name().is_some());
    Ok(web.image)
}

#[test]
fn an_image_s_name_is_a_template_and_checked_when_it_is_rendered() {
    let named = |text: &str| ImageSource::Named(text.parse().expect("a name"));
    let commit = Some("3f2c1ab");
    for (text, expected) in [
        ("\"acme/web:{{ commit }}\"", "acme/web:3f2c1ab"),
        ("\"acme/{{ service }}:{{ vars.version }}\"", "acme/web:1.30"),
        (
            "{name: \"acme/{{ project }}\", tag: \"{{ commit }}\"}",
            "acme/shop:3f2c1ab",
        ),
        ("{name: acme/web, tag: latest}", "acme/web:latest"),
    ] {
        assert_eq!(image(text, commit), Ok(named(expected)), "{text}");
    }

    let nothing = image("\"acme/web:{{ commit }}\"", None).expect_err("there is no commit");
    assert!(
        nothing.contains("services.web.image") && nothing.contains("undefined"),
        "{nothing}"
    );
    let latest = image("\"acme/web:{{ 'latest' }}\"", commit).expect_err("it is latest");
    assert!(
        latest.contains("services.web.image: `acme/web:latest`"),
        "{latest}"
    );
    let bare = image("\"acme/{{ service }}\"", commit).expect_err("no tag");
    assert!(bare.contains("names no tag"), "{bare}");
}
