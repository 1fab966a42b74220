//! What a person's fingers do: shorter words, folders below the project's, variables in place of
//! flags, and answers that are lines.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Said, World, http, until};

#[test]
fn the_project_is_found_from_a_folder_below_it() {
    let world = World::new();
    world.configure();
    std::fs::create_dir_all(world.file("app/src/deep")).expect("made");
    let said = world
        .command(&["validate"])
        .current_dir(world.file("app/src/deep"))
        .output()
        .expect("shipit starts");
    assert_eq!(said.status.code(), Some(0), "{said:?}");

    // What is named is meant.
    world
        .run(&["-C", "app/src/deep", "validate"])
        .code(1)
        .says("shipit.yaml");
}

#[test]
fn a_template_that_says_nothing_and_a_file_that_is_not_there_are_faults_at_their_places() {
    let world = World::new();
    world.put(
        "fresh/shipit.yaml",
        "version: 1\nproject: shop\nservices:\n  web:\n    image: nginx:1.27\n    port: 8080\n\
         \x20   env:\n      A: \"{{ nope }}\"\n      B: \"{{ unclosed\"\n    env_file: [none.env, other.env]\n\
         \x20   files: {/etc/x: none.txt, /etc/y: folder}\n",
    );
    world.put("fresh/folder/file", "x");
    // A comment alone says as much as an empty file.
    world.put("fresh/environments/staging.yaml", "# as the project says\n");

    let faults = [
        "shipit.yaml:8:7: services.web.env.A: ",
        "shipit.yaml:9:7: services.web.env.B: ",
        "shipit.yaml:10:5: services.web.env_file: there is no file none.env",
        "shipit.yaml:10:5: services.web.env_file: there is no file other.env",
        "shipit.yaml:11:13: services.web.files./etc/x: there is no file none.txt",
        "shipit.yaml:11:31: services.web.files./etc/y: folder: it is a folder",
    ];
    for command in ["validate", "plan"] {
        let said = world.run(&["-C", "fresh", command]).code(1);
        faults.into_iter().fold(said, Said::says);
    }

    // A line of a file of variables is told without what it says.
    world.put(
        "fresh/none.env",
        "A=hunter2\nPASSWORD=hunter2\nPASSWORD=hunter2\n",
    );
    world
        .run(&["-C", "fresh", "validate"])
        .code(1)
        .says("none.env:3:1")
        .says_not("hunter2");
}

#[test]
fn every_manifest_that_is_wrong_is_told_at_once() {
    let world = World::new();
    world.put(
        "fresh/shipit.yaml",
        "version: 1\nproject: shop\nservices: {web: {image: 'nginx:1.27', port: 8080}}\n\
         manifests: deploy/*.yaml\n",
    );
    world.put(
        "fresh/environments/staging.yaml",
        "cluster: {kind: kubernetes}\ntraffic: {kind: service}\n",
    );
    world.put("fresh/deploy/a.yaml", "apiVersion: v1\nkind: [\n");
    let unnamed = "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n";
    world.put("fresh/deploy/b.yaml", &format!("{unnamed}---\n{unnamed}"));
    world.put("fresh/deploy/c.yaml", "a: '{{ nope }}'\n");
    world
        .run(&["-C", "fresh", "validate"])
        .code(1)
        .says("deploy/a.yaml:")
        .says("deploy/b.yaml:1 (document 1)")
        .says("deploy/b.yaml:5 (document 2)")
        .says("deploy/c.yaml:1");
}

#[test]
fn what_a_checkout_lacks_of_its_commit_is_told_before_it_is_built() {
    let world = World::new();
    world.configure();
    world.put("app/.gitattributes", "*.bin -text filter=lfs\n");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n";
    world.put("app/model.bin", pointer);
    world.put("docs/one", "1");
    world.git(&["init", "--quiet", "--initial-branch=main"]);
    world.git(&["add", "."]);
    world.git(&["commit", "--quiet", "--message", "first"]);
    world.git(&["sparse-checkout", "set", "--no-cone", "/*", "!/docs/"]);
    let plan = ["plan", "--env", "staging"];
    world
        .run(&plan)
        .code(0)
        .says("leaves out docs/one")
        .says("git sparse-checkout disable")
        .says("app/model.bin: `git lfs pull`");

    // The command writes the configuration where it is not there.
    let mut plan = world.command(&plan);
    let without = ["/*", "!/environments/"];
    world.git(&[&["sparse-checkout", "set", "--no-cone"], &without[..]].concat());
    Said::from(&plan.output().expect("shipit starts"))
        .code(1)
        .says("environments/staging.yaml is in the commit");
}

