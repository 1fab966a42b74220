//! The host engine with units of a real systemd: that of the machine of `tests/systemd/up`.

use std::path::Path;

use crate::support::{Machine, World, until};

const CANARY: &str = "canary-51c9a3f7";

/// A world on that machine whose instances are units; none without it.
pub fn world(user: &'static str) -> Option<(World, Machine)> {
    world_with(user, Vec::new())
}

/// The same, whose commands have these variables of whoever runs them.
pub fn world_with(user: &'static str, variables: Vec<String>) -> Option<(World, Machine)> {
    let machine = Machine {
        variables,
        ..machine(user)?
    };
    let mut world = World::on(machine.clone());
    world.project = vec!["cluster: {runtime: systemd}".to_owned()];
    Some((world, machine))
}

/// That machine, for one of its users.
pub fn machine(user: &'static str) -> Option<Machine> {
    let folder = std::env::var_os("SHIPIT_TEST_SYSTEMD");
    assert!(
        folder.is_some() || std::env::var_os("SHIPIT_TEST_REAL").is_none(),
        "SHIPIT_TEST_SYSTEMD names no machine"
    );
    let Some(folder) = folder else {
        eprintln!(
            "SKIPPED: SHIPIT_TEST_SYSTEMD names no machine (`tests/systemd/up FOLDER` starts one)"
        );
        return None;
    };
    let name = std::fs::read_to_string(Path::new(&folder).join("name")).expect("its name");
    Some(Machine {
        name: name.trim().to_owned(),
        folder: folder.into(),
        user,
        variables: Vec::new(),
    })
}

/// What a shell on the machine says.
pub fn shell(machine: &Machine, script: &str) -> String {
    let env = [("XDG_RUNTIME_DIR", "/run/user/1000".to_owned())];
    let env = if machine.user == "root" {
        &env[..0]
    } else {
        &env[..]
    };
    let output = machine
        .command("sh", Path::new("/"), env)
        .args(["-c", script])
        .output()
        .expect("docker starts");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        .trim()
        .to_owned()
}

pub fn systemctl(machine: &Machine, arguments: &str) -> String {
    let whose = if machine.user == "root" { "" } else { "--user" };
    shell(
        machine,
        &format!("systemctl {whose} --no-pager {arguments}"),
    )
}

/// The units of a world, by the folder that they work in.
fn units(world: &World, machine: &Machine) -> Vec<String> {
    let shown = systemctl(
        machine,
        "show --all --property=Id,WorkingDirectory 'shipit-*'",
    );
    let folder = format!("WorkingDirectory={}", world.agent_folder().display());
    let mine = shown.split("\n\n").filter(|unit| unit.contains(&folder));
    mine.filter_map(|unit| Some(unit.split_once("Id=")?.1.lines().next()?.to_owned()))
        .collect()
}

fn property(machine: &Machine, unit: &str, name: &str) -> String {
    systemctl(machine, &format!("show --value --property={name} {unit}"))
}

#[test]
fn two_releases_run_as_units_and_nothing_of_them_stays() {
    let Some((mut world, machine)) = world("root") else {
        return;
    };
    world.service.insert(
        "resources".to_owned(),
        "{cpu_limit: 500m, memory_limit: 256Mi}".to_owned(),
    );
    world
        .service
        .insert("stop_grace".to_owned(), "7s".to_owned());
    world.apply().code(0);
    assert_eq!(world.get(), "v1");
    let first = units(&world, &machine);
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(
        first[0].starts_with("shipit-shop-staging-blue-web-0-"),
        "{first:?}"
    );
    for (name, value) in [
        (
            "Description",
            "shipit: shop/staging, web.0 of release 1 in blue",
        ),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("MemoryMax", "268435456"),
        ("NoNewPrivileges", "yes"),
        ("Restart", "no"),
        ("TimeoutStopUSec", "7s"),
        ("TasksMax", "4096"),
    ] {
        assert_eq!(property(&machine, &first[0], name), value, "{name}");
    }
    world
        .run(&["logs", "--env", "staging"])
        .code(0)
        .says("storefront listens");
    world.message("v2");
    world.apply().code(0).says("0 of ");
    assert_eq!(world.get(), "v2");
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("0 of ");
    assert_eq!(world.get(), "v1");
    world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(units(&world, &machine), Vec::<String>::new());
    let left = std::fs::read_dir(world.agent_folder().join("units"))
        .expect("a folder")
        .count();
    assert_eq!(left, 0);
}

