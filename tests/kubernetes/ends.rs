//! The end of an environment whose namespace shipit has made, with the data that is in it.

use serde_json::{Value, json};

use crate::losses::database;
use crate::site::Site;

/// A volume that stays, for a claim in another namespace than the site's.
fn volume_in(site: &Site, home: &str, claim: &str) {
    let body = json!({"apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"generateName": format!("{home}-")},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "",
            "hostPath": {"path": "/nowhere"}, "claimRef": {"namespace": home, "name": claim}}});
    site.cluster.post("/api/v1/persistentvolumes", &body);
}

/// A claim of this name.
fn claim(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: \"{name}\"}}\nspec: \
         {{accessModes: [ReadWriteOnce], storageClassName: \"\", \
         resources: {{requests: {{storage: 1Gi}}}}}}\n"
    )
}

/// Ends an environment whose namespace shipit has made: it wants these consents and no others, and
/// comes to its end with them.
fn ends(suffix: &str, claims: &[&str], consents: &[&str], put: impl Fn(&mut Site)) {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.staging.push("manifests: own.yaml".to_owned());
    let home = format!("{}-{suffix}", site.cluster.namespace);
    site.staging.push(format!("cluster: {{namespace: {home}}}"));
    site.options
        .insert("create_namespaces".to_owned(), "true".to_owned());
    put(&mut site);
    for claim in claims {
        volume_in(&site, &home, claim);
    }
    site.apply().code(0);

    let destroy = ["destroy", "--env", "staging", "--auto-approve"];
    let mut said = site.run(&destroy).code(6);
    let allow: Vec<&str> = consents
        .iter()
        .flat_map(|consent| ["--allow-data-loss", *consent])
        .collect();
    for consent in consents {
        said = said.says(&format!("--allow-data-loss {consent}"));
    }
    said.says_not(&format!("--allow-data-loss Namespace/{home}"));
    site.run(&[&destroy[..], &allow].concat())
        .code(0)
        .says(&format!("- Namespace/{home}"));
    let path = format!("/api/v1/namespaces/{home}");
    assert_eq!(site.cluster.get(&path), Value::Null);
}

#[test]
fn an_environment_goes_with_its_claim_and_the_namespace_around_it() {
    ends("e1", &["c"], &["PersistentVolumeClaim/c"], |site| {
        site.put("own.yaml", &claim("c"));
    });
}

#[test]
fn an_environment_goes_with_the_claim_in_a_slot_and_the_namespace_around_it() {
    ends(
        "e2",
        &["c-blue"],
        &["PersistentVolumeClaim/c-blue"],
        |site| {
            site.staging.retain(|line| !line.starts_with("manifests"));
            let own = format!(
                "{}---\n{}",
                crate::objects::deployment("{{ image }}")
                    .replace("envFrom: [{configMapRef: {name: settings}}]", ""),
                claim("c")
            );
            site.put("deploy/web.yaml", &own);
            site.service = [("manifests".to_owned(), "'deploy/*.yaml'".to_owned())].into();
        },
    );
}

#[test]
fn an_environment_goes_with_a_set_that_takes_its_claims_and_the_namespace_around_it() {
    let claims = ["data-db-0", "data-db-1"];
    ends("e3", &claims, &["StatefulSet/db"], |site| {
        site.put("own.yaml", &database("1Gi"));
    });
}
