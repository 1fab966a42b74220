//! The example with three branches as a Jenkins multibranch job runs it: executors with workspaces of
//! their own, narrow clones without a branch, change requests; history and lock in a bucket.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::amazon::{Cloud, example, git, tools};
use crate::said::Said;

/// Where the branches are that executors fetch.
struct Forge<'a> {
    cloud: &'a Cloud,
    /// A person's clone, which pushes.
    clone: PathBuf,
    origin: PathBuf,
    workspaces: PathBuf,
}

impl<'a> Forge<'a> {
    /// The example's three branches, with the state in a new bucket.
    fn open(cloud: &'a Cloud) -> Self {
        example(cloud);
        let clone = cloud.path().to_owned();
        let workspaces = clone.join("../").canonicalize().expect("a folder");
        let workspaces = workspaces.join(format!("{}-executors", cloud.name));
        let file = clone.join("shipit.yaml");
        let text = std::fs::read_to_string(&file).expect("a file");
        let state = format!(
            "state: {{kind: s3, bucket: {}, region: ap-south-1, path_style: true}}\n",
            cloud.name
        );
        let tagged = text.replace(
            "release: beta}",
            "release: {kind: beta, tag: \"v*\", when: required}}",
        );
        assert_ne!(tagged, text, "the example asks for a beta on staging");
        let text = tagged;
        std::fs::create_dir_all(&workspaces).expect("a folder");
        let approvers = format!("approvers: {{kim: \"{}\"}}\n", key(&workspaces.join("kim")));
        std::fs::write(&file, text + &state + &approvers).expect("written");
        let production = clone.join("environments/production.yaml");
        let text = std::fs::read_to_string(&production).expect("a file");
        std::fs::write(&production, text + "approvals: {count: 1}\n").expect("written");
        std::fs::write(clone.join(".gitignore"), "/state/\n").expect("written");
        let made = Command::new("curl")
            .args(["--silent", "--fail", "--request", "PUT"])
            .arg(format!("{}/{}", cloud.endpoint, cloud.name))
            .status();
        assert!(made.expect("curl starts").success(), "a bucket");

        let origin = workspaces.join("origin.git");
        std::fs::create_dir_all(&origin).expect("a folder");
        git(&origin, &["init", "--quiet", "--bare"]);
        git(&clone, &["init", "--quiet", "--initial-branch", "master"]);
        git(&clone, &["add", "."]);
        git(&clone, &["commit", "--quiet", "--message", "the example"]);
        git(
            &clone,
            &["remote", "add", "origin", &origin.display().to_string()],
        );
        let forge = Self {
            cloud,
            clone,
            origin,
            workspaces,
        };
        for branch in ["develop", "staging"] {
            git(&forge.clone, &["branch", branch]);
        }
        git(
            &forge.clone,
            &["push", "--quiet", "origin", "master", "develop", "staging"],
        );
        forge
    }

    /// A commit that changes the page.
    fn commit(&self, branch: &str, page: &str) {
        git(&self.clone, &["checkout", "--quiet", branch]);
        std::fs::write(
            self.clone.join("app/index.html"),
            format!("<h1>{page}</h1>\n"),
        )
        .expect("written");
        git(
            &self.clone,
            &["commit", "--quiet", "--all", "--message", page],
        );
        git(&self.clone, &["push", "--quiet", "origin", branch]);
    }

    fn merge(&self, from: &str, to: &str) {
        git(&self.clone, &["checkout", "--quiet", to]);
        let message = format!("merge {from}");
        git(
            &self.clone,
            &["merge", "--quiet", "--no-ff", "--message", &message, from],
        );
        git(&self.clone, &["push", "--quiet", "origin", to]);
    }

    /// A new workspace with what Jenkins checks out of a branch: its commit, without a branch.
    fn executor(&self, name: &str, branch: &str) -> Executor<'_> {
        let executor = Executor {
            forge: self,
            workspace: self.workspaces.join(name),
            variables: vec![("BRANCH_NAME".to_owned(), branch.to_owned())],
        };
        executor.checkout(branch);
        executor
    }

    /// The same for a change request.
    fn request(&self, name: &str, from: &str, into: &str) -> Executor<'_> {
        let variables = [
            ("BRANCH_NAME", "PR-1"),
            ("CHANGE_ID", "1"),
            ("CHANGE_BRANCH", from),
            ("CHANGE_TARGET", into),
        ];
        let executor = Executor {
            forge: self,
            workspace: self.workspaces.join(name),
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        };
        executor.checkout(into);
        executor.checkout(from);
        executor
    }
}

impl Drop for Forge<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.workspaces);
    }
}

/// Makes a key pair; gives the public key.
fn key(path: &Path) -> String {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "kim", "-f"])
        .arg(path)
        .status();
    assert!(made.expect("ssh-keygen starts").success());
    let public = std::fs::read_to_string(path.with_extension("pub")).expect("a key");
    public.trim().to_owned()
}

/// An executor in its workspace.
struct Executor<'a> {
    forge: &'a Forge<'a>,
    workspace: PathBuf,
    variables: Vec<(String, String)>,
}