#[test]
fn a_unit_that_somebody_changed_is_drift_and_the_next_apply_makes_it_anew() {
    let Some((world, machine)) = world("root") else {
        return;
    };
    world.apply().code(0);
    let drift = |world: &World| world.run(&["drift", "staging"]);
    drift(&world).code(0).says("Nothing moved");
    let first = units(&world, &machine);
    let unit = &first[0];

    // Somebody gives it less memory, and takes that back.
    systemctl(
        &machine,
        &format!("set-property --runtime {unit} MemoryMax=300M"),
    );
    drift(&world)
        .code(2)
        .says("workload.blue/web")
        .says("MemoryMax.conf")
        .says("is new");
    let refresh = ["plan", "--refresh-only", "--env", "staging"];
    world.run(&refresh).code(0).says("MemoryMax.conf");

    // A drop-in that systemd has not read yet is seen, too, and one that it has is named.
    let dropin = format!("/run/systemd/system/{unit}.d/kim.conf");
    let write = format!("mkdir -p $(dirname {dropin}) && printf '[Service]\\nNice=5\\n' >{dropin}");
    shell(&machine, &format!("{write} && systemctl daemon-reload"));
    let said = world.run(&["drift", "staging", "--output", "json"]).code(2);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    let fields = document["moved"][0]["fields"].as_array().expect("a list");
    let kims = fields.iter().find(|it| it["field"] == dropin.as_str());
    let kims = kims.unwrap_or_else(|| panic!("{document:#}"));
    assert_eq!(kims["is"], "is new", "{kims}");
    assert!(kims["at"].is_string(), "{kims}");

    world
        .run(&["plan", "--env", "staging", "--detailed-exitcode"])
        .code(2)
        .says("its unit was changed")
        .says("kim.conf");
    world.apply().code(0);
    let second = units(&world, &machine);
    assert_ne!(first, second, "another unit");
    assert_eq!(property(&machine, &second[0], "Nice"), "0");
    drift(&world).code(0).says("Nothing moved");
    world
        .run(&["plan", "--env", "staging"])
        .code(0)
        .says("No changes");
    shell(&machine, &format!("rm -r $(dirname {dropin})"));
    world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
}

