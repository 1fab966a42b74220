//! Nothing is destroyed by surprise: namespaces, claims with their volumes, definitions with
//! others' objects.

use serde_json::{Value, json};

use crate::site::{Site, until};

/// A site whose account may do everything: what belongs to the whole cluster needs more than the
/// documented Role.
fn site() -> Option<Site> {
    let mut site = Site::new()?;
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.staging.push("manifests: own.yaml".to_owned());
    Some(site)
}

/// A set of two with a claim for each pod, whose claims go with it.
pub fn database(storage: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  replicas: 2
  serviceName: db
  persistentVolumeClaimRetentionPolicy: {{whenDeleted: Delete, whenScaled: Delete}}
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
        - name: db
          image: example.com/db:1
          securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
          volumeMounts: [{{name: data, mountPath: /data}}]
  volumeClaimTemplates:
    - metadata: {{name: data}}
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: \"\"
        resources: {{requests: {{storage: {storage}}}}}
"
    )
}

fn config(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n")
}

/// A volume for a claim, which kwok's nodes do not make.
fn volume(site: &Site, claim: &str) {
    let namespace = &site.cluster.namespace;
    let body = json!({"apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"generateName": format!("{namespace}-")},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "",
            "hostPath": {"path": "/nowhere"}, "claimRef": {"namespace": namespace, "name": claim}}});
    site.cluster.post("/api/v1/persistentvolumes", &body);
}

/// Those of a set's first claims.
fn volumes(site: &Site, count: usize) {
    for number in 0..count {
        volume(site, &format!("data-db-{number}"));
    }
}

impl Site {
    fn object(&self, group: &str, path: &str) -> Value {
        self.cluster.get(&self.cluster.of(group, path))
    }

    fn uid(&self, group: &str, path: &str) -> String {
        let uid = &self.object(group, path)["metadata"]["uid"];
        uid.as_str().expect("it is there").to_owned()
    }

    fn lose(&self, arguments: &[&str]) -> crate::said::Said {
        let all = [&["apply", "--env", "staging", "--auto-approve"], arguments].concat();
        self.run(&all)
    }

    fn destroy(&self, arguments: &[&str]) -> crate::said::Said {
        let all = [
            &["destroy", "--env", "staging", "--auto-approve"],
            arguments,
        ]
        .concat();
        self.run(&all)
    }
}

#[test]
fn a_namespace_that_is_not_managed_any_more_stays_with_all_that_is_in_it() {
    let Some(mut site) = site() else { return };
    let home = format!("{}-home", site.cluster.namespace);
    site.staging.pop();
    site.staging.push(format!("cluster: {{namespace: {home}}}"));
    site.options
        .insert("create_namespaces".to_owned(), "true".to_owned());
    site.apply().code(0);
    let path = format!("/api/v1/namespaces/{home}");
    assert_eq!(
        site.cluster.get(&path)["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "shipit"
    );

    site.options.remove("create_namespaces");
    site.plan()
        .code(2)
        .says(&format!("· Namespace/{home}"))
        .says("stays with all that is in it")
        .says_not(&format!("- Namespace/{home}"));
    site.apply().code(0);
    let there = site.cluster.get(&path);
    assert_eq!(there["status"]["phase"], "Active");
    let labels = there["metadata"]["labels"].as_object().expect("labels");
    assert!(
        !labels.contains_key("applyset.kubernetes.io/part-of"),
        "{labels:?}"
    );
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(site.live_release(), 1, "the live release is as it was");
    site.plan().code(0).says("No changes");

    site.destroy(&[]).code(0);
    assert_eq!(site.cluster.get(&path)["status"]["phase"], "Active");
    site.cluster.delete(&path);
}

#[test]
fn destroy_deletes_the_namespace_it_made_unless_somebody_elses_things_are_in_it() {
    let Some(mut site) = site() else { return };
    let home = format!("{}-own", site.cluster.namespace);
    site.staging.pop();
    site.staging.push(format!("cluster: {{namespace: {home}}}"));
    site.options
        .insert("create_namespaces".to_owned(), "true".to_owned());
    site.apply().code(0);
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}});
    let maps = format!("/api/v1/namespaces/{home}/configmaps");
    site.cluster.post(&maps, &theirs);
    site.destroy(&[])
        .code(0)
        .says(&format!("· Namespace/{home}"))
        .says("ConfigMap/theirs");
    assert!(site.cluster.get(&format!("{maps}/theirs")).is_object());
    site.cluster.delete(&format!("{maps}/theirs"));
    let path = format!("/api/v1/namespaces/{home}");
    site.cluster.delete(&path);
    until("the namespace is gone", || {
        site.cluster.get(&path).is_null()
    });

    // Made again, and with nothing else in it.
    site.apply().code(0);
    site.destroy(&[])
        .code(0)
        .says(&format!("- Namespace/{home}"));
    assert_eq!(site.cluster.get(&path), Value::Null);
}

