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
            "cluster: {kind: eks, name: a, access: {arn:aws:iam::1:role/a: {groups: \
             [system:masters]}}}",
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
fn files_of_a_service_that_cannot_be_are_refused() {
    let files = |files: &str| format!("services: {{web: {{files: {{{files}}}}}}}");
    let cases = [
        (
            "services: {web: {env_file: /etc/x}}".to_owned(),
            "services.web.env_file: a path in the \
            project's",
        ),
        (
            "services: {web: {env_file: [a, \"\"]}}".to_owned(),
            "services.web.env_file.1: a path in \
            the project's",
        ),
        (
            "services: {web: {env_file: {a: b}}}".to_owned(),
            "services.web.env_file: this is a map",
        ),
        (
            files("etc/a: b"),
            "services.web.files.etc/a: this is no path of a file",
        ),
        (files("/: b"), "this is no path of a file"),
        (files("/a/../b: b"), "this is no path of a file"),
        (files("\"/a:b\": b"), "this is no path of a file"),
        (files("/a/: b"), "this is no path of a file"),
        (files("/proc/1/x: b"), "the kernel's own files are there"),
        (files("/a: b, /a/b: c"), "/a/b is beneath it"),
        (
            files("/a: /etc/passwd"),
            "a path in the project's folder is needed",
        ),
        (files("/a: {}"), "exactly one of `file` and `secret`"),
        (
            files("/a: {file: a, secret: b}"),
            "exactly one of `file` and `secret`",
        ),
        (
            files("/a: {secret: b}"),
            "there is no secret `b` in this environment",
        ),
        (
            files("/a: {file: b, templat: true}"),
            "unknown key `templat`",
        ),
        (
            files("/a: {file: b, variable: 1A}"),
            "this is no name of a variable",
        ),
        (
            files("/a: {file: b, variable: A}, /b: {file: b, variable: A}"),
            "two files have the variable A",
        ),
        (
            "services: {web: {env: {A: b}, files: {/a: {file: b, variable: A}}}}".to_owned(),
            "services.web.files./a.variable: `env` has A, too",
        ),
        (
            "cluster: {runtime: docker}\nservices: {web: {volumes: {/a: {from: v, shared: true}}, \
             files: {/a: b}}}"
                .to_owned(),
            "the volume /a is there",
        ),
        (
            "cluster: {kind: kubernetes}\nservices: {web: {manifests: a, env_file: b}}".to_owned(),
            "services.web.env_file: the service has manifests of its own",
        ),
    ];
    let cases: Vec<(&str, &str)> = cases
        .iter()
        .map(|(text, why)| (text.as_str(), *why))
        .collect();
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
            "approvals: {count: 0}",
            "approvals.count: this is the number 0, and a whole number from 1 to 255 is needed",
        ),
        (
            "services: {web: {port: -1}}",
            "services.web.port: this is the number -1, and a port from 1 to 65535, the name of one",
        ),
        (
            "state: {kind: gcs}",
            "state.kind: unknown value `gcs` | the values here are: local, kubernetes, s3",
        ),
        (
            "state: {kind: s3}",
            "nothing says which bucket the state is in | write `state: {kind: s3, bucket: NAME}`",
        ),
        (
            "state: {kind: s3, bucket: Shop_State}",
            "state.bucket: `Shop_State` is no name of a bucket",
        ),
        (
            "state: {kind: s3, bucket: shop, endpoint: minio}",
            "state.endpoint: this is no address of a server",
        ),
        (
            "state: {kind: s3, bucket: shop, prefix: a/../b}",
            "state.prefix: keys cannot begin like this",
        ),
        (
            "state: {kind: local, bucket: shop}",
            "state.bucket: `bucket` belongs to `kind: s3` | take the key out",
        ),
        (
            "state: {namespace: a}",
            "state.namespace: `namespace` belongs to `kind: kubernetes` | write `kind: \
             kubernetes`, or take the key out",
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
            "build.copy: `copy` belongs to `kind: pack` | take the key out; `copy: null` beside \
             `kind`",
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
            "cluster.create_namespaces: `create_namespaces` belongs to `kind: kubernetes` and \
             `kind: eks`",
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

/// A project whose only service has this as its image.
fn with_image(image: &str) -> String {
    format!("version: 1\nproject: shop\nservices:\n  web:\n    port: 8080\n    image: {image}\n")
}

#[test]
fn an_image_that_says_not_which_one_it_is_is_refused() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for fits in [
        "nginx:1.27",
        &format!("nginx@{digest}"),
        &format!("nginx:latest@{digest}"),
        "{name: nginx, tag: latest}",
        "{name: nginx, tag: 1.27}",
        &format!("{{name: nginx, digest: \"{digest}\"}}"),
        "\"ghcr.io/acme/web:{{ commit }}\"",
        "{from: production}",
    ] {
        let text = with_image(fits);
        let said = faults_of_two(&text);
        assert!(said.is_empty(), "{fits}: {said:?}");
    }
    for (image, expected) in [
        (
            "nginx",
            "services.web.image: `nginx` names no tag, and without one it would be `latest`",
        ),
        (
            "nginx",
            "`image: {name: nginx, tag: latest}` if it shall be",
        ),
        (
            "nginx:latest",
            "`nginx:latest` is another image each time that somebody pushes",
        ),
        ("nginx:latest", "as `nginx:1.2.3`"),
        ("Nginx:1", "`Nginx:1` is no image"),
        ("{tag: a}", "services.web.image: nothing says which image"),
        (
            "{name: nginx}",
            "services.web.image: neither `tag` nor `digest`",
        ),
        (
            "{name: nginx, from: production}",
            "`name` and `from` are both given",
        ),
        (
            "{from: production, tag: a}",
            "another environment's image has its own digest",
        ),
        (
            "{name: \"nginx:1\", tag: a}",
            "services.web.image.name: `nginx:1` is no image",
        ),
        (
            "{name: nginx, tag: a b}",
            "services.web.image.tag: `a b` is no tag",
        ),
        (
            "{name: nginx, digest: abc}",
            "services.web.image.digest: `abc` is not a digest",
        ),
        (
            "{from: produktion}",
            "services.web.image.from: there is no environments/produktion.yaml | did you mean \
             `production`?",
        ),
        (
            "{from: staging}",
            "services.web.image.from: staging cannot have its own image",
        ),
        (
            "{nmae: a}",
            "services.web.image.nmae: unknown key `nmae` | did you mean `name`?",
        ),
        (
            "[nginx]",
            "services.web.image: this is a list, and an image's name",
        ),
    ] {
        let said = faults_of_two(&with_image(image)).join("\n");
        assert!(said.contains(expected), "{image}: {said}");
    }
}

