//! What a plan shows of a release: every field that it changes, in whatever form the plan is read.

use serde_json::Value;

use crate::site::Site;

/// The fields that the plan names for the one service.
fn fields(site: &Site) -> Vec<String> {
    let said = site.run(&["plan", "--env", "staging", "--output", "json"]);
    let plan: Value = serde_json::from_str(&said.code(0).stdout).expect("a plan");
    let steps = plan["steps"].as_array().into_iter().flatten();
    let placed = steps.filter(|step| step["action"]["do"] == "deploy");
    let changes = placed.flat_map(|step| step["changes"].as_array().cloned().unwrap_or_default());
    changes
        .map(|change| change["field"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn what_the_service_asks_for_is_named_field_by_field() {
    let Some(mut site) = Site::new() else { return };
    site.put("conf/app.conf", "size 1\nage 2\n");
    let config = "{files: [conf/*], mount: /etc/app}".to_owned();
    site.service.insert("config".to_owned(), config);
    site.apply().code(0);

    let pod = "Deployment/web-green spec.template.spec";
    site.service
        .insert("resources".to_owned(), "{cpu: 250m}".to_owned());
    site.plan()
        .code(2)
        .says(&format!("{pod}.containers[web].resources.requests.cpu"))
        .says("+ 250m");
    let markdown = site.run(&["plan", "--env", "staging", "--output", "markdown"]);
    markdown.code(0).says("resources.requests.cpu");

    site.service.remove("resources");
    site.service.insert("user".to_owned(), "4711".to_owned());
    let users = ["fsGroup", "runAsGroup", "runAsUser"];
    let users = users.map(|field| format!("{pod}.securityContext.{field}"));
    assert_eq!(fields(&site), users);

    site.service.remove("user");
    site.put("conf/app.conf", "size 1\nage 3\n");
    let line = "ConfigMap/web-config-green data[app.conf] line 2";
    assert_eq!(fields(&site), [line]);
    site.plan().code(2).says("- age 2").says("+ age 3");

    site.put("conf/app.conf", "size 1\nage 2\n");
    site.plan().code(0).says("No changes");
}

#[test]
fn a_field_of_own_manifests_is_named() {
    let Some(mut site) = Site::new() else { return };
    let deployment = |grace: u16| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 1\n  \
             selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
             terminationGracePeriodSeconds: {grace}\n      \
             securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}\n      \
             containers: [{{name: web, image: \"{{{{ image }}}}\", ports: [{{containerPort: 8080}}], \
             securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]\n"
        )
    };
    site.put("deploy/web.yaml", &deployment(7));
    site.service
        .insert("manifests".to_owned(), "deploy/*.yaml".to_owned());
    site.apply().code(0);

    site.put("deploy/web.yaml", &deployment(8));
    let field = "Deployment/web-green spec.template.spec.terminationGracePeriodSeconds";
    assert_eq!(fields(&site), [field]);
}
