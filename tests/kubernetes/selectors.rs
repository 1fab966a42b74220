//! What a slot's objects select, where two slots share a namespace.

use serde_json::{Value, json};

use crate::objects::deployment;
use crate::site::{Site, until};

const SETTINGS: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n";

/// What the same labels in both slots would take in.
const SELECTING: &str = "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: Service
metadata: {name: direct}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: proxy}}}]}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 1}
";

#[test]
fn a_slots_budget_service_and_policy_are_about_its_own_pods() {
    let Some(mut site) = Site::new() else { return };
    // The documented Role has no policies in it.
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let all = [SETTINGS, &deployment("{{ image }}"), SELECTING].join("---\n");
    site.put("deploy/web.yaml", &all);
    site.service = [("manifests".to_owned(), "'deploy/*.yaml'".to_owned())].into();
    site.apply().code(0);
    site.put("deploy/web.yaml", &all.replace("{a: b}", "{a: c}"));
    site.apply().code(0);

    let of = |api: &str, plural: &str, name: &str| -> Value {
        let path = format!("{}/{name}", site.cluster.of(api, plural));
        site.cluster.get(&path)
    };
    for slot in ["blue", "green"] {
        let budget = || of("policy/v1", "poddisruptionbudgets", &format!("web-{slot}"));
        // Of two Deployments the controller could not tell how many pods are expected: it counts
        // one slot's.
        until("the budget counts the pods of its slot", || {
            budget()["status"]["expectedPods"] == 1
        });
        let slices = format!(
            "{}?labelSelector=kubernetes.io/service-name=direct-{slot}",
            site.cluster.of("discovery.k8s.io/v1", "endpointslices")
        );
        until("the Service leads to the pods of its slot alone", || {
            let found = site.cluster.get(&slices);
            let ends = found["items"][0]["endpoints"].as_array().cloned();
            let ends = ends.unwrap_or_default();
            let is_own = |end: &Value| {
                let name = end["targetRef"]["name"].as_str().unwrap_or_default();
                name.starts_with(&format!("web-{slot}-"))
            };
            ends.len() == 1 && ends.iter().all(is_own)
        });
        let policy = of(
            "networking.k8s.io/v1",
            "networkpolicies",
            &format!("web-{slot}"),
        );
        assert_eq!(
            policy["spec"]["podSelector"],
            json!({"matchLabels": {"shipit.dev/slot": slot}})
        );
        let peer = &policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
        assert_eq!(*peer, json!({"app": "proxy"}));
        let scaler = of(
            "autoscaling/v2",
            "horizontalpodautoscalers",
            &format!("web-{slot}"),
        );
        assert_eq!(
            scaler["spec"]["scaleTargetRef"]["name"],
            format!("web-{slot}")
        );
    }
}
