//! Stories about what a service becomes on a cluster.

mod balancers;
mod ports;
mod refused;

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::Sources;
use crate::config::load;
use crate::desired::{DesiredError, resolve};
use crate::model::desired::Desired;
use crate::model::kind::KindScopes;
use crate::model::object::mark as label;
use crate::model::source::Source;
use crate::model::{EnvironmentName, LiveTraffic, Manifest, Slot};

const BASE: &str = "
version: 1
project: shop
registry: {kind: oci, endpoint: registry.example.com}
cluster: {kind: kubernetes}
traffic: {kind: service}
secrets: {db: {env: DB}, key: {env: KEY}}
services:
  web:
    build: {kind: pack, copy: {a: /a}, entrypoint: [/a]}
    port: 8080
    health: {path: /healthz}
";

fn desired(extra: &str, files: &[(&str, &str)]) -> Result<Desired, DesiredError> {
    with_scopes(extra, files, &KindScopes::default())
}

fn with_scopes(
    extra: &str,
    files: &[(&str, &str)],
    scopes: &KindScopes,
) -> Result<Desired, DesiredError> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("shipit.yaml"), BASE).expect("a file");
    fs::create_dir(folder.path().join("environments")).expect("a folder");
    fs::write(folder.path().join("environments/staging.yaml"), extra).expect("a file");
    let project = load(folder.path()).expect("valid");
    let staging: EnvironmentName = "staging".parse().expect("a name");
    let files: BTreeMap<_, _> = files
        .iter()
        .map(|(path, text)| ((*path).into(), (*text).to_owned()))
        .collect();
    let sources = Sources {
        named: files.clone(),
        unread: BTreeMap::new(),
        files,
        scopes: scopes.clone(),
        ..Sources::default()
    };
    resolve(&project, &staging, &Source::default(), &sources)
        .map_err(|mut errors| errors.0.remove(0))
}

fn objects(desired: &Desired, slot: Slot) -> Vec<Manifest> {
    desired
        .services
        .values()
        .next()
        .expect("one")
        .workload
        .objects(slot)
        .to_vec()
}

