//! Services whose image somebody else has made: nodes fetch it where it is, by its digest.

use std::process::Command;

use crate::site::Site;

/// Copies what the project's service has in its registry to a repository that is not the project's.
fn publish(site: &Site, tag: &str) -> Option<String> {
    let registry = &site.cluster.admin.registry;
    let own = format!("{registry}/{}/web:staging", site.cluster.namespace);
    let vendor = format!("{registry}/vendor-{}/web:{tag}", site.cluster.namespace);
    let copy = Command::new("skopeo")
        .args([
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ])
        .args([format!("docker://{own}"), format!("docker://{vendor}")])
        .status();
    let is_real = std::env::var_os("SHIPIT_TEST_REAL").is_some();
    assert!(copy.is_ok() || !is_real, "skopeo is not there");
    assert!(copy.ok()?.success(), "{vendor} is copied");
    Some(vendor)
}

/// What the pods of a slot are made from.
fn image(site: &Site, slot: &str) -> String {
    let deployment = site.cluster.deployment(&format!("web-{slot}"));
    let deployment = site.cluster.get(&deployment);
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    containers[0]["image"]
        .as_str()
        .expect("an image")
        .to_owned()
}

#[test]
fn a_node_fetches_the_digest_from_where_somebody_else_keeps_it() {
    let Some(mut site) = Site::live() else { return };
    let built = image(&site, "blue");
    let Some(vendor) = publish(&site, "1") else {
        return;
    };
    site.message("v2");
    site.apply().code(0);
    let second = image(&site, "green");
    let digest = |image: &str| image.split_once('@').expect("a digest").1.to_owned();
    let by_digest = |image: &str| format!("{}@{}", vendor.trim_end_matches(":1"), digest(image));

    // From a build to an image: the same content, from elsewhere.
    site.image = Some(vendor.clone());
    site.plan()
        .code(2)
        .says(&format!("image {vendor} → {}", digest(&built)));
    site.apply().code(0).says("blue is active");
    assert_eq!(image(&site, "blue"), by_digest(&built));
    site.plan().code(0).says("No changes");

    // The tag moves.
    publish(&site, "1");
    let moved = format!("{vendor} moved: {} → {}", digest(&built), digest(&second));
    site.plan().code(2).says(&moved);
    site.apply().code(0).says("green is active");
    assert_eq!(image(&site, "green"), by_digest(&second));

    // Back to the image of before, and from there to one that was built.
    let back = ["rollback", "--env", "staging", "--auto-approve"];
    site.run(&back).code(0).says("blue is active");
    assert_eq!(image(&site, "blue"), by_digest(&built));
    site.run(&[&back[..], &["--to", "2"]].concat()).code(0);
    assert_eq!(image(&site, &site.active()), second);
}

#[test]
fn a_project_that_builds_nothing_needs_no_registry() {
    let Some(mut site) = Site::live() else { return };
    let Some(vendor) = publish(&site, "1") else {
        return;
    };
    site.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    site.has_registry = false;
    site.run(&["validate"])
        .code(1)
        .says("the nodes of a cluster cannot read a folder");
    site.image = Some(vendor.clone());
    site.apply().code(0);
    assert!(image(&site, &site.active()).starts_with(vendor.trim_end_matches(":1")));
    assert!(!site.path().join("state/registry").exists());
}