#[test]
fn another_way_for_live_traffic_wants_a_consent_for_the_one_it_closes() {
    let Some(mut site) = site() else { return };
    site.staging.pop();
    site.apply().code(0);
    let before = site.uid("v1", "services/web");

    site.traffic = "{kind: ingress, entries: {web: {host: shop.example.com}}}".to_owned();
    site.plan()
        .code(2)
        .says("live traffic arrives at Service/web in")
        .says("--allow-data-loss route.web");
    site.apply().code(6).says("route.web");
    assert_eq!(site.uid("v1", "services/web"), before);

    let consent = ["--allow-data-loss", "route.web"];
    let apply = ["apply", "--env", "staging", "--auto-approve"];
    site.run(&[&apply[..], &consent[..]].concat()).code(0);
    site.plan().code(0).says("No changes");

    // Another host is as well another place.
    site.traffic = "{kind: ingress, entries: {web: {host: store.example.com}}}".to_owned();
    site.apply().code(6).says("shop.example.com");
}

#[test]
fn a_set_is_replaced_under_its_pods_and_keeps_its_claims_and_volumes() {
    let Some(site) = site() else { return };
    volumes(&site, 2);
    site.put("own.yaml", &database("1Gi"));
    site.apply().code(0);
    let claims =
        || [0, 1].map(|number| site.uid("v1", &format!("persistentvolumeclaims/data-db-{number}")));
    let pods = || [0, 1].map(|number| site.uid("v1", &format!("pods/db-{number}")));
    let before = (claims(), pods(), site.uid("apps/v1", "statefulsets/db"));

    site.put("own.yaml", &database("2Gi"));
    site.plan()
        .code(2)
        .says("± StatefulSet/db")
        .says("its pods and its claims stay")
        .says(
            "asks for 2Gi, and that is for new claims only: data-db-0, data-db-1 stay as they are",
        )
        .says_not("destroys");
    site.apply().code(0);
    let after = (claims(), pods(), site.uid("apps/v1", "statefulsets/db"));
    assert_eq!((&before.0, &before.1), (&after.0, &after.1));
    assert_ne!(before.2, after.2, "the set is a new one");
    site.plan().code(0).says("No changes");
}

#[test]
fn what_holds_data_goes_only_when_it_is_named() {
    let Some(mut site) = site() else { return };
    volumes(&site, 2);
    site.put(
        "own.yaml",
        &format!("{}---\n{}", database("1Gi"), config("a")),
    );
    site.apply().code(0);
    let claim = site.uid("v1", "persistentvolumeclaims/data-db-1");
    let name = "StatefulSet/db";

    // Fewer pods, and the claims of those that go with them.
    let fewer = database("1Gi").replace("replicas: 2", "replicas: 1");
    site.put("own.yaml", &format!("{fewer}---\n{}", config("a")));
    site.plan()
        .code(2)
        .says("destroys")
        .says("claim data-db-1 in")
        .says_not("claim data-db-0 in");
    site.apply()
        .code(6)
        .says("--allow-data-loss StatefulSet/db");

    // One pod by default, once the number is ours no more.
    let without = database("1Gi").replace("  replicas: 2\n", "");
    site.put("own.yaml", &format!("{without}---\n{}", config("a")));
    site.plan().code(2).says("claim data-db-1 in");
    site.apply()
        .code(6)
        .says("--allow-data-loss StatefulSet/db");

    // A new set in the place of this one takes its pods, and deletes those beyond its number.
    let replaced = fewer.replace("serviceName: db", "serviceName: other");
    site.put("own.yaml", &format!("{replaced}---\n{}", config("a")));
    site.plan()
        .code(2)
        .says("± StatefulSet/db")
        .says("claim data-db-1 in");
    site.apply()
        .code(6)
        .says("--allow-data-loss StatefulSet/db");

    // The set leaves: both claims go with it.
    site.put("own.yaml", &config("a"));
    site.plan()
        .code(2)
        .says("- StatefulSet/db")
        .says("claim data-db-0 in")
        .says("1Gi, reclaim policy Retain")
        .says("only with --allow-data-loss StatefulSet/db");
    let said = site.apply().code(6);
    assert!(
        said.stderr.contains("--allow-data-loss StatefulSet/db"),
        "{}",
        said.stderr
    );
    for wrong in ["all", "db", "StatefulSet/other"] {
        site.lose(&["--allow-data-loss", wrong]).code(6);
    }
    assert_eq!(site.uid("v1", "persistentvolumeclaims/data-db-1"), claim);

    site.staging.push("protected: true".to_owned());
    site.lose(&["--allow-data-loss", name])
        .code(6)
        .says("staging is protected");
    site.destroy(&["--allow-data-loss", name])
        .code(6)
        .says("staging is protected, and is not deleted");
    site.staging.pop();

    site.lose(&["--allow-data-loss", name]).code(0);
    until("the claims are gone", || {
        site.object("v1", "persistentvolumeclaims/data-db-1")
            .is_null()
    });
}

