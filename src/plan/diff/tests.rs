use super::*;
use crate::model::Address;
use crate::model::workload::{SlotObjects, Socket};
use serde_json::json;

fn manifest(body: Value) -> Manifest {
    Manifest::try_from(body).expect("a manifest")
}

/// A workload in both slots, whose config has this text and whose container this request for
/// processors.
fn workload(text: &str, cpu: &str) -> Workload {
    let hash = crate::model::ContentHash::of_json(&text);
    let objects = |slot: Slot| {
        let config = format!("web-config-{slot}-{}", &hash.hex()[..HASH]);
        vec![
            manifest(json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": config}, "data": {"app.conf": text}})),
            manifest(json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": format!("web-{slot}")},
                "spec": {"replicas": 2, "template": {"spec": {
                    "containers": [{"name": "web", "resources": {"requests": {"cpu": cpu}},
                        "env": [{"name": "SHIPIT_SLOT", "value": slot.as_str()},
                                {"name": "MODE", "value": "a"}]}],
                    "volumes": [{"name": "config", "configMap": {"name": config}}]}}}})),
        ]
    };
    let service: crate::model::ServiceName = "web".parse().expect("a name");
    Workload {
        image: Known::After(Address::Image(service.clone())),
        repository: None,
        service,
        port: Some(8080),
        replicas: 2,
        health: crate::model::health::Health::default(),
        strategy: None,
        kind: WorkloadKind::Objects(SlotObjects {
            slots: Slot::ALL.map(|slot| (slot, objects(slot))).into(),
            secrets: BTreeMap::new(),
        }),
    }
}

fn objects(workload: &mut Workload) -> &mut SlotObjects {
    match &mut workload.kind {
        WorkloadKind::Objects(objects) => objects,
        WorkloadKind::Process(_) => panic!("it is one of a cluster"),
    }
}

fn said(before: &Workload, after: &Workload) -> Vec<(String, String, String)> {
    let text = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
    workload_changes(Some(before), after, Slot::Green)
        .into_iter()
        .map(|change| (change.field, text(change.before), text(change.after)))
        .collect()
}

fn row(field: &str, before: &str, after: &str) -> (String, String, String) {
    (field.to_owned(), before.to_owned(), after.to_owned())
}

#[test]
fn a_field_of_an_object_is_named_as_in_its_slot() {
    let (before, after) = (workload("a", "100m"), workload("a", "200m"));
    let field = "Deployment/web-green spec.template.spec.containers[web].resources.requests.cpu";
    assert_eq!(said(&before, &after), [row(field, "100m", "200m")]);
    assert_eq!(said(&before, &before), []);
}

#[test]
fn of_a_file_of_configuration_its_lines_are_told_and_not_its_hash() {
    let (before, after) = (
        workload("size 1\nage 2\n", "1"),
        workload("size 1\nage 3\n", "1"),
    );
    let field = "ConfigMap/web-config-green data[app.conf] line 2";
    assert_eq!(said(&before, &after), [row(field, "age 2", "age 3")]);
}

#[test]
fn what_the_service_says_is_told_once() {
    let (before, mut after) = (workload("a", "2"), workload("a", "3"));
    after.replicas = 3;
    for manifest in objects(&mut after).slots.values_mut().flatten() {
        manifest.edit(|body| {
            if body["kind"] == "Deployment" {
                body["spec"]["replicas"] = 3.into();
                body["spec"]["template"]["spec"]["containers"][0]["env"][1]["value"] = "b".into();
            }
        });
    }
    let cpu = "Deployment/web-green spec.template.spec.containers[web].resources.requests.cpu";
    assert_eq!(
        said(&before, &after),
        [
            row("env.MODE", "a", "b"),
            row("replicas", "2", "3"),
            row(cpu, "2", "3")
        ]
    );
}

#[test]
fn objects_come_and_go_by_name() {
    let (mut before, mut after) = (workload("a", "1"), workload("a", "1"));
    let other = |name: &str| {
        manifest(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}}))
    };
    let green = |workload, name| {
        let slots = &mut objects(workload).slots;
        slots.entry(Slot::Green).or_default().push(other(name));
    };
    green(&mut before, "old");
    green(&mut after, "new");
    assert_eq!(
        said(&before, &after),
        [
            row("Service/new", "-", "is added"),
            row("Service/old", "goes", "-")
        ]
    );
}

#[test]
fn what_differs_in_the_other_slot_only_is_told_too() {
    let (before, mut after) = (workload("a", "1"), workload("a", "1"));
    let blue = objects(&mut after).slots.entry(Slot::Blue).or_default();
    blue[1].edit(|body| body["spec"]["paused"] = true.into());
    let found = workload_changes(Some(&before), &after, Slot::Green);
    assert_eq!(found[0].field, "Deployment/web-blue spec.paused");
    assert_eq!(found[0].origin.as_deref(), Some("in blue only"));
}

#[test]
fn a_number_that_an_autoscaler_gets_is_told_as_left_to_it() {
    let deployment = |replicas: Value| {
        manifest(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web-green"}, "spec": replicas}))
    };
    let scaler = manifest(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web-green"}},
    }));
    let of = |replicas: u16, green: Vec<Manifest>| {
        let mut workload = workload("a", "1");
        workload.replicas = replicas;
        objects(&mut workload).slots.insert(Slot::Green, green);
        workload
    };
    let fixed = of(4, vec![deployment(json!({"replicas": 4}))]);
    let handed = of(1, vec![deployment(json!({})), scaler]);

    let field = "Deployment/web-green spec.replicas";
    let left = "(left to HorizontalPodAutoscaler/h)";
    let scaler = "HorizontalPodAutoscaler/h";
    assert_eq!(
        said(&fixed, &handed),
        [row(field, "4", left), row(scaler, "-", "is added")]
    );
    assert_eq!(
        said(&handed, &fixed),
        [row(field, left, "4"), row(scaler, "goes", "-")]
    );
}

#[test]
fn no_field_of_a_workload_is_left_out() {
    let of = |process: Process| Workload {
        kind: WorkloadKind::Process(Box::new(process)),
        ..workload("a", "1")
    };
    let none = Process::default;
    let before = of(none());
    let container = crate::model::workload::Container {
        memory: Some(5),
        ..Default::default()
    };
    let from = crate::model::secret::SecretRef::Env("A".to_owned());
    let name = "s".to_owned();
    let secret = EnvValue::Secret { name, from };
    let edits = [
        (
            "socket",
            Process {
                socket: Socket::Inherited,
                ..none()
            },
        ),
        (
            "container.by",
            Process {
                container: Some(container),
                ..none()
            },
        ),
        (
            "env.S",
            Process {
                env: BTreeMap::from([("S".to_owned(), secret)]),
                ..none()
            },
        ),
        (
            "command[0]",
            Process {
                command: vec!["run".to_owned()],
                ..none()
            },
        ),
    ];
    for (field, after) in edits {
        let after = of(after);
        let found = workload_changes(Some(&before), &after, Slot::Green);
        assert_eq!(
            found.first().map(|change| change.field.as_str()),
            Some(field)
        );
    }
}