fn one(objects: &[Manifest], kind: &str) -> Value {
    let found: Vec<&Manifest> = objects
        .iter()
        .filter(|object| object.kind() == kind)
        .collect();
    assert_eq!(
        found.len(),
        1,
        "{kind}: {:?}",
        objects.iter().map(Manifest::key).collect::<Vec<_>>()
    );
    found[0].body().clone()
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{path} in {value:#}"))
}

#[test]
fn a_service_becomes_objects_with_names_of_their_slot() {
    let desired = desired(
        "services: {web: {replicas: 2, env: {DB: {secret: db}}}}",
        &[],
    )
    .expect("resolved");
    for slot in Slot::ALL {
        let objects = objects(&desired, slot);
        let deployment = one(&objects, "Deployment");
        assert_eq!(text(&deployment, "/metadata/name"), format!("web-{slot}"));
        assert_eq!(text(&deployment, "/metadata/namespace"), "shop-staging");
        let selected = &deployment["spec"]["selector"]["matchLabels"];
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        for (name, value) in selected.as_object().expect("labels") {
            assert_eq!(&labels[name], value, "{name}");
        }
        assert_eq!(selected[label::SLOT], slot.as_str());
        assert!(
            labels.get(label::RELEASE).is_none(),
            "a release that changes nothing restarts nothing"
        );
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(text(container, "/image"), "image://web");
        assert_eq!(text(container, "/readinessProbe/httpGet/path"), "/healthz");
        let secret = one(&objects, "Secret");
        let variables = container["env"].as_array().expect("variables");
        let from = variables
            .iter()
            .find(|variable| variable["name"] == "DB")
            .expect("DB");
        assert_eq!(
            from["valueFrom"]["secretKeyRef"]["name"],
            secret["metadata"]["name"]
        );
        assert_eq!(text(&secret, "/data/db"), "secret://db");
        one(&objects, "PodDisruptionBudget");
        one(&objects, "ServiceAccount");
    }
}

#[test]
fn a_secret_of_the_cluster_is_named_and_never_read() {
    let extra = "secrets: {db: {kubernetes: {secret: web-db, key: url}}, tls: {kubernetes: \
                 {secret: web-tls, key: tls.crt}}}\nservices: {web: {env: {DB: {secret: db}, KEY: \
                 {secret: key}}, files: {/tls.crt: {secret: tls}}}}";
    let desired = desired(extra, &[]).expect("it resolves");
    let web = desired.services.values().next().expect("one");
    assert_eq!(
        web.workload.secrets().into_keys().collect::<Vec<_>>(),
        ["key"]
    );

    let objects = objects(&desired, Slot::Blue);
    let own = one(&objects, "Secret");
    assert_eq!(own["data"].as_object().map(serde_json::Map::len), Some(1));
    let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
    let env = pod["containers"][0]["env"].as_array().expect("variables");
    let db = env.iter().find(|one| one["name"] == "DB").expect("there");
    let named = serde_json::json!({"name": "web-db", "key": "url"});
    assert_eq!(db["valueFrom"]["secretKeyRef"], named);
    let volume = &pod["volumes"][0];
    assert_eq!(volume["secret"]["secretName"], "web-tls");
    let mount = &pod["containers"][0]["volumeMounts"][0];
    assert_eq!(
        (&mount["name"], &mount["subPath"]),
        (&volume["name"], &"tls.crt".into())
    );
}

#[test]
fn a_manifest_has_no_value_of_a_secret_of_the_cluster() {
    let extra = "secrets: {db: {kubernetes: {secret: web-db, key: url}}}\nservices: {web: \
                 {manifests: s.yaml}}";
    let file = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: \"{{ \
                secret('db') }}\"}";
    let error = desired(extra, &[("s.yaml", file)]).expect_err("nobody reads it");
    assert!(
        error.what.contains("Secret/web-db of the cluster"),
        "{error}"
    );
    assert!(
        error
            .help
            .contains("secretKeyRef: {name: web-db, key: url}"),
        "{error:?}"
    );
}

#[test]
fn every_probe_of_a_path_says_the_host_that_the_service_wants() {
    let health = "services: {web: {health: {path: /up, host: shop.test, liveness: {path: /live}}}}";
    let desired = desired(health, &[]).expect("resolved");
    let deployment = one(&objects(&desired, Slot::Blue), "Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let get = &container[probe]["httpGet"];
        let host = serde_json::json!([{"name": "Host", "value": "shop.test"}]);
        assert_eq!(get["httpHeaders"], host, "{probe}");
        assert!(get["host"].is_null(), "{probe}: that would be the address");
    }
}

#[test]
fn an_autoscaler_has_the_number_of_pods_to_itself() {
    let desired = desired("services: {web: {autoscale: {min: 2, max: 5}}}", &[]).expect("resolved");
    let objects = objects(&desired, Slot::Blue);
    let scaler = one(&objects, "HorizontalPodAutoscaler");
    assert_eq!(text(&scaler, "/spec/scaleTargetRef/name"), "web-blue");
    assert!(
        one(&objects, "Deployment")["spec"]
            .get("replicas")
            .is_none()
    );
}

#[test]
fn slots_apart_keep_their_names() {
    let extra = "slots: {blue: {namespace: shop-blue}, green: {namespace: shop-green}}\ntraffic: \
                 {kind: ingress}";
    let desired = desired(extra, &[]).expect("resolved");
    for slot in Slot::ALL {
        let deployment = one(&objects(&desired, slot), "Deployment");
        assert_eq!(text(&deployment, "/metadata/name"), "web");
        assert_eq!(
            text(&deployment, "/metadata/namespace"),
            format!("shop-{slot}")
        );
    }
    let web = desired.services.values().next().expect("one");
    let route = web
        .route
        .as_ref()
        .and_then(|route| route.objects().cloned())
        .expect("objects");
    let aliases: Vec<&str> = route
        .fixed
        .iter()
        .filter_map(|object| object.body().pointer("/spec/externalName")?.as_str())
        .collect();
    assert_eq!(
        aliases,
        [
            "web-blue.shop-blue.svc.cluster.local",
            "web-green.shop-green.svc.cluster.local"
        ]
    );
}

#[test]
fn a_switch_changes_one_object_and_little_of_it() {
    for (extra, path, blue, green) in [
        (
            "traffic: {kind: service}",
            "/spec/selector/shipit.dev~1slot",
            "blue",
            "green",
        ),
        (
            "traffic: {kind: ingress}",
            "/spec/rules/0/http/paths/0/backend/service/name",
            "web-blue",
            "web-green",
        ),
    ] {
        let desired = desired(extra, &[]).expect("resolved");
        let web = desired.services.values().next().expect("one");
        let route = web
            .route
            .as_ref()
            .and_then(|route| route.objects().cloned())
            .expect("objects");
        let (to_blue, to_green) = (
            route.live(LiveTraffic::All(Slot::Blue)),
            route.live(LiveTraffic::All(Slot::Green)),
        );
        assert_eq!(
            (text(to_blue.body(), path), text(to_green.body(), path)),
            (blue, green)
        );
        assert_eq!(to_blue.key(), to_green.key());
        assert_eq!(to_blue.key(), route.off.key());
    }
}

#[test]
fn the_weights_of_a_gateway_s_route_are_all_or_nothing() {
    let desired =
        desired("traffic: {kind: gateway, gateway: {name: edge}}", &[]).expect("resolved");
    let web = desired.services.values().next().expect("one");
    let route = web
        .route
        .as_ref()
        .and_then(|route| route.objects().cloned())
        .expect("objects");
    let weights = |to: LiveTraffic| -> Vec<u64> {
        let backends = route.live(to).body()["spec"]["rules"][0]["backendRefs"]
            .as_array()
            .expect("a list")
            .clone();
        backends
            .iter()
            .map(|backend| backend["weight"].as_u64().expect("a number"))
            .collect()
    };
    assert_eq!(
        (
            weights(LiveTraffic::Off),
            weights(LiveTraffic::All(Slot::Blue)),
            weights(LiveTraffic::All(Slot::Green))
        ),
        (vec![0, 0], vec![1, 0], vec![0, 1])
    );
}

const OWN: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: 'hello from {{ slot }} in {{ environment }}'}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {key: \"{{ secret('key') }}\"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: '{{ image }}'
          envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: keys}}]
