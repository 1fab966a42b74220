//! Branch rules where they are really asked: in the clones that build servers make, in their change
//! requests, and in Git's own hooks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::build_server::without_build_server;
use crate::support::{Said, World, is_root, shipit};

const BRANCHES: &str = "branches:
  develop: {environment: develop}
  staging: {environment: staging, accepts: [develop], direct_commits: false}
";

/// A repository with `develop` and `staging`, and clones of it.
struct Forge {
    world: World,
}

impl Forge {
    fn new() -> Self {
        Self::with(BRANCHES)
    }

    /// Whose staging takes these kinds of merges.
    fn taking(merges: &str) -> Self {
        let refused = "direct_commits: false";
        Self::with(&BRANCHES.replace(refused, &format!("{refused}, merges: [{merges}]")))
    }

    fn with(branches: &str) -> Self {
        let mut world = World::new();
        world.project.push(branches.to_owned());
        world.configure();
        let staging = world.read("environments/staging.yaml");
        let develop = format!("{staging}\nservices: {{web: {{port: 9080}}}}\n");
        world.put("environments/develop.yaml", &develop);
        world.put(".gitignore", "/state\n/a\n/clones\n");
        world.git(&["init", "--quiet"]);
        world.git(&["config", "user.name", "kim"]);
        world.git(&["config", "user.email", "kim@example.com"]);
        world.git(&["add", "."]);
        world.git(&["commit", "--quiet", "-m", "first"]);
        world.git(&["branch", "develop"]);
        world.git(&["checkout", "--quiet", "-b", "staging"]);
        Self { world }
    }

    fn commit(&self, branch: &str, file: &str) -> String {
        self.world.git(&["checkout", "--quiet", branch]);
        self.world.put(file, file);
        self.world.git(&["add", file]);
        self.world.git(&["commit", "--quiet", "-m", file]);
        self.world.git(&["rev-parse", "HEAD"])
    }

    fn merge(&self, from: &str, into: &str) {
        self.world.git(&["checkout", "--quiet", into]);
        let message = format!("{from} into {into}");
        self.world
            .git(&["merge", "--quiet", "--no-ff", "-m", &message, from]);
    }

    /// As a forge squashes a branch into another.
    fn squash(&self, from: &str, into: &str, beside: Option<&str>) {
        self.world.git(&["checkout", "--quiet", into]);
        self.world.git(&["merge", "--quiet", "--squash", from]);
        if let Some(file) = beside {
            self.world.put(file, file);
            self.world.git(&["add", file]);
        }
        let message = format!("{from} squashed");
        self.world.git(&["commit", "--quiet", "-m", &message]);
    }

    /// As a forge replays a commit on another branch.
    fn replay(&self, commit: &str, onto: &str, beside: Option<&str>) {
        self.world.git(&["checkout", "--quiet", onto]);
        self.world.git(&["cherry-pick", "--allow-empty", commit]);
        if let Some(file) = beside {
            self.world.put(file, file);
            self.world.git(&["add", file]);
            self.world
                .git(&["commit", "--quiet", "--amend", "--no-edit"]);
        }
    }

    /// What is said of staging as it is.
    fn check_staging(&self) -> Said {
        self.world.git(&["checkout", "--quiet", "staging"]);
        self.check(self.world.path(), &[])
    }

    /// A clone, as a build server makes it.
    fn cloned(&self, name: &str, how: &[&str]) -> PathBuf {
        let folder = self.world.file(&format!("clones/{name}"));
        let from = format!("file://{}", self.world.path().display());
        let into = folder.display().to_string();
        let arguments = [&["clone", "--quiet"], how, &[&from, &into]].concat();
        self.world.git(&arguments);
        folder
    }

    fn run(&self, folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = Command::new(shipit());
        without_build_server(&mut command);
        command
            .args(arguments)
            .current_dir(folder)
            .env("SHIPIT_AGENT_DIR", self.world.agent_folder())
            .env("NO_COLOR", "1")
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        Said::from(&command.output().expect("shipit starts"))
    }

