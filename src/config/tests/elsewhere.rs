//! A host that is reached by ssh: what may be written, and where what may not be stands.

use super::{GOOD, faults, project};

#[test]
fn what_is_no_address_of_a_machine_is_refused_where_it_stands() {
    for at in [
        "10.0.0.5",
        "ssh://-oProxyCommand=id",
        "ssh://a@-b",
        "ssh://a@b;id",
        "ssh://a@b/c",
    ] {
        let staging = format!("strategy: rolling\ncluster:\n  kind: host\n  at: \"{at}\"\n");
        let said = faults(GOOD, &staging).join("\n");
        assert!(
            said.contains("environments/staging.yaml:4:7: cluster.at"),
            "{at}: {said}"
        );
        assert!(said.contains("write `at: ssh://HOST`"), "{at}: {said}");
    }
}

#[test]
fn keys_go_with_the_machine_that_they_are_about() {
    let there = "cluster: {kind: host, at: \"ssh://deploy@10.0.0.5\"";
    for (staging, expected) in [
        (
            "cluster: {kind: host, ssh: {identity: k}}".to_owned(),
            "only a host with `at` has this",
        ),
        (
            format!("{there}, runtime: auto}}"),
            "what another machine can do",
        ),
        (format!("{there}, directory: agent}}"), "is absolute"),
        (format!("{there}, directory: \"/a:b\"}}"), "is absolute"),
        (
            "registry: {kind: oci, endpoint: e}\ncluster: {kind: kubernetes}\ntraffic: {kind: \
             service}\nstate: {kind: host}"
                .to_owned(),
            "a cluster has no agent",
        ),
    ] {
        let said = faults(GOOD, &staging).join("\n");
        assert!(said.contains(expected), "{staging}: {said}");
    }
    let whole = format!(
        "{there}, directory: /var/lib/shipit, ssh: {{identity: k, known_hosts: h}}}}\nstate: \
         {{kind: host}}"
    );
    let project = project(GOOD, &whole).expect("valid");
    let staging = project.environments.values().next().expect("one");
    let host = staging.cluster.host().expect("a host");
    let address = host.elsewhere().expect("a machine").to_string();
    assert_eq!(address, "ssh://deploy@10.0.0.5");
}
