//! A key belongs to kinds, and is refused by the others at its place.

use std::collections::{BTreeMap, BTreeSet};

use super::{GOOD, faults, project};

#[test]
fn an_environment_may_say_the_kind_of_what_the_project_says() {
    let shared =
        format!("{GOOD}registry: {{repository: \"shop/{{{{ service }}}}\", sbom: true}}\n");
    let project = project(&shared, "registry: {kind: oci, endpoint: localhost}").expect("valid");
    let staging = project.environments.values().next().expect("one");
    let remote = staging
        .registry
        .remote()
        .expect("a registry on the network");
    assert!(remote.sbom && remote.endpoint.as_deref() == Some("localhost"));

    assert_eq!(
        faults(&shared, ""),
        [
            "shipit.yaml:7:12: registry.repository: `repository` belongs to `kind: oci` and `kind: \
             ecr` | write `kind: oci` or `kind: ecr`, or take the key out",
            "shipit.yaml:7:46: registry.sbom: `sbom` belongs to `kind: oci` and `kind: ecr` | \
             write `kind: oci` or `kind: ecr`, or take the key out",
        ]
    );
}

#[test]
fn an_environment_of_another_kind_takes_out_the_keys_of_the_first() {
    let shared = format!("{GOOD}registry: {{kind: oci, endpoint: localhost, sbom: true}}\n");
    assert_eq!(
        faults(&shared, "registry: {kind: layout}"),
        [
            "shipit.yaml:7:23: registry.endpoint: `endpoint` belongs to `kind: oci` and `kind: \
             ecr` | take the key out; `endpoint: null` beside `kind` does it for one environment",
            "shipit.yaml:7:44: registry.sbom: `sbom` belongs to `kind: oci` and `kind: ecr` | \
             take the key out; `sbom: null` beside `kind` does it for one environment",
        ]
    );
    project(
        &shared,
        "registry: {kind: layout, endpoint: null, sbom: null}",
    )
    .expect("valid");
}

#[test]
fn without_a_kind_nothing_more_is_said_of_what_depends_on_it() {
    let cases = [
        (
            "cluster: {kind: kuberntes, context: a}\ntraffic: {kind: service}\n",
            "environments/staging.yaml:1:17: cluster.kind: unknown value `kuberntes` | did you \
             mean `kubernetes`?",
        ),
        (
            "services: {web: {build: {kind: dokcer, target: a}}}\n",
            "environments/staging.yaml:1:32: services.web.build.kind: unknown value `dokcer` | did \
             you mean `docker`?",
        ),
        (
            "services: {web: {build: {kind: null}}}\n",
            "environments/staging.yaml:1:18: services.web.build: the key `kind` is missing | \
             add it, or look at the indentation: it may stand under another key",
        ),
    ];
    for (overlay, expected) in cases {
        assert_eq!(faults(GOOD, overlay), [expected]);
    }
}

#[test]
fn a_value_keeps_its_place_and_its_digits_in_every_part_of_a_kind() {
    let overlay = "cluster:\n  kind: eks\n  conflicts: stpo\n  name: [a]\n  nmae: b\n";
    let mut said = faults(GOOD, overlay);
    said.retain(|fault| fault.contains(": cluster."));
    assert_eq!(
        said,
        [
            "environments/staging.yaml:3:14: cluster.conflicts: unknown value `stpo` | did you \
             mean `stop`?",
            "environments/staging.yaml:4:9: cluster.name: this is a list, and a text is needed | \
             durations and sizes carry a unit, as `30s` and `10MiB`; a text that looks like a \
             number is quoted",
            "environments/staging.yaml:5:3: cluster.nmae: unknown key `nmae` | did you mean \
             `name`?",
        ]
    );
    let labels = "services: {web: {build: {labels: {a: 1.30}}}}";
    let project = project(GOOD, labels).expect("valid");
    let staging = project.environments.values().next().expect("one");
    let web = staging.services.values().next().expect("one");
    let build = web.build.as_ref().expect("it is built");
    assert_eq!(build.any().labels["a"].0, "1.30");
}

/// The kinds of a type, with the keys of each.
type Kinds = BTreeMap<String, Vec<String>>;

/// Each type that comes in kinds, with the path of a map that has it.
fn kinds() -> Vec<(Vec<&'static str>, Kinds)> {
    let schema = crate::config::schema().to_value();
    let of = |name: &str| {
        let kinds = schema["$defs"][name]["oneOf"].as_array().expect("kinds");
        let keys = |kind: &serde_json::Value| {
            let properties = kind["properties"].as_object().expect("keys");
            let name = properties["kind"]["const"].as_str().expect("a name");
            (name.to_owned(), properties.keys().cloned().collect())
        };
        kinds.iter().map(keys).collect()
    };
    vec![
        (vec!["registry"], of("RegistryConfig")),
        (vec!["cluster"], of("ClusterConfig")),
        (vec!["state"], of("StateConfig")),
        (vec!["traffic"], of("TrafficConfig")),
        (vec!["services", "web", "build"], of("BuildConfig")),
    ]
}

#[test]
fn a_key_of_another_kind_is_refused_with_the_kinds_that_have_it() {
    for (path, kinds) in kinds() {
        assert!(kinds.len() > 1, "{path:?}");
        for (kind, own) in &kinds {
            let others: BTreeSet<&String> = kinds.values().flatten().collect();
            for key in others.into_iter().filter(|key| !own.contains(key)) {
                let map = format!("{{kind: {kind}, {key}: 1}}");
                let overlay = path
                    .iter()
                    .rev()
                    .fold(map, |map, name| format!("{{{name}: {map}}}"));
                let said = faults(GOOD, &overlay).join("\n");

                let path = path.join(".");
                let having = kinds.iter().filter(|(_, keys)| keys.contains(key));
                let having: BTreeSet<String> =
                    having.map(|(kind, _)| format!("`kind: {kind}`")).collect();
                let start = format!("{path}.{key}: `{key}` belongs to ");
                let named = said.lines().find_map(|line| line.split_once(&start));
                let named = named.unwrap_or_else(|| panic!("{overlay}: {said}")).1;
                let named = named.split(" | ").next().unwrap_or_default();
                let named: BTreeSet<String> = named.split(" and ").map(str::to_owned).collect();
                assert_eq!(named, having, "{overlay}");
            }
        }
    }
}