    fn check(&self, folder: &Path, more: &[&str]) -> Said {
        self.run(folder, &[&["check"], more].concat(), &[])
    }
}

#[test]
fn a_clone_without_its_history_is_told_from_a_direct_commit() {
    let forge = Forge::new();
    forge.commit("develop", "change");
    forge.merge("develop", "staging");
    forge
        .check(forge.world.path(), &[])
        .code(0)
        .says("staging may deploy to staging");

    let shallow = forge.cloned("shallow", &["--depth=1", "--branch=staging"]);
    forge
        .check(&shallow, &[])
        .code(6)
        .says("the history of this checkout is cut off (it is a shallow clone)")
        .says("git fetch --unshallow")
        .says_not("directly");
    forge.check(&shallow, &["--fetch"]).code(0);

    let single = forge.cloned("single", &["--single-branch", "--branch=staging"]);
    forge
        .check(&single, &[])
        .code(6)
        .says("develop is not in this checkout")
        .says("git fetch origin develop:refs/remotes/origin/develop")
        .says_not("directly");
    forge.check(&single, &["--fetch"]).code(0);

    // With all that is needed, a direct commit is one.
    forge.commit("staging", "fix");
    let shallow = forge.cloned("direct", &["--depth=1", "--branch=staging"]);
    forge
        .check(&shallow, &["--fetch"])
        .code(6)
        .says("was made on staging directly");
}

#[test]
fn a_squash_merge_is_taken_where_the_rule_says_so_and_is_nothing_but_that() {
    let forge = Forge::taking("squash");
    forge.commit("develop", "one");
    forge.commit("develop", "two");
    forge.squash("develop", "staging", None);
    // Meanwhile the accepted branch goes on, and is squashed again.
    forge.commit("develop", "three");
    forge.squash("develop", "staging", None);
    forge.commit("develop", "four");
    forge.check_staging().code(0);
    let shallow = forge.cloned("shallow", &["--depth=1", "--branch=staging"]);
    forge
        .check(&shallow, &[])
        .code(6)
        .says("is cut off")
        .says_not("directly");
    forge.check(&shallow, &["--fetch"]).code(0);

    forge.squash("develop", "staging", Some("beside"));
    forge
        .check_staging()
        .code(6)
        .says("is a squash of develop at")
        .says("that was changed by hand: it differs from what the merge gives in beside,");
    forge.world.git(&["reset", "--quiet", "--hard", "HEAD^"]);
    forge.world.git(&["branch", "feature", "develop"]);
    forge.commit("feature", "past");
    forge.squash("feature", "staging", None);
    forge
        .check_staging()
        .code(6)
        .says("is a squash of develop at")
        .says("differs from what the merge gives in past,");
    forge.world.git(&["reset", "--quiet", "--hard", "HEAD^"]);
    forge.merge("develop", "staging");
    forge
        .check_staging()
        .code(6)
        .says("came by a merge, and staging takes develop by squash only");
}

#[test]
fn a_rebase_merge_is_taken_where_the_rule_says_so_and_is_nothing_but_that() {
    let forge = Forge::taking("merge, rebase");
    forge.commit("develop", "one");
    forge.merge("develop", "staging");
    let two = forge.commit("develop", "two");
    let three = forge.commit("develop", "three");
    forge.replay(&two, "staging", None);
    forge.replay(&three, "staging", None);
    forge.check_staging().code(0);

    let four = forge.commit("develop", "four");
    forge.replay(&four, "staging", Some("beside"));
    forge
        .check_staging()
        .code(6)
        .says("is a rebase of develop at")
        .says("differs from what the merge gives in beside,");
    forge.world.git(&["reset", "--quiet", "--hard", "HEAD^"]);
    forge.world.git(&["branch", "feature", "develop"]);
    let own = forge.commit("feature", "own");
    forge.replay(&own, "staging", None);
    forge
        .check_staging()
        .code(6)
        .says("was made on staging directly");
}

