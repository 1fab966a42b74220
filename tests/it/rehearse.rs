//! `shipit rehearse`: what faults in a plan would come to, without anything real.

use crate::support::World;

#[test]
fn a_plan_is_rehearsed_with_faults_and_nothing_is_touched() {
    let world = World::live();
    world.message("v2");
    let (before, lines) = (world.status(), world.journal_lines());

    let arguments = ["rehearse", "--env", "staging", "--output", "json"];
    let said = world.run(&arguments).code(0);
    let report: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    assert_eq!(report["kind"], "rehearsal");
    assert_eq!(report["undisturbed"]["live"]["release"], 2);
    let steps = report["steps"].as_array().expect("steps");
    assert!(steps.len() > 3, "{report:#}");
    for step in steps {
        for fault in step["faults"].as_array().expect("faults") {
            let is_live = fault["end"]["live"]["release"].is_number();
            assert!(is_live, "there is always something live: {fault:#}");
            // A number that a failed release had is not used again.
            let next = &fault["next"]["end"]["live"]["release"];
            let is_new = next.as_u64().is_none_or(|release| release > 1);
            assert!(is_new, "the next run ends well: {fault:#}");
        }
    }
    assert_eq!(world.get(), "v1", "nothing real is touched");
    assert_eq!((world.status(), world.journal_lines()), (before, lines));

    // A saved plan is the same one, and stale as it is for `apply`.
    world
        .run(&["plan", "--env", "staging", "--out", "p.json"])
        .code(0);
    let faults = ["rehearse", "p.json", "--faults", "traffic:lost-reply"];
    world
        .run(&faults)
        .code(0)
        .says("lost-reply reverted, exit 3 · release 1 is live")
        .says("Nothing real was touched");
    world
        .run(&["rehearse", "p.json", "--faults", "99:kill"])
        .code(64)
        .says("the plan has no step number 99");
    world.message("v3");
    world.run(&faults).code(5).says("the plan is stale");
}
