//! Git in real repositories.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::*;
use crate::port::scm::{Contained, Merged};

#[test]
fn an_origin_is_kept_without_credentials() {
    assert_eq!(
        without_credentials("https://kim:pw@host/a/b.git"),
        "https://host/a/b.git"
    );
    assert_eq!(without_credentials("git@host:a/b.git"), "git@host:a/b.git");
}

#[test]
fn a_repository_of_another_users_is_told_with_the_command_that_names_it() {
    let said = "fatal: detected dubious ownership in repository at '/srv/shop'\nTo add an exception \
                for this directory, call:\n\n\tgit config --global --add safe.directory /srv/shop";
    let answer = Answer {
        code: Some(128),
        stdout: Vec::new(),
        stderr: said.to_owned(),
    };
    let error = answer.good("git rev-parse").err().expect("it failed");
    assert_eq!(
        error.reason,
        "fatal: detected dubious ownership in repository at '/srv/shop'"
    );
    let help = error.help.expect("a command");
    let command = "`git config --global --add safe.directory /srv/shop`";
    assert!(help.starts_with(command), "{help}");
}

#[tokio::test]
async fn a_folder_without_git_is_a_source_without_a_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Git::new(folder.path().to_path_buf())
        .source()
        .await
        .expect("a source");
    assert_eq!((source.commit, source.dirty), (None, false));
}