";

#[test]
fn own_manifests_keep_the_configuration_of_their_slot() {
    let extra = "services: {web: {manifests: 'deploy/*.yaml'}}";
    let desired = desired(extra, &[("deploy/web.yaml", OWN)]).expect("resolved");
    let web = desired.services.values().next().expect("one");
    assert_eq!(
        web.workload.secrets().into_keys().collect::<Vec<_>>(),
        ["key"]
    );
    let (blue, green) = (
        objects(&desired, Slot::Blue),
        objects(&desired, Slot::Green),
    );
    let config = one(&blue, "ConfigMap");
    assert_eq!(
        text(&config, "/data/greeting"),
        "hello from blue in staging"
    );
    let name = text(&config, "/metadata/name").to_owned();
    assert!(
        name.starts_with("settings-blue-")
            && name != text(&one(&green, "ConfigMap"), "/metadata/name"),
        "{name}"
    );
    let container = &one(&blue, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(text(container, "/envFrom/0/configMapRef/name"), name);
    assert_eq!(text(container, "/envFrom/1/secretRef/name"), "keys-blue");
    assert_eq!(text(container, "/image"), "image://web");
}

#[test]
fn what_cannot_be_is_said() {
    let own = "services: {web: {manifests: 'deploy/*.yaml'}}";
    let cases = [
        (
            own,
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {k: c2VjcmV0}",
            "holds the value of `k`",
        ),
        (
            own,
            "apiVersion: v1\nmetadata: {name: a}",
            "it has no `kind`",
        ),
        (
            own,
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {l: '{{ colour }}'}}",
            "undefined",
        ),
        (
            own,
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {image: image://other}",
            "the image of another service",
        ),
        (
            own,
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}",
            "would be in both slots",
        ),
        (
            own,
            "apiVersion: v1\nkind: Service\nmetadata: {name: web}",
            "the entry point that shipit makes",
        ),
        (
            "services: {web: {manifests: 'other/*.yaml'}}",
            "",
            "no file matches",
        ),
        (
            "manifests: 'deploy/*.yaml'",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: \"{{ secret('key') \
             }}\"}",
            "belongs to no service",
        ),
    ];
    for (extra, manifest, expected) in cases {
        let error = desired(extra, &[("deploy/web.yaml", manifest)]).expect_err(expected);
        assert!(error.what.contains(expected), "{expected}: {}", error.what);
        assert!(!error.what.contains("c2VjcmV0") && !error.help.is_empty());
    }
}

