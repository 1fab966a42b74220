//! What has no effect is refused, and never ignored.

use super::{GOOD, faults, project};

fn are_refused(cases: &[(&str, &str)]) {
    for (overlay, expected) in cases {
        let said = faults(GOOD, overlay).join("\n");
        assert!(said.contains(expected), "{overlay}: {said}");
    }
}

#[test]
fn what_no_driver_does_yet_is_refused_and_never_ignored() {
    let cases = [
        (
            "cluster: {kind: kubernetes}",
            "traffic.kind: a cluster has no router",
        ),
        (
            "cluster: {kind: kubernetes}",
            "registry.kind: the nodes of a cluster cannot read a folder",
        ),
        (
            "cluster: {kind: kubernetes, directory: a}",
            "cluster.directory: `directory` belongs to `kind: host`",
        ),
        (
            "cluster: {kind: eks}",
            "cluster: nothing says which cluster",
        ),
        (
            "cluster: {kind: eks, name: a, context: b}",
            "cluster.context: `context` belongs to `kind: kubernetes` | take the key out",
        ),
        (
            "cluster: {kind: eks, name: a, fargate_profiles: {b: {}}}",
            "fargate_profiles.b: `role` runs the pods",
        ),
        (
            "cluster: {node_groups: {a: {}}}",
            "cluster.node_groups: `node_groups` belongs to `kind: eks`",
        ),
        (
            "cluster: {addons: {a: {}}}",
            "cluster.addons: `addons` belongs to `kind: eks`",
        ),
        (
            "cluster: {access: {a: {}}}",
            "cluster.access: `access` belongs to `kind: eks`",
        ),
        (
            "cluster: {kind: eks, name: a, access: {arn:aws:sts::1:assumed-role/a/b: {}}}",
            "this is no role or user of IAM",
        ),
        (
            "cluster: {kind: eks, name: a, access: {arn:aws:iam::1:role/a: {groups: [system:masters]}}}",
            "Amazon keeps the group system:masters for itself",
        ),
        (
            "registry: {kind: oci, pull_through: {a: {}}}",
            "registry.pull_through: `pull_through` belongs to `kind: ecr` | take the key out",
        ),
        (
            "registry: {kind: ecr, pull_through: {a: {}}}",
            "this cannot begin a repository's name",
        ),
        (
            "registry: {kind: ecr, region: a, account: b, replication: [{to: a}]}",
            "registry.replication.0: this is where the images are",
        ),
        (
            "cluster: {context: prod}",
            "cluster.context: `context` belongs to `kind: kubernetes`",
        ),
        (
            "cluster: {runtime: systemd}\nservices: {web: {volumes: {/data: /a}}}",
            "services.web.volumes: only containers have this",
        ),
        (
            "cluster: {runtime: systemd}\nservices: {web: {env: {a-b: c}}}",
            "services.web.env.a-b: systemd passes no such variable on",
        ),
        (
            "cluster: {runtime: systemd, network: a}",
            "cluster.network: only `docker` has this",
        ),
        (
            "services: {web: {volumes: {/data: a}}}",
            "services.web.volumes: only containers have this",
        ),
        (
            "cluster: {runtime: docker}\nservices: {web: {volumes: {data: a}}}",
            "a path inside, and a volume",
        ),
        (
            "registry: {kind: ecr}",
            "registry: nothing says in which region and account",
        ),
        (
            "registry: {region: r}",
            "registry.region: `region` belongs to `kind: ecr`",
        ),
        (
            "registry: {kind: oci}",
            "registry.endpoint: nothing says where images go",
        ),
        (
            "registry: {kind: oci, retention: {untagged: 7d}}",
            "registry.retention: nothing says how many images",
        ),
        (
            "registry: {kind: oci, retention: {untagged: 7d}}",
            "registry.retention.untagged: `untagged` belongs to `kind: ecr`",
        ),
        (
            "registry: {retention: {tagged: 3}}",
            "registry.retention: `retention` belongs to `kind: oci` and `kind: ecr`",
        ),
    ];
    are_refused(&cases);
}