/// A repository in which `master` takes merges from `develop` only, made by these words: a commit
/// on a branch, a merge of `develop` into `master`.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().expect("a folder"));
        repository.git(&["init", "--quiet", "--initial-branch=master"]);
        repository.git(&["commit", "--quiet", "--allow-empty", "--message", "first"]);
        repository.git(&["branch", "develop"]);
        repository
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = std::process::Command::new("git")
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.com",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .expect("git starts");
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self, branch: &str, message: &str) -> String {
        if self.git(&["branch", "--list", branch]).is_empty() {
            self.git(&["checkout", "--quiet", "-B", branch]);
        } else {
            self.git(&["checkout", "--quiet", branch]);
        }
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn merge(&self) -> String {
        self.git(&["checkout", "--quiet", "master"]);
        self.git(&[
            "merge",
            "--quiet",
            "--no-ff",
            "--message",
            "merged",
            "develop",
        ]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn cloned(&self, how: &[&str]) -> Self {
        let clone = Self(tempfile::tempdir().expect("a folder"));
        let from = format!("file://{}", self.0.path().display());
        clone.git(&[&["clone", "--quiet"], how, &[&from, "."]].concat());
        clone
    }

    /// A commit on a branch that writes a file.
    fn write(&self, branch: &str, file: &str, text: &str) {
        self.git(&["checkout", "--quiet", branch]);
        std::fs::write(self.0.path().join(file), text).expect("written");
        self.git(&["add", file]);
        self.git(&["commit", "--quiet", "--message", "written"]);
    }

    fn asked(&self) -> Git {
        Git::new(self.0.path().to_path_buf())
    }

    async fn contained(&self, commits: &BTreeSet<String>, branches: &[&str]) -> Contained {
        let branches: Vec<String> = branches.iter().map(|name| (*name).to_owned()).collect();
        let contained = self.asked().containing(commits, &branches).await;
        contained.expect("an answer")
    }

    async fn merged(&self, merge: &str) -> Merged {
        self.asked().merged(merge).await.expect("an answer")
    }

    async fn fetch(&self, branches: &[&str]) {
        let branches: Vec<String> = branches.iter().map(|name| (*name).to_owned()).collect();
        self.asked()
            .fetch(&branches, FetchTags::None)
            .await
            .expect("fetched");
    }

    async fn line(&self, since: Option<&str>, most: usize) -> Commits {
        let tip = self.git(&["rev-parse", "master"]);
        let git = Git::new(self.0.path().to_path_buf());
        let since: Vec<String> = since.into_iter().map(str::to_owned).collect();
        git.first_parents(&tip, &since, most)
            .await
            .expect("an answer")
    }

    async fn subjects(&self, since: Option<&str>) -> Vec<String> {
        match self.line(since, 100).await {
            Commits::Whole(commits) => commits.into_iter().map(|commit| commit.subject).collect(),
            incomplete @ Commits::Incomplete { .. } => panic!("{incomplete:?}"),
        }
    }
}

#[tokio::test]
async fn the_whole_line_since_a_release_is_looked_at_and_before_the_first_all_of_it() {
    let repository = Repository::new();
    let released = repository.commit("master", "released");
    repository.commit("master", "direct");
    repository.commit("develop", "change");
    repository.merge();
    let since = repository.subjects(Some(&released)).await;
    assert_eq!(since, ["merged", "direct"]);
    let all = repository.subjects(None).await;
    assert_eq!(all, ["merged", "direct", "released", "first"]);
    // A release from elsewhere does not make the rest of the line known.
    let elsewhere = repository.commit("other", "elsewhere");
    repository.git(&["checkout", "--quiet", "master"]);
    repository.commit("master", "later");
    let since = repository.subjects(Some(&elsewhere)).await;
    assert_eq!(since, ["later"]);
}

#[tokio::test]
async fn a_line_that_cannot_be_looked_at_whole_is_said_to_be_so() {
    let repository = Repository::new();
    for message in ["one", "two", "three"] {
        repository.commit("master", message);
    }
    let reason = |line: Commits| match line {
        Commits::Incomplete { reason, .. } => reason,
        Commits::Whole(commits) => panic!("{commits:?}"),
    };
    assert!(matches!(repository.line(None, 4).await, Commits::Whole(_)));
    let many = reason(repository.line(None, 3).await);
    assert_eq!(many, "there are more than 3 of them");
    let unknown = reason(repository.line(Some(&"0".repeat(40)), 10).await);
    assert!(unknown.contains("is not in this checkout"), "{unknown}");

    let clone = Repository(tempfile::tempdir().expect("a folder"));
    let from = format!("file://{}", repository.0.path().display());
    clone.git(&[
        "clone",
        "--quiet",
        "--depth=2",
        "--branch=master",
        &from,
        ".",
    ]);
    let shallow = reason(clone.line(None, 10).await);
    assert!(shallow.contains("shallow"), "{shallow}");
}

#[tokio::test]
async fn a_branch_has_on_its_own_line_what_was_not_merged_into_it() {
    let repository = Repository::new();
    let change = repository.commit("develop", "change");
    let direct = repository.commit("master", "direct");
    let feature = repository.commit("feature", "past develop");
    repository.git(&["checkout", "--quiet", "develop"]);
    let merge = [
        "merge",
        "--quiet",
        "--no-ff",
        "--message",
        "late",
        "feature",
    ];
    repository.git(&merge);

    let commits = BTreeSet::from([change.clone(), direct, feature]);
    let contained = repository.contained(&commits, &["develop"]).await;
    let expected = BTreeMap::from([(change, vec!["develop".to_owned()])]);
    assert_eq!(contained.found, expected);
    assert!(contained.is_whole());
}

#[tokio::test]
async fn a_branch_that_is_not_there_is_named_with_the_command_that_brings_it() {
    let repository = Repository::new();
    let change = repository.commit("develop", "change");
    repository.merge();
    let clone = repository.cloned(&["--single-branch", "--branch=master"]);
    let commits = BTreeSet::from([change]);
    let contained = clone.contained(&commits, &["develop"]).await;
    assert_eq!(contained.missing, ["develop"]);
    assert!(
        contained
            .help
            .contains("git fetch origin develop:refs/remotes/origin/develop"),
        "{}",
        contained.help
    );
    clone.fetch(&["develop", "master"]).await;
    let contained = clone.contained(&commits, &["develop"]).await;
    assert!(contained.is_whole());
    assert_eq!(contained.found.len(), 1);

    let shallow = repository.cloned(&["--depth=1", "--branch=master"]);
    let contained = shallow.contained(&commits, &["develop"]).await;
    assert!(contained.is_cut_off);
    assert!(
        contained.help.contains("git fetch --unshallow"),
        "{}",
        contained.help
    );
    shallow.fetch(&["develop", "master"]).await;
    let contained = shallow.contained(&commits, &["develop"]).await;
    assert!(contained.is_whole());
    assert_eq!(contained.found.len(), 1);
}

#[tokio::test]
async fn what_a_merge_has_that_neither_side_brought_is_found() {
    let repository = Repository::new();
    repository.write("develop", "shared", "develop\n");
    let clean = repository.merge();
    assert_eq!(repository.merged(&clean).await, Merged::AsGit);

    // Files that are added while merging.
    repository.write("develop", "more", "more\n");
    repository.git(&["checkout", "--quiet", "master"]);
    repository.git(&["merge", "--quiet", "--no-ff", "--no-commit", "develop"]);
    std::fs::write(repository.0.path().join("evil"), "evil").expect("written");
    repository.git(&["add", "evil"]);
    repository.git(&["commit", "--quiet", "--message", "merged"]);
    let evil = repository.git(&["rev-parse", "HEAD"]);
    let files = vec!["evil".to_owned()];
    assert_eq!(repository.merged(&evil).await, Merged::ByHand { files });

    // A conflict has to be resolved by hand, in the file that has it.
    repository.write("develop", "shared", "theirs\n");
    repository.write("master", "shared", "ours\n");
    let failed = std::process::Command::new("git")
        .args(["merge", "--quiet", "--no-ff", "develop"])
        .current_dir(repository.0.path())
        .output()
        .expect("git starts");
    assert!(!failed.status.success(), "there is a conflict");
    std::fs::write(repository.0.path().join("shared"), "both\n").expect("written");
    repository.git(&["add", "shared"]);
    repository.git(&["commit", "--quiet", "--message", "resolved"]);
    let resolved = repository.git(&["rev-parse", "HEAD"]);
    assert_eq!(repository.merged(&resolved).await, Merged::AsGit);

    // Nothing of the trial is left.
    let before = repository.git(&["count-objects"]);
    repository.merged(&evil).await;
    assert_eq!(repository.git(&["count-objects"]), before);
}

#[tokio::test]
async fn a_tag_that_has_the_branchs_name_changes_nothing() {
    let repository = Repository::new();
    repository.git(&["tag", "master"]);
    let git = Git::new(repository.0.path().to_path_buf());
    let source = git.source().await.expect("a source");
    assert_eq!(source.branch.as_deref(), Some("master"));
}

#[tokio::test]
async fn a_submodule_that_is_not_checked_out_is_named() {
    let library = Repository::new();
    let repository = Repository::new();
    let from = library.0.path().display().to_string();
    let add = [
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        &from,
        "app/lib",
    ];
    repository.git(&add);
    repository.git(&["commit", "--quiet", "--message", "with a library"]);
    let missing = repository.asked().missing_submodules().await;
    assert_eq!(missing.expect("an answer"), [""; 0]);
    let clone = repository.cloned(&[]);
    let missing = clone.asked().missing_submodules().await;
    assert_eq!(missing.expect("an answer"), ["app/lib"]);
}

#[tokio::test]
async fn no_setting_and_no_mark_hides_what_differs_from_the_commit() {
    let repository = Repository::new();
    repository.write("master", "f", "1");
    repository.write("master", "g", "1");
    let is_dirty = async || repository.asked().source().await.expect("a source").dirty;
    assert!(!is_dirty().await);

    repository.git(&["config", "status.showUntrackedFiles", "no"]);
    std::fs::write(repository.0.path().join("new"), "1").expect("written");
    assert!(is_dirty().await, "an untracked file");
    std::fs::remove_file(repository.0.path().join("new")).expect("removed");
    assert!(!is_dirty().await);

    for (mark, no_mark) in [
        ("--assume-unchanged", "--no-assume-unchanged"),
        ("--skip-worktree", "--no-skip-worktree"),
    ] {
        repository.git(&["update-index", mark, "f"]);
        assert!(!is_dirty().await, "it is as committed");
        std::fs::write(repository.0.path().join("f"), "2").expect("written");
        assert!(is_dirty().await, "{mark}");
        let below = repository.0.path().join("sub");
        std::fs::create_dir_all(&below).expect("a folder");
        let source = Git::new(below).source().await.expect("a source");
        assert!(source.dirty, "{mark}, from a folder below");
        let marks = repository.git(&["ls-files", "-v", "f"]);
        assert!(!marks.starts_with('H'), "the mark stays: {marks}");

        repository.git(&["update-index", no_mark, "f"]);
        repository.git(&["checkout", "--quiet", "f"]);
    }
    repository.git(&["update-index", "--assume-unchanged", "f"]);
    repository.git(&["update-index", "--skip-worktree", "f"]);
    std::fs::write(repository.0.path().join("f"), "2").expect("written");
    assert!(is_dirty().await, "with both marks");
    repository.git(&["update-index", "--no-assume-unchanged", "f"]);
    std::fs::remove_file(repository.0.path().join("f")).expect("removed");
    assert!(!is_dirty().await, "a checkout may leave it out");
}

#[tokio::test]
async fn what_a_sparse_checkout_leaves_out_and_pointers_of_lfs_are_named() {
    let repository = Repository::new();
    for folder in ["app", "lib"] {
        std::fs::create_dir(repository.0.path().join(folder)).expect("a folder");
    }
    repository.write("master", "app/a", "1");
    repository.write("master", "lib/b", "1");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n";
    repository.write("master", "app/model.bin", pointer);
    repository.write("master", "app/real.bin", "not a pointer");
    let asked = repository.asked();
    assert_eq!(asked.pointers().await.expect("an answer"), [""; 0]);
    repository.write("master", ".gitattributes", "*.bin -text filter=lfs\n");
    assert_eq!(
        asked.pointers().await.expect("an answer"),
        ["app/model.bin"]
    );
    assert_eq!(asked.left_out().await.expect("an answer"), [""; 0]);

    repository.git(&["sparse-checkout", "set", "app"]);
    assert_eq!(asked.left_out().await.expect("an answer"), ["lib/b"]);
    assert!(!asked.source().await.expect("a source").dirty);
    let below = Git::new(repository.0.path().join("app"));
    assert_eq!(below.left_out().await.expect("an answer"), [""; 0]);
}

#[tokio::test]
async fn a_checkout_has_whatever_name_and_one_whose_repository_is_gone_is_none() {
    let repository = Repository::new();
    let machine = tempfile::tempdir().expect("a folder");
    for name in [&b"shop "[..], b"shop\n", b"sh\xffop"] {
        let name = OsStr::from_bytes(name);
        let folder = machine.path().join(name);
        let made = std::process::Command::new("cp")
            .arg("-a")
            .arg(repository.0.path())
            .arg(&folder)
            .status();
        assert!(made.expect("it runs").success());
        let source = Git::new(folder).source().await.expect("a source");
        assert!(source.commit.is_some(), "{name:?}");
    }

    let tree = machine.path().join("tree");
    repository.git(&[
        "worktree",
        "add",
        "--quiet",
        &tree.display().to_string(),
        "develop",
    ]);
    let below = tree.join("below");
    std::fs::create_dir(&below).expect("a folder");
    assert!(Git::new(below.clone()).source().await.is_ok());
    std::fs::remove_dir_all(repository.0.path().join(".git/worktrees")).expect("removed");
    let error = Git::new(below).source().await.expect_err("it is gone");
    assert!(error.reason.contains("git worktree repair"), "{error}");
}

#[tokio::test]
async fn a_full_id_of_either_kind_is_a_commit() {
    let repository = Repository(tempfile::tempdir().expect("a folder"));
    let init = [
        "init",
        "--quiet",
        "--object-format=sha256",
        "--initial-branch=master",
    ];
    repository.git(&init);
    let id = repository.commit("master", "first");
    assert_eq!(id.len(), 64);
    let found = repository.asked().tagged(&id).await.expect("an answer");
    assert_eq!(found, Some(id));
}

#[tokio::test]
async fn the_beginning_of_an_id_is_no_branch_of_that_name() {
    let repository = Repository::new();
    let old = repository.commit("master", "old");
    repository.commit("master", "new");
    let short = &old[..9];
    let found = async || repository.asked().tagged(short).await.expect("an answer");
    assert_eq!(found().await.as_ref(), Some(&old));

    repository.git(&["branch", short, "master"]);
    assert_eq!(found().await, None, "Git takes the branch for it");
    repository.git(&["tag", short, &old]);
    assert_eq!(found().await, Some(old), "a tag is meant, too");
}

/// Git refuses a `.git` in a commit, and takes any folder that has `HEAD`, `objects` and `refs` for
/// a repository: with settings of the commit's, by which it starts programs.
#[tokio::test]
async fn a_commit_brings_no_repository_of_its_own() {
    let outer = Repository::new();
    let project = outer.0.path().join("svc");
    let inner = Repository::new();
    inner.write("master", "f", "1");
    std::fs::create_dir_all(&project).expect("a folder");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(inner.0.path().join(".git/."))
        .arg(&project)
        .status();
    assert!(copied.expect("it runs").success());
    let started = outer.0.path().join("started");
    let settings = format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\
         [filter \"x\"]\n\tclean = \"touch {}; cat\"\n",
        started.display()
    );
    std::fs::write(project.join("config"), settings).expect("a file");
    std::fs::write(project.join(".gitattributes"), "f filter=x\n").expect("a file");
    std::fs::write(project.join("f"), "2").expect("a file");

    for folder in [project.clone(), project.join("refs")] {
        let git = Git::new(folder);
        let error = git.source().await.expect_err("it is no checkout");
        assert!(
            error.reason.contains("files of a Git repository"),
            "{error}"
        );
        assert!(git.tracked_but_ignored().await.is_err());
    }
    assert!(!started.exists(), "the commit's program ran");
    let above = Git::new(outer.0.path().to_path_buf());
    assert!(above.source().await.is_ok());
}
