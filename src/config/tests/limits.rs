//! Names and amounts that a cluster would refuse after a push.

use super::{GOOD, faults, project};

const CLUSTER: &str = "registry: {kind: oci, endpoint: \"localhost:5000\"}\ncluster: {kind: \
                       kubernetes}\ntraffic: {kind: service}\n";

#[test]
fn amounts_that_no_cluster_takes_are_refused_at_their_keys() {
    let shared = format!("{GOOD}{CLUSTER}");
    let cases = [
        (
            "resources: {memory: 64MB}",
            "resources.memory: `64MB` is no quantity: write `64M`",
        ),
        (
            "resources: {memory: \"64 Mi\"}",
            "resources.memory: `64 Mi` is no quantity: write `64Mi`",
        ),
        (
            "resources: {memory: 64m}",
            "resources.memory: this is less than one byte | `m` is a thousandth: write `64Mi`",
        ),
        (
            "resources: {memory: 512}",
            "resources.memory: `512` is too little memory: without a suffix it is bytes | write \
             `512Mi`",
        ),
        (
            "resources: {memory: \"1.5\"}",
            "resources.memory: `1.5` is too little memory",
        ),
        (
            "resources: {memory: 1e3}",
            "resources.memory: `1e3` is too little memory",
        ),
        (
            "resources: {memory: 1Ki}",
            "resources.memory: `1Ki` is too little memory",
        ),
        (
            "resources: {memory: \"0\"}",
            "resources.memory: `0` is too little memory",
        ),
        (
            "resources: {cpu: 500M}",
            "resources.cpu: `500M` is more cores than a machine has | a thousandth of a core is \
             `m`: write `500m`",
        ),
        ("resources: {cpu: 1E}", "resources.cpu: `1E` is more cores"),
        (
            "resources: {cpu: 0.0001}",
            "resources.cpu: `0.0001` is less than a thousandth of a core",
        ),
        (
            "resources: {cpu: abc}",
            "resources.cpu: `abc` is no quantity",
        ),
        (
            "resources: {cpu: -1}",
            "resources.cpu: an amount is not below zero",
        ),
        (
            "resources: {cpu: 1e99}",
            "resources.cpu: `1e99` is no quantity",
        ),
        (
            "resources: {memory: 128Mi, memory_limit: 64Mi}",
            "resources.memory_limit: the limit is below",
        ),
        (
            "resources: {cpu: 2, cpu_limit: 1999m}",
            "resources.cpu_limit: the limit is below",
        ),
        (
            "autoscale: {min: 1, max: 2, cpu: 0}",
            "autoscale.cpu: a load of 0 percent",
        ),
    ];
    for (service, expected) in cases {
        let said = faults(&shared, &format!("services: {{web: {{{service}}}}}")).join("\n");
        assert!(
            said.contains(&format!("services.web.{expected}")),
            "{service}: {said}"
        );
    }
    for service in [
        "resources: {memory: 1.5Gi, cpu: 0.25}",
        "resources: {memory: 64M, memory_limit: 64M, cpu: 1e3m}",
        "resources: {memory: 128974848, cpu: 2}",
    ] {
        let said = project(&shared, &format!("services: {{web: {{{service}}}}}"));
        assert_eq!(
            said.is_err(),
            service.contains("1e3m"),
            "{service}: {said:?}"
        );
    }
}

#[test]
fn names_that_are_too_long_once_they_are_put_together_are_refused() {
    let shared = format!("{GOOD}{CLUSTER}");
    let with = |length: usize| shared.replace("  web:", &format!("  {}:", "w".repeat(length)));
    project(&with(57), "").expect("63 with its ending");
    let said = faults(&with(58), "").join("\n");
    assert!(
        said.contains("has 64 characters") && said.contains("has 57 here"),
        "{said}"
    );
    let slots = "slots: {blue: {namespace: shop-blue}, green: {namespace: shop-green}}";
    project(&with(63), slots).expect("slots apart have no endings");

    // The environment is `staging`.
    let with = |length: usize| {
        shared.replace("project: shop", &format!("project: {}", "p".repeat(length)))
    };
    project(&with(55), "").expect("63 together");
    let said = faults(&with(60), "").join("\n");
    assert!(
        said.contains("has 68 characters") && said.contains("by 5"),
        "{said}"
    );
}