#[test]
fn the_numbers_of_a_set_say_which_claims_go_and_a_rollback_takes_none() {
    let Some(site) = site() else { return };
    volumes(&site, 3);
    let set = |replicas: u8, start: &str| {
        let replicas = format!("replicas: {replicas}\n{start}");
        format!(
            "{}---\n{}",
            database("1Gi").replace("replicas: 2\n", &replicas),
            config("a")
        )
    };
    site.put("own.yaml", &set(1, "  ordinals: {start: 1}\n"));
    site.apply().code(0);

    // From 1 to 0: the pod with the number 1 goes, and its claim with it.
    site.put("own.yaml", &set(1, ""));
    site.plan().code(2).says("claim data-db-1 in");
    site.apply()
        .code(6)
        .says("--allow-data-loss StatefulSet/db");
    assert!(
        site.object("v1", "persistentvolumeclaims/data-db-1")
            .is_object()
    );

    site.put("own.yaml", &set(2, "  ordinals: {start: 1}\n"));
    site.plan()
        .code(2)
        .says("keeps its new number of pods in a rollback");
    site.apply().code(0);
}

#[test]
fn an_environment_whose_joined_name_is_anothers_is_not_taken_for_it() {
    let Some(mut site) = site() else { return };
    site.put("own.yaml", &config("a"));
    site.apply().code(0);
    let record = site.object("v1", "configmaps/shipit-shop-staging");
    let path = site.cluster.of("v1", "configmaps/shipit-shop-staging");
    site.cluster.patch(
        &path,
        "somebody",
        &json!({"metadata": {"labels": {"shipit.dev/project": "shop-staging", "shipit.dev/environment": "eu"}}}),
    );
    site.put("own.yaml", &config("b"));
    for command in ["plan", "apply", "destroy", "status"] {
        let mut arguments = vec![command, "--env", "staging"];
        if matches!(command, "apply" | "destroy") {
            arguments.push("--auto-approve");
        }
        let said = site.run(&arguments);
        assert_ne!(said.code, Some(0), "{command}: {}", said.stdout);
        assert!(
            said.stderr.contains("shop-staging/eu") || said.stdout.contains("shop-staging/eu"),
            "{command}: {} {}",
            said.stdout,
            said.stderr
        );
    }
    let after = site.object("v1", "configmaps/shipit-shop-staging");
    assert_eq!(after["data"], record["data"]);
    assert!(site.object("v1", "configmaps/a").is_object());
    site.cluster.patch(
        &path,
        "somebody",
        &json!({"metadata": {"labels": record["metadata"]["labels"]}}),
    );
    site.staging.retain(|line| !line.starts_with("manifests"));
}

