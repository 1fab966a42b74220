//! Killed anywhere, run again, same end.

use rustix::process::Signal;

use crate::support::http::{Load, get};
use crate::support::{World, finish, signal, started_with, until};

#[test]
fn a_run_that_is_killed_at_any_journal_line_comes_to_the_same_end() {
    for line in 1.. {
        let world = World::live();
        world.message("v2");
        let mut run = world.start_apply();
        let ended = loop {
            if world.journal_lines() >= line && !journal_is_of_the_first_run(&world) {
                run.kill().expect("it can be killed");
                run.wait().expect("it ends");
                break false;
            }
            if run.try_wait().expect("it can be asked").is_some() {
                break true;
            }
        };
        let answer = world.get();
        assert!(
            answer == "v1" || answer == "v2",
            "killed at line {line}: {answer}"
        );
        world.apply().code(0);
        assert_eq!(
            (world.get(), world.live_release()),
            ("v2".to_owned(), 2),
            "killed at line {line}"
        );
        let history = world.history();
        assert_eq!(
            history,
            [(1, "superseded".to_owned()), (2, "live".to_owned())],
            "killed at line {line}"
        );
        world.apply().code(0).says("No changes");
        if ended {
            assert!(line > 8, "the run had only {line} lines");
            return;
        }
    }
}

/// The first run's journal has an end.
fn journal_is_of_the_first_run(world: &World) -> bool {
    let folder = world.file("state/staging/journal");
    std::fs::read_dir(folder).map_or(0, Iterator::count) < 2
}

#[test]
fn an_agent_that_is_killed_under_load_takes_its_processes_back() {
    let world = World::live();
    let pid = |world: &World| {
        world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0]["pid"]
            .as_u64()
            .expect("a pid")
    };
    let (service, agent) = (pid(&world), world.agent_pid().expect("it runs"));
    let load = Load::start(&world.live_address(), 4, 200);
    until("the load is up", || load.count() > 50);
    signal(agent, Signal::KILL);
    until("the agent is gone", || {
        get(&world.live_address(), "/").is_err()
    });
    // The next command starts another agent.
    assert_eq!(pid(&world), service, "the process was not started again");
    assert_ne!(world.agent_pid(), Some(agent));
    until("it serves again", || {
        get(&world.live_address(), "/").is_ok_and(|answer| answer.body == "v1")
    });
    let before = load.count();
    until("the load goes on", || load.count() > before + 50);
    load.stop();
    world.apply().code(0).says("No changes");
    world.message("v2");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn a_command_that_a_killed_agent_left_is_ended_by_the_next_one() {
    let world = World::live();
    let seconds = format!("{}8888", std::process::id());
    let words = ["run", "--env", "staging", "web", "--", "/bin/sh", "-c"];
    let script = format!("/bin/sleep {seconds}; true");
    let mut run = world.start(&[&words[..], &[&script]].concat());
    let sleeps = || started_with(&format!("sleep\0{seconds}"));
    until("it runs", || sleeps() == 1);

    signal(world.agent_pid().expect("it runs"), Signal::KILL);
    assert!(!run.wait().expect("it ends").success());
    world.run(&["status", "--env", "staging"]).code(0);
    until("it has been ended", || sleeps() == 0);
    let left = std::fs::read_dir(world.agent_folder().join("commands"));
    assert_eq!(
        left.map(Iterator::count).ok(),
        Some(0),
        "nothing is recorded any more"
    );
}

