//! What shipit says about objects, compared with what the server itself says: thousands of random
//! changes to objects of many kinds, by us and by others. `SHIPIT_TEST_MUTATIONS` says how many;
//! `SHIPIT_TEST_SEED` repeats a run.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use shipit::driver::kubernetes::client::ClusterConnection;
use shipit::driver::kubernetes::engine::{Conflict, KubernetesEngine, Settings};
use shipit::model::object::{Namespaces, ObjectState};
use shipit::model::release::Actor;
use shipit::model::{Manifest, Period, Slot};
use shipit::port::Engine as _;
use shipit::port::engine::{Permit, Scope};

use crate::cluster::Cluster;

/// Objects of one round.
const ROUND: usize = 250;

/// A generator (`SplitMix64`): all that a repeatable choice needs.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % below as u64).expect("small")
    }
}

fn template() -> Value {
    json!({
        "metadata": {"labels": {"app": "a"}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": 20,
            "containers": [
                {"name": "web", "image": "example.com/web:1", "command": ["run", "fast"], "args": ["a", "b"],
                 "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                 "ports": [{"containerPort": 8080}, {"containerPort": 9090, "name": "metrics"}],
                 "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                 "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 5},
                 "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}},
                {"name": "side", "image": "example.com/side:1",
                 "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "x", "optional": true}}],
        },
    })
}

/// One object of each kind, by its plural.
fn kinds() -> Vec<(&'static str, &'static str, Value)> {
    let selector = json!({"matchLabels": {"app": "a"}});
    let no_pods = |mut template: Value| {
        template["spec"]["nodeSelector"] = json!({"nowhere": "1"});
        template
    };
    let mut job = no_pods(template());
    job["spec"]["restartPolicy"] = "Never".into();
    vec![
        (
            "v1",
            "configmaps",
            json!({"kind": "ConfigMap", "data": {"a": "1", "b.txt": "two\nlines", "c": ""}}),
        ),
        (
            "v1",
            "services",
            json!({"kind": "Service", "spec": {"selector": {"app": "a"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "more", "port": 81}]}}),
        ),
        (
            "v1",
            "serviceaccounts",
            json!({"kind": "ServiceAccount", "automountServiceAccountToken": false}),
        ),
        (
            "apps/v1",
            "deployments",
            json!({"kind": "Deployment", "spec": {"replicas": 0, "selector": selector,
            "strategy": {"rollingUpdate": {"maxSurge": "25%"}}, "template": template()}}),
        ),
        (
            "apps/v1",
            "statefulsets",
            json!({"kind": "StatefulSet", "spec": {"replicas": 0, "serviceName": "a",
            "selector": selector, "template": template()}}),
        ),
        (
            "batch/v1",
            "cronjobs",
            json!({"kind": "CronJob", "spec": {"schedule": "0 3 * * *", "suspend": true,
            "jobTemplate": {"spec": {"template": job}}}}),
        ),
        (
            "policy/v1",
            "poddisruptionbudgets",
            json!({"kind": "PodDisruptionBudget",
            "spec": {"maxUnavailable": 1, "selector": selector}}),
        ),
        (
            "autoscaling/v2",
            "horizontalpodautoscalers",
            json!({"kind": "HorizontalPodAutoscaler", "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"},
            "minReplicas": 1, "maxReplicas": 3, "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}]}}),
        ),
        (
            "networking.k8s.io/v1",
            "ingresses",
            json!({"kind": "Ingress", "spec": {"rules": [{"host": "a.example.com",
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "a", "port": {"number": 80}}}}]}}]}}),
        ),
        (
            "networking.k8s.io/v1",
            "networkpolicies",
            json!({"kind": "NetworkPolicy", "spec": {"podSelector": selector,
            "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 80}]}]}}),
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "roles",
            json!({"kind": "Role", "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]}),
        ),
    ]
}

/// Every place of a document that holds a value, as pointers.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                all.push(at.clone());
                places(value, &at, all);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let at = format!("{at}/{index}");
                all.push(at.clone());
                places(value, &at, all);
            }
        }
        _ => {}
    }
}

