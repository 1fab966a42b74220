//! The examples for build servers, played as the servers play them: their scripts run for real, in
//! clones of their kind, with the variables that they set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::support::{Said, World, has, shipit};

/// For an address that no other project of these tests has.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A project on a forge, with the branches `staging` and `master`.
struct Forge {
    world: World,
    outside: tempfile::TempDir,
}

/// What a server runs for.
#[derive(Clone, Copy)]
enum Event {
    Push(&'static str),
    /// A change request of this branch into that one.
    Change(&'static str, &'static str),
}

impl Forge {
    fn new() -> Self {
        let outside = tempfile::tempdir().expect("a folder");
        let key = outside.path().join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.expect("it starts").success());
        let public = fs::read_to_string(key.with_extension("pub")).expect("a key");

        let mut world = World::new();
        let state = format!(
            "state: {{path: {}}}",
            outside.path().join("state").display()
        );
        world.project = vec![
            state,
            format!("approvers: {{pipeline: \"{}\"}}", public.trim()),
            "branches:\n  staging: {environment: staging}\n  \
             master: {environment: production, accepts: [staging], direct_commits: false}"
                .to_owned(),
        ];
        world.configure();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let traffic = format!("127.251.{}.{next}", std::process::id() % 250);
        world.put(
            "environments/production.yaml",
            &format!(
                "promotion: {{mode: manual, probe: {{linger: 50ms}}}}\napprovals: {{count: 1}}\n\
                 traffic: {{address: {traffic}, limits: {{drain: 5s, hold: 5s}}}}\n"
            ),
        );
        world.put(".gitignore", "/a/\n/state/\n");

        let forge = Self { world, outside };
        forge.git(&["init", "--quiet", "--initial-branch", "master"]);
        forge.git(&["add", "."]);
        forge.git(&["commit", "--quiet", "--message", "the project"]);
        forge.git(&["branch", "staging"]);
        let origin = forge.origin().display().to_string();
        let bare = ["init", "--quiet", "--bare", &origin];
        forge.git(&bare);
        forge.git(&["remote", "add", "origin", &origin]);
        forge.git(&["push", "--quiet", "origin", "master", "staging"]);
        forge
    }

    fn origin(&self) -> PathBuf {
        self.outside.path().join("origin.git")
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(self.world.path(), arguments)
    }

    /// A commit on staging that changes what the service answers.
    fn change(&self, message: &str) {
        self.git(&["checkout", "--quiet", "staging"]);
        self.world.message(message);
        self.git(&["commit", "--quiet", "--all", "--message", message]);
        self.git(&["push", "--quiet", "origin", "staging"]);
    }

    /// Staging is merged into master.
    fn merge(&self) {
        self.git(&["checkout", "--quiet", "master"]);
        self.git(&[
            "merge",
            "--quiet",
            "--no-ff",
            "--message",
            "merged",
            "staging",
        ]);
        self.git(&["push", "--quiet", "origin", "master"]);
    }