#[test]
fn a_squash_merge_is_explained_where_the_rule_takes_none() {
    let forge = Forge::new();
    forge.commit("develop", "one");
    forge.squash("develop", "staging", None);
    forge
        .check_staging()
        .code(6)
        .says("was made on staging directly")
        .says("`merges: [merge, squash, rebase]`");
}

#[test]
fn what_went_past_an_accepted_branch_is_named_whatever_happened_later() {
    let forge = Forge::new();
    forge.commit("develop", "change");
    forge.world.git(&["branch", "feature", "develop"]);
    forge.commit("feature", "past");
    forge.merge("develop", "staging");
    forge.merge("feature", "staging");
    let check = |said: &str| {
        forge.world.git(&["checkout", "--quiet", "staging"]);
        forge.check(forge.world.path(), &[]).code(6).says(said);
    };
    check("merges what was not merged into develop before");
    forge.merge("feature", "develop");
    check("merges what was not merged into develop before");
}

#[test]
fn a_merge_that_brings_more_than_it_merges_is_named() {
    let forge = Forge::new();
    forge.commit("develop", "change");
    forge.world.git(&["checkout", "--quiet", "staging"]);
    let merge = ["merge", "--quiet", "--no-ff", "--no-commit", "develop"];
    forge.world.git(&merge);
    forge.world.put("backdoor", "in");
    forge.world.git(&["add", "backdoor"]);
    forge.world.git(&["commit", "--quiet", "-m", "merged"]);
    forge
        .check(forge.world.path(), &[])
        .code(6)
        .says("is a merge, and changes backdoor that neither side of it changed");
}

#[test]
fn a_change_request_is_planned_and_never_deployed() {
    let forge = Forge::new();
    forge.commit("develop", "change");
    let change = forge.cloned("change", &["--branch=develop"]);
    forge.world.git(&[
        "-C",
        &change.display().to_string(),
        "checkout",
        "--quiet",
        "--detach",
    ]);
    let woodpecker = [
        ("CI_PIPELINE_EVENT", "pull_request"),
        ("CI_COMMIT_PULL_REQUEST", "12"),
        ("CI_COMMIT_BRANCH", "staging"),
        ("CI_COMMIT_SOURCE_BRANCH", "develop"),
        ("CI_COMMIT_TARGET_BRANCH", "staging"),
    ];
    let github = [
        ("GITHUB_EVENT_NAME", "pull_request_target"),
        ("GITHUB_REF", "refs/heads/staging"),
        ("GITHUB_REF_NAME", "staging"),
        ("GITHUB_HEAD_REF", "develop"),
        ("GITHUB_BASE_REF", "staging"),
    ];
    for variables in [&woodpecker[..], &github[..]] {
        let apply = ["apply", "--auto-approve"];
        forge
            .run(&change, &apply, variables)
            .code(6)
            .says("nothing of it is deployed");
        forge
            .run(
                &change,
                &["apply", "--env", "develop", "-o", "json", "--auto-approve"],
                variables,
            )
            .code(6);
        for words in [
            &["accept"][..],
            &["restore"],
            &["migrate", "--from", "local:old"],
        ] {
            let words = [&["state"], words, &["--env", "staging"]].concat();
            forge
                .run(&change, &words, variables)
                .code(6)
                .says("nothing of it is deployed");
        }
        forge
            .run(&change, &["plan"], variables)
            .code(0)
            .says("shop → staging")
            .says("the plan is for when it is merged");
        forge
            .run(&change, &["check"], variables)
            .code(0)
            .says("may be merged");
    }

    let mut feature = woodpecker;
    feature[3] = ("CI_COMMIT_SOURCE_BRANCH", "feature");
    forge
        .run(&change, &["check"], &feature)
        .code(6)
        .says("staging only takes merges from develop");
    assert_eq!(forge.world.agent_pid(), None, "nothing was started");
}