/// Changes something somewhere, or writes the same in other words.
fn mutate(body: &mut Value, dice: &mut Dice) -> String {
    let mut all = Vec::new();
    for part in ["spec", "data", "rules", "automountServiceAccountToken"] {
        if let Some(value) = body.get(part) {
            all.push(format!("/{part}"));
            places(value, &format!("/{part}"), &mut all);
        }
    }
    if all.is_empty() {
        body["metadata"]["labels"]["l"] = format!("v{}", dice.roll(9)).into();
        return "a label".to_owned();
    }
    let at = all[dice.roll(all.len())].clone();
    let how = dice.roll(6);
    let value = body.pointer_mut(&at).expect("a place");
    match (how, &mut *value) {
        (0, _) => {
            body["metadata"]["labels"][format!("l{}", dice.roll(3))] =
                format!("v{}", dice.roll(3)).into();
            return "a label".to_owned();
        }
        (1, _) => {
            let (parent, key) = at.rsplit_once('/').expect("below");
            let key = key.replace("~1", "/").replace("~0", "~");
            let parent = if parent.is_empty() {
                body
            } else {
                body.pointer_mut(parent).expect("a place")
            };
            match parent {
                Value::Object(map) => {
                    map.remove(&key);
                }
                Value::Array(items) => {
                    items.remove(key.parse::<usize>().expect("an index"));
                }
                _ => {}
            }
            return format!("without {at}");
        }
        (2, Value::Array(items)) if items.len() > 1 => items.swap(0, 1),
        (3, Value::Array(items)) if !items.is_empty() => {
            let mut more = items[0].clone();
            if let Some(name) = more.get_mut("name") {
                *name = format!("n{}", dice.roll(9)).into();
            }
            items.push(more);
        }
        (_, Value::Number(number)) => *value = (number.as_i64().unwrap_or(0) + 1).into(),
        (_, Value::Bool(is)) => *value = (!*is).into(),
        (_, Value::String(text)) => {
            *value = match text.as_str() {
                "100m" => "0.1".into(),
                "64Mi" => "65536Ki".into(),
                "128Mi" => "0.125Gi".into(),
                other => format!("{other}x").into(),
            };
        }
        (_, Value::Object(map)) if map.contains_key("containerPort") => {
            map.insert("protocol".to_owned(), "TCP".into());
        }
        _ => {}
    }
    at
}

struct Case {
    group: &'static str,
    plural: &'static str,
    wanted: Value,
    what: String,
}

/// What an apply is about: the status is the controllers', who may write it between two looks.
fn plain(mut object: Value) -> Value {
    if let Some(all) = object.as_object_mut() {
        all.remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        for name in ["managedFields", "resourceVersion", "generation"] {
            meta.remove(name);
        }
    }
    object
}