#[test]
fn the_environment_s_own_objects_come_in_the_order_in_which_they_can_be_made() {
    let text = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a}\n---\napiVersion: \
                apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: \
                widgets.example.com}\n";
    let extra = "cluster: {create_namespaces: true}\nmanifests: all.yaml";
    let desired = desired(extra, &[("all.yaml", text)]).expect("resolved");
    let kinds: Vec<&str> = desired.objects.iter().map(Manifest::kind).collect();
    assert_eq!(kinds, ["Namespace", "CustomResourceDefinition", "Widget"]);
    assert_eq!(
        desired.objects[2].key().namespace.as_deref(),
        Some("shop-staging")
    );
}

#[test]
fn the_namespaces_that_shipit_makes_enforce_the_standard_that_is_asked_for() {
    for (more, level) in [
        ("", Some("restricted")),
        (", pod_security: baseline", Some("baseline")),
        (", pod_security: privileged", Some("privileged")),
        (", pod_security: none", None),
    ] {
        let extra = format!("cluster: {{create_namespaces: true{more}}}");
        let desired = desired(&extra, &[]).expect("resolved");
        let labels = &desired.objects[0].body()["metadata"]["labels"];
        let enforced = labels["pod-security.kubernetes.io/enforce"].as_str();
        assert_eq!(enforced, level, "{extra}");
    }
}

#[test]
fn a_file_may_hold_thousands_of_objects() {
    let one = |number: usize| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number}}}\ndata: {{a: b}}\n---\n"
        )
    };
    let text: String = (0..3000).map(one).collect();
    let desired = desired("manifests: all.yaml", &[("all.yaml", &text)]).expect("resolved");
    assert_eq!(desired.objects.len(), 3000);
}

const WIDGET: &str = "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: a}\n";

/// The definition of [`WIDGET`]'s kind.
fn definition(scope: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: \
         widgets.example.org}}\nspec: {{group: example.org, scope: {scope}, names: {{kind: Widget, \
         plural: widgets}}}}\n"
    )
}

fn widget(text: &str, scopes: &KindScopes) -> Manifest {
    let desired = with_scopes("manifests: own.yaml", &[("own.yaml", text)], scopes);
    let objects = desired.expect("resolved").objects;
    let mut widgets = objects
        .into_iter()
        .filter(|object| object.kind() == "Widget");
    widgets.next().expect("a widget")
}

#[test]
fn an_object_is_where_the_server_has_its_kind() {
    let scopes = |scope: &str| {
        let all = [serde_saphyr::from_str::<Value>(&definition(scope)).expect("yaml")];
        let all = all.map(|body| Manifest::try_from(body).expect("a manifest"));
        KindScopes::defined_by(&all)
    };
    let home = Some("shop-staging".to_owned());
    assert_eq!(widget(WIDGET, &scopes("Namespaced")).key().namespace, home);
    let nowhere = widget(WIDGET, &scopes("Cluster"));
    assert_eq!(nowhere.key().namespace, None);
    // What is written makes no difference to the server, and none to us.
    let written = WIDGET.replace("name: a", "name: a, namespace: other");
    assert_eq!(widget(&written, &scopes("Cluster")), nowhere);
}

#[test]
fn an_object_that_is_written_twice_is_refused_with_both_places() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata: {a: one}\n";
    let other = map.replace("name: d", "name: d, namespace: shop-staging");
    let scaler = |version: &str| {
        format!(
            "apiVersion: autoscaling/{version}\nkind: HorizontalPodAutoscaler\nmetadata: {{name: \
             h}}\n"
        )
    };
    for (one, two) in [(map.to_owned(), other), (scaler("v1"), scaler("v2"))] {
        let own = format!("{one}---\n{two}");
        let error = desired("manifests: own.yaml", &[("own.yaml", &own)]).expect_err("twice");
        assert!(error.what.contains("(document 2)"), "{error}");
        assert!(
            error.what.contains("written here and at own.yaml:1"),
            "{error}"
        );
        let files = [("own/a.yaml", &*one), ("own/b.yaml", &*two)];
        let error = desired("manifests: own/*.yaml", &files).expect_err("twice");
        assert!(
            error.what.contains("own/a.yaml:1") && error.what.contains("own/b.yaml:1"),
            "{error}"
        );
    }
}