#[test]
fn a_folder_that_is_gone_and_a_secret_that_is_empty_are_said_to_be() {
    let world = World::live();
    let folder = tempfile::tempdir().expect("a folder");
    let gone = std::process::Command::new("sh")
        .args(["-c", "rmdir \"$PWD\" && exec \"$0\" plan"])
        .arg(crate::support::shipit())
        .current_dir(folder.path())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&gone.stderr);
    assert!(said.contains("is not there any more"), "{said}");

    let mut world = world;
    world
        .staging
        .push("secrets: {token: {file: token}}".to_owned());
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    world.put("token", "\n");
    world.apply().code(0).says("the secret `token` is empty");
}

#[test]
fn variables_stand_for_flags_and_shorter_words_for_longer_ones() {
    let world = World::new();
    world.put("environments/production.yaml", "promotion: {mode: auto}\n");
    let said = world
        .command(&["deploy", "-y"])
        .env("SHIPIT_ENV", "staging")
        .env("SHIPIT_OUTPUT", "json")
        .output()
        .expect("shipit starts");
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let lines = String::from_utf8_lossy(&said.stdout).into_owned();
    let last = lines.lines().last().expect("an event");
    let event: serde_json::Value = serde_json::from_str(last).expect("a document");
    assert_eq!(event["event"], "ended", "{last}");
    world.run(&["up", "--env", "staging", "--yes"]).code(0);

    // A build server sets what it has no value for to nothing.
    let names = ["SHIPIT_DIRECTORY", "SHIPIT_OUTPUT", "SHIPIT_LOCK_TIMEOUT"];
    let said = world
        .command(&["up", "-y"])
        .envs(names.map(|name| (name, "")))
        .env("SHIPIT_ENV", "staging")
        .output()
        .expect("shipit starts");
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    world.run(&["plan", "--env", ""]).code(64);

    for typed in ["destry", "deplo", "destroyy"] {
        world.run(&[typed]).code(64).says_not("destroy'");
    }
}

/// Runs a command at a terminal on which this is typed, and gives its exit code and what the
/// terminal shows.
fn at_terminal(world: &World, arguments: &[&str], typed: &str) -> (Option<i32>, String) {
    at_terminal_after(world, arguments, "", typed)
}

