//! A release that is live in another place than the configuration names.

use std::path::Path;

use crate::site::Site;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

#[test]
fn a_live_release_is_not_left_behind_in_the_namespace_before() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.apply().code(0);
    let there = site.cluster.namespace.clone();
    let other = format!("{there}-other");
    site.cluster.namespace(&other);

    site.staging
        .push(format!("cluster: {{namespace: {other}}}"));
    let destroy = ["destroy", "--env", "staging", "--auto-approve"];
    for said in [site.plan(), site.apply(), site.run(&destroy)] {
        said.code(6)
            .says(&format!("release 1 is live in {there}"))
            .says(&format!("the configuration says {other}"));
    }
    site.staging.pop();
    site.plan().code(0).says("No changes");
    site.run(&destroy).code(0);

    // Where nothing is any more, the next release may go to another place.
    site.staging
        .push(format!("cluster: {{namespace: {other}}}"));
    site.apply().code(0);
    site.run(&destroy).code(0);
}

#[test]
fn a_slot_does_not_move_to_another_namespace_under_the_live_release() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.apply().code(0);
    let there = site.cluster.namespace.clone();
    let other = format!("{there}-blue");
    site.cluster.namespace(&other);
    site.staging.push(format!(
        "slots: {{blue: {{namespace: {other}}}, green: {{namespace: {other}}}}}"
    ));
    site.apply()
        .code(6)
        .says(&format!("release 1 is live in {there}"))
        .says(&format!("blue is {other}"));
    site.staging.pop();
    site.plan().code(0).says("No changes");
}

#[test]
fn a_cluster_without_the_live_release_wants_a_consent() {
    let Some(site) = Site::live() else { return };
    let (state, saved) = (site.path().join("state"), site.path().join("saved"));
    copy(&state, &saved);
    site.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    // As if it were another cluster: the state says that release 1 is live, and nothing is here.
    std::fs::remove_dir_all(&state).expect("it is there");
    copy(&saved, &state);

    site.plan()
        .code(2)
        .says("release 1 by this state, and nothing of it is in");
    site.apply().code(6).says("--allow-data-loss route.web");
    let consent = ["--allow-data-loss", "route.web"];
    let apply = ["apply", "--env", "staging", "--auto-approve"];
    site.run(&[&apply[..], &consent].concat()).code(0);
    assert_eq!(site.live_release(), 2);
}
