//! A run that is killed at any step leaves nothing that the next run does not put right.

use std::path::Path;
use std::process::Command;

use crate::killed::{is_over_before, workspace};
use crate::said::Said;
use crate::site::{Site, until};

#[test]
fn an_apply_that_is_killed_at_each_step_is_finished_by_the_next_one() {
    let Some(mut site) = Site::live() else { return };
    site.service.insert("replicas".to_owned(), "2".to_owned());
    for line in 1..=14 {
        site.message(&format!("killed at {line}"));
        let before = site.live_release();
        let journals =
            std::fs::read_dir(site.path().join("state/staging/journal")).map_or(0, Iterator::count);
        let mut run = site.start_apply();
        let is_new = || {
            std::fs::read_dir(site.path().join("state/staging/journal")).map_or(0, Iterator::count)
                > journals
        };
        let mut ended = false;
        until("the step comes", || {
            ended = matches!(run.try_wait(), Ok(Some(_)));
            ended || (is_new() && site.journal_lines() >= line)
        });
        let _ = run.kill();
        let _ = run.wait();
        let between = site.live_release();
        assert!(between >= before, "{line}: live traffic never goes nowhere");
        site.apply().code(0);
        site.plan().code(0).says("No changes");
        if ended {
            break;
        }
    }
}

#[test]
fn state_in_the_cluster_outlives_its_run() {
    let Some(mut site) = Site::new() else { return };
    site.staging.push("state: {kind: kubernetes}".to_owned());
    site.apply().code(0);
    assert!(
        !site.path().join("state/staging").exists(),
        "nothing is kept in the folder"
    );
    site.message("v2");
    let mut run = site.start_apply();
    let leases = format!(
        "{}/shipit-state-shop-staging",
        site.cluster.of("coordination.k8s.io/v1", "leases")
    );
    let held = || {
        site.cluster.get(&leases)["metadata"]["annotations"]
            .get("shipit.dev/holder")
            .is_some()
    };
    until("the lock is held", || {
        held() || matches!(run.try_wait(), Ok(Some(_)))
    });
    let _ = run.kill();
    let _ = run.wait();
    site.apply().code(0);
    site.plan().code(0).says("No changes");
    site.run(&["history", "--env", "staging"])
        .code(0)
        .says("superseded");
    assert!(!held(), "the lock was given back");
}

#[test]
fn a_run_that_is_killed_at_each_step_is_gone_on_with_elsewhere_by_a_state_in_the_cluster() {
    let Some(mut site) = Site::new() else { return };
    site.staging.push("state: {kind: kubernetes}".to_owned());
    site.apply().code(0);
    let apply = |at: &Path| {
        let words = [
            "apply",
            "--env",
            "staging",
            "--auto-approve",
            "--output",
            "json",
        ];
        let mut command: Command = site.command(&words);
        command.current_dir(at);
        command
    };
    for count in 1.. {
        site.message(&format!("killed at {count}"));
        site.configure();
        let [killed, other] =
            ["killed", "other"].map(|it| workspace(site.path(), &format!("{it}-{count}")));
        let is_over = is_over_before(&mut apply(&killed), count);
        Said::from(&apply(&other).output().expect("it ran")).code(0);
        let again = Said::from(&apply(&killed).output().expect("it ran")).code(0);
        assert!(again.stdout.contains("no_changes"), "{count}: {again:?}");
        if is_over {
            assert!(count > 8, "the run had only {count} moments");
            return;
        }
    }
}