#[test]
fn where_traffic_arrives_and_what_others_wrote_goes_only_when_it_is_named() {
    let Some(site) = site() else { return };
    let own = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: edge}}\nspec: {{type: NodePort, selector: {{app: edge}}, ports: [{{port: 80}}]}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: made}}\n---\n{}",
        config("a")
    );
    site.put("own.yaml", &own);
    site.apply().code(0);
    let patch = |path: &str, body: &Value| {
        let path = site.cluster.of("v1", path);
        let (is_well, said) = site.cluster.ask(
            http::Method::PATCH,
            &format!("{path}?fieldManager=authority"),
            "application/merge-patch+json",
            body,
        );
        assert!(is_well, "{said}");
    };
    patch("secrets/made", &json!({"data": {"tls.key": "YQ=="}}));
    site.plan().code(0).says("No changes");

    // As well when it stays, and has no port of the nodes any more.
    site.put("own.yaml", &own.replace("type: NodePort, ", ""));
    site.plan()
        .code(2)
        .says("live traffic arrives at Service/edge in");
    site.apply().code(6).says("--allow-data-loss Service/edge");

    site.put("own.yaml", &config("a"));
    site.plan()
        .code(2)
        .says("live traffic arrives at Service/edge in")
        .says("(node port")
        .says("what others wrote into Secret/made in");
    site.apply().code(6).says("--allow-data-loss");
    site.lose(&["--allow-data-loss", "Service/edge"]).code(6);
    assert!(!site.object("v1", "services/edge").is_null());

    // Whoever ends an environment ends where its traffic arrives, and names what others wrote.
    site.put("own.yaml", &own);
    site.destroy(&[]).code(6).says("Secret/made");
    site.destroy(&["--allow-data-loss", "Secret/made"]).code(0);
    assert!(site.object("v1", "services/edge").is_null());
}

#[test]
fn what_grew_since_the_plan_makes_it_stale() {
    let Some(site) = site() else { return };
    volumes(&site, 3);
    site.put(
        "own.yaml",
        &format!("{}---\n{}", database("1Gi"), config("a")),
    );
    site.apply().code(0);
    site.put("own.yaml", &config("a"));
    site.run(&["plan", "--env", "staging", "--out", "p.json"])
        .code(0);
    site.cluster.patch(
        &site.cluster.of("apps/v1", "statefulsets/db"),
        "somebody",
        &json!({"spec": {"replicas": 3}}),
    );
    until("a claim more", || {
        site.object("v1", "persistentvolumeclaims/data-db-2")
            .is_object()
    });
    site.run(&[
        "apply",
        "p.json",
        "--auto-approve",
        "--allow-data-loss",
        "StatefulSet/db",
    ])
    .code(5);
    assert!(site.object("apps/v1", "statefulsets/db").is_object());
}

#[test]
fn an_object_that_is_protected_is_neither_deleted_nor_replaced() {
    let Some(site) = site() else { return };
    let kept = config("keep").replace(
        "{name: keep}",
        "{name: keep, annotations: {shipit.dev/protected: 'true'}}",
    );
    site.put("own.yaml", &format!("{kept}---\n{}", config("a")));
    site.apply().code(0);
    site.put("own.yaml", &config("a"));
    site.lose(&["--allow-data-loss", "ConfigMap/keep"])
        .code(6)
        .says("ConfigMap/keep is protected");
    site.destroy(&[])
        .code(6)
        .says("ConfigMap/keep is protected");
    assert!(site.object("v1", "configmaps/keep").is_object());
    site.put(
        "own.yaml",
        &format!("{}---\n{}", config("keep"), config("a")),
    );
    site.apply().code(0);
    site.put("own.yaml", &config("a"));
    site.apply().code(0);
    assert_eq!(site.object("v1", "configmaps/keep"), Value::Null);
}

#[test]
fn a_protected_entry_point_is_refused_by_the_plan_of_whatever_would_delete_or_replace_it() {
    let Some(mut site) = site() else { return };
    site.staging.pop();
    site.traffic = "{kind: service, type: load_balancer}".to_owned();
    site.apply().code(0);
    let before = site.uid("v1", "services/web");
    let protect = |value: Value| {
        let body = json!({"metadata": {"annotations": {"shipit.dev/protected": value}}});
        let path = site.cluster.of("v1", "services/web");
        site.cluster.patch(&path, "somebody", &body);
    };
    protect(json!("true"));
    let consent = ["--allow-data-loss", "route.web"];

    // Another kind of traffic deletes it.
    let traffic = site.traffic.clone();
    site.traffic = "{kind: ingress, entries: {web: {host: shop.example.com}}}".to_owned();
    site.plan().code(6).says("Service/web is protected");
    site.lose(&consent).code(6).says("Service/web is protected");

    // Another class of load balancer is another Service of its name.
    site.traffic =
        "{kind: service, type: load_balancer, load_balancer_class: example.com/nlb}".to_owned();
    site.plan().code(6).says("Service/web is protected");

    // What asks for the end by name is refused before its first step.
    site.traffic = traffic;
    site.destroy(&[]).code(6).says("Service/web is protected");
    assert_eq!(site.uid("v1", "services/web"), before);
    assert_eq!(site.live_release(), 1, "nothing of it was carried out");

    protect(Value::Null);
    site.destroy(&[]).code(0);
    assert_eq!(site.object("v1", "services/web"), Value::Null);
}

