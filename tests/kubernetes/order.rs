//! What needs to be there before what, and what the server says beforehand.

use std::fmt::Write as _;

use serde_json::json;

use crate::site::{Site, until};

#[test]
fn an_account_is_there_before_its_token() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let mut own = String::new();
    // By name the tokens would come first.
    for number in 0..8 {
        let _ = write!(
            own,
            "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: a{number}\n  annotations: \
             {{kubernetes.io/service-account.name: z{number}}}\ntype: kubernetes.io/service-account-token\n\
             ---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: z{number}}}\n"
        );
    }
    site.put("own.yaml", &own);
    site.staging.push("manifests: own.yaml".to_owned());
    site.apply().code(0);
    for number in 0..8 {
        let path = format!("{}/a{number}", site.cluster.of("v1", "secrets"));
        until("the token is there", || {
            site.cluster.get(&path)["data"]["token"].is_string()
        });
    }
    site.plan().code(0).says("No changes");
}

#[test]
fn the_plan_says_what_the_server_warns_of() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let namespace = format!("/api/v1/namespaces/{}", site.cluster.namespace);
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    site.cluster
        .patch(&namespace, "kim", &json!({"metadata": {"labels": labels}}));
    let pods = |name: &str, image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: \
             {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec: {{containers: \
             [{{name: {name}, image: '{image}'}}]}}\n"
        )
    };
    site.put("own.yaml", &pods("own", "example.com/own:1"));
    site.staging.push("manifests: own.yaml".to_owned());
    site.plan()
        .code(2)
        .says("Deployment/own: the server warns: would violate PodSecurity \"restricted");

    // What a slot would get is refused: its pods would never be.
    site.put("deploy/web.yaml", &pods("web", "{{ image }}"));
    site.service = [("manifests".to_owned(), "'deploy/*.yaml'".to_owned())].into();
    site.plan()
        .code(6)
        .says("its pods would be refused: violates PodSecurity \"restricted:");
}