#[test]
fn an_object_that_two_would_make_is_refused_with_both() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web-blue}\n";
    let error = desired("manifests: own.yaml", &[("own.yaml", service)]).expect_err("twice");
    assert!(
        error.what.contains("Service/web-blue in shop-staging"),
        "{error}"
    );
    assert!(
        error.what.contains("the entry point of service web"),
        "{error}"
    );
    let record = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shipit-shop-staging}\n";
    let error = desired("manifests: own.yaml", &[("own.yaml", record)]).expect_err("a record");
    assert!(error.what.contains("shipit's own record"), "{error}");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata: {a: one}\n";
    let twins = "services: {web: {manifests: own.yaml}, other: {manifests: own.yaml, build: {kind: \
                 pack, copy: {a: /a}, entrypoint: [/a]}, port: 1, health: {path: /}}}";
    let error = desired(twins, &[("own.yaml", map)]).expect_err("one is the other's");
    assert!(error.what.contains("an object of service other"), "{error}");
    assert!(error.what.contains("an object of service web"), "{error}");
}

#[test]
fn what_cannot_be_stopped_in_its_slot_never_waits_there_for_the_switch() {
    let set = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: 'd-{{ slot }}'}\n\
               spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, \
               spec: {containers: [{name: d, image: 'image://web'}]}}}\n";
    let web =
        |strategy| format!("services: {{web: {{manifests: own.yaml, strategy: {strategy}}}}}");
    let error = desired(&web("recreate"), &[("own.yaml", set)]).expect_err("it runs on");
    assert!(
        error.what.contains("services.web.strategy: DaemonSet/"),
        "{error}"
    );
    desired(&web("blue_green"), &[("own.yaml", set)]).expect("it runs twice");

    let own = desired("services: {web: {strategy: recreate}}", &[]).expect("built in");
    let objects = own.services["web"].workload.objects(Slot::Green);
    let deployment = objects.iter().find(|one| one.kind() == "Deployment");
    let strategy = &deployment.expect("one").body()["spec"]["strategy"]["type"];
    assert_eq!(strategy, "Recreate");
}

#[test]
fn a_name_that_would_leave_its_place_in_a_path_is_refused_where_it_is_written() {
    for name in ["x/status", "a?b", "..", "a%2fb"] {
        let map = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: '{name}'}}\n");
        let error = desired("manifests: own.yaml", &[("own.yaml", &map)]).expect_err(name);
        assert!(error.what.starts_with("own.yaml:1"), "{error}");
        assert!(error.what.contains(name), "{error}");
        let away = map.replace("name: '", "name: d, namespace: '");
        desired("manifests: own.yaml", &[("own.yaml", &away)]).expect_err(name);
    }
    let role =
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'a:b'}\n";
    desired("manifests: own.yaml", &[("own.yaml", role)]).expect("a name of its kind");
}

#[test]
fn lists_are_opened_as_kubectl_opens_them() {
    let names = |text: &str| {
        let mut all = Vec::new();
        super::own::read("own.yaml", text, &super::yaml::Budget::default(), &mut all).map(|()| {
            let names = all.iter().map(|document| document.manifest.key().short());
            names.collect::<Vec<_>>()
        })
    };
    let nested = "# only a comment\n---\napiVersion: v1\nkind: List\nitems:\n\
         - {apiVersion: v1, kind: List, items: [\n  \
           {apiVersion: v1, kind: ServiceAccount, metadata: {name: in}},\n  \
           {apiVersion: v1, kind: ServiceAccount, metadata: {name: after}}]}\n\
         - {apiVersion: v1, kind: ConfigMap, metadata: {name: last}}\n---\n";
    let expected = [
        "ServiceAccount/in",
        "ServiceAccount/after",
        "ConfigMap/last",
    ];
    assert_eq!(names(nested).expect("objects"), expected);

    // As a server answers: the items do not repeat what they are.
    let typed = "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: a}\n\
         - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n";
    assert_eq!(
        names(typed).expect("objects"),
        ["ConfigMap/a", "ConfigMap/b"]
    );
    assert_eq!(
        names("apiVersion: v1\nkind: List\nitems: []\n").expect("objects"),
        [""; 0]
    );
    let own = "apiVersion: example.org/v1\nkind: AllowList\nmetadata: {name: x}\nspec: {}\n";
    assert_eq!(names(own).expect("objects"), ["AllowList/x"]);

    let generated = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ok}\n---\n\
         apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: migrate-}\n";
    let error = names(generated).expect_err("it has no name");
    assert!(
        error.0[0].what.contains("own.yaml:5 (document 2)"),
        "{error}"
    );
    assert!(
        error.0[0].what.contains("generateName: migrate-"),
        "{error}"
    );
}