#[test]
fn what_is_protected_in_a_slot_is_not_replaced_where_it_stands() {
    let Some(mut site) = site() else { return };
    site.staging.pop();
    site.staging.push("strategy: recreate".to_owned());
    site.service
        .insert("manifests".to_owned(), "web.yaml".to_owned());
    let manifests = |label: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web-{{{{ slot }}}}}}\nspec:\n  replicas: 1\n  \
             selector: {{matchLabels: {{app: {label}, slot: '{{{{ slot }}}}'}}}}\n  template:\n    \
             metadata: {{labels: {{app: {label}, slot: '{{{{ slot }}}}'}}}}\n    \
             spec: {{securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}, \
             containers: [{{name: web, image: '{{{{ image }}}}', \
             securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]}}\n"
        )
    };
    site.put("web.yaml", &manifests("one"));
    site.apply().code(0);
    let path = site.cluster.of("apps/v1", "deployments/web-blue");
    let body = json!({"metadata": {"annotations": {"shipit.dev/protected": "true"}}});
    site.cluster.patch(&path, "somebody", &body);

    site.put("web.yaml", &manifests("two"));
    site.plan().code(6).says("Deployment/web-blue is protected");
    site.apply()
        .code(6)
        .says("Deployment/web-blue is protected");
}

fn definition(group: &str, scope: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: deltas.{group}}}\n\
         spec:\n  group: {group}\n  scope: {scope}\n  names: {{plural: deltas, singular: delta, kind: Delta}}\n  \
         versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}]\n"
    )
}

#[test]
fn a_definition_with_objects_of_others_is_neither_deleted_nor_replaced() {
    let Some(site) = site() else { return };
    let group = format!("{}.example.com", site.cluster.namespace);
    let own = |scope: &str| format!("{}---\n{}", definition(&group, scope), config("a"));
    site.put("own.yaml", &own("Namespaced"));
    site.apply().code(0);
    let deltas = site.cluster.of(&format!("{group}/v1"), "deltas");
    let theirs = json!({"apiVersion": format!("{group}/v1"), "kind": "Delta",
        "metadata": {"name": "theirs", "labels": {"app.kubernetes.io/managed-by": "Helm"}}});
    site.cluster.post(&deltas, &theirs);

    site.put("own.yaml", &own("Cluster"));
    for said in [
        site.plan(),
        site.lose(&[
            "--allow-data-loss",
            &format!("CustomResourceDefinition/deltas.{group}"),
        ]),
    ] {
        said.code(6).says("Delta/theirs").says("of Helm");
    }

    site.put("own.yaml", &config("a"));
    site.plan()
        .code(2)
        .says(&format!("· CustomResourceDefinition/deltas.{group}"))
        .says("Delta/theirs");
    site.apply().code(0);
    assert!(site.cluster.get(&format!("{deltas}/theirs")).is_object());
    site.plan().code(0).says("No changes");
    site.cluster.delete(&format!(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/deltas.{group}"
    ));
}

