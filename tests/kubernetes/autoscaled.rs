//! An autoscaler of somebody else's in the cluster is honoured whatever a slot does.

use serde_json::{Value, json};

use crate::site::Site;

impl Site {
    fn replicas(&self, slot: &str) -> Value {
        let path = self.cluster.deployment(&format!("web-{slot}"));
        self.cluster.get(&path)["spec"]["replicas"].clone()
    }
}

#[test]
fn a_slot_begins_with_the_number_of_the_live_one_and_is_stopped_with_none() {
    let Some(mut site) = Site::new() else { return };
    let web = crate::objects::deployment("{{ image }}")
        .replace("envFrom: [{configMapRef: {name: settings}}]", "")
        .replace("spec:\n  selector", "spec:\n  replicas: 2\n  selector");
    assert!(web.contains("replicas: 2"), "{web}");
    site.put("deploy/web.yaml", &web);
    site.service = [("manifests".to_owned(), "'deploy/*.yaml'".to_owned())].into();
    for slot in ["blue", "green"] {
        let name = format!("web-{slot}");
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
        let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5}});
        let scalers = site
            .cluster
            .of("autoscaling/v2", "horizontalpodautoscalers");
        site.cluster.post(&scalers, &scaler);
    }
    site.apply().code(0);
    assert_eq!(site.replicas("blue"), 2);
    let scale = format!("{}/scale", site.cluster.deployment("web-blue"));
    let number = json!({"spec": {"replicas": 4}});
    site.cluster
        .patch(&scale, "kube-controller-manager", &number);

    site.staging =
        vec!["promotion: {keep_previous: 0s, probe: {rate: 0, linger: 10ms}}".to_owned()];
    site.message("v2");
    site.apply().code(0);
    assert_eq!(site.replicas("green"), 4, "as many as were live");
    assert_eq!(
        site.replicas("blue"),
        0,
        "what was kept long enough is stopped"
    );
    site.plan().code(0).says("No changes");

    // What gives a stopped slot pods again is drift.
    site.cluster
        .patch(&scale, "somebody", &json!({"spec": {"replicas": 3}}));
    let facts = &site.status()["facts"]["slots"]["blue"]["workloads"]["web"];
    assert_eq!(facts["drift"].as_array().map(Vec::len), Some(1), "{facts}");
    site.cluster
        .patch(&scale, "somebody", &json!({"spec": {"replicas": 0}}));

    site.run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("stopped; starts again");
    assert_eq!(site.replicas("blue"), 4);
    assert_eq!(site.live_release(), 1);
}