/// What is wrong with a project that has the environments `staging` and `production`.
fn faults_of_two(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    super::write(folder.path(), "shipit.yaml", text);
    super::write(folder.path(), "environments/staging.yaml", "{}\n");
    let ports = "traffic: {listeners: {web: {live: 9080, preview: 9081}}}\n\
                 services: {web: {image: \"nginx:1.27\"}}\n";
    super::write(folder.path(), "environments/production.yaml", ports);
    let Err(error) = super::load(folder.path()) else {
        return Vec::new();
    };
    let told = |fault: &crate::config::ConfigProblem| {
        format!("{fault} | {}", fault.help.clone().unwrap_or_default())
    };
    error.faults.iter().map(told).collect()
}

#[test]
fn a_service_is_built_or_has_an_image_and_never_both() {
    let both = format!("{GOOD}    image: nginx:1.27\n");
    let said = faults(&both, "strategy: rolling").join("\n");
    assert!(
        said.contains("services.web.image: `build` and `image` are both given | keep one of them"),
        "{said}"
    );
    let none = "version: 1\nproject: shop\nservices:\n  web:\n    port: 8080\n";
    let said = faults(none, "strategy: rolling").join("\n");
    assert!(
        said.contains("services.web: nothing says which image it runs | add `build:"),
        "{said}"
    );

    // An environment's own takes the place of the project's.
    let given = project(GOOD, "services: {web: {image: \"nginx:1.27\"}}").expect("no faults");
    let web = &given.environments.values().next().expect("one").services["web"];
    assert!(web.build.is_none() && web.image.is_some());
    let text = with_image("nginx:1.27");
    let built = "services: {web: {build: {kind: pack, copy: {a: /a}, entrypoint: [/a]}}}";
    let built = project(&text, built).expect("no faults");
    let web = &built.environments.values().next().expect("one").services["web"];
    assert!(web.build.is_some() && web.image.is_none());
}

#[test]
fn a_project_that_builds_nothing_needs_no_registry_of_its_own() {
    let cluster = "cluster: {kind: kubernetes}\ntraffic: {kind: service}\n";
    let text = format!("{}{cluster}", with_image("nginx:1.27"));
    project(&text, "strategy: rolling").expect("no faults");
    let said = faults(&format!("{GOOD}{cluster}"), "strategy: rolling").join("\n");
    assert!(
        said.contains("the nodes of a cluster cannot read a folder"),
        "{said}"
    );
    let from = "services: {web: {image: {from: production}}}";
    let said = faults(&text, from).join("\n");
    assert!(
        said.contains("the nodes of a cluster cannot read a folder"),
        "{said}"
    );
}
