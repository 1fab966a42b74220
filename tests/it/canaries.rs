//! Two hundred secrets that builds, services, checks and servers write in every form, through
//! success and failure of every step: none of them is in anything that shipit prints or keeps.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::serve::Server;
use crate::support::canaries::{COUNT, Canaries, READERS};
use crate::support::receivers::Receiver;
use crate::support::sshd::{self, Sshd};
use crate::support::{Said, World, until};

/// How many of them the service itself has and writes.
const TOLD: usize = 40;

/// A project whose every program has the canaries and writes them.
struct Cage {
    world: World,
    canaries: Canaries,
    said: Vec<Said>,
    /// What else the environment's file says.
    more: Vec<String>,
}

impl Cage {
    fn new() -> Self {
        Self::of(World::new())
    }

    fn of(world: World) -> Self {
        Self::with(world, Canaries::new())
    }

    fn with(mut world: World, canaries: Canaries) -> Self {
        for number in 0..TOLD {
            let name = format!("{{secret: s{number}}}");
            world.env.insert(format!("S{number}"), name);
        }
        let told = (0..TOLD).map(|number| format!("S{number} "));
        world.env.insert("TELL".to_owned(), told.collect());
        let mut cage = Self {
            world,
            canaries,
            said: Vec::new(),
            more: Vec::new(),
        };
        cage.build("");
        cage.checks(&["{run: [sh, -c, \"env > check.env; cat FORMS\"]}"], &[]);
        cage
    }

    /// The build writes everything, and then does this.
    fn build(&mut self, then: &str) {
        let forms = self.canaries.path("forms");
        self.world.build = vec![format!(
            "run: {{shell: \"env > ../build.env; cat {forms}; {then}\"}}"
        )];
    }

    fn checks(&mut self, before: &[&str], after: &[&str]) {
        let forms = self.canaries.path("forms");
        let list = |checks: &[&str]| checks.join(", ").replace("FORMS", &forms);
        self.world.staging = vec![
            format!(
                "promotion: {{mode: auto, probe: {{linger: 50ms}}, before: [{}], after: [{}]}}",
                list(before),
                list(after)
            ),
            self.canaries.configured(),
        ];
        self.world.staging.extend_from_slice(&self.more);
    }

    /// What every command with an output says, and every kind of file that one writes.
    #[track_caller]
    fn read_everything(&mut self) {
        let out = self.world.file("plan.json").display().to_string();
        let reports = ["junit", "gitlab", "sarif", "markdown"];
        let report = |kind| format!("--report={kind}={}", self.world.file(kind).display());
        let mut plan = vec!["plan".to_owned(), format!("--out={out}")];
        plan.extend(reports.map(report));
        let plan: Vec<&str> = plan.iter().map(String::as_str).collect();
        let more: [&[&str]; 9] = [
            &["logs", "-n", "1000"],
            &plan,
            &["show", &out],
            &["rehearse", &out],
            &["drift", "--output", "json"],
            &["state", "pull"],
            &["state", "list"],
            &["graph"],
            &["history"],
        ];
        for arguments in READERS.iter().copied().chain(more) {
            let said = self.run(arguments);
            assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.stderr);
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command
            .args(["--env", "staging"])
            .envs(self.canaries.in_variables());
        command
    }

    #[track_caller]
    fn run(&mut self, arguments: &[&str]) -> &Said {
        let said = Said::from(&self.command(arguments).output().expect("shipit starts"));
        let what = format!("what `{}` said", arguments.join(" "));
        self.canaries.are_not_in(&what, said.stdout.as_bytes());
        self.canaries.are_not_in(&what, said.stderr.as_bytes());
        self.said.push(said);
        self.said.last().expect("just said")
    }

    #[track_caller]
    fn apply_says(&mut self, code: i32, text: &str) {
        let said = self.apply(code);
        assert!(said.contains(text), "`{text}` is not in {said}");
    }