    /// The merge that a change request would be, which forges make beforehand.
    fn proposed(&self, from: &str, into: &str) -> String {
        self.git(&["checkout", "--quiet", "--detach", into]);
        self.git(&["merge", "--quiet", "--no-ff", "--message", "proposed", from]);
        self.git(&[
            "push",
            "--quiet",
            "--force",
            "origin",
            "HEAD:refs/pull/1/merge",
        ]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A clone that has one ref alone, detached, as servers make it.
    fn clone(&self, name: &str, fetched: &[&str], commit: &str) -> PathBuf {
        let folder = self.outside.path().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        git(&folder, &["init", "--quiet"]);
        let origin = format!("file://{}", self.origin().display());
        git(&folder, &["remote", "add", "origin", &origin]);
        git(
            &folder,
            &[&["fetch", "--quiet", "origin"], fetched].concat(),
        );
        git(&folder, &["checkout", "--quiet", "--detach", commit]);
        folder
    }

    /// A script of a step, with nothing of this machine's build server.
    fn command(&self, program: &str, folder: &Path, variables: &[(String, String)]) -> Command {
        let run = self.world.command(&[]);
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = shipit().parent().expect("a folder").display().to_string();
        let mut command = Command::new(program);
        command.current_dir(folder).stdin(Stdio::null());
        for (name, value) in run.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .env("PATH", format!("{bin}:{path}"))
            .envs(variables.iter().cloned());
        command
    }

    fn script(&self, script: &str, folder: &Path, variables: &[(String, String)]) -> Said {
        let mut bash = self.command("bash", folder, variables);
        bash.args(["-e", "-o", "pipefail", "-c", script]);
        Said::from(&bash.output().expect("a shell"))
    }

    fn live(&self, environment: &str) -> Option<u64> {
        let status = self
            .world
            .run(&["status", "--env", environment, "--output", "json"]);
        let status: Value = serde_json::from_str(&status.stdout).expect("a document");
        let active = status["facts"]["active"].as_str()?;
        status["facts"]["slots"][active]["label"]["number"].as_u64()
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=kim", "-c", "user.email=kim@example.com"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("git starts");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn example(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(path);
    fs::read_to_string(&path).expect("an example")
}

fn document(path: &str) -> Value {
    serde_saphyr::from_str(&example(path)).expect("YAML")
}

fn pairs(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    variables.iter().map(owned).collect()
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// `A == "x" && B || C`, as far as the examples have it.
fn holds(condition: &str, value: impl Fn(&str) -> Option<String>) -> bool {
    let one = |term: &str| match term.split_once("==") {
        Some((name, wanted)) => {
            value(name.trim()).as_deref() == Some(wanted.trim().trim_matches(['"', '\'']))
        }
        None => value(term.trim()).is_some_and(|it| !it.is_empty()),
    };
    condition.split("||").any(|all| all.split("&&").all(one))
}

/// GitLab: the jobs of each stage, each in a clone of its own with what earlier ones kept.
fn gitlab(forge: &Forge, event: Event, started_by_hand: &[&str]) -> Vec<(String, Said)> {
    let pipeline = document("gitlab/.gitlab-ci.yml");
    let (commit, fetched, facts) = match event {
        Event::Push(branch) => (
            forge.git(&["rev-parse", branch]),
            format!("+refs/heads/{branch}:refs/remotes/origin/{branch}"),
            vec![
                ("CI_PIPELINE_SOURCE", "push"),
                ("CI_COMMIT_BRANCH", branch),
                ("CI_COMMIT_REF_NAME", branch),
            ],
        ),
        Event::Change(from, into) => (
            forge.git(&["rev-parse", from]),
            format!("+refs/heads/{from}:refs/remotes/origin/{from}"),
            vec![
                ("CI_PIPELINE_SOURCE", "merge_request_event"),
                ("CI_MERGE_REQUEST_IID", "1"),
                ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", from),
                ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", into),
                ("CI_COMMIT_REF_NAME", from),
            ],
        ),
    };
    let key = forge.outside.path().join("key").display().to_string();
    let mut variables = pairs(
        &[
            &facts[..],
            &[
                ("CI", "true"),
                ("GITLAB_CI", "true"),
                ("CI_COMMIT_SHA", &commit),
                ("SHIPIT_APPROVAL_KEY", &key),
            ],
        ]
        .concat(),
    );
    for (name, value) in pipeline["variables"].as_object().expect("variables") {
        variables.push((name.clone(), value.as_str().expect("a text").to_owned()));
    }
    let known: BTreeMap<String, String> = variables.iter().cloned().collect();
    let is_so = |rule: &Value| {
        holds(rule["if"].as_str().expect("a condition"), |name| {
            known.get(name.trim_start_matches('$')).cloned()
        })
    };
    let workflow = pipeline["workflow"]["rules"].as_array().expect("rules");
    assert!(workflow.iter().any(is_so), "a pipeline is made");

    let kept = forge.outside.path().join("artifacts");
    let _ = fs::remove_dir_all(&kept);
    fs::create_dir_all(&kept).expect("a folder");
    let mut ran = Vec::new();
    for stage in texts(&pipeline["stages"]) {
        for (name, job) in pipeline.as_object().expect("jobs") {
            if job["stage"] != stage.as_str() {
                continue;
            }
            let rules = job["rules"].as_array();
            let rule = rules.map(|rules| rules.iter().find(|rule| is_so(rule)));
            let is_manual = rule.flatten().is_some_and(|rule| rule["when"] == "manual");
            if rule.is_some_and(|rule| rule.is_none())
                || is_manual && !started_by_hand.contains(&name.as_str())
            {
                continue;
            }
            let folder = forge.clone("gitlab", &[&fetched], &commit);
            copy(&kept, &folder);
            let said = forge.script(&texts(&job["script"]).join("\n"), &folder, &variables);
            let is_done = said.code == Some(0);
            for path in texts(&job["artifacts"]["paths"]) {
                fs::copy(folder.join(&path), kept.join(&path)).expect("it was made");
            }
            for (kind, file) in job["artifacts"]["reports"]
                .as_object()
                .into_iter()
                .flatten()
            {
                let file = folder.join(file.as_str().expect("a file"));
                assert!(file.exists(), "{name}: {kind}");
            }
            ran.push((name.clone(), said));
            if !is_done {
                return ran;
            }
        }
    }
    ran
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// GitHub: each job on a runner of its own.
fn github(forge: &Forge, event: Event) -> Vec<(String, Said)> {
    let workflow = document("github/deploy.yml");
    let (name, reference, fetched, commit, base) = match event {
        Event::Push(branch) => (
            "push",
            format!("refs/heads/{branch}"),
            format!("+refs/heads/{branch}:refs/remotes/origin/{branch}"),
            forge.git(&["rev-parse", branch]),
            None,
        ),
        Event::Change(from, into) => (
            "pull_request",
            "refs/pull/1/merge".to_owned(),
            "+refs/pull/1/merge:refs/remotes/pull/1/merge".to_owned(),
            forge.proposed(from, into),
            Some((from, into)),
        ),
    };
    // With `fetch-depth: 0` every branch comes.
    let all = "+refs/heads/*:refs/remotes/origin/*";
    let short = reference
        .trim_start_matches("refs/heads/")
        .trim_start_matches("refs/pull/")
        .to_owned();
    let key = fs::read_to_string(forge.outside.path().join("key")).expect("a key");
    let mut ran = Vec::new();
    for (job_name, job) in workflow["jobs"].as_object().expect("jobs") {
        let value = |name: &str| match name {
            "github.event_name" => Some(name_of(event).to_owned()),
            "github.ref_name" => Some(short.clone()),
            _ => None,
        };
        if job["if"]
            .as_str()
            .is_some_and(|condition| !holds(condition, value))
        {
            continue;
        }
        let temp = forge.outside.path().join("runner");
        let _ = fs::remove_dir_all(&temp);
        fs::create_dir_all(&temp).expect("a folder");
        let summary = temp.join("summary.md").display().to_string();
        let temp = temp.display().to_string();
        let mut variables = pairs(&[
            ("CI", "true"),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_EVENT_NAME", name),
            ("GITHUB_REF", &reference),
            ("GITHUB_REF_NAME", &short),
            ("GITHUB_SHA", &commit),
            ("GITHUB_STEP_SUMMARY", &summary),
            ("RUNNER_TEMP", &temp),
        ]);
        if let Some((from, into)) = base {
            variables.extend(pairs(&[
                ("GITHUB_HEAD_REF", from),
                ("GITHUB_BASE_REF", into),
            ]));
        }
        for (name, value) in [&workflow["env"], &job["env"]]
            .into_iter()
            .filter_map(Value::as_object)
            .flatten()
        {
            let value = value.as_str().expect("a text");
            let value = value.replace("${{ secrets.SHIPIT_APPROVAL_KEY }}", key.trim_end());
            variables.push((name.clone(), value));
        }

        let mut folder = forge.outside.path().to_path_buf();
        for step in job["steps"].as_array().expect("steps") {
            if step["uses"]
                .as_str()
                .is_some_and(|uses| uses.starts_with("actions/checkout@"))
            {
                folder = forge.clone("github", &[all, &fetched], &commit);
                continue;
            }
            let script = step["run"].as_str().expect("a script");
            let said = forge.script(script, &folder, &variables);
            let is_done = said.code == Some(0);
            ran.push((job_name.clone(), said));
            if !is_done {
                return ran;
            }
        }
    }
    ran
}

const fn name_of(event: Event) -> &'static str {
    match event {
        Event::Push(_) => "push",
        Event::Change(..) => "pull_request",
    }
}

/// Jenkins, played by a stand-in in Groovy; none where there is no Groovy.
fn jenkins(forge: &Forge, event: Event) -> Option<Said> {
    if !has("groovy") {
        assert!(
            std::env::var_os("SHIPIT_TEST_REAL").is_none(),
            "there is no groovy"
        );
        #[allow(clippy::print_stderr)]
        {
            eprintln!("SKIPPED: there is no groovy");
        }
        return None;
    }
    let (commit, fetched, facts) = match event {
        Event::Push(branch) => (
            forge.git(&["rev-parse", branch]),
            format!("+refs/heads/{branch}:refs/remotes/origin/{branch}"),
            vec![("BRANCH_NAME", branch)],
        ),
        Event::Change(from, into) => (
            forge.proposed(from, into),
            "+refs/pull/1/merge:refs/remotes/origin/PR-1".to_owned(),
            vec![
                ("BRANCH_NAME", "PR-1"),
                ("CHANGE_ID", "1"),
                ("CHANGE_TARGET", into),
                ("CHANGE_BRANCH", from),
            ],
        ),
    };
    let folder = forge.clone("jenkins", &[&fetched], &commit);
    let key = forge.outside.path().join("key").display().to_string();
    let java = fs::canonicalize(which("java")).expect("java");
    let home = java
        .ancestors()
        .nth(2)
        .expect("a folder")
        .display()
        .to_string();
    let common = [
        ("JENKINS_URL", "http://jenkins.example.com/"),
        ("BUILD_NUMBER", "7"),
        ("GIT_COMMIT", commit.as_str()),
        ("CREDENTIAL_shipit_approval", key.as_str()),
        ("JAVA_HOME", home.as_str()),
    ];
    let variables = pairs(&[&facts[..], &common[..]].concat());
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut groovy = forge.command("groovy", &folder, &variables);
    groovy
        .arg(repository.join("tests/pipelines/jenkinsfile.groovy"))
        .arg(repository.join("examples/jenkins/Jenkinsfile"))
        .arg(&folder);
    Some(Said::from(&groovy.output().expect("it starts")))
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program));
    { found }.find(|file| file.exists()).expect("it is there")
}

fn all_done(ran: &[(String, Said)], jobs: &[&str]) {
    for (name, said) in ran {
        assert_eq!(
            said.code,
            Some(0),
            "{name}: {}\n{}",
            said.stdout,
            said.stderr
        );
    }
    let mut names: Vec<&str> = ran.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(names, jobs);
}

#[test]
fn the_example_for_gitlab_goes_from_a_merge_request_to_production() {
    let forge = Forge::new();
    forge.change("v2");
    all_done(
        &gitlab(&forge, Event::Push("staging"), &[]),
        &["check", "plan", "deploy"],
    );
    assert_eq!(forge.world.get(), "v2");

    let proposed = gitlab(&forge, Event::Change("staging", "master"), &[]);
    all_done(&proposed, &["check", "plan the change"]);
    forge.merge();
    all_done(
        &gitlab(&forge, Event::Push("master"), &[]),
        &["check", "plan"],
    );
    assert_eq!(forge.live("production"), None, "nobody has started the job");
    let by_hand = ["deploy to production", "promote"];
    let ran = gitlab(&forge, Event::Push("master"), &by_hand);
    all_done(&ran, &["check", "plan", "deploy to production", "promote"]);
    assert_eq!(forge.live("production"), Some(1));
}

#[test]
fn the_example_for_github_goes_from_a_pull_request_to_production() {
    let forge = Forge::new();
    forge.change("v2");
    all_done(
        &github(&forge, Event::Push("staging")),
        &["check", "staging"],
    );
    assert_eq!(forge.world.get(), "v2");

    let proposed = github(&forge, Event::Change("staging", "master"));
    all_done(&proposed, &["check", "plan"]);
    forge.merge();
    all_done(
        &github(&forge, Event::Push("master")),
        &["check", "production"],
    );
    assert_eq!(forge.live("production"), Some(1));
}

#[test]
fn the_example_for_jenkins_goes_from_a_change_request_to_production() {
    let forge = Forge::new();
    forge.change("v2");
    let Some(said) = jenkins(&forge, Event::Push("staging")) else {
        return;
    };
    said.code(0).says("SUCCESS").says("check.xml");
    assert_eq!(forge.world.get(), "v2");

    let said = jenkins(&forge, Event::Change("staging", "master")).expect("played");
    said.code(0).says("plan.md").says_not("shipit apply");
    forge.merge();
    let said = jenkins(&forge, Event::Push("master")).expect("played");
    said.code(0).says("Asked tech-leads").says("SUCCESS");
    assert_eq!(forge.live("production"), Some(1));

    // A commit that came past staging is refused before anything is planned.
    forge.git(&[
        "commit",
        "--quiet",
        "--allow-empty",
        "--message",
        "past staging",
    ]);
    forge.git(&["push", "--quiet", "origin", "HEAD:master"]);
    let said = jenkins(&forge, Event::Push("master")).expect("played");
    said.code(1).says("FAILURE").says_not("shipit apply");
    assert_eq!(forge.live("production"), Some(1));
}
