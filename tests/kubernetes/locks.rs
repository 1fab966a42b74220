//! The lock of an environment is the cluster's, whatever folder a run's state is in.

use std::process::{Child, Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::said::Said;
use crate::site::{Site, until};

/// A second checkout of the same project, with a state of its own.
struct Checkout(TempDir);

impl Checkout {
    fn of(site: &Site) -> Self {
        site.configure();
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["shipit.yaml", "environments", "app"] {
            let done = Command::new("cp")
                .arg("-r")
                .args([site.path().join(name), folder.path().to_path_buf()])
                .status();
            assert!(done.expect("cp starts").success(), "{name}");
        }
        Self(folder)
    }

    fn command(&self, site: &Site, arguments: &[&str]) -> Command {
        let mut command = site.command(arguments);
        command.current_dir(self.0.path());
        command
    }

    fn start(&self, site: &Site, arguments: &[&str]) -> Child {
        self.command(site, arguments)
            .spawn()
            .expect("shipit starts")
    }

    fn run(&self, site: &Site, arguments: &[&str]) -> Said {
        ended(self.start(site, arguments))
    }
}

fn ended(child: Child) -> Said {
    Said::from(&child.wait_with_output().expect("it ends"))
}

const APPLY: [&str; 4] = ["apply", "--env", "staging", "--auto-approve"];

fn waiting(seconds: &str) -> Vec<&str> {
    [&APPLY[..], &["--lock-timeout", seconds]].concat()
}

fn lease(site: &Site) -> Value {
    let path = site
        .cluster
        .of("coordination.k8s.io/v1", "leases/shipit-state-shop-staging");
    site.cluster.get(&path)
}

#[test]
fn a_run_from_another_folder_waits_or_says_who_has_the_lock() {
    let Some(mut site) = Site::live() else { return };
    let other = Checkout::of(&site);
    // The first run stands before its switch until it may go on.
    site.staging = vec![
        "promotion:\n  mode: auto\n  probe: {rate: 0, linger: 10ms}\n  before:\n    - run: {command: [sh, -c, \
         'touch begun; until [ -e go ]; do sleep 0.05; done'], timeout: 60s}"
            .to_owned(),
    ];
    site.message("v2");
    let first = site.start_apply();
    until("the first run comes to its check", || {
        site.path().join("begun").exists()
    });

    other
        .run(&site, &waiting("0s"))
        .code(4)
        .says("locked by")
        .says("apply");
    let status = other.run(&site, &["status", "--env", "staging"]).code(0);
    status.says("apply");
    let patient = other.start(&site, &waiting("60s"));
    site.put("go", "");
    ended(first).code(0);
    ended(patient).code(0);
    assert!(
        lease(&site)["spec"].get("holderIdentity").is_none(),
        "it was given back"
    );
}

#[test]
fn two_first_runs_at_once_end_in_one_release() {
    let Some(site) = Site::new() else { return };
    let other = Checkout::of(&site);
    let commands = [
        site.command(&waiting("60s")),
        other.command(&site, &waiting("60s")),
    ];
    let [one, two] = commands.map(|mut command| command.spawn().expect("shipit starts"));
    ended(one).code(0);
    ended(two).code(0);
    assert_eq!(site.live_release(), 1);
}

#[test]
fn a_lock_that_is_taken_away_in_the_cluster_ends_the_run_before_its_next_effect() {
    let Some(mut site) = Site::live() else { return };
    let other = Checkout::of(&site);
    site.staging = vec![
        "promotion:\n  mode: auto\n  probe: {rate: 0, linger: 10ms}\n  before:\n    - run: {command: [sh, -c, \
         'touch begun; until [ -e go ]; do sleep 0.05; done'], timeout: 60s}"
            .to_owned(),
    ];
    site.message("v2");
    let before = site.active();
    let first = site.start_apply();
    until("the first run comes to its check", || {
        site.path().join("begun").exists()
    });
    other
        .run(&site, &["unlock", "--env", "staging"])
        .code(0)
        .says("The lock was taken from");
    ended(first).code(4);
    assert_eq!(site.active(), before);
}

#[test]
fn nothing_is_left_of_a_lock_when_its_environment_is_destroyed() {
    let Some(site) = Site::live() else { return };
    assert!(lease(&site).is_object());
    site.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(lease(&site), Value::Null);
    site.apply().code(0);
    assert_eq!(site.live_release(), 2);
}

#[test]
fn an_environment_whose_namespace_is_still_to_be_made_is_locked_as_soon_as_it_is_there() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.options
        .insert("create_namespaces".to_owned(), "true".to_owned());
    let own = site.cluster.namespace.clone();
    let new = format!("{own}-new");
    site.cluster.namespace.clone_from(&new);
    site.apply().code(0);
    assert!(lease(&site).is_object());
    site.plan().code(0).says("No changes");
    site.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(
        site.cluster.get(&format!("/api/v1/namespaces/{new}")),
        Value::Null
    );
    site.cluster.namespace = own;
}
