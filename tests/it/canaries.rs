//! Two hundred secrets that builds, services, checks and servers write in every form, through success and failure of every
//! step: none of them is in anything that shipit prints or keeps.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tempfile::TempDir;

use crate::support::{Said, World, until};

const COUNT: usize = 200;

/// How many of them the service itself has and writes.
const TOLD: usize = 40;

/// Secrets, where they come from, and all of their forms.
struct Canaries {
    values: Vec<String>,
    /// Outside of the project: the secrets' own files, and what build and checks write.
    folder: TempDir,
    search: AhoCorasick,
    forms: Vec<String>,
}

/// The same values in each run: a linear congruential generator is random enough.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }

    fn word(&mut self, length: usize) -> String {
        const SIGNS: &str = "abcdefghijkmnopqrstuvwxyz0123456789ABCDEFG'\"\\/+=&<>%$`{}:; äß漢🔑";
        let signs: Vec<char> = SIGNS.chars().collect();
        (0..length)
            .map(|_| signs[self.below(signs.len())])
            .collect()
    }
}

fn value(number: usize) -> String {
    let mut dice = Dice(number as u64);
    let (first, second) = (dice.word(14), dice.word(20));
    // A number in each, so that no value is part of another.
    let parts = [format!("k{number}{first}x"), format!("y{second}{number}z")];
    // Every fifth has two lines.
    parts.join(if number.is_multiple_of(5) { "\n" } else { "-" })
}

fn percent(text: &str) -> String {
    percent_with(text, |byte| format!("%{byte:02X}"))
}

fn percent_with(text: &str, digits: fn(u8) -> String) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => char::from(byte).to_string(),
            byte => digits(byte),
        })
        .collect()
}

fn ascii(text: &str) -> String {
    text.encode_utf16()
        .map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("\\u{unit:04X}"),
        })
        .collect()
}

fn forms(value: &str) -> Vec<String> {
    let json = serde_json::Value::from(value).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let hex = value.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let html = value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    vec![
        value.to_owned(),
        STANDARD.encode(value),
        STANDARD.encode(format!("u{value}")),
        STANDARD.encode(format!("u:{value}@host")),
        URL_SAFE_NO_PAD.encode(value),
        percent(value),
        percent_with(value, |byte| format!("%{byte:02x}")),
        percent(value).replace("%20", "+"),
        json.replace('/', "\\/"),
        json,
        ascii(value),
        value.replace('\'', r"'\''"),
        format!("{value:?}"),
        hex.to_uppercase(),
        hex,
        html.replace('"', "&quot;").replace('\'', "&#39;"),
        percent(&STANDARD.encode(value)),
    ]
}

impl Canaries {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("c")
            .tempdir()
            .expect("a folder");
        let values: Vec<String> = (0..COUNT).map(value).collect();
        let all: Vec<Vec<String>> = values.iter().map(|value| forms(value)).collect();
        for (number, value) in values.iter().enumerate() {
            fs::write(folder.path().join(number.to_string()), value).expect("written");
        }
        let needles: BTreeSet<String> = all
            .iter()
            .flatten()
            .chain(&values)
            .flat_map(|form| form.lines().map(str::to_owned))
            .collect();
        let canaries = Self {
            values,
            folder,
            search: AhoCorasick::new(&needles).expect("a search"),
            forms: needles.into_iter().collect(),
        };
        canaries.write("forms", &all);
        canaries
    }

    /// What a program writes: each value in some forms, and all forms some of the time.
    fn write(&self, name: &str, all: &[Vec<String>]) {
        let written = all.iter().enumerate().map(|(number, forms)| {
            let some = forms.iter().cycle().skip(number * 2).take(2);
            some.fold(String::new(), |text, form| text + "it is " + form + "!\n")
        });
        fs::write(self.folder.path().join(name), written.collect::<String>()).expect("written");
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Half of them are in files, half in variables.
    fn configured(&self) -> String {
        let mut text = "secrets:\n".to_owned();
        for number in 0..COUNT {
            let _ = match number % 2 {
                0 => writeln!(
                    text,
                    "  s{number}: {{file: {}}}",
                    self.path(&number.to_string())
                ),
                _ => writeln!(text, "  s{number}: {{env: CANARY_{number}}}"),
            };
        }
        text
    }

    fn in_variables(&self) -> impl Iterator<Item = (String, &String)> {
        let odd = self.values.iter().enumerate().skip(1).step_by(2);
        odd.map(|(number, value)| (format!("CANARY_{number}"), value))
    }

    fn hit(&self, bytes: &[u8]) -> Option<&str> {
        let found = self.search.find(bytes)?;
        Some(&self.forms[found.pattern().as_usize()])
    }

    #[track_caller]
    fn are_not_in(&self, what: &str, bytes: &[u8]) {
        let hit = self.hit(bytes);
        assert!(hit.is_none(), "{hit:?} is in {what}");
    }

    /// The files below a folder that have one.
    fn files_with_one(&self, folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.files_with_one(&path, found),
                Ok(kind) if kind.is_file() => {
                    let bytes = fs::read(&path).unwrap_or_default();
                    found.extend(self.hit(&bytes).map(|_| path));
                }
                _ => {}
            }
        }
    }
}

/// A project whose every program has the canaries and writes them.
struct Cage {
    world: World,
    canaries: Canaries,
    said: Vec<Said>,
}

impl Cage {
    fn new() -> Self {
        let canaries = Canaries::new();
        let mut world = World::new();
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
            let program = String::from_utf8_lossy(&read("cmdline")).into_owned();
            self.canaries.are_not_in("arguments", program.as_bytes());
            // The service has them, and a command of the other test's was given them.
            if !program.contains("storefront") && !program.contains("staging") {
                self.canaries
                    .are_not_in(&format!("the environment of {program}"), &read("environ"));
            }
        }
    }
}

#[test]
fn no_secret_is_in_anything_that_is_printed_or_kept() {
    let mut cage = Cage::new();
    cage.apply_says(0, "it is ***!");
    let one = cage.canaries.values[0].clone();
    assert_eq!(cage.world.get_path("/env?S0"), one, "the service has it");
    cage.search_everything();
    for arguments in [
        &["logs", "-n", "1000"][..],
        &["status", "--output", "json"],
        &["history", "--output", "json"],
        &["plan", "--output", "markdown", "--rebuild"],
        &["plan", "--output", "json", "--rebuild"],
        &["render"],
        &["diff"],
        &["doctor"],
        &["state", "show"],
    ] {
        assert_eq!(cage.run(arguments).code, Some(0), "{arguments:?}");
    }

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
    cage.apply_says(1, "cannot start: no-database");
    cage.run(&["logs", "-n", "1000"]);
    cage.search_everything();
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