    /// Both forms of output: what a person reads, and one document a line.
    #[track_caller]
    fn apply(&mut self, code: i32) -> String {
        let said = self.run(&["apply", "--auto-approve"]);
        assert_eq!(said.code, Some(code), "{}\n{}", said.stdout, said.stderr);
        let read = format!("{}{}", said.stdout, said.stderr);
        let said = self.run(&["apply", "--auto-approve", "--output", "json"]);
        for line in said.stdout.lines() {
            let event = serde_json::from_str::<serde_json::Value>(line);
            assert!(event.is_ok(), "{line}");
        }
        read
    }

    /// Nothing that is kept has one, and no process but the service.
    fn search_everything(&self) {
        let kept = || {
            let mut found = Vec::new();
            self.canaries.files_with_one(self.world.path(), &mut found);
            found
        };
        until("the logs have been looked through", || {
            kept()
                .iter()
                .all(|path| !path.starts_with(self.world.agent_folder()))
        });
        assert_eq!(kept(), Vec::<PathBuf>::new());

        for entry in fs::read_dir("/proc").expect("there").filter_map(Result::ok) {
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            // One that becomes another program has no arguments for a moment, and nor has one that
            // has just ended: what it is, is read on both sides of what it was given.
            let before = String::from_utf8_lossy(&read("cmdline")).into_owned();
            let given = read("environ");
            let after = String::from_utf8_lossy(&read("cmdline")).into_owned();
            self.canaries.are_not_in("arguments", before.as_bytes());
            self.canaries.are_not_in("arguments", after.as_bytes());
            // The service has them, and commands, tasks and hooks of the other tests' were given
            // them.
            let may_have = |program: &String| {
                ["storefront", "--env\0staging", "env; env >&2", "env; cat"]
                    .iter()
                    .any(|given| program.contains(given))
            };
            if ![&before, &after].into_iter().any(may_have) {
                let what = format!("the environment of {before} ({after})");
                self.canaries.are_not_in(&what, &given);
            }
        }
    }
}

#[test]
fn no_secret_is_in_anything_that_is_printed_or_kept() {
    every_step_succeeds_and_fails(Cage::new());
}

#[test]
fn no_secret_of_a_container_is_in_anything_that_is_printed_or_kept() {
    let Some(world) = crate::containers::world() else {
        return;
    };
    every_step_succeeds_and_fails(Cage::of(world));
}

#[test]
fn no_secret_of_a_docker_container_is_in_anything_that_is_printed_or_kept() {
    let Some(world) = crate::docker::world() else {
        return;
    };
    every_step_succeeds_and_fails(Cage::of(world));
}

#[test]
fn no_secret_of_a_unit_is_in_anything_that_is_printed_or_kept() {
    let odd = (1..COUNT).step_by(2);
    let variables = odd.map(|number| format!("CANARY_{number}")).collect();
    let Some((world, machine)) = crate::systemd::world_with("root", variables) else {
        return;
    };
    let canaries = Canaries::within(&machine.folder);
    let shown = |script: &str| crate::systemd::shell(&machine, script);
    let units = every_step_succeeds_and_fails_then(Cage::with(world, canaries), |canaries| {
        let all = shown("systemctl show --all 'shipit-*'; journalctl --no-pager");
        canaries.are_not_in("what systemd knows of its units", all.as_bytes());
        all
    });
    assert!(units.contains("shipit-shop-staging-"), "{units}");
}

#[test]
fn no_secret_of_a_service_on_another_machine_is_in_anything_that_is_printed_or_kept() {
    if !sshd::is_there() {
        return;
    }
    let world = World::new();
    let sshd = Sshd::start(world.path());
    let mut agent = crate::elsewhere::agent_of(&world);
    let cluster = sshd.cluster(&world.agent_folder());
    let mut cage = Cage::of(world);
    cage.more.push(cluster);
    cage.checks(&["{run: [sh, -c, \"cat FORMS\"]}"], &[]);
    every_step_succeeds_and_fails(cage);
    agent.wait().expect("it has ended with its environment");
}

