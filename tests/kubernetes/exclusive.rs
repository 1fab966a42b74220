//! A service that never runs twice at once, in a blue/green environment: its pods have ended in the
//! live slot before there are any in the other one.

use crate::site::{Site, until};

/// A site in which `web` is such a service, with its first release live.
fn site() -> Option<Site> {
    let mut site = Site::new()?;
    let recreate = "recreate".to_owned();
    site.service.insert("strategy".to_owned(), recreate);
    site.message("v1");
    site.apply().code(0);
    Some(site)
}

/// How many pods a slot shall have.
fn pods(site: &Site, slot: &str) -> u64 {
    let path = site.cluster.deployment(&format!("web-{slot}"));
    let found = site.cluster.get(&path);
    found["spec"]["replicas"].as_u64().unwrap_or(0)
}

fn journals(site: &Site) -> usize {
    let folder = site.path().join("state/staging/journal");
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn it_moves_with_the_switch_and_back() {
    let Some(site) = site() else { return };
    site.message("v2");
    site.apply()
        .code(0)
        .says("web never runs twice at once: it stops in blue before it starts in green")
        .says("requests to it fail in between");
    assert_eq!((pods(&site, "blue"), pods(&site, "green")), (0, 1));
    site.plan().code(0).says("No changes");
    site.run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!((pods(&site, "blue"), pods(&site, "green")), (1, 0));
    assert_eq!(site.active(), "blue");
}

#[test]
fn a_run_that_is_killed_at_each_step_is_finished_with_pods_in_one_slot() {
    let Some(site) = site() else { return };
    for line in 1..=20 {
        site.message(&format!("killed at {line}"));
        let before = journals(&site);
        let mut run = site.start_apply();
        let mut ended = false;
        until("the step comes", || {
            // Looked at twice: in between the one may have gone and the other come.
            let both = ["blue", "green", "blue"].map(|slot| pods(&site, slot) > 0);
            assert_ne!(both, [true; 3], "at {line} both slots have pods");
            ended = matches!(run.try_wait(), Ok(Some(_)));
            ended || (journals(&site) > before && site.journal_lines() >= line)
        });
        let _ = run.kill();
        let _ = run.wait();

        site.apply().code(0);
        let other = if site.active() == "blue" {
            "green"
        } else {
            "blue"
        };
        let live = pods(&site, &site.active());
        assert_eq!((live, pods(&site, other)), (1, 0), "killed at {line}");
        site.plan().code(0).says("No changes");
        if ended {
            break;
        }
    }
}
