//! Files of a service, and a restart, on a cluster.

use http::Method;
use serde_json::{Value, json};

use crate::site::{Site, until};

/// The container of the service in a slot, and its pod.
fn pod_of(site: &Site, slot: &str) -> (Value, Value) {
    let path = site.cluster.deployment(&format!("web-{slot}"));
    let pod = site.cluster.get(&path)["spec"]["template"]["spec"].clone();
    (pod["containers"][0].clone(), pod)
}

/// What a file of the pods has in it.
fn text(site: &Site, slot: &str, path: &str) -> String {
    let (container, pod) = pod_of(site, slot);
    let named = |list: &Value, key: &str, name: &str| {
        let mut items = list.as_array().into_iter().flatten();
        items
            .find(|item| item[key] == name)
            .cloned()
            .unwrap_or_default()
    };
    let mount = named(&container["volumeMounts"], "mountPath", path);
    assert_eq!(mount["readOnly"], true, "{mount}");
    let volume = named(
        &pod["volumes"],
        "name",
        mount["name"].as_str().expect("a volume"),
    );
    let map = volume["configMap"]["name"].as_str().expect("a ConfigMap");
    let maps = site.cluster.of("v1", "configmaps");
    let data = site.cluster.get(&format!("{maps}/{map}"))["data"].clone();
    let key = mount["subPath"].as_str().expect("a key");
    data[key].as_str().unwrap_or_default().to_owned()
}