/// Tasks that write all that they have, and then do this.
fn tasks(cage: &mut Cage, migrate: &str, warm: &str) {
    // The agent knows what it gave to the task, and no more.
    let tells = "env; env >&2; printf %s \"$S1\" | base64 -w 0; echo";
    let task = |name: &str, how: &str, then: &str, more: &str| {
        let words = serde_json::json!(["/bin/sh", "-c", format!("{tells}; {then}")]);
        format!("  {name}: {{{how}: {words}{more}}}")
    };
    cage.more = vec![
        "tasks:".to_owned(),
        task("migrate", "run", migrate, ""),
        task("warm", "exec", warm, ", when: after_switch"),
        task("last", "run", "true", ", when: before_remove"),
        task("report", "run", "exit 4", ", when: never"),
    ];
    cage.checks(&[], &[]);
}

/// A hook that writes all that there is, and then does this, and somebody who is told.
fn surround(cage: &mut Cage, then: &str, receiver: &Receiver) {
    let forms = cage.canaries.path("forms");
    let words = serde_json::json!(["/bin/sh", "-c", format!("env; cat {forms} >&2; {then}")]);
    cage.world.project = vec![
        format!("hooks: {{tells: {{before: switch, run: {words}, env: {{S: {{secret: s1}}}}}}}}"),
        format!(
            "notify: {{team: {{slack: {{channel: C1, token: {{secret: s3}}, api: \"{}\"}}, \
             on: [started, done, failed, reverted]}}}}",
            receiver.address
        ),
    ];
}

#[test]
fn no_secret_of_what_is_around_a_release_is_in_anything_that_is_printed_or_kept() {
    let mut cage = Cage::new();
    let forms = fs::read_to_string(cage.canaries.path("forms")).expect("written");
    let receiver = Receiver::start(move |_, _| (400, String::new(), forms.clone()));
    surround(&mut cage, "true", &receiver);
    tasks(&mut cage, "true", "true");
    cage.apply_says(0, "it is ***!");
    assert!(!receiver.asked().is_empty(), "somebody was told");
    cage.search_everything();
    cage.read_everything();

    cage.world.message("v2");
    tasks(&mut cage, "exit 5", "true");
    cage.apply_says(1, "exit code 5");
    tasks(&mut cage, "true", "true");
    surround(&mut cage, "exit 6", &receiver);
    cage.apply_says(1, "exit code 6");
    surround(&mut cage, "true", &receiver);
    tasks(&mut cage, "true", "exit 7");
    cage.apply_says(3, "exit code 7");

    let report = cage.run(&["task", "report", "--auto-approve"]);
    assert_ne!(report.code, Some(0), "{}", report.stdout);
    for arguments in [
        &["notify", "--test"][..],
        &["settle"],
        &["history", "--output", "json"],
    ] {
        cage.run(arguments);
    }
    cage.search_everything();
    let destroy = cage.run(&["destroy", "--auto-approve"]);
    assert_eq!(destroy.code, Some(0), "{}", destroy.stderr);
    cage.search_everything();
}

fn every_step_succeeds_and_fails(cage: Cage) {
    every_step_succeeds_and_fails_then(cage, |_| ());
}

fn every_step_succeeds_and_fails_then<T>(mut cage: Cage, look: impl FnOnce(&Canaries) -> T) -> T {
    cage.apply_says(0, "it is ***!");
    let one = cage.canaries.values[0].clone();
    assert_eq!(cage.world.get_path("/env?S0"), one, "the service has it");
    cage.search_everything();
    cage.read_everything();

    // Each step fails once, with all that its program says.
    cage.world.message("v2");
    cage.build("exit 9");
    cage.apply_says(1, "ended with exit code 9");
    cage.build("");
    cage.checks(&["{run: [sh, -c, \"cat FORMS; exit 7\"]}"], &[]);
    cage.apply_says(1, "ended with exit code 7");
    cage.checks(&["{http: {path: \"/env?S0\", contains: never}}"], &[]);
    cage.apply_says(1, "│ ***");
    cage.checks(&[], &["{http: {path: \"/env?S1\", contains: never}}"]);
    cage.apply_says(3, "Traffic was moved back");
    let told = "no-database".to_owned();
    cage.world.env.insert("FAIL_START".to_owned(), told);
    // Its last words are on another stream than the many lines before them, and Docker keeps no
    // order between the two.
    cage.apply_says(1, "green is not ready: web.0 failed: exit code 3");
    cage.run(&["logs", "-n", "1000"]);
    for command in ["exec", "run"] {
        cage.run(&[command, "web", "--", "sh", "-c", "env; env >&2"]);
    }
    let restart = cage.run(&["restart", "--auto-approve"]);
    assert_eq!(restart.code, Some(0), "{}", restart.stderr);
    cage.search_everything();
    let seen = look(&cage.canaries);

    let destroy = cage.run(&["destroy", "--auto-approve"]);
    assert_eq!(destroy.code, Some(0), "{}", destroy.stderr);
    cage.search_everything();
    seen
}