impl Executor<'_> {
    fn checkout(&self, branch: &str) {
        let at: &Path = &self.workspace;
        std::fs::create_dir_all(at).expect("a folder");
        if !at.join(".git").exists() {
            git(at, &["init", "--quiet"]);
            let origin = self.forge.origin.display().to_string();
            git(at, &["remote", "add", "origin", &origin]);
        }
        let refs = format!("+refs/heads/{branch}:refs/remotes/origin/{branch}");
        git(
            at,
            &["fetch", "--quiet", "--no-tags", "--force", "origin", &refs],
        );
        git(
            at,
            &[
                "checkout",
                "--quiet",
                "--force",
                &format!("refs/remotes/origin/{branch}^0"),
            ],
        );
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").expect("a path");
        let mut command = self.forge.cloud.command(arguments);
        command
            .current_dir(&self.workspace)
            .env("PATH", format!("{}:{path}", tools().display()))
            .env("JENKINS_URL", "https://jenkins.example.com/")
            .env("JOB_NAME", "storefront")
            .env("BUILD_TAG", "jenkins-storefront-1")
            .envs(self.variables.iter().cloned());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Said::from(&self.command(arguments).output().expect("shipit starts"))
    }

    fn apply(&self) -> Said {
        self.run(&["apply", "--fetch", "--auto-approve"])
    }
}

#[test]
fn executors_share_history_and_lock_and_one_goes_on_where_another_was_killed() {
    let Some(cloud) = Cloud::new() else { return };
    let forge = Forge::open(&cloud);

    // Change requests are looked at, and never applied.
    git(&forge.clone, &["branch", "feature", "develop"]);
    forge.commit("feature", "one");
    let request = forge.request("request-1", "feature", "develop");
    request.run(&["check", "--fetch"]).code(0);
    request.apply().code(6);
    let past_develop = forge.request("request-2", "feature", "staging");
    past_develop
        .run(&["check", "--fetch"])
        .code(6)
        .says("develop");

    // From nothing to live, and another executor sees it.
    forge.merge("feature", "develop");
    let first = forge.executor("develop-1", "develop");
    first.apply().code(0).says("release 1; blue is active");
    let second = forge.executor("develop-2", "develop");
    second.apply().code(0).says("No changes");

    // One at a time; what a killed executor left, another one goes on with.
    forge.commit("develop", "two");
    first.checkout("develop");
    second.checkout("develop");
    let mut run = first
        .command(&["apply", "--fetch", "--auto-approve"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("shipit starts");
    let mut lines = BufReader::new(run.stderr.take().expect("a pipe")).lines();
    let begun = lines.any(|line| line.is_ok_and(|line| line.contains("image.web")));
    assert!(begun, "the image is built");
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stopped");
    second.apply().code(4).says("is locked by");
    run.kill().expect("killed");
    run.wait().expect("it ends");
    second.apply().code(0).says("release 2; green is active");
    first.apply().code(0).says("No changes");

    // What came from develop goes on to staging; what somebody pushed there does not.
    forge.merge("develop", "staging");
    let staging = forge.executor("staging-1", "staging");
    staging.apply().code(6).says("has no tag").says("beta");
    for (tag, commit) in [("v0.9.0-beta.1", "staging~1"), ("v1.0.0-beta.1", "staging")] {
        let annotated = ["tag", "--annotate", "--message", "beta", tag, commit];
        git(&forge.clone, &annotated);
        git(&forge.clone, &["push", "--quiet", "origin", tag]);
    }
    staging.apply().code(0).says("release 1; blue is active");
    forge.commit("staging", "by hand");
    staging.checkout("staging");
    staging.apply().code(6).says("by hand");
    git(&forge.clone, &["reset", "--quiet", "--hard", "HEAD~1"]);
    git(
        &forge.clone,
        &["push", "--quiet", "--force", "origin", "staging"],
    );

    // The images of staging go on to production, from workspaces that never saw staging: one saves
    // the plan, a person signs it where the key is, and another one carries it out.
    forge.merge("staging", "master");
    let planner = forge.executor("master-1", "master");
    let master = forge.executor("master-2", "master");
    let with_word = |words: &[&str]| {
        let file = forge.workspaces.join("plan.json").display().to_string();
        let saved = [words, &["--fetch", "--out", &file]].concat();
        planner.run(&saved).code(0);
        let carried_out = [words, &["--fetch", "--plan", &file]].concat();
        master.run(&carried_out).code(6).says("shipit approve");
        let key = forge.workspaces.join("kim").display().to_string();
        planner
            .run(&["approve", &file, "--key", &key, "--yes"])
            .code(0);
        master.run(&carried_out).code(0)
    };
    with_word(&["promote", "staging", "--to", "production"]).says("waits");
    let switched = with_word(&["promote", "blue", "--env", "production"]);
    switched.says("blue is active");

    // Every workspace has the same history.
    let anywhere = forge.executor("anywhere", "develop");
    let history = anywhere.run(&["history", "--env", "develop"]).code(0);
    assert!(history.stdout.contains("superseded"), "{}", history.stdout);
    let approved = anywhere.run(&["history", "--env", "production"]).code(0);
    assert!(
        approved.stdout.contains("approved by kim"),
        "{}",
        approved.stdout
    );
    for environment in ["develop", "staging"] {
        let destroy = ["destroy", "--env", environment, "--auto-approve"];
        anywhere.run(&destroy).code(0);
    }
}