#[test]
fn a_template_of_a_namespace_is_bounded_as_all_others_are() {
    let deep = format!("{{{{ {}1 }}}}", "-".repeat(30_000));
    for (template, expected) in [
        (deep.as_str(), "a tag of 30005 bytes"),
        ("{{ nobody }}", "nobody"),
        (
            "{% for i in range(2000) %}{% for j in range(2000) %}{% endfor %}{% endfor %}",
            "steps",
        ),
    ] {
        for place in [
            format!("cluster: {{kind: kubernetes, namespace: '{template}'}}"),
            format!("slots: {{green: {{namespace: '{template}'}}}}"),
        ] {
            let error = desired(&place, &[]).expect_err("refused");
            assert!(
                error.what.contains("namespace: ") && error.what.contains(expected),
                "{}",
                error.what
            );
            assert!(error.what.len() < 2000, "{} bytes", error.what.len());
        }
    }
}

#[test]
fn a_manifest_that_no_server_takes_is_refused_at_its_own_line() {
    let ok = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n";
    let bad = [
        ok,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {P: 8080}\n",
    ];
    let twice = [ok, ok];
    for (text, expected) in [
        (bad.concat(), "`data.P` is a number"),
        (twice.concat(), "and at"),
    ] {
        let error = desired("manifests: own.yaml", &[("own.yaml", &text)]).expect_err("refused");
        assert!(error.what.contains(expected), "{error}");
        let place = crate::desired::DesiredPlace::File {
            path: "own.yaml".into(),
            line: 5,
        };
        assert_eq!(error.place, Some(place));
    }
}

#[test]
fn a_task_with_a_schedule_is_a_cron_job_of_each_slot_with_a_pod_like_the_services() {
    let task = "{run: [bin/report], schedule: '0 3 * * MON', timezone: Europe/Berlin}";
    let extra = format!(
        "services: {{web: {{env: {{DB: {{secret: db}}}}}}}}\ntasks: {{report: {task}, \
         {}: {task}, hand: {{run: [a], when: never}}}}",
        "x".repeat(60)
    );
    let desired = desired(&extra, &[]).expect("resolved");
    for slot in Slot::ALL {
        let objects = objects(&desired, slot);
        let jobs: Vec<&Manifest> = objects
            .iter()
            .filter(|object| object.kind() == "CronJob")
            .collect();
        let names: Vec<&str> = jobs.iter().map(|job| job.name()).collect();
        assert_eq!(names[0], format!("web-report-{slot}"));
        assert!(
            names[1].starts_with("web-xxx") && names[1].len() <= 52,
            "{names:?}"
        );
        assert_eq!(names.len(), 2);

        let body = jobs[0].body();
        assert_eq!(body["spec"]["suspend"], true, "until its slot is live");
        assert_eq!(text(body, "/spec/timeZone"), "Europe/Berlin");
        let pod = &body["spec"]["jobTemplate"]["spec"]["template"];
        let of_service = one(&objects, "Deployment")["spec"]["template"]["spec"].clone();
        let (own, its) = (&pod["spec"]["containers"][0], &of_service["containers"][0]);
        assert_eq!(own["env"], its["env"]);
        assert_eq!(own["image"], its["image"]);
        assert!(own.get("readinessProbe").is_none());
        assert_eq!(pod["spec"]["restartPolicy"], "Never");
        assert!(pod["metadata"]["labels"].get(label::SERVICE).is_none());
        assert_eq!(jobs[0].scheduled_task(), Some("report"));
        let workload = &desired.services["web"].workload;
        assert_eq!(
            workload.schedules(slot)["report"],
            "0 3 * * MON Europe/Berlin"
        );
    }
}