/// The same, typed once this was written: what is typed before the program reads keys is a line of
/// the terminal's.
fn at_terminal_after(
    world: &World,
    arguments: &[&str],
    written: &str,
    typed: &str,
) -> (Option<i32>, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let theirs = || {
        let path = name.to_str().expect("a path");
        let opened = File::options().read(true).write(true).open(path);
        Stdio::from(OwnedFd::from(opened.expect("opened")))
    };
    let mut child = world
        .command(arguments)
        .env("TERM", "xterm")
        .stdin(theirs())
        .stderr(theirs())
        .stdout(Stdio::piped())
        .spawn()
        .expect("shipit starts");
    let mut ours = File::from(ours);
    let mut copy = ours.try_clone().expect("a copy");
    let reading = std::thread::spawn(move || {
        let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
        // A terminal whose last other side is closed is an error to its reader.
        while let Ok(count @ 1..) = copy.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let (mut stdout, mut byte) = (String::new(), [0]);
    let mut from = child.stdout.take().expect("piped");
    while !stdout.contains(written) && from.read(&mut byte).expect("a text") == 1 {
        stdout.push(char::from(byte[0]));
    }
    ours.write_all(typed.as_bytes()).expect("typed");
    from.read_to_string(&mut stdout).expect("a text");
    let status = child.wait().expect("it ends");
    (status.code(), stdout + &reading.join().expect("read"))
}

#[test]
fn a_plan_is_approved_by_a_line_and_an_environment_is_destroyed_by_its_name() {
    let world = World::new();
    let apply = ["apply", "--env", "staging"];
    for typed in ["\r", "n\r", "no\r", "yo\r"] {
        let (code, shown) = at_terminal(&world, &apply, typed);
        assert_eq!(code, Some(1), "{typed:?}: {shown}");
        assert!(shown.contains("nothing was changed"), "{typed:?}: {shown}");
    }
    let (code, shown) = at_terminal(&world, &apply, "yes\r");
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(world.get(), "v1");

    let destroy = ["destroy", "--env", "staging"];
    for typed in ["y\r", "yes\r", "production\r"] {
        let (code, shown) = at_terminal(&world, &destroy, typed);
        assert_eq!(code, Some(1), "{typed:?}: {shown}");
    }
    assert_eq!(world.get(), "v1");
    let (code, shown) = at_terminal(&world, &destroy, "staging\r");
    assert_eq!(code, Some(0), "{shown}");
}

#[test]
fn a_command_prints_as_much_and_as_colourful_as_it_is_told_to() {
    let world = World::new();
    let quiet = world
        .run(&["-q", "apply", "--env", "staging", "-y"])
        .code(0);
    assert_eq!(quiet.stderr, "");
    assert!(quiet.stdout.starts_with("Done: release 1"), "{quiet:?}");

    world.message("v2");
    world
        .run(&["apply", "--env", "staging", "-y", "--verbose"])
        .code(0)
        .says("shop → staging")
        .says("workload.green/web: deploy");
    world.run(&["-q", "-v", "status"]).code(64);

    // NO_COLOR is set by the test's world, and a flag or a variable of shipit's own wins over it.
    let colored = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut plan = world.command(&[&["plan", "--env", "staging"], arguments].concat());
        let said = plan
            .envs(variables.iter().copied())
            .output()
            .expect("it starts");
        String::from_utf8_lossy(&said.stdout).contains('\u{1b}')
    };
    assert!(!colored(&[], &[]));
    assert!(colored(&["--color", "always"], &[]));
    assert!(colored(&[], &[("SHIPIT_COLOR", "always")]));
    assert!(colored(&[], &[("NO_COLOR", ""), ("CLICOLOR_FORCE", "1")]));
    assert!(!colored(&["--color=never"], &[("CLICOLOR_FORCE", "1")]));
    let misused = world.run(&["plan", "--colour", "--color=always"]).code(64);
    assert!(misused.stderr.contains('\u{1b}'), "{misused:?}");
}

#[test]
fn logs_are_narrowed_by_time_and_by_an_expression() {
    let world = World::live();
    let logs = |arguments: &[&str]| world.run(&[&["logs", "--env", "staging"], arguments].concat());
    logs(&["--since", "1h"]).code(0).says("storefront listens");
    logs(&["--grep", "^storefront .*: v1$"])
        .code(0)
        .says("listens");
    let none = logs(&["--grep", "nobody writes this"]).code(0);
    assert_eq!(none.stdout, "");

    let mut since = String::new();
    until("nothing was written since", || {
        since = jiff::Timestamp::now().to_string();
        logs(&["--since", &since]).code(0).stdout.is_empty()
    });
    http::get(&world.live_address(), "/say?later").expect("an answer");
    until("it is written", || {
        logs(&["--since", &since]).code(0).stdout.contains("later")
    });

    logs(&["--since", "tomorrow"]).code(64).says("10m");
    logs(&["--since", "2999-01-01"])
        .code(64)
        .says("still to come");
    logs(&["--grep", "("]).code(64).says("unclosed group");
}

#[test]
fn logs_have_what_was_put_aside() {
    let world = World::live();
    let slot = world.agent_folder().join("logs/shop/staging/blue/1");
    std::fs::write(slot.join("web.0.log.1"), "before it was put aside\n").expect("a file");
    let logs = |arguments: &[&str]| world.run(&[&["logs", "--env", "staging"], arguments].concat());
    let all = logs(&[]).code(0).says("before it was put aside").stdout;
    let at = |text: &str| all.find(text).expect(text);
    assert!(
        at("before it was put aside") < at("storefront listens"),
        "{all}"
    );
    logs(&["--since", "1h", "--grep", "put aside"])
        .code(0)
        .says("before it was");
    logs(&["-n", "1"]).code(0).says_not("put aside");
}

#[test]
fn a_folder_for_temporary_files_that_is_not_there_is_told_before_anything_is_done() {
    let world = World::new();
    for command in [&["plan"][..], &["apply", "--auto-approve"], &["doctor"]] {
        let mut command = world.command(&[command, &["--env", "staging"]].concat());
        let output = command.env("TMPDIR", "/nonexistent").output();
        Said::from(&output.expect("it starts"))
            .code(1)
            .says("/nonexistent (TMPDIR): No such file or directory");
    }
    let history = world.run(&["history", "--env", "staging"]).code(0);
    history.says_not("failed");
}

#[test]
fn a_command_runs_in_an_instance_and_its_exit_code_is_shipits() {
    let mut world = World::new();
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    world.put("token", "hunter2secret");
    world
        .staging
        .push("cluster: {kind: host, runtime: process}".to_owned());
    world
        .staging
        .push("secrets: {token: {file: token}}".to_owned());
    world.apply().code(0);
    let shell = |command: &str, script: &str| {
        let words = [command, "--env", "staging", "web", "--", "sh", "-c", script];
        world.run(&words)
    };

    for command in ["exec", "run"] {
        let said = shell(
            command,
            "echo $SHIPIT_SLOT; echo why >&2; cat message.txt; exit 7",
        )
        .code(7);
        assert_eq!(
            (said.stdout.as_str(), said.stderr.as_str()),
            ("blue\nv1", "why\n"),
            "{command}"
        );
        // It has the secret, and nobody sees it.
        shell(command, "test $TOKEN = hunter2secret && echo has $TOKEN")
            .code(0)
            .says("has *************");
        shell(command, "kill -9 $$").code(137);
    }
    let none = ["--env", "staging", "web", "--", "no-such-program"];
    world
        .run(&[&["exec"], &none[..]].concat())
        .code(1)
        .says("no-such-program");
    world
        .run(&["exec", "--env", "staging", "api", "--", "ls"])
        .code(64)
        .says("web");

    let history = world
        .run(&["history", "--env", "staging", "--output", "json"])
        .code(0);
    let history: serde_json::Value = serde_json::from_str(&history.stdout).expect("a document");
    let commands = history["commands"].as_array().expect("a list");
    assert_eq!(commands.len(), 7, "{commands:?}");
    assert_eq!(commands[0]["exit"], 7);
    assert_eq!(commands[0]["place"], "instance");
    assert!(!history.to_string().contains("hunter2secret"), "{history}");
}

#[test]
fn what_a_command_leaves_in_the_background_ends_with_it() {
    let mut world = World::new();
    world
        .staging
        .push("cluster: {kind: host, runtime: process}".to_owned());
    world.apply().code(0);
    for command in ["exec", "run"] {
        let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
        let words = [command, "--env", "staging", "web", "--", "sh", "-c", script];
        let said = world.run(&words).code(0);
        let pid = said.stdout.trim().parse().expect("a process");
        until("it ends", || shipit::files::process::started(pid).is_none());
    }
}

#[test]
fn what_goes_into_a_command_comes_out_of_it_and_nothing_is_left_of_one_whose_client_died() {
    let mut world = World::new();
    world
        .staging
        .push("cluster: {kind: host, runtime: process}".to_owned());
    world.apply().code(0);
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    world.put("sent", "");
    std::fs::write(world.file("sent"), &sent).expect("written");
    let mut cat = world.command(&["exec", "--env", "staging", "-i", "--", "cat"]);
    cat.stdin(File::open(world.file("sent")).expect("there"));
    let said = cat.output().expect("shipit starts");
    assert!(
        said.stdout == sent,
        "{} bytes, {:?}",
        said.stdout.len(),
        said.status
    );

    for signal in [Signal::TERM, Signal::KILL] {
        let script = "trap '' HUP; echo $$ > pid; sleep 1000";
        let words = ["exec", "--env", "staging", "--", "sh", "-c", script];
        let mut client = world.start(&words);
        let pid = || {
            let slots = world.status()["facts"]["slots"].clone();
            let image = slots["blue"]["workloads"]["web"]["spec"]["image"]["value"].clone();
            let image = image.as_str()?.strip_prefix("sha256:")?.to_owned();
            let file = world
                .agent_folder()
                .join(format!("rootfs/{image}/files/app/pid"));
            std::fs::read_to_string(file)
                .ok()?
                .trim()
                .parse::<u32>()
                .ok()
        };
        let mut found = None;
        until("it runs", || {
            found = pid().filter(|pid| shipit::files::process::started(*pid).is_some());
            found.is_some()
        });
        crate::support::signal(client.id(), signal);
        client.wait().expect("it ends");
        let pid = found.expect("it ran");
        until("nothing is left", || {
            shipit::files::process::started(pid).is_none()
        });
    }
}

#[test]
fn a_command_at_a_terminal_has_one_of_its_own() {
    let mut world = World::new();
    world
        .staging
        .push("cluster: {kind: host, runtime: process}".to_owned());
    world.apply().code(0);
    let exec = [
        "exec",
        "--env",
        "staging",
        "--",
        "sh",
        "-c",
        "stty size; read x; echo got $x; exit 4",
    ];
    let (code, shown) = at_terminal(&world, &exec, "typed\r");
    assert_eq!(code, Some(4), "{shown}");
    assert!(
        shown.contains("24 80") && shown.contains("got typed"),
        "{shown}"
    );
    let cut = [
        "exec",
        "--env",
        "staging",
        "--",
        "sh",
        "-c",
        "trap 'exit 9' INT; echo up; sleep 100 & wait",
    ];
    let (code, shown) = at_terminal_after(&world, &cut, "up", "\u{3}");
    assert_eq!(code, Some(9), "{shown}");
}

/// A slip in a name is no silence, and no advice to make what nobody has configured.
#[test]
fn a_name_that_nobody_has_is_said_to_be_none() {
    let world = World::live();
    world
        .run(&["logs", "wbe", "--env", "staging"])
        .code(64)
        .says("there is no service wbe")
        .says("the services are: web");
    world
        .run(&["promote", "nosuch", "--to", "staging", "--auto-approve"])
        .code(64)
        .says("has no environment `nosuch`")
        .says("the environments are: staging");
}
