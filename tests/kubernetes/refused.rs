//! What the server does not know is told at once, and where it is written.

use serde_json::Value;

use crate::site::Site;

const OWN: &str = "\
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: a}
---
apiVersion: policy/v1beta1
kind: PodDisruptionBudget
metadata: {name: b}
---
apiVersion: apps/v1
kind: Deploymnet
metadata: {name: c}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: d
  annotations:
    on: yes
    one: 1
";

/// The problems of a plan that is refused, in words that begin with file and line, with their help.
fn problems(site: &Site) -> Vec<String> {
    let said = site.run(&["plan", "--env", "staging", "--output", "json"]);
    let said = said.code(6);
    let text = [&said.stdout, &said.stderr]
        .into_iter()
        .find(|text| text.contains("problems"));
    let failure: Value = serde_json::from_str(text.expect("problems")).expect("a document");
    let all = failure["problems"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = all.map(|one| format!("{} | {}", text(&one["message"]), text(&one["help"])));
    all.collect()
}

#[test]
fn all_kinds_and_fields_that_the_server_does_not_know_are_told_where_they_are() {
    let Some(mut site) = Site::new() else { return };
    site.staging.push("manifests: own.yaml".to_owned());
    site.put("own.yaml", OWN);
    let found = problems(&site);
    let expected = [
        (
            1,
            "in extensions/v1beta1, which Kubernetes 1.22 has removed",
            "`networking.k8s.io/v1`",
        ),
        (
            5,
            "in policy/v1beta1, which Kubernetes 1.25 has removed",
            "`policy/v1`",
        ),
        (9, "no kind Deploymnet", "did you mean `Deployment`?"),
        (18, "`metadata.annotations.on` is true", "in quotes"),
        (19, "`metadata.annotations.one` is 1", "in quotes"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (words, (at, reason, help)) in found.iter().zip(expected) {
        assert!(words.starts_with(&format!("own.yaml:{at}:1: ")), "{words}");
        assert!(words.contains(reason) && words.contains(help), "{words}");
    }
}

#[test]
fn a_field_that_a_services_workload_does_not_have_is_told_with_what_was_meant() {
    let Some(mut site) = Site::new() else { return };
    let web = crate::objects::deployment("{{ image }}")
        .replace(
            "envFrom: [{configMapRef: {name: settings}}]",
            "imagePullPolice: Always",
        )
        .replace("spec:\n  selector", "spec:\n  replica: 2\n  selector");
    site.put("deploy/web.yaml", &web);
    site.service = [("manifests".to_owned(), "'deploy/*.yaml'".to_owned())].into();
    let found = problems(&site);
    let line = |text: &str| {
        let at = web.lines().position(|line| line.contains(text));
        at.expect("a line") + 1
    };
    let expected = [
        (line("replica: 2"), "did you mean `replicas`?"),
        (line("imagePullPolice"), "did you mean `imagePullPolicy`?"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (words, (at, help)) in found.iter().zip(expected) {
        let place = format!("deploy/web.yaml:{at}:1: ");
        assert!(words.starts_with(&place), "{words}");
        assert!(words.contains(help), "{words}");
    }
}

#[test]
fn a_secret_of_no_service_is_told_alike_by_every_command() {
    let Some(mut site) = Site::new() else { return };
    site.staging.push("manifests: own.yaml".to_owned());
    site.staging.push("secrets: {a: {env: A}}".to_owned());
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: \"{{ \
                  secret('a') }}\"}\n";
    site.put(
        "own.yaml",
        &format!("{}---\n{secret}", "# a comment\n".repeat(2)),
    );
    let commands = [
        &["validate"][..],
        &["plan", "--env", "staging"],
        &["apply", "--env", "staging", "--auto-approve"],
    ];
    for command in commands {
        site.run(command)
            .code(1)
            .says("Secret/s belongs to no service")
            .says("own.yaml:4");
    }
}

#[test]
fn an_object_in_another_namespace_is_shown_with_it() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let other = format!("{}-other", site.cluster.namespace);
    site.cluster.namespace(&other);
    site.staging.push("manifests: own.yaml".to_owned());
    let config = |namespace: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{namespace}}}\n")
    };
    let elsewhere = config(&format!(", namespace: {other}"));
    site.put("own.yaml", &format!("{}---\n{elsewhere}", config("")));

    let own = format!("ConfigMap/c in {}", site.cluster.namespace);
    let named = format!("ConfigMap/c in {other}");
    site.plan()
        .code(2)
        .says(&named)
        .says_not(&format!("{own} "));
    site.apply().code(0).says(&format!("{named} applied"));
}
