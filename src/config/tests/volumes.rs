//! Volumes that two environments name.

use std::fs;

use super::{GOOD, write};
use crate::config::load;

/// What is noted of a project with two environments.
fn notes(shipit: &str, one: &str, two: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let root = fs::canonicalize(folder.path()).expect("there");
    write(&root, "shipit.yaml", shipit);
    write(&root, "environments/production.yaml", one);
    write(&root, "environments/staging.yaml", two);
    let project = load(&root).expect("valid");
    project.notes.iter().map(ToString::to_string).collect()
}

fn on_docker(volume: &str) -> String {
    format!(
        "{GOOD}    strategy: recreate\n    volumes: {{/data: {volume}}}\ncluster: {{kind: host, \
         runtime: docker}}\n"
    )
}

#[test]
fn a_volume_of_two_environments_is_noted_where_it_is_written() {
    let apart = "traffic: {listeners: {web: {live: 9000, preview: 9001}}}\n";
    assert_eq!(
        notes(&on_docker("shop-data"), "", apart),
        [
            "shipit.yaml:8:22: services.web.volumes./data: web of staging would have shop-data, \
             and web of production has shop-data already: on one machine both write the same files"
        ]
    );
    let folder = notes(
        &on_docker("/srv/shop"),
        "",
        "services: {web: {volumes: {/data: /srv}}}\n",
    );
    assert_eq!(folder.len(), 1, "one folder is in the other: {folder:?}");
}

#[test]
fn what_is_meant_or_apart_is_not_noted() {
    let named = |staging: &str| notes(&on_docker("shop-data"), "", staging);
    assert!(named("services: {web: {volumes: {/data: staging-data}}}\n").is_empty());
    assert!(named("cluster: {runtime: process}\nservices: {web: {volumes: null}}\n").is_empty());
    let shared = on_docker("{from: shop-data, shared: true}");
    assert!(notes(&shared, "", "").is_empty());
}