#[test]
fn a_definition_is_replaced_with_its_own_objects_when_that_is_said() {
    let Some(site) = site() else { return };
    let group = format!("{}.example.com", site.cluster.namespace);
    let delta = format!("apiVersion: {group}/v1\nkind: Delta\nmetadata: {{name: one}}\n");
    let kept = "preserveUnknownFields: false\n";
    let own = |plural: &str| {
        let text = definition(&group, "Namespaced").replace("singular: delta", plural);
        format!("{text}---\n{delta}").replace(kept, "")
    };
    site.put("own.yaml", &own("singular: delta"));
    site.apply().code(0);
    let name = format!("CustomResourceDefinition/deltas.{group}");
    let path = site.cluster.of(&format!("{group}/v1"), "deltas/one");
    let before = site.cluster.get(&path)["metadata"]["uid"].clone();
    assert!(before.is_string());

    // The scope of its kind cannot be changed, and the object would be in no namespace then.
    let text = definition(&group, "Cluster");
    site.put("own.yaml", &format!("{text}---\n{delta}"));
    site.apply()
        .code(6)
        .says(&format!("--allow-data-loss {name}"));
    assert_eq!(site.cluster.get(&path)["metadata"]["uid"], before);
}

#[test]
fn what_cannot_be_changed_is_replaced_and_said_with_what_that_means() {
    let Some(site) = site() else { return };
    let name = site.cluster.namespace.clone();
    let class = |value: u32| {
        format!(
            "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {{name: {name}}}\nvalue: {value}\n"
        )
    };
    let pod = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: one}}\nspec:\n  \
             securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}\n  \
             containers: [{{name: one, image: example.com/one:1, env: [{{name: A, value: {value}}}], securityContext: \
             {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]\n"
        )
    };
    let volume = |path: &str| {
        format!(
            "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  capacity: {{storage: 1Gi}}\n  \
             accessModes: [ReadWriteOnce]\n  persistentVolumeReclaimPolicy: Retain\n  storageClassName: none\n  \
             hostPath: {{path: {path}}}\n"
        )
    };
    let own = |value, pod_value, path| {
        format!(
            "{}---\n{}---\n{}",
            class(value),
            pod(pod_value),
            volume(path)
        )
    };
    site.put("own.yaml", &own(10, "one", "/a"));
    site.apply().code(0);
    site.put("own.yaml", &own(20, "two", "/b"));
    site.plan()
        .code(2)
        .says(&format!("± PriorityClass/{name}"))
        .says("pods that run keep the priority that they have")
        .says("± Pod/one")
        .says("its process ends, and a new one starts")
        .says(&format!("± PersistentVolume/{name}"))
        .says(&format!("volume {name}, 1Gi, reclaim policy Retain"));
    let consent = format!("PersistentVolume/{name}");
    site.apply().code(6);
    site.lose(&["--allow-data-loss", &consent]).code(0);
    let class = site.cluster.get(&format!(
        "/apis/scheduling.k8s.io/v1/priorityclasses/{name}"
    ));
    assert_eq!(class["value"], 20);
    let there = site
        .cluster
        .get(&format!("/api/v1/persistentvolumes/{name}"));
    assert_eq!(there["spec"]["hostPath"]["path"], "/b");
    site.plan().code(0).says("No changes");
    site.destroy(&["--allow-data-loss", &consent]).code(0);
}

#[test]
fn a_slot_is_emptied_of_data_only_when_it_is_named_and_finds_what_is_left() {
    let Some(mut site) = site() else { return };
    site.staging.pop();
    let claim = "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: scratch}\nspec:\n  \
                 accessModes: [ReadWriteOnce]\n  storageClassName: ''\n  resources: {requests: {storage: 1Gi}}\n";
    let set = database("1Gi")
        .replace(
            "whenDeleted: Delete, whenScaled: Delete",
            "whenDeleted: Retain",
        )
        .replace("replicas: 2", "replicas: 1");
    let web = crate::objects::deployment("{{ image }}")
        .replace("envFrom: [{configMapRef: {name: settings}}]", "");
    site.put("deploy/web.yaml", &format!("{web}---\n{set}{claim}"));
    site.service = [("manifests".to_owned(), "'deploy/*.yaml'".to_owned())].into();
    let claims = [
        "data-db-blue-0",
        "data-db-green-0",
        "scratch-blue",
        "scratch-green",
    ];
    // One more, for the claim that is made again.
    for claim in claims.into_iter().chain(["scratch-blue"]) {
        volume(&site, claim);
    }
    site.apply().code(0);
    site.message("v2");
    site.apply().code(0);
    // The third release comes into blue, where the first one was.
    site.message("v3");
    site.plan()
        .code(2)
        .says("PersistentVolumeClaim/scratch-blue")
        .says("StatefulSet/db-blue starts with the data that is in its claims already: data-db-blue-0 (1Gi)");
    site.apply()
        .code(6)
        .says("--allow-data-loss PersistentVolumeClaim/scratch-blue");
    assert_eq!(site.live_release(), 2);
    let kept = site.uid("v1", "persistentvolumeclaims/data-db-blue-0");
    site.lose(&["--allow-data-loss", "PersistentVolumeClaim/scratch-blue"])
        .code(0);
    assert_eq!(
        site.uid("v1", "persistentvolumeclaims/data-db-blue-0"),
        kept
    );
}