#[test]
fn units_outlive_their_agent_and_what_nobody_knows_is_removed() {
    for user in ["root", "kim"] {
        let Some((world, machine)) = world(user) else {
            return;
        };
        world.apply().code(0);
        let before = units(&world, &machine);
        let pid = property(&machine, &before[0], "MainPID");
        shell(
            &machine,
            &format!("kill -KILL {}", world.agent_pid().expect("an agent")),
        );
        // What an agent left that died between starting a unit and writing it down.
        let folder = world.agent_folder();
        let run = if user == "root" {
            "systemd-run"
        } else {
            "systemd-run --user"
        };
        let made = shell(
            &machine,
            &format!(
                "mkdir -p {0}/units/shipit-stray-{user}.service && \
                 {run} --quiet --unit=shipit-stray-{user} -p WorkingDirectory={0} sleep 1000",
                folder.display()
            ),
        );
        assert_eq!(made, "");
        assert_eq!(units(&world, &machine).len(), 2);
        world.run(&["status", "--env", "staging"]).code(0);
        assert_eq!(world.get(), "v1");
        assert_eq!(
            units(&world, &machine),
            before,
            "the same unit, and the stray is gone"
        );
        assert_eq!(
            property(&machine, &before[0], "MainPID"),
            pid,
            "the same process"
        );
        // One that somebody kills is started again, by the agent, as another unit.
        shell(&machine, &format!("kill -KILL {pid}"));
        until("it is started again", || {
            let now = units(&world, &machine);
            now.len() == 1 && now != before
        });
        until("it answers", || {
            crate::support::http::get(&world.live_address(), "/")
                .is_ok_and(|answer| answer.body == "v1")
        });
        let status = world.status();
        let instance = &status["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0];
        // Somebody else may have been quicker at the first port that was chosen for the next one.
        let exit = instance["last_exit"].as_str().unwrap_or_default();
        assert!(
            exit == "signal 9 (SIGKILL)" || exit.contains("was taken by a process"),
            "{exit}"
        );
        world
            .run(&["destroy", "--env", "staging", "--auto-approve"])
            .code(0);
        assert_eq!(units(&world, &machine), Vec::<String>::new());
    }
}

#[test]
fn a_command_runs_beside_a_unit_and_nothing_of_it_stays() {
    for user in ["root", "kim"] {
        let Some((world, machine)) = world(user) else {
            return;
        };
        world.apply().code(0);
        let before = units(&world, &machine);
        for command in ["exec", "run"] {
            let script = "sleep 1000 >/dev/null 2>&1 & echo $!; echo $SHIPIT_SLOT; cat message.txt; echo why >&2; exit 7";
            let words = [command, "--env", "staging", "web", "--", "sh", "-c", script];
            let said = world.run(&words).code(7);
            let (pid, rest) = said.stdout.split_once('\n').expect("lines");
            assert_eq!((rest, said.stderr.as_str()), ("blue\nv1", "why\n"));

            let look = format!("test -e /proc/{pid} || echo gone");
            until("what it started ends", || shell(&machine, &look) == "gone");
            let words = [command, "--env", "staging", "web", "--", "/no/such/program"];
            world.run(&words).code(1).says("/no/such/program");
        }
        assert_eq!(units(&world, &machine), before);
        assert_eq!(world.get(), "v1");
    }
}

#[test]
fn a_unit_of_roots_agent_runs_as_its_images_user() {
    let Some((mut world, machine)) = world("root") else {
        return;
    };
    world.build.push("user: \"65532:65533\"".to_owned());
    // Its health command is that user, too.
    world.service.insert(
        "health".to_owned(),
        "{run: [sh, -c, 'test $(id -u):$(id -g):$(id -G) = 65532:65533:65533'], interval: 100ms, start_within: 10s}"
            .to_owned(),
    );
    world.apply().code(0).says_not("runs as root");
    assert_eq!(world.get(), "v1");
    let unit = units(&world, &machine).remove(0);
    let status = world.get_path("/file?/proc/self/status");
    for line in [
        "Uid:\t65532\t65532\t65532\t65532",
        "Gid:\t65533\t65533\t65533\t65533",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    let own = ["", "65533"];
    assert!(own.contains(&groups.expect("a line").trim()), "{status}");
    assert_eq!(world.get_path("/env?HOME"), "/");
    let agent = world.agent_folder();
    for private in ["agent.log", "environments/shop/staging/record.json"] {
        let path = agent.join(private).display().to_string();
        let read = world.get_path(&format!("/file?{path}"));
        assert!(read.contains("Permission denied"), "{private}: {read}");
    }

    // The next agent takes it back, and what it starts again is the same user's.
    let pid = property(&machine, &unit, "MainPID");
    shell(
        &machine,
        &format!("kill -KILL {}", world.agent_pid().expect("an agent")),
    );
    world.run(&["status", "--env", "staging"]).code(0);
    assert_eq!(
        property(&machine, &unit, "MainPID"),
        pid,
        "the same process"
    );
    shell(&machine, &format!("kill -KILL {pid}"));
    until("it is started again", || {
        let now = units(&world, &machine);
        let pid = || property(&machine, &now[0], "MainPID");
        now.len() == 1
            && now[0] != unit
            && shell(&machine, &format!("grep Uid: /proc/{}/status", pid())).contains("65532")
    });
}

#[test]
fn a_unit_that_ended_while_no_agent_was_there_is_started_anew() {
    let Some((world, machine)) = world("root") else {
        return;
    };
    world.apply().code(0);
    let before = units(&world, &machine);
    shell(
        &machine,
        &format!("kill -KILL {}", world.agent_pid().expect("an agent")),
    );
    systemctl(&machine, &format!("kill --signal=KILL {}", before[0]));
    world.run(&["status", "--env", "staging"]).code(0);
    until("another runs", || {
        let now = units(&world, &machine);
        now.len() == 1 && now != before
    });
}

#[test]
fn what_systemd_would_read_otherwise_arrives_as_it_was_written() {
    let Some((mut world, machine)) = world("root") else {
        return;
    };
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    world
        .env
        .insert("ODD".to_owned(), r#"'a "b" \ `c` $HOME %h é'"#.to_owned());
    world.put(
        "token",
        &format!("{CANARY} \"q\" \\ $HOME %n\nsecond line\n"),
    );
    world
        .staging
        .push("secrets: {token: {file: token}}".to_owned());
    let program = crate::support::storefront().display().to_string();
    let script = format!("'echo \"said $ODD $0 $1 5%n\"; exec {program}'");
    world.service.insert(
        "command".to_owned(),
        format!("[/bin/sh, -c, {script}, '$$ %h ${{HOME}}', '$HOME']"),
    );
    world.apply().code(0);
    let said = r#"said a "b" \ `c` $HOME %h é $$ %h ${HOME} $HOME 5%n"#;
    world.run(&["logs", "--env", "staging"]).code(0).says(said);
    assert_eq!(
        world.get_path("/env?TOKEN"),
        format!("{CANARY} \"q\" \\ $HOME %n\nsecond line")
    );
    let unit = units(&world, &machine).remove(0);
    // Nowhere but in the process: not in what systemd shows of the unit and has written of it, nor
    // in an argument.
    for place in [
        format!("systemctl show --all {unit}"),
        format!("systemctl cat {unit}"),
        format!("grep -r {CANARY} {}", world.agent_folder().display()),
        "cat /proc/[0-9]*/cmdline | grep -v grep".to_owned(),
        format!("journalctl --unit {unit}"),
    ] {
        let found = shell(&machine, &place);
        assert!(!found.contains(CANARY), "{place}: {found}");
    }
}

#[test]
fn a_start_that_fails_is_told_and_leaves_nothing() {
    let Some((mut world, machine)) = world("root") else {
        return;
    };
    world.service.insert(
        "health".to_owned(),
        "{run: [test, -e, message.txt], interval: 100ms, start_within: 500ms}".to_owned(),
    );
    world.apply().code(1).says("ended with exit code 1");
    world.service.insert(
        "health".to_owned(),
        "{run: [test, -e, app/message.txt], interval: 100ms}".to_owned(),
    );
    world.apply().code(0);
    world.service.insert(
        "health".to_owned(),
        "{path: /healthz, interval: 100ms}".to_owned(),
    );
    for (command, why) in [
        ("[/no/such/program]", "/no/such/program"),
        ("[sh, -c, exit 7]", "exit code 7"),
        ("[/etc/passwd]", "it cannot be executed"),
    ] {
        world
            .service
            .insert("command".to_owned(), command.to_owned());
        world.apply().code(1).says(why);
        assert_eq!(
            units(&world, &machine).len(),
            1,
            "only the one of release 1"
        );
    }
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_machine_without_systemd_is_told_so_before_anything_is_done() {
    if Path::new("/run/systemd/system").exists() {
        eprintln!("SKIPPED: this machine is run by systemd");
        return;
    }
    let mut world = World::new();
    world.project = vec!["cluster: {runtime: systemd}".to_owned()];
    world.run(&["validate"]).code(0);
    for command in [
        &["plan", "--env", "staging"][..],
        &["apply", "--env", "staging", "--auto-approve"],
    ] {
        world
            .run(command)
            .code(1)
            .says("this machine is not run by systemd")
            .says("runtime: auto");
    }
    world
        .run(&["doctor", "--env", "staging"])
        .says("this machine is not run by systemd");
}
