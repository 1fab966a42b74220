//! Errors as they are printed: those of a configuration, with the line at fault, and those that are
//! words alone.

use std::fs;

use super::{is_as_before, load, one_below_the_other, printed};
use crate::output::{Exit, Failure};

const GOOD: &str = "\
version: 1
project: shop
services:
  web:
    build: {kind: pack, copy: {a: /a}, entrypoint: [/a]}
    port: 8080
";

/// What `shipit validate` prints about a project of these two files.
fn refused(shipit: &str, staging: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::create_dir(root.join("environments")).expect("made");
    fs::write(root.join("shipit.yaml"), shipit).expect("written");
    fs::write(root.join("environments/staging.yaml"), staging).expect("written");
    let error = load(root).expect_err("it is refused");
    printed(&Failure::new(Exit::Failed, error))
}

/// The same, with lines added to a good `shipit.yaml`.
fn with(lines: &str) -> String {
    refused(&format!("{GOOD}{lines}\n"), "")
}

#[test]
fn a_configuration_is_refused_with_the_line_at_fault() {
    let several = GOOD.replace("port: 8080", "prot: 8080\n    replicas: many");
    let texts = [
        (
            "a key with a typo",
            refused(&GOOD.replace("port", "prot"), ""),
        ),
        (
            "several faults in two files",
            refused(&several, "strategy: blue-green\n"),
        ),
        (
            "a number without its unit",
            refused(GOOD, "promotion: {keep_previous: 10}\n"),
        ),
        ("a key twice", with("project: other")),
        ("no YAML", with("vars: [")),
        ("a missing key", refused("version: 1\nproject: shop\n", "")),
        (
            "an unknown version",
            refused(&GOOD.replace("version: 1", "version: 9"), ""),
        ),
        (
            "a name that is no name",
            refused(&GOOD.replace("shop", "Shop_1"), ""),
        ),
        (
            "a branch of no environment",
            with("branches: {main: {environment: stagign}}"),
        ),
        (
            "a secret that nobody has",
            refused(
                GOOD,
                "services: {web: {env: {DB: {secret: databse}}}}\nsecrets: {database: {env: DB}}\n",
            ),
        ),
        (
            "a key of another kind",
            refused(GOOD, "cluster: {context: prod}\n"),
        ),
        (
            "a registry without its place",
            refused(GOOD, "registry: {kind: oci}\n"),
        ),
        (
            "a port twice",
            refused(
                GOOD,
                "traffic: {listeners: {web: {live: 9000, preview: 9000}}}\n",
            ),
        ),
        (
            "everybody is trusted",
            refused(GOOD, "traffic: {trusted_proxies: [0.0.0.0/0]}\n"),
        ),
    ];
    is_as_before("validate", &one_below_the_other(texts));
}

#[test]
fn an_error_in_words_says_what_to_do_next() {
    let stale = Failure::say(
        Exit::Stale,
        "the plan is stale: traffic was changed by kim@laptop (run 7)",
        "make a new plan with `shipit plan --out FILE`",
    );
    is_as_before("failure", &printed(&stale));
}