#[test]
fn a_set_in_a_slot_that_would_lose_its_data_when_it_is_stopped_is_refused() {
    let Some(mut site) = site() else { return };
    site.staging.pop();
    let web = crate::objects::deployment("{{ image }}");
    site.put("deploy/web.yaml", &format!("{web}---\n{}", database("1Gi")));
    site.service = [("manifests".to_owned(), "'deploy/*.yaml'".to_owned())].into();
    site.plan().code(1).says("`whenScaled: Delete`");
}

/// Says of an object in the cluster, and nowhere else, that it must stay.
fn protect(site: &Site, group: &str, path: &str, value: &Value) {
    let annotations = json!({"shipit.dev/protected": value});
    site.cluster.patch(
        &site.cluster.of(group, path),
        "kim",
        &json!({"metadata": {"annotations": annotations}}),
    );
}

#[test]
fn what_is_protected_in_a_slot_is_neither_deleted_nor_replaced() {
    let Some(mut site) = site() else { return };
    site.staging.pop();
    site.staging.push("strategy: recreate".to_owned());
    let web = crate::objects::deployment("{{ image }}")
        .replace("envFrom: [{configMapRef: {name: settings}}]", "");
    site.put("deploy/web.yaml", &web);
    site.service = [("manifests".to_owned(), "'deploy/*.yaml'".to_owned())].into();
    site.apply().code(0);
    let name = format!("deployments/web-{}", site.active());
    protect(&site, "apps/v1", &name, &json!("true"));
    let before = site.uid("apps/v1", &name);

    // The plan cannot know that it will have to be replaced.
    site.put("deploy/web.yaml", &web.replace("app: web", "app: other"));
    let said = site.apply();
    assert_ne!(said.code, Some(0));
    said.says("is protected (`shipit.dev/protected`)");
    assert_eq!(site.uid("apps/v1", &name), before);

    site.put("deploy/web.yaml", &web);
    site.destroy(&[]).code(6).says("is protected");
    assert_eq!(site.uid("apps/v1", &name), before);

    protect(&site, "apps/v1", &name, &Value::Null);
    site.destroy(&[]).code(0);
    assert_eq!(site.object("apps/v1", &name), Value::Null);
}

#[test]
fn a_claim_whose_owner_may_not_be_looked_at_is_told_as_unseen() {
    let Some(mut site) = Site::new() else { return };
    site.staging.push("manifests: own.yaml".to_owned());
    let path = site
        .cluster
        .of("rbac.authorization.k8s.io/v1", "roles/shipit");
    let mut rules = site.cluster.get(&path)["rules"].clone();
    let more = json!({"apiGroups": ["", "apps"], "verbs": ["*"],
        "resources": ["statefulsets", "persistentvolumeclaims"]});
    rules.as_array_mut().expect("rules").push(more);
    site.cluster.patch(&path, "kim", &json!({"rules": rules}));

    volumes(&site, 2);
    site.put(
        "own.yaml",
        &format!("{}---\n{}", database("1Gi"), config("a")),
    );
    site.apply().code(0);

    // Of a kind that the documented Role does not have.
    let policies = site.cluster.of("networking.k8s.io/v1", "networkpolicies");
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "theirs"}, "spec": {"podSelector": {"matchLabels": {"a": "b"}}}});
    let uid = site.cluster.post(&policies, &policy)["metadata"]["uid"].clone();
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "theirs", "ownerReferences": [{"apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy", "name": "theirs", "uid": uid}]},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}}}});
    let claims = site.cluster.of("v1", "persistentvolumeclaims");
    site.cluster.post(&claims, &claim);

    site.put("own.yaml", &config("a"));
    site.plan()
        .code(6)
        .says("StatefulSet/db is not deleted and not replaced")
        .says("the owner of claim theirs could not be looked at");
}
