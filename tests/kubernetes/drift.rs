//! What others change is seen, named, and put right or left, as the configuration says.

use serde_json::json;

use crate::site::Site;

#[test]
fn another_manager_s_change_is_named_and_not_taken_over_by_the_way() {
    let Some(mut site) = Site::live() else { return };
    let path = site.cluster.deployment("web-blue");
    site.cluster.patch(
        &path,
        "kim",
        &json!({"spec": {"minReadySeconds": 3, "revisionHistoryLimit": 7}}),
    );
    site.plan()
        .code(6)
        .says("Deployment/web-blue .spec.revisionHistoryLimit: kim")
        .says("take_over");
    site.apply().code(6).says("kim");
    let conflicts =
        |site: &mut Site, how: &str| site.options.insert("conflicts".to_owned(), how.to_owned());
    conflicts(&mut site, "leave");
    site.plan().code(0).says("No changes");
    conflicts(&mut site, "take_over");
    site.plan()
        .code(2)
        .says("changed by kim at ")
        .says("- 7")
        .says("+ 2");
    site.apply().code(0);
    let there = site.cluster.get(&path);
    assert_eq!(there["spec"]["revisionHistoryLimit"], 2);
    assert_eq!(
        there["spec"]["minReadySeconds"], 3,
        "what shipit does not own stays with who does"
    );
    site.plan().code(0).says("No changes");
}

#[test]
fn what_was_deleted_is_made_again() {
    let Some(mut site) = Site::new() else { return };
    site.service.insert("replicas".to_owned(), "2".to_owned());
    site.apply().code(0);
    let budget = format!(
        "{}/web-blue",
        site.cluster.of("policy/v1", "poddisruptionbudgets")
    );
    site.cluster.delete(&budget);
    site.cluster.delete(&site.cluster.service("web-green"));
    site.plan()
        .code(2)
        .says("PodDisruptionBudget/web-blue")
        .says("Service/web-green");
    site.apply().code(0);
    assert!(site.cluster.get(&budget).is_object());
    site.plan().code(0).says("No changes");
}

#[test]
fn an_autoscaler_s_number_is_its_own_and_comes_along() {
    let Some(mut site) = Site::new() else { return };
    site.service
        .insert("autoscale".to_owned(), "{min: 2, max: 9}".to_owned());
    site.apply().code(0);
    let scale = |slot: &str| format!("{}/scale", site.cluster.deployment(&format!("web-{slot}")));
    site.cluster.patch(
        &scale("blue"),
        "the-autoscaler",
        &json!({"spec": {"replicas": 6}}),
    );
    site.plan().code(0).says("No changes");
    site.message("v2");
    site.apply().code(0);
    let green = site.cluster.get(&site.cluster.deployment("web-green"));
    assert_eq!(
        green["spec"]["replicas"], 6,
        "the new slot has what the live one had"
    );
}

#[test]
fn a_default_of_the_server_is_no_change() {
    let Some(mut site) = Site::new() else { return };
    // Written in other words than the server's: quantities, and lists with defaulted keys.
    site.service.insert(
        "resources".to_owned(),
        "{cpu: 0.5, memory: 0.5Gi, cpu_limit: 1000m}".to_owned(),
    );
    site.apply().code(0);
    site.plan().code(0).says("No changes");
}
