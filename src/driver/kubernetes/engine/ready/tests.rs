use jiff::Timestamp;
use serde_json::json;

use super::*;

fn is(object: &Value) -> Ready {
    ready(object, &BTreeMap::new())
}

#[track_caller]
fn not(object: &Value, part: &str) {
    let Ready::Not(reason) = is(object) else {
        panic!("{:?}", is(object))
    };
    assert!(reason.contains(part), "{reason}");
}

#[track_caller]
fn failed(object: &Value, part: &str) {
    let Ready::Failed(reason) = is(object) else {
        panic!("{:?}", is(object))
    };
    assert!(reason.contains(part), "{reason}");
}

fn deployment(generation: i64, observed: i64, replicas: [i64; 4]) -> Value {
    let [wanted, total, updated, available] = replicas;
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": generation},
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": observed, "replicas": total, "updatedReplicas": updated, "availableReplicas": available}})
}

#[test]
fn a_deployment_is_ready_when_all_of_its_pods_are_new_and_available() {
    assert_eq!(is(&deployment(2, 2, [3, 3, 3, 3])), Ready::Yes);
    assert_eq!(is(&deployment(2, 2, [0, 0, 0, 0])), Ready::Yes);
    not(&deployment(2, 1, [3, 3, 3, 3]), "not seen");
    not(
        &deployment(2, 2, [3, 3, 1, 3]),
        "1 of 3 pods are of this release",
    );
    not(&deployment(2, 2, [3, 4, 3, 3]), "1 old pods");
    not(&deployment(2, 2, [3, 3, 3, 2]), "2 of 3 pods are ready");
}

#[test]
fn a_deployment_that_got_nowhere_has_failed() {
    let mut object = deployment(1, 1, [3, 0, 0, 0]);
    object["status"]["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "m"}]);
    failed(&object, "no progress");
    object["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: q"}]);
    failed(&object, "quota");
}

#[test]
fn a_started_job_is_not_done() {
    let mut object = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"completions": 2},
        "status": {"active": 1, "succeeded": 1}});
    not(&object, "1 of 2");
    object["status"]["conditions"] = json!([{"type": "Complete", "status": "True"}]);
    assert_eq!(is(&object), Ready::Yes);
    object["status"]["conditions"] =
        json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]);
    failed(&object, "BackoffLimitExceeded");
}

#[test]
fn stateful_sets_count_down_to_their_partition() {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"generation": 1},
        "spec": {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
        "status": {"observedGeneration": 1, "updatedReplicas": 2, "readyReplicas": 3}});
    assert_eq!(is(&object), Ready::Yes);
    object["status"]["updatedReplicas"] = 1.into();
    not(&object, "1 of 2");
}

#[test]
fn what_has_no_address_no_volume_and_no_gateway_waits() {
    let service = |addresses: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": addresses}}})
    };
    not(&service(json!([])), "no address");
    assert_eq!(is(&service(json!([{"ip": "1.2.3.4"}]))), Ready::Yes);
    assert_eq!(
        is(&json!({"apiVersion": "v1", "kind": "Service", "spec": {}})),
        Ready::Yes
    );
    let claim = |phase: &str| json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": phase}});
    not(&claim("Pending"), "Pending");
    assert_eq!(is(&claim("Bound")), Ready::Yes);
    failed(&claim("Lost"), "lost");
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"});
    not(&route, "no gateway");
}

#[test]
fn a_custom_resource_says_it_itself_or_the_configuration_does() {
    let mut object =
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "status": {"phase": "Pending"}});
    assert_eq!(is(&object), Ready::Yes, "it says nothing of itself");
    let rule = Rule {
        field: Some(("status.phase".to_owned(), "Up".to_owned())),
        ..Rule::default()
    };
    let rules = BTreeMap::from([("example.com/Thing".to_owned(), rule)]);
    assert!(matches!(ready(&object, &rules), Ready::Not(reason) if reason.contains("Pending")));
    object["status"]["phase"] = "Up".into();
    assert_eq!(ready(&object, &rules), Ready::Yes);
    object["status"] =
        json!({"conditions": [{"type": "Stalled", "status": "True", "reason": "R"}]});
    failed(&object, "stalled");
    object["status"] = json!({"conditions": [{"type": "Ready", "status": "False", "reason": "R"}]});
    not(&object, "Ready is not true");
}

#[test]
fn a_pod_that_cannot_become_ready_is_known_by_its_reason() {
    let now: Timestamp = "2026-11-21T00:01:00Z".parse().expect("a time");
    let with = |status: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "status": status});
    let container = |state: Value| with(json!({"containerStatuses": [state]}));
    let waiting = |reason: &str, restarts: i64| {
        container(
            json!({"name": "web", "restartCount": restarts, "state": {"waiting": {"reason": reason, "message": "m"}},
            "lastState": {"terminated": {"exitCode": 3}}}),
        )
    };
    let reason = |pod: &Value| trouble(pod, now).unwrap_or_default();
    assert!(reason(&waiting("ImagePullBackOff", 0)).contains("cannot be pulled"));
    assert!(reason(&waiting("CrashLoopBackOff", 2)).contains("exit code 3, 2 times"));
    assert_eq!(reason(&waiting("CrashLoopBackOff", 1)), "");
    assert!(reason(&waiting("CreateContainerConfigError", 0)).contains("cannot be started"));
    assert_eq!(reason(&waiting("ContainerCreating", 0)), "");
    let oom = container(
        json!({"name": "web", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}),
    );
    assert!(reason(&oom).contains("memory"));
    let unscheduled = |since: &str| {
        with(
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes", "lastTransitionTime": since}]}),
        )
    };
    assert!(reason(&unscheduled("2026-11-21T00:00:00Z")).contains("no node takes it"));
    assert_eq!(reason(&unscheduled("2026-11-21T00:00:50Z")), "");
}

#[test]
fn a_paused_deployment_has_failed_only_while_it_has_something_to_roll_out() {
    let mut object = deployment(1, 1, [3, 3, 1, 3]);
    object["spec"]["paused"] = true.into();
    failed(&object, "`spec.paused: false` rolls it out");
    for (manager, by) in [
        ("kubectl-rollout", "kubectl-rollout"),
        ("shipit", "its manifest"),
    ] {
        let fields = json!({"f:spec": {"f:paused": {}}});
        let entry = json!({"manager": manager, "operation": "Update", "fieldsV1": fields});
        object["metadata"]["managedFields"] = json!([entry]);
        failed(&object, &format!("paused by {by}, and 1 of 3 pods"));
    }
    let mut object = deployment(1, 1, [3, 3, 3, 3]);
    object["spec"]["paused"] = true.into();
    assert_eq!(is(&object), Ready::Yes);
}

#[test]
fn a_suspended_job_is_waited_for_only_where_a_queue_lets_it_run() {
    let mut object = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"suspend": true}});
    failed(&object, "`spec.suspend: false` lets it run");
    object["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "night"});
    not(&object, "until the queue night lets it run");
}

#[test]
fn what_a_pod_waits_for_is_said_before_it_is_certain() {
    let pod = json!({"kind": "Pod", "status": {"conditions": [{"type": "PodScheduled",
        "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}]}});
    assert_eq!(
        pending(&pod).as_deref(),
        Some("no node takes it yet: 0/3 nodes are available")
    );
    assert_eq!(trouble(&pod, Timestamp::now()), None);
}
