//! A workload whose number of pods becomes an autoscaler's keeps the pods that it has.

use serde_json::Value;

use crate::site::Site;

/// A workload of the environment's own, with this in its spec.
fn deployment(spec: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec:\n{spec}  \
         selector: {{matchLabels: {{app: d}}}}\n  template:\n    metadata: {{labels: {{app: d}}}}\n    \
         spec:\n      securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: \
         RuntimeDefault}}}}\n      containers: [{{name: d, image: example.com/d:1, securityContext: \
         {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]\n"
    )
}

fn scaler(name: &str) -> String {
    format!(
        "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: {name}}}\nspec: \
         {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}, minReplicas: 3, \
         maxReplicas: 9}}\n"
    )
}

impl Site {
    /// How many pods a workload is to have.
    fn number(&self, name: &str) -> Value {
        let there = self.cluster.get(&self.cluster.deployment(name));
        there["spec"]["replicas"].clone()
    }
}

#[test]
fn an_object_of_the_environment_keeps_its_number_when_an_autoscaler_gets_it() {
    let Some(mut site) = Site::new() else { return };
    site.staging.push("manifests: own.yaml".to_owned());
    site.put("own.yaml", &deployment("  replicas: 4\n"));
    site.apply().code(0);
    assert_eq!(site.number("d"), 4);

    site.put("own.yaml", &(deployment("") + &scaler("d")));
    site.plan()
        .code(2)
        .says("keeps the number of pods that it has, 4: it is left to HorizontalPodAutoscaler/d")
        .says_not("spec.replicas");
    // The plan is carried out by another process, which has not seen what it saw.
    let plan = ["plan", "--env", "staging", "--out", "it.plan"];
    site.run(&plan).code(0);
    site.run(&["apply", "it.plan", "--auto-approve"]).code(0);
    assert_eq!(site.number("d"), 4);
    site.plan().code(0).says("No changes");

    // What the autoscaler does from then on is its own.
    let scale = format!("{}/scale", site.cluster.deployment("d"));
    let number = serde_json::json!({"spec": {"replicas": 6}});
    site.cluster
        .patch(&scale, "kube-controller-manager", &number);
    site.apply().code(0);
    assert_eq!(site.number("d"), 6);
}

#[test]
fn a_number_that_nobody_takes_falls_to_one_and_the_plan_says_so() {
    let Some(mut site) = Site::new() else { return };
    site.staging.push("manifests: own.yaml".to_owned());
    site.put("own.yaml", &deployment("  replicas: 4\n"));
    site.apply().code(0);

    site.put("own.yaml", &deployment(""));
    site.plan()
        .code(2)
        .says("instead of 4 pods it gets 1")
        .says("spec.replicas");
    site.apply().code(0);
    assert_eq!(site.number("d"), 1);
}

#[test]
fn a_service_that_is_replaced_where_it_is_live_keeps_its_number() {
    let Some(mut site) = Site::new() else { return };
    site.staging = vec!["strategy: rolling".to_owned()];
    site.service.insert("replicas".to_owned(), "4".to_owned());
    site.apply().code(0);
    let name = format!("web-{}", site.active());
    assert_eq!(site.number(&name), 4);

    site.service.remove("replicas");
    site.service
        .insert("autoscale".to_owned(), "{min: 2, max: 9}".to_owned());
    site.plan()
        .code(2)
        .says(&format!("Deployment/{name} spec.replicas"))
        .says(&format!("+ (left to HorizontalPodAutoscaler/{name})"));
    site.apply().code(0);
    assert_eq!(site.number(&name), 4);
    site.plan().code(0).says("No changes");
}