#[test]
fn what_state_traffic_or_a_service_cannot_have_is_refused_and_never_ignored() {
    let cases = [
        (
            "state: {kind: kubernetes}",
            "state.kind: there is no cluster to keep the state in",
        ),
        (
            "state: {kind: s3}",
            "state.kind: unknown value `s3` | the values here are: local, kubernetes",
        ),
        (
            "state: {namespace: a}",
            "state.namespace: `namespace` belongs to `kind: kubernetes` | write `kind: kubernetes`, or take the key out",
        ),
        (
            "state: {kind: local, namespce: a}",
            "state.namespce: unknown key `namespce` | the keys here are: kind, path",
        ),
        (
            "state: {kind: 5}",
            "state.kind: this is the number 5, and the name of a kind is needed",
        ),
        ("state: [a]", "state: this is a list, and a map is needed"),
        (
            "traffic: {kind: nginx}",
            "traffic.kind: nginx needs a port for each slot of web",
        ),
        (
            "traffic: {nginx: {}}",
            "traffic.nginx: `nginx` belongs to `kind: nginx`",
        ),
        (
            "slots: {blue: {namespace: a}}",
            "slots: the host engine has no namespaces",
        ),
        (
            "services: {web: {build: {kind: docker}}}",
            "build.copy: `copy` belongs to `kind: pack` | take the key out; `copy: null` beside `kind`",
        ),
        (
            "services: {web: {build: {user: app}}}",
            "build.user: `app` is not a user in numbers",
        ),
        (
            "services: {web: {build: {target: a}}}",
            "build.target: `target` belongs to `kind: docker` and `kind: buildah`",
        ),
        (
            "services: {web: {build: {kind: docker, secrets: [a]}}}",
            "there is no secret `a`",
        ),
        (
            "services: {web: {build: {kind: docker, cache_to: r/a}}}",
            "build.cache_to: `cache_to` belongs to `kind: buildah`",
        ),
        (
            "services: {web: {build: {kind: buildah, cache_from: [\"r:5000/a:b\"]}}}",
            "build.cache_from: `r:5000/a:b` names an image",
        ),
        (
            "services: {web: {manifests: deploy/*.yaml}}",
            "services.web.manifests: only a Kubernetes cluster has this",
        ),
    ];
    are_refused(&cases);
}

#[test]
fn a_key_that_would_change_nothing_is_refused_whatever_its_value() {
    let host = "cluster: {kind: host}\n";
    let cluster =
        "registry: {kind: oci, endpoint: registry.example.com}\ncluster: {kind: kubernetes}\n";
    let cases = [
        (
            cluster,
            "traffic: {kind: service, address: 127.0.0.1}",
            "traffic.address: `address` belongs to `kind: embedded` and `kind: nginx`",
        ),
        (
            cluster,
            "traffic: {kind: service, limits: {}}",
            "traffic.limits: `limits` belongs to `kind: embedded` and `kind: nginx`",
        ),
        (
            cluster,
            "traffic: {kind: service, entries: {web: {host: shop.example.com}}}",
            "traffic.entries.web.host: `host` belongs to `kind: ingress` and `kind: gateway`",
        ),
        (
            cluster,
            "traffic: {kind: ingress, gateway: {name: a}}",
            "traffic.gateway: `gateway` belongs to `kind: gateway` | take the key out",
        ),
        (
            host,
            "cluster: {create_namespaces: false}",
            "cluster.create_namespaces: `create_namespaces` belongs to `kind: kubernetes` and `kind: eks`",
        ),
        (
            host,
            "cluster: {conflicts: stop}",
            "cluster.conflicts: `conflicts` belongs to `kind: kubernetes` and `kind: eks`",
        ),
        (
            host,
            "services: {web: {user: 65532}}",
            "services.web.user: only a Kubernetes",
        ),
        (
            host,
            "registry: {kind: layout, sbom: false}",
            "registry.sbom: `sbom` belongs to `kind: oci` and `kind: ecr`",
        ),
        (
            host,
            "cluster: {pod_security: restricted}",
            "cluster.pod_security: `pod_security` belongs to `kind: kubernetes` and `kind: eks`",
        ),
        (
            cluster,
            "cluster: {pod_security: baseline}",
            "cluster.pod_security: without `create_namespaces` shipit makes no namespace",
        ),
        (
            cluster,
            "cluster: {kind: eks, name: a, certificate_authority: a.pem}",
            "cluster.certificate_authority: it is for an `endpoint` of your own",
        ),
        (
            host,
            "registry: {kind: ecr, region: a, account: \"123456789012\", retention: {}}",
            "registry.retention: nothing says which images are kept",
        ),
        (
            host,
            "cluster: {runtime: docker}\nservices: {web: {resources: {cpu: 50m}}}",
            "services.web.resources.cpu: only a Kubernetes cluster keeps room free",
        ),
        (
            host,
            "services: {web: {volumes: {}}}",
            "services.web.volumes: only containers have this",
        ),
        (
            cluster,
            "traffic: {kind: service}\nservices: {web: {volumes: {/a: b}}}",
            "services.web.volumes: only containers of a host have this",
        ),
    ];
    for (kind, overlay, expected) in cases {
        let said = faults(&format!("{GOOD}{kind}"), overlay).join("\n");
        assert!(said.contains(expected), "{overlay}: {said}");
    }

    // What an overlay takes away is not there.
    let shared = format!("{GOOD}{cluster}traffic: {{kind: service, address: 0.0.0.0}}\n");
    project(&shared, "traffic: {address: null}").expect("no faults");
}
