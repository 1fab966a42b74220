//! Manifests that are refused before anything is asked of a cluster, each with its place.

use super::desired;

fn refused(text: &str) -> String {
    let error = desired("manifests: own.yaml", &[("own.yaml", text)]).expect_err("refused");
    error.what
}

#[test]
fn an_item_of_a_list_is_told_by_its_number() {
    let list = |item: &str| {
        let ok = "{apiVersion: v1, kind: ConfigMap, metadata: {name: ok}}";
        format!("apiVersion: v1\nkind: List\nitems:\n- {ok}\n- {item}\n")
    };
    let generated = refused(&list(
        "{apiVersion: batch/v1, kind: Job, metadata: {generateName: migrate-}}",
    ));
    assert!(generated.contains("(document 1), item 2"), "{generated}");
    assert!(generated.contains("generateName: migrate-"), "{generated}");

    let empty = "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-, name: ''}\n";
    assert!(refused(empty).contains("generateName: a-"));
    let number = refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 12}\n");
    assert!(
        number.contains("its `metadata.name` is 12, and no text: put it in quotes"),
        "{number}"
    );
    let none = refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n");
    assert!(none.contains("it has no `metadata.name`"), "{none}");
}

#[test]
fn a_set_whose_pods_no_server_takes_is_refused() {
    let set = |length: usize| {
        let name = "s".repeat(length);
        format!(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: {name}}}\n\
             spec: {{serviceName: s}}\n"
        )
    };
    desired("manifests: own.yaml", &[("own.yaml", &set(52))]).expect("52 and its revision");
    assert!(refused(&set(53)).contains("has 53 characters, and a StatefulSet's has 52 at most"));

    let own = "services: {web: {manifests: own.yaml}}";
    let of_service = |length| {
        let error = desired(own, &[("own.yaml", &set(length))]).err();
        error.map_or_else(String::new, |error| error.what)
    };
    assert!(!of_service(46).contains("characters"), "{}", of_service(46));
    assert!(
        of_service(47).contains("has 46 at most"),
        "{}",
        of_service(47)
    );
}

#[test]
fn a_hidden_file_is_none_of_a_globs() {
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    let (shown, hidden) = (map("shown"), map("hidden"));
    let files = [
        ("own/a.yaml", shown.as_str()),
        ("own/.a.yaml", hidden.as_str()),
        ("own/.old/a.yaml", hidden.as_str()),
    ];
    let names = |glob: &str| {
        let desired = desired(&format!("manifests: '{glob}'"), &files).expect("objects");
        let own = desired.objects.iter().map(|one| one.name().to_owned());
        own.collect::<Vec<_>>()
    };
    assert_eq!(names("own/*.yaml"), ["shown"]);
    assert_eq!(names("**/a.yaml"), ["shown"]);
    assert_eq!(names("own/.a.yaml"), ["hidden"]);
}

#[test]
fn what_stands_for_a_secret_may_be_in_base64_as_generators_write_it() {
    let own = "services: {web: {manifests: own.yaml}}";
    let secret = |data: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{p: {data}}}\n")
    };
    // `secret://key` and `plain`.
    let text = secret("c2VjcmV0Oi8va2V5");
    let resolved = desired(own, &[("own.yaml", &text)]).expect("a reference");
    let web = resolved.services.values().next().expect("one");
    assert!(web.workload.secrets().contains_key("key"));
    let plain = desired(own, &[("own.yaml", &secret("cGxhaW4="))]).expect_err("a value");
    assert!(plain.what.contains("holds the value of `p`"), "{plain}");
}