/// The server hands half of them on to its jobs, whose pipeline and build write all of them.
#[test]
fn no_secret_of_a_job_is_in_anything_that_the_server_shows_or_keeps() {
    let Cage {
        world, canaries, ..
    } = Cage::with(World::new(), Canaries::others());
    let mut server = Server::of(world, "everything\n    pipeline: PIPELINE");
    let names: Vec<String> = canaries.in_variables().map(|(name, _)| name).collect();
    let handed_on = format!(
        "variables: [SHIPIT_AGENT_DIR, NPM_TOKEN, {}]",
        names.join(", ")
    );
    let pipeline = server.path().join("pipeline.json");
    server.reconfigure("variables: [SHIPIT_AGENT_DIR]", &handed_on);
    server.reconfigure("PIPELINE", &pipeline.display().to_string());
    server.variables = canaries
        .in_variables()
        .map(|(name, value)| (name, value.clone()))
        .collect();
    let token = "npm_a-token-of-the-servers-own";
    server
        .variables
        .push(("NPM_TOKEN".to_owned(), token.to_owned()));

    let steps = |then: &str| {
        let tells = format!("env; cat {} >&2; {then}", canaries.path("forms"));
        serde_json::json!([{"step": "tells", "commands": [tells]}]).to_string()
    };
    fs::write(&pipeline, steps("true")).expect("written");
    server.push_aside();
    server.start();
    let mut all = server.run(&["trigger", "shop"]).code(0).stdout;
    fs::write(&pipeline, steps("exit 3")).expect("written");
    all += &server.run(&["trigger", "shop"]).code(1).stdout;
    fs::write(&pipeline, steps("true")).expect("written");
    server.fail_the_build();
    all += &server.run(&["trigger", "shop"]).code(1).stdout;

    for arguments in [
        &["jobs", "list", "--output", "json"][..],
        &["jobs", "show", "1", "--output", "json"],
        &["jobs", "logs", "1"],
        &["jobs", "logs", "2"],
        &["jobs", "logs", "3"],
        &["deliveries", "list", "--output", "json"],
        &["deliveries", "show", "1"],
    ] {
        all += &server.run(arguments).code(0).stdout;
    }
    all += &server.get("/metrics").1;
    assert!(all.contains("it is ***!"), "all of it was written: {all}");
    canaries.are_not_in("what the server shows", all.as_bytes());
    assert!(!all.contains(token), "the server's own is shown");

    let mut found = Vec::new();
    canaries.files_with_one(server.path(), &mut found);
    assert_eq!(found, Vec::<PathBuf>::new());
    let kept = Command::new("grep")
        .args([
            "--recursive",
            "--files-with-matches",
            "--exclude=*.env",
            token,
        ])
        .arg(server.path())
        .output()
        .expect("grep starts");
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "");
}

#[test]
fn an_agent_that_took_services_back_hides_what_they_were_given() {
    let mut cage = Cage::new();
    cage.world.build.clear();
    cage.checks(&[], &[]);
    let said = cage.run(&["apply", "--auto-approve"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    cage.world.run(&["agent", "stop"]).code(0);

    // A command without the variables: what it shows is hidden by the agent alone.
    let logs = ["logs", "--env", "staging", "-n", "1000"];
    let said = cage.world.run(&logs).code(0).says("json {\"token\":\"");
    cage.canaries.are_not_in("the log", said.stdout.as_bytes());
    cage.search_everything();
}