#[test]
fn a_branch_is_believed_for_the_commit_that_the_server_built() {
    let forge = Forge::new();
    let clone = forge.cloned("other", &["--branch=develop"]);
    let at = clone.display().to_string();
    let tip = forge.world.git(&["-C", &at, "rev-parse", "HEAD"]);
    let stranger = ["commit", "--quiet", "--allow-empty", "-m", "a stranger's"];
    let name = ["-c", "user.name=s", "-c", "user.email=s@example.com"];
    forge
        .world
        .git(&["-C", &at, "checkout", "--quiet", "--detach"]);
    let variables = [
        ("GITHUB_EVENT_NAME", "workflow_run"),
        ("GITHUB_REF_NAME", "develop"),
        ("GITHUB_REF", "refs/heads/develop"),
        ("GITHUB_SHA", &*tip),
    ];
    forge
        .run(&clone, &["check"], &variables)
        .code(0)
        .says("develop may deploy to develop");

    forge
        .world
        .git(&[&["-C", &at], &name[..], &stranger].concat());
    let check = ["check", "--env", "develop"];
    forge
        .run(&clone, &check, &variables)
        .code(6)
        .says("no branch is known");
    let apply = ["apply", "--env", "develop", "--auto-approve"];
    forge.run(&clone, &apply, &variables).code(6);
}

#[test]
fn a_branch_of_the_checkout_and_a_replaced_commit_are_no_evidence() {
    let forge = Forge::new();
    let good = forge.commit("develop", "change");
    let direct = forge.commit("staging", "fix");
    let clone = forge.cloned("evidence", &["--branch=staging"]);
    let at = clone.display().to_string();
    forge
        .world
        .git(&["-C", &at, "branch", "develop", "staging"]);
    let said = forge.check(&clone, &[]).code(6);
    assert!(
        said.stderr.contains("was made on staging directly"),
        "{}",
        said.stderr
    );

    forge.world.git(&["-C", &at, "replace", &direct, &good]);
    forge
        .check(&clone, &[])
        .code(6)
        .says("was made on staging directly");
}

/// A server that asks `shipit check` of each push, from the files of the push.
fn serve(forge: &Forge, hook: &str) -> PathBuf {
    let server = forge.cloned("server.git", &["--bare"]);
    let path = server.join("hooks/pre-receive");
    let hook = hook
        .replace("{shipit}", &shipit().display().to_string())
        .replace("{agent}", &forge.world.agent_folder().display().to_string());
    std::fs::write(&path, hook).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("executable");
    server
}