#[test]
fn nothing_is_called_unchanged_that_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(cluster) = Cluster::open(folder.path()) else {
        return;
    };
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let wanted = usize::try_from(number("SHIPIT_TEST_MUTATIONS", 2000)).expect("a count");
    let seed = number("SHIPIT_TEST_SEED", u64::from(std::process::id()));
    let mut dice = Dice(seed);
    let home = cluster.namespace.clone();
    let engine = KubernetesEngine::new(Settings {
        connection: ClusterConnection {
            kubeconfig: Some(cluster.admin.kubeconfig.clone()),
            ..ClusterConnection::default()
        },
        namespaces: Namespaces {
            slots: Slot::ALL.map(|slot| (slot, home.clone())).into(),
            home: home.clone(),
        },
        conflict: Conflict::TakeOver,
        rules: BTreeMap::new(),
        within: Period::from_secs(30),
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let scope = Scope {
        project: "shop".parse().expect("a name"),
        environment: "staging".parse().expect("a name"),
    };
    // What the set is called, the first object tells.
    let first = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "first", "namespace": home}});
    let first = Manifest::try_from(first).expect("a manifest");
    let actor = Actor {
        user: "t".to_owned(),
        host: "t".to_owned(),
        run: "t".to_owned(),
        ci: None,
    };
    let permit = Permit {
        scope: scope.clone(),
        lineage: "l".to_owned(),
        fence: 1,
        actor,
        hold: shipit::port::hold::Hold::none(),
    };
    runtime
        .block_on(engine.apply(&permit, &first, false, None, &|_| {}))
        .expect("applied");
    let there = cluster.get(&format!("{}/first", cluster.of("v1", "configmaps")));
    let set = there["metadata"]["labels"]["applyset.kubernetes.io/part-of"]
        .as_str()
        .expect("a set")
        .to_owned();
    let (mut compared, mut changed, mut false_changed, mut round) = (0, 0, 0, 0);
    while compared < wanted {
        round += 1;
        let cases = cases(&cluster, &set, &mut dice, round);
        let manifests: Vec<Manifest> = cases
            .iter()
            .map(|case| {
                let mut body = case.wanted.clone();
                body["metadata"]["labels"]
                    .as_object_mut()
                    .expect("labels")
                    .remove("applyset.kubernetes.io/part-of");
                Manifest::try_from(body).expect("a manifest")
            })
            .collect();
        let found = runtime
            .block_on(engine.compare(&scope, &manifests))
            .expect("compared");
        let states: BTreeMap<_, _> = found
            .into_iter()
            .map(|object| (object.key.clone(), object))
            .collect();
        for (case, manifest) in cases.iter().zip(&manifests) {
            let key = manifest.key();
            let path = format!("{}/{}", cluster.of(case.group, case.plural), key.name);
            let live = cluster.get(&path);
            let dry = format!("{path}?fieldManager=shipit&force=true&dryRun=All");
            let (is_well, result) = cluster.ask(
                Method::PATCH,
                &dry,
                "application/apply-patch+yaml",
                &case.wanted,
            );
            let is_changed = !is_well || plain(live) != plain(result);
            let says_changed = states[&key].state != ObjectState::Same;
            assert!(
                says_changed || !is_changed,
                "seed {seed}: {key} is called unchanged, and it is not ({}): {}",
                case.what,
                case.wanted
            );
            compared += 1;
            changed += usize::from(is_changed);
            false_changed += usize::from(says_changed && !is_changed);
        }
        for (group, plural, _) in kinds() {
            cluster.ask(
                Method::DELETE,
                &cluster.of(group, plural),
                "application/json",
                &Value::Null,
            );
        }
    }
    assert!(
        changed * 5 > compared && changed * 20 < compared * 19,
        "{changed} of {compared} say little"
    );
    assert!(
        false_changed * 200 <= compared,
        "seed {seed}: {false_changed} of {compared} are called changed and are not"
    );
}

/// Applies objects, lets others change some of them, and changes what is wanted of some.
fn cases(cluster: &Cluster, set: &str, dice: &mut Dice, round: usize) -> Vec<Case> {
    let kinds = kinds();
    let mut cases = Vec::new();
    while cases.len() < ROUND {
        let (group, plural, body) = &kinds[dice.roll(kinds.len())];
        let name = format!("r{round}-{}", cases.len());
        let mut wanted = body.clone();
        wanted["apiVersion"] = (*group).into();
        wanted["metadata"] = json!({"name": name, "namespace": cluster.namespace,
            "labels": {"applyset.kubernetes.io/part-of": set}});
        let mut what = String::new();
        for _ in 0..dice.roll(2) {
            what = format!("{what}first {}; ", mutate(&mut wanted, dice));
        }
        let path = format!("{}/{name}", cluster.of(group, plural));
        let apply = |body: &Value, more: &str| {
            let path = format!("{path}?{more}");
            cluster
                .ask(Method::PATCH, &path, "application/apply-patch+yaml", body)
                .0
        };
        // Not everything can be: the server has a say.
        if !apply(&wanted, "fieldManager=shipit&force=true") {
            continue;
        }
        for _ in 0..dice.roll(2) {
            let mut theirs = cluster.get(&path);
            what = format!("{what}by another {}; ", mutate(&mut theirs, dice));
            let put = format!("{path}?fieldManager=kim");
            cluster.ask(Method::PUT, &put, "application/json", &theirs);
        }
        for _ in 0..dice.roll(3) {
            let mut next = wanted.clone();
            let how = mutate(&mut next, dice);
            // What the server would never take is not a question.
            if apply(&next, "fieldManager=shipit&force=true&dryRun=All") {
                what = format!("{what}then {how}; ");
                wanted = next;
            }
        }
        // With what others did, it may not be possible any more.
        if !apply(&wanted, "fieldManager=shipit&force=true&dryRun=All") {
            continue;
        }
        cases.push(Case {
            group,
            plural,
            wanted,
            what,
        });
    }
    cases
}