/// What a variable of the pods is; an empty one has no value there.
fn variable(site: &Site, slot: &str, name: &str) -> String {
    let (container, _) = pod_of(site, slot);
    let variables = container["env"].as_array().cloned().unwrap_or_default();
    let mut found = variables.into_iter().filter(|one| one["name"] == name);
    let found = found.next().expect("it is there");
    found["value"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn files_and_their_variables_come_to_the_pods_and_stay_with_their_release() {
    let Some(mut site) = Site::new() else { return };
    site.put("web.env", "LEVEL=info\nURL=http://${LEVEL}\n");
    site.put("app.toml", "one = 1\ntwo = 2\n");
    site.put("token", "s3cret-of-files");
    let mut service = |key: &str, value: &str| {
        site.service.insert(key.to_owned(), value.to_owned());
    };
    service("env_file", "web.env");
    service(
        "files",
        "{/etc/app/app.toml: {file: app.toml, variable: APP}, /run/secrets/token: {secret: token}}",
    );
    site.staging
        .push("secrets: {token: {file: token}}".to_owned());
    site.apply().code(0);
    assert_eq!(variable(&site, "blue", "URL"), "http://info");
    assert_eq!(variable(&site, "blue", "APP"), "/etc/app/app.toml");
    assert_eq!(variable(&site, "blue", "SHIPIT_FILES"), "");
    assert_eq!(
        text(&site, "blue", "/etc/app/app.toml"),
        "one = 1\ntwo = 2\n"
    );
    let (_, pod) = pod_of(&site, "blue");
    assert!(
        pod.to_string()
            .contains("\"secretName\":\"web-secrets-blue"),
        "{pod}"
    );
    site.plan().code(0).says("No changes");

    site.put("app.toml", "one = 1\ntwo = 3\n");
    site.put("web.env", "LEVEL=debug\nURL=http://${LEVEL}\n");
    site.plan()
        .code(2)
        .says("app.toml] line 2")
        .says("+ two = 3")
        .says("env.LEVEL")
        .says_not("s3cret");
    site.apply().code(0);
    assert_eq!(
        text(&site, "green", "/etc/app/app.toml"),
        "one = 1\ntwo = 3\n"
    );
    assert_eq!(variable(&site, "green", "LEVEL"), "debug");
    assert_eq!(
        text(&site, "blue", "/etc/app/app.toml"),
        "one = 1\ntwo = 2\n"
    );

    site.run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(site.active(), "blue");
    assert_eq!(
        text(&site, "blue", "/etc/app/app.toml"),
        "one = 1\ntwo = 2\n"
    );
}

#[test]
fn a_restart_replaces_the_pods_and_is_neither_drift_nor_undone() {
    const RESTART: [&str; 4] = ["restart", "--env", "staging", "--auto-approve"];
    let Some(site) = Site::live() else { return };
    let path = site.cluster.deployment("web-blue");
    let marked = || {
        let annotations =
            site.cluster.get(&path)["spec"]["template"]["metadata"]["annotations"].clone();
        annotations["kubectl.kubernetes.io/restartedAt"].clone()
    };
    let pods = || {
        let list = site.cluster.get(&site.cluster.of("v1", "pods"));
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let uids = pods
            .into_iter()
            .map(|pod| pod["metadata"]["uid"].to_string());
        uids.collect::<Vec<String>>()
    };
    let before = pods();
    site.run(&RESTART).code(0).says("Restarted in blue: web.");
    let first = marked();
    assert!(first.is_string(), "{first}");
    until("the old pods have gone", || {
        before.iter().all(|uid| !pods().contains(uid))
    });
    site.plan().code(0).says("No changes");

    // In the very object that has the mark, an apply leaves it.
    site.cluster
        .patch(&path, "kubectl", &json!({"spec": {"minReadySeconds": 1}}));
    site.apply().code(0);
    assert_eq!(marked(), first);
    site.run(&RESTART).code(0);
    assert_ne!(marked(), first);
    site.run(&["history", "--env", "staging"])
        .code(0)
        .says("restart  blue  web");

    let of = |slot: &str| site.run(&[&RESTART[..], &["--slot", slot]].concat());
    of("green").code(64).says("green is empty");
}

#[test]
fn equal_amounts_in_other_words_are_no_change() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.service.insert(
        "resources".to_owned(),
        "{cpu: 1000m, memory: 1024Mi, cpu_limit: \"1.0\", memory_limit: 1.5Gi}".to_owned(),
    );
    site.put(
        "own.yaml",
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q, annotations: null}\n\
         spec: {hard: {requests.cpu: \"8000m\", requests.memory: 16384Mi, pods: \"100\"}}\n---\n\
         apiVersion: v1\nkind: LimitRange\nmetadata: {name: l}\n\
         spec: {limits: [{type: Container, default: {cpu: 0.5, memory: 0.5Gi}, \
         defaultRequest: {cpu: 100m, memory: \"67108864\"}}]}\n",
    );
    site.staging.push("manifests: own.yaml".to_owned());
    site.apply().code(0);
    site.plan().code(0).says("No changes");

    // Written again by somebody, as the same amount.
    let path = site.cluster.deployment("web-blue");
    let containers =
        json!([{"name": "web", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]);
    let body = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let kind = "application/strategic-merge-patch+json";
    let target = format!("{path}?fieldManager=kim");
    site.cluster.ask(Method::PATCH, &target, kind, &body);
    site.plan().code(0).says("No changes");
}

#[test]
fn an_autoscalers_number_stays_with_each_slot_through_a_release_and_its_rollback() {
    let Some(mut site) = Site::new() else { return };
    site.service.insert(
        "autoscale".to_owned(),
        "{min: 2, max: 10, cpu: 50}".to_owned(),
    );
    site.apply().code(0);
    let path = |slot: &str| site.cluster.deployment(&format!("web-{slot}"));
    let number = |slot: &str| site.cluster.get(&path(slot))["spec"]["replicas"].clone();
    let body = json!({"spec": {"replicas": 7}});
    site.cluster
        .patch(&format!("{}/scale", path("blue")), "the-autoscaler", &body);
    site.plan().code(0).says("No changes");

    site.message("v2");
    let mut apply = site.start_apply();
    let (mut live, mut new) = (Vec::new(), Vec::new());
    while apply.try_wait().expect("a child").is_none() {
        live.push(number("blue"));
        new.push(number("green"));
    }
    assert!(apply.wait().expect("it ended").success());
    // Live keeps its number, and the new slot goes from the server's default to it.
    live.retain(|number| *number != 7);
    new.retain(|number| !number.is_null() && *number != 1 && *number != 7);
    assert_eq!((live, new), (Vec::new(), Vec::new()));
    assert_eq!((number("blue"), number("green")), (json!(7), json!(7)));
    site.plan().code(0).says("No changes");

    site.run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(site.active(), "blue");
    assert_eq!(number("blue"), 7);
}

#[test]
fn a_job_whose_template_changes_is_replaced_and_the_plan_says_so() {
    let job = |commit: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: migrate}}\nspec:\n  template:\n    spec:\n      \
             restartPolicy: Never\n      securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: \
             {{type: RuntimeDefault}}}}\n      containers: [{{name: m, image: \"example.com/migrate:1\", command: [echo, \
             \"of {commit}\"], securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]\n"
        )
    };
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.put("own.yaml", &job("one"));
    site.staging.push("manifests: own.yaml".to_owned());
    // kwok's pods of a Job never end by themselves: the test ends them.
    let pods = format!(
        "{}?labelSelector=job-name=migrate",
        site.cluster.of("v1", "pods")
    );
    let end_pods = || {
        let list = site.cluster.get(&pods);
        for pod in list["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().expect("a name");
            let path = site.cluster.of("v1", &format!("pods/{name}/status"));
            let status = json!({"status": {"phase": "Succeeded"}});
            let kind = "application/merge-patch+json";
            // One that has gone since has ended.
            site.cluster.ask(Method::PATCH, &path, kind, &status);
        }
    };
    let apply = || {
        let mut apply = site.start_apply();
        until("the Job is done", || {
            end_pods();
            apply.try_wait().expect("a child").is_some()
        });
        assert!(apply.wait().expect("it ended").success());
    };
    apply();
    site.plan().code(0).says("No changes");

    site.put("own.yaml", &job("two"));
    site.plan()
        .code(2)
        .says("± Job/migrate")
        .says("- of one")
        .says("+ of two");
    apply();
    let there = site
        .cluster
        .get(&site.cluster.of("batch/v1", "jobs/migrate"));
    let command = &there["spec"]["template"]["spec"]["containers"][0]["command"];
    assert_eq!(command[1], "of two");
    site.plan().code(0).says("No changes");
}