/// What the server said of a push, and whether it took it.
fn push(forge: &Forge, server: &Path) -> (bool, String) {
    let output = Command::new("git")
        .arg("push")
        .arg(server)
        .arg("staging")
        .current_dir(forge.world.path())
        .output()
        .expect("git starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

const HOOK: &str = r#"#!/bin/sh
set -e
export SHIPIT_AGENT_DIR={agent} NO_COLOR=1
while read -r old new ref; do
    rm -rf "$PWD/files" && mkdir "$PWD/files"
    git archive "$new" | tar -x -C "$PWD/files"
    {shipit} -C "$PWD/files" check {checked} || exit 1
done
"#;

#[test]
fn a_pre_receive_hook_sees_what_the_push_brings() {
    let forge = Forge::new();
    let checked = r#"--commit "$new" --branch "${ref#refs/heads/}""#;
    forge.commit("develop", "change");
    let server = serve(&forge, &HOOK.replace("{checked}", checked));
    forge.merge("develop", "staging");
    let (is_taken, said) = push(&forge, &server);
    assert!(is_taken, "{said}");
    assert!(said.contains("staging may deploy to staging"), "{said}");

    forge.commit("staging", "fix");
    let (is_taken, said) = push(&forge, &server);
    assert!(!is_taken, "{said}");
    assert!(said.contains("was made on staging directly"), "{said}");
}

#[test]
fn a_rule_that_refuses_does_not_pass_because_there_is_nothing_to_look_at() {
    let forge = Forge::new();
    let server = serve(&forge, &HOOK.replace("{checked}", "--env staging"));
    forge.commit("staging", "fix");
    let (is_taken, said) = push(&forge, &server);
    assert!(!is_taken, "{said}");
    assert!(said.contains("no branch is known"), "{said}");
}

#[test]
fn files_that_were_never_committed_do_not_pass_for_the_commit() {
    let forge = Forge::new();
    forge.commit("develop", "change");
    forge.merge("develop", "staging");
    forge.check_staging().code(0);

    forge.world.put("change", "another");
    forge
        .check_staging()
        .code(6)
        .says("staging takes only what was committed")
        .says("`git status` lists them");
    let planned = forge.run(forge.world.path(), &["plan", "--env", "staging"], &[]);
    planned.code(6);
    forge.world.git(&["checkout", "--quiet", "change"]);

    forge.world.put("left-over", "of a build");
    forge.check_staging().code(6);
    // What is pushed is looked at by its own commit.
    let tip = forge.world.git(&["rev-parse", "staging"]);
    let pushed = ["--commit", &tip, "--branch", "staging"];
    forge.check(forge.world.path(), &pushed).code(0);
    forge
        .world
        .put(".gitignore", "/state\n/a\n/clones\n/left-over\n");
    forge.check_staging().code(6);
    forge.world.git(&["stash", "--quiet"]);
    forge.world.put(".git/info/exclude", "/left-over\n");
    forge.check_staging().code(0);
}

#[test]
fn a_rule_about_commits_begins_where_it_says() {
    let begins = BRANCHES.replace("commits: false", "commits: false, since: adopted");
    let forge = Forge::with(&begins);
    forge.commit("staging", "old");
    let missing = forge.check_staging();
    missing
        .code(6)
        .says("`since` is adopted, and this checkout has no such commit or tag");
    // A branch moves, and a tag of its name does not.
    forge.world.git(&["branch", "adopted"]);
    forge.check_staging().code(6);
    forge
        .world
        .git(&["tag", "--annotate", "-m", "adopted", "adopted"]);
    forge.check_staging().code(0).says("0 commits looked at");

    // Nor is a branch a commit whose id begins like its name.
    let by_id = Forge::with(&begins.replace("adopted", "\"0123abc\""));
    by_id.world.git(&["branch", "0123abc"]);
    by_id
        .check_staging()
        .code(6)
        .says("has no such commit or tag");

    forge.commit("staging", "new");
    forge
        .check_staging()
        .code(6)
        .says("was made on staging directly");
}

#[test]
fn what_the_rules_need_is_fetched_where_the_configuration_says_so() {
    let forge = Forge::with(&BRANCHES.replace("branches:\n", "branches:\n  fetch: true\n"));
    forge.commit("develop", "change");
    forge.merge("develop", "staging");
    let shallow = forge.cloned("shallow", &["--depth=1", "--branch=staging"]);
    forge.check(&shallow, &[]).code(0);

    let forge =
        Forge::with(&BRANCHES.replace("  develop:", "  fetch: {environment: develop}\n  develop:"));
    forge.check_staging().code(0);
    let wrong = Forge::with(&BRANCHES.replace("branches:\n", "branches:\n  fetch: often\n"));
    wrong.check_staging().code(1).says("shipit.yaml:4:10");
}

#[test]
fn a_repository_of_another_users_is_read_where_the_environment_says_so() {
    if !is_root() {
        eprintln!("skipped: only root can give a folder away");
        return;
    }
    let world = World::new();
    world.configure();
    for arguments in [
        &["init", "--quiet"][..],
        &["config", "user.name", "kim"],
        &["config", "user.email", "kim@example.com"],
        &["add", "."],
        &["commit", "--quiet", "-m", "first"],
    ] {
        world.git(arguments);
    }
    for path in ["", ".git"] {
        std::os::unix::fs::chown(world.file(path), Some(12345), None).expect("given away");
    }

    let plan = || {
        let mut plan = world.command(&["plan", "--env", "staging"]);
        plan.env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        plan
    };
    let refused = plan().output().expect("it starts");
    let refused = Said::from(&refused).code(1);
    let command = "git config --global --add safe.directory ";
    let refused = refused.says("detected dubious ownership").says(command);
    refused.says_not("\\t");

    let mut plan = plan();
    plan.env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*");
    Said::from(&plan.output().expect("it starts")).code(0);
}