#[test]
fn a_process_that_died_while_no_agent_ran_is_started_again() {
    let world = World::live();
    let service =
        world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0]["pid"]
            .as_u64()
            .expect("a pid");
    world
        .run(&["agent", "stop"])
        .code(0)
        .says("The services run on");
    signal(u32::try_from(service).expect("a pid"), Signal::KILL);
    world.run(&["status", "--env", "staging"]).code(0);
    until("it serves again", || {
        get(&world.live_address(), "/").is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn an_agent_that_is_killed_in_the_middle_of_an_apply_does_not_spoil_it() {
    let mut world = World::live();
    world.message("v2");
    world.staging = vec!["promotion: {before: [{http: {path: /, for: 60s}}]}".to_owned()];
    let run = world.start_apply();
    until("green is ready", || {
        get(&world.preview_address(), "/").is_ok_and(|answer| answer.body == "v2")
    });
    signal(world.agent_pid().expect("it runs"), Signal::KILL);
    let said = finish(run);
    assert_ne!(said.code, Some(0), "{said:?}");
    world.staging = vec!["promotion: {probe: {linger: 50ms}}".to_owned()];
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn an_agent_that_is_killed_during_an_apply_is_started_again_for_the_way_back() {
    let mut world = World::live();
    let pid = world.agent_pid().expect("an agent");
    let kills = format!("[sh, -c, \"kill -9 {pid}; exit 1\"]");
    world.staging = vec![format!("promotion: {{before: [{{run: {kills}}}]}}")];
    world.message("v2");

    world.apply().code(1).says("Live traffic was not touched");
    assert_eq!(world.get(), "v1", "the listeners are back");
    assert_ne!(world.agent_pid(), Some(pid));
    let slots = &world.status()["facts"]["slots"];
    assert!(slots["green"].is_null(), "taken back: {slots}");
}

#[test]
fn nothing_that_a_killed_run_has_started_goes_on() {
    let mut world = World::live();
    world.message("v2");
    let seconds = format!("{}7777", std::process::id());
    let sleeps = || started_with(&format!("sleep\0{seconds}"));
    // One has left the session, the other its variables.
    let script = format!("setsid /bin/sleep {seconds} & env -i /bin/sleep {seconds} & wait");
    let words = format!("[sh, -c, \"{script}\"]");

    for place in ["hook", "build", "check", "secret"] {
        world.project.clear();
        world.staging.clear();
        world.build.clear();
        match place {
            "hook" => {
                let hook = format!("hooks: {{h: {{before: deploy, run: {words}}}}}");
                world.project.push(hook);
            }
            "build" => world.build.push(format!("run: {words}")),
            "check" => {
                let check = format!("promotion: {{before: [{{run: {words}}}]}}");
                world.staging.push(check);
            }
            _ => {
                let secret = format!("secrets: {{token: {{run: {words}, timeout: 5m}}}}");
                world.staging.push(secret);
                world
                    .env
                    .insert("T".to_owned(), "{secret: token}".to_owned());
            }
        }

        let mut run = world.start_apply();
        until(&format!("the {place} runs"), || sleeps() == 2);
        run.kill().expect("it can be killed");
        run.wait().expect("it ends");
        until(&format!("all of the {place} has ended"), || sleeps() == 0);
    }
}

/// A world in which a check behind each switch says that it was asked, and never ends.
fn held_behind_the_switch(world: &mut World, mode: &str) -> std::path::PathBuf {
    let asked = world.file("asked");
    let check = format!("touch {}; exec sleep 600", asked.display());
    world.staging = vec![format!(
        "promotion: {{mode: {mode}, probe: {{linger: 10ms}}, after: [{{run: {{command: [sh, -c, \"{check}\"], timeout: 10m}}}}]}}"
    )];
    asked
}

fn let_go(world: &mut World, mode: &str) {
    world.staging = vec![format!(
        "promotion: {{mode: {mode}, probe: {{linger: 10ms}}}}"
    )];
}

fn kill_once(mut run: std::process::Child, asked: &std::path::Path) {
    until("traffic has moved, and a check is asked", || asked.exists());
    run.kill().expect("it can be killed");
    run.wait().expect("it ends");
    std::fs::remove_file(asked).expect("it was there");
}

#[test]
fn what_was_live_when_its_run_was_killed_is_in_the_history_and_is_gone_back_to() {
    let mut world = World::live();
    let asked = held_behind_the_switch(&mut world, "auto");
    world.message("v2");
    kill_once(world.start_apply(), &asked);
    assert_eq!(world.get(), "v2");

    // The next one knows of it, and does not come to its end either.
    world.message("v3");
    kill_once(world.start_apply(), &asked);
    assert_eq!(world.get(), "v3");

    let_go(&mut world, "auto");
    world.message("v4");
    world.apply().code(0);
    let superseded = |number: u64| (number, "superseded".to_owned());
    let live = |number: u64| (number, "live".to_owned());
    assert_eq!(
        world.history(),
        [superseded(1), superseded(2), superseded(3), live(4)]
    );
    world
        .run(&["rollback", "--env", "staging", "--yes"])
        .code(0)
        .says_not("deploy");
    assert_eq!((world.get(), world.live_release()), ("v3".to_owned(), 3));
    world
        .run(&["status", "--env", "staging"])
        .code(0)
        .says_not("behind");
}

#[test]
fn a_first_release_whose_run_was_killed_behind_its_switch_is_gone_back_to() {
    let mut world = World::new();
    let asked = held_behind_the_switch(&mut world, "auto");
    world.message("v1");
    kill_once(world.start_apply(), &asked);
    let_go(&mut world, "auto");
    world.message("v2");
    world.apply().code(0);
    world
        .run(&["rollback", "--env", "staging", "--yes"])
        .code(0);
    assert_eq!((world.get(), world.live_release()), ("v1".to_owned(), 1));
}

#[test]
fn a_promotion_that_was_killed_behind_its_switch_is_gone_back_to() {
    let mut world = World::live();
    let asked = held_behind_the_switch(&mut world, "manual");
    world.message("v2");
    world.apply().code(0);
    let promotion = world.start(&["promote", "green", "--env", "staging", "--yes"]);
    kill_once(promotion, &asked);
    assert_eq!(world.get(), "v2");
    let_go(&mut world, "auto");
    world.message("v3");
    world.apply().code(0);
    world
        .run(&["rollback", "--env", "staging", "--yes"])
        .code(0);
    assert_eq!((world.get(), world.live_release()), ("v2".to_owned(), 2));
}
