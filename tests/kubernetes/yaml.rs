//! Manifests are read as kubectl reads them.

use std::process::Command;

use serde_json::{Value, json};

use crate::site::Site;

/// A kind whose `data` may be anything, so that the server keeps what it is given.
const ANYTHING: &str = "\u{feff}apiVersion: apps/v1\r
kind: ControllerRevision\r
metadata: {name: scalars}\r
revision: 010\r
data: &all\r
  octal: [0400, -0400, 0o17, 0b101, 0x1F, 08, 1_000]\r
  words: [yes, No, on, OFF, y, ~, null, yEs, 1:30, 2001-12-14, 0x]\r
  floats: [1e3, 1.50, 1.0, .5]\r
  large: [9007199254740993, 9223372036854775807]\r
  texts: ['0400', \"yes\", !!str 12, '---', 1.2.3]\r
  keys: {on: 1, 2: b, 1.5: c}\r
  merged: {<<: {a: 1, b: 2}, b: 3}\r
  block: |\r
    ---\r
    two\r
";

#[test]
fn a_manifest_means_what_it_means_to_kubectl() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.put("own.yaml", ANYTHING);
    site.staging.push("manifests: own.yaml".to_owned());
    site.apply().code(0);
    let path = site.cluster.of("apps/v1", "controllerrevisions/scalars");
    let live = site.cluster.get(&path);
    assert_eq!(live["revision"], 8);
    let wanted = json!({
        "octal": [256, -256, 15, 5, 31, 8, 1000],
        "words": [true, false, true, false, true, null, null, "yEs", "1:30", "2001-12-14", "0x"],
        "floats": [1000, 1.5, 1, 0.5],
        "large": [9_007_199_254_740_993_i64, i64::MAX],
        "texts": ["0400", "yes", "12", "---", "1.2.3"],
        "keys": {"on": 1, "2": "b", "1.5": "c"},
        "merged": {"a": 1, "b": 3},
        "block": "---\ntwo\n",
    });
    assert_eq!(live["data"], wanted);
    site.plan().code(0).says("No changes");

    let kubectl = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(&site.kubeconfig)
        .args(["create", "--dry-run=client", "--validate=false"])
        .args(["--output=json", "--filename=own.yaml"])
        .current_dir(site.path())
        .output();
    let Ok(kubectl) = kubectl else {
        eprintln!("skipped: there is no kubectl to compare with");
        return;
    };
    let said: Value = serde_json::from_slice(&kubectl.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&kubectl.stderr)));
    // But for keys, which stay what is written.
    let mut by_kubectl = wanted;
    by_kubectl["keys"] = json!({"true": 1, "2": "b", "1.5": "c"});
    assert_eq!(said["data"], by_kubectl);
    assert_eq!(said["revision"], 8);
}
