//! Histories in real repositories: those made by what the rules allow pass, and one thing that they
//! do not allow is found, wherever it happened, by the rule that it breaks.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::config::rules_of;
use crate::model::source::Source;
use crate::model::verdict::{Ruling, Verdict};
use crate::ops::policy::{Grounds, audit, may_merge};
use crate::ops::session::source_control;

const RULES: &str = "
branches:
  develop: {environment: develop, gives: [staging], since: adopted}
  staging:
    environment: staging
    accepts: [develop]
    gives: [master]
    direct_commits: false
    offshoots: false
    since: adopted
    release: {kind: beta, tag: 'v*', when: later}
  master:
    environment: production
    accepts: [staging]
    gives: []
    direct_commits: false
    offshoots: false
    since: adopted
    release: {kind: stable, tag: 'v*'}
  feature/*: {gives: [develop]}
";

/// A repository whose branches have the rules from its first commit on.
struct Repository {
    folder: tempfile::TempDir,
    count: u32,
}

impl Repository {
    fn new() -> Self {
        let repository = Self {
            folder: tempfile::tempdir().expect("a folder"),
            count: 0,
        };
        repository.git(&["init", "--quiet", "--initial-branch=master"]);
        repository.git(&["commit", "--quiet", "--allow-empty", "-m", "first"]);
        repository.git(&["tag", "adopted"]);
        repository.git(&["branch", "staging"]);
        repository.git(&["checkout", "--quiet", "-b", "develop"]);
        repository
    }

    fn copied(&self) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = Command::new("cp")
            .arg("-a")
            .arg(self.folder.path().join("."))
            .arg(folder.path())
            .status();
        assert!(copy.is_ok_and(|copied| copied.success()), "it is copied");
        Self {
            folder,
            count: self.count,
        }
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(self.folder.path(), arguments)
    }

    fn next(&mut self) -> String {
        self.count += 1;
        self.count.to_string()
    }

    fn on(&self, branch: &str) {
        self.git(&["checkout", "--quiet", branch]);
    }

    fn commit(&mut self, branch: &str) {
        self.on(branch);
        let name = self.next();
        std::fs::write(self.folder.path().join(&name), &name).expect("written");
        self.git(&["add", &name]);
        self.git(&["commit", "--quiet", "-m", &name]);
    }

    fn merge(&self, from: &[&str], into: &str) {
        self.on(into);
        let message = format!("{} into {into}", from.join(", "));
        let merge = ["merge", "--quiet", "--no-ff", "-m", &message];
        self.git(&[&merge[..], from].concat());
    }

    fn tag(&mut self, branch: &str, kind: &str) {
        let name = format!("v1.{}.0{kind}", self.next());
        self.git(&["tag", "--annotate", "-m", "released", &name, branch]);
    }

    /// The whole way of a change: what a team does all day.
    fn release_all(&mut self) {
        self.commit("develop");
        self.merge(&["develop"], "staging");
        self.tag("staging", "-beta.1");
        self.merge(&["staging"], "master");
        self.tag("master", "");
    }

    fn grounds(&self) -> Grounds {
        let rules = rules_of(("shipit.yaml", RULES), None).expect("rules");
        let tip = self.git(&["rev-parse", "HEAD"]);
        Grounds {
            rules: rules.branches.branch_rules(),
            ticket: rules.ticket,
            places: rules.places,
            source: Source {
                commit: Some(tip),
                ..Source::default()
            },
            scm: source_control(self.folder.path().to_path_buf()),
            fetch: false,
        }
    }

    fn audit(&self) -> Vec<Verdict> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let verdicts = runtime.block_on(audit(&self.grounds()));
        verdicts.expect("verdicts")
    }

    /// The rules that are not kept, or of which it cannot be told.
    fn broken(&self) -> BTreeSet<String> {
        let verdicts = self.audit().into_iter();
        let against = verdicts.filter(|verdict| !verdict.is_passed());
        against.map(|verdict| verdict.rule).collect()
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=kim", "-c", "user.email=kim@example.com"])
        .args(["-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("git starts");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What the rules allow.
#[derive(Debug, Clone, Copy)]
enum Allowed {
    Direct,
    Feature,
    FeatureThatIsKept,
    FeatureThatIsUpdated,
    ToStaging,
    ToMaster,
}

/// What they do not.
#[derive(Debug, Clone, Copy)]
enum Forbidden {
    DirectOnStaging,
    DirectOnMaster,
    FeatureToStaging,
    DevelopToMaster,
    MadeFromMaster,
    MadeFromStaging,
    MadeFromMasterAndMerged,
    StagingToDevelop,
    MasterToDevelop,
    BetaOnMaster,
    NoTagOnMaster,
    NoTagOnStaging,
    TagOnTheMergedCommit,
    Octopus,
}

impl Allowed {
    fn run(self, repository: &mut Repository) {
        let number = repository.next();
        let feature = format!("feature/{number}");
        let begin = |repository: &mut Repository| {
            repository.on("develop");
            repository.git(&["checkout", "--quiet", "-b", &feature]);
            repository.commit(&feature);
        };
        match self {
            Self::Direct => repository.commit("develop"),
            Self::Feature => {
                begin(repository);
                repository.merge(&[&feature], "develop");
                repository.git(&["branch", "--quiet", "-D", &feature]);
            }
            Self::FeatureThatIsKept => {
                begin(repository);
                repository.merge(&[&feature], "develop");
            }
            Self::FeatureThatIsUpdated => {
                begin(repository);
                repository.commit("develop");
                repository.merge(&["develop"], &feature);
                repository.merge(&[&feature], "develop");
            }
            Self::ToStaging => {
                repository.commit("develop");
                repository.merge(&["develop"], "staging");
                repository.tag("staging", "-beta.1");
            }
            Self::ToMaster => repository.release_all(),
        }
    }
}

impl Forbidden {
    /// Does it, and says which rule it breaks.
    fn run(self, repository: &mut Repository) -> &'static str {
        let branch = |repository: &mut Repository, from: &str| {
            let name = format!("fix-{}", repository.next());
            repository.git(&["checkout", "--quiet", "-b", &name, from]);
            repository.commit(&name);
            name
        };
        match self {
            Self::DirectOnStaging => {
                repository.commit("staging");
                "branches.staging.direct_commits"
            }
            Self::DirectOnMaster => {
                repository.commit("master");
                "branches.master.direct_commits"
            }
            Self::FeatureToStaging => {
                let name = branch(repository, "develop");
                repository.merge(&[&name], "staging");
                "branches.staging.direct_commits"
            }
            Self::DevelopToMaster => {
                repository.commit("develop");
                repository.merge(&["develop"], "master");
                "branches.develop.gives"
            }
            Self::MadeFromMaster => {
                branch(repository, "master");
                "branches.master.offshoots"
            }
            Self::MadeFromStaging => {
                branch(repository, "staging");
                "branches.staging.offshoots"
            }
            Self::MadeFromMasterAndMerged => {
                let name = branch(repository, "master");
                repository.merge(&[&name], "develop");
                repository.git(&["branch", "--quiet", "-D", &name]);
                "branches.master.offshoots"
            }
            Self::StagingToDevelop => {
                repository.merge(&["staging"], "develop");
                "branches.staging.gives"
            }
            Self::MasterToDevelop => {
                repository.merge(&["master"], "develop");
                "branches.master.gives"
            }
            Self::BetaOnMaster => {
                repository.commit("develop");
                repository.merge(&["develop"], "staging");
                repository.tag("staging", "-beta.1");
                repository.merge(&["staging"], "master");
                repository.tag("master", "-rc.1");
                "branches.master.release"
            }
            Self::NoTagOnMaster => {
                repository.release_all();
                let tag = repository.git(&["describe", "--exact-match", "master"]);
                repository.git(&["tag", "--delete", &tag]);
                "branches.master.release"
            }
            Self::NoTagOnStaging => {
                repository.commit("develop");
                repository.merge(&["develop"], "staging");
                // The next one makes it late.
                Allowed::ToStaging.run(repository);
                "branches.staging.release"
            }
            Self::TagOnTheMergedCommit => {
                repository.commit("develop");
                repository.merge(&["develop"], "staging");
                repository.tag("develop", "-beta.1");
                Allowed::ToStaging.run(repository);
                "branches.staging.release"
            }
            Self::Octopus => {
                let names = [branch(repository, "develop"), branch(repository, "develop")];
                repository.merge(&["develop"], "staging");
                repository.merge(&[&names[0], &names[1]], "staging");
                repository.tag("staging", "-beta.1");
                "branches.staging.direct_commits"
            }
        }
    }
}

fn allowed() -> impl Strategy<Value = Vec<Allowed>> {
    use Allowed::{Direct, Feature, FeatureThatIsKept, FeatureThatIsUpdated, ToMaster, ToStaging};
    let one = proptest::sample::select(vec![
        Direct,
        Feature,
        FeatureThatIsKept,
        FeatureThatIsUpdated,
        ToStaging,
        ToMaster,
    ]);
    proptest::collection::vec(one, 0..5)
}

const FORBIDDEN: [Forbidden; 14] = [
    Forbidden::DirectOnStaging,
    Forbidden::DirectOnMaster,
    Forbidden::FeatureToStaging,
    Forbidden::DevelopToMaster,
    Forbidden::MadeFromMaster,
    Forbidden::MadeFromStaging,
    Forbidden::MadeFromMasterAndMerged,
    Forbidden::StagingToDevelop,
    Forbidden::MasterToDevelop,
    Forbidden::BetaOnMaster,
    Forbidden::NoTagOnMaster,
    Forbidden::NoTagOnStaging,
    Forbidden::TagOnTheMergedCommit,
    Forbidden::Octopus,
];

/// A few histories in each run; `PROPTEST_CASES` says how many more.
fn runner(few: u32) -> TestRunner {
    let more = std::env::var("PROPTEST_CASES").ok();
    let more = more.and_then(|more| more.parse::<u32>().ok());
    TestRunner::new(Config {
        cases: more.map_or(few, |more| more / 50 + few),
        max_shrink_iters: more.map_or(0, |_| 20),
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn what_the_rules_allow_passes() {
    let result = runner(2).run(&allowed(), |all| {
        let mut repository = Repository::new();
        // Branches have commits of their own from the first release on.
        repository.release_all();
        for one in all {
            one.run(&mut repository);
        }
        prop_assert_eq!(repository.broken(), BTreeSet::new());
        Ok(())
    });
    result.expect("every history passes");
}

#[test]
fn one_thing_that_the_rules_do_not_allow_is_found_wherever_it_happened() {
    let result = runner(1).run(&(allowed(), allowed()), |(before, after)| {
        let mut before_all = Repository::new();
        before_all.release_all();
        for one in before.into_iter().take(1) {
            one.run(&mut before_all);
        }
        for forbidden in FORBIDDEN {
            let mut repository = before_all.copied();
            let rule = forbidden.run(&mut repository);
            for one in after.iter().take(1) {
                one.run(&mut repository);
            }
            let broken = repository.broken();
            prop_assert!(broken.contains(rule), "{:?}: {:?}", forbidden, broken);
        }
        Ok(())
    });
    result.expect("each is found");
}

#[test]
fn a_branch_that_was_moved_forward_leaves_it_open_what_was_made_from_it() {
    let mut repository = Repository::new();
    repository.commit("develop");
    repository.on("staging");
    repository.git(&["merge", "--quiet", "--ff-only", "develop"]);
    repository.git(&["checkout", "--quiet", "-b", "cart", "staging"]);
    repository.commit("cart");
    let verdicts = repository.audit();
    let offshoots = verdicts
        .iter()
        .find(|verdict| verdict.rule == "branches.staging.offshoots")
        .expect("a verdict");
    assert_eq!(offshoots.ruling, Ruling::Undecided, "{offshoots:?}");
    assert!(offshoots.reason.contains("fast-forward"), "{offshoots:?}");
}

#[test]
fn a_shallow_clone_passes_no_rule_of_others() {
    let mut repository = Repository::new();
    repository.release_all();
    let clone = tempfile::tempdir().expect("a folder");
    let from = format!("file://{}", repository.folder.path().display());
    git(
        clone.path(),
        &[
            "clone",
            "--quiet",
            "--depth=1",
            "--no-single-branch",
            &from,
            ".",
        ],
    );
    let shallow = Repository {
        folder: clone,
        count: 0,
    };
    let verdicts = shallow.audit();
    let passed = verdicts.iter().filter(|verdict| verdict.is_passed());
    assert_eq!(passed.count(), 0, "{verdicts:?}");
}

#[test]
fn neither_a_branch_that_is_called_like_a_tag_nor_another_commit_in_its_place_is_a_release() {
    let mut repository = Repository::new();
    repository.release_all();
    repository.commit("develop");
    repository.merge(&["develop"], "staging");
    repository.tag("staging", "-beta.1");
    repository.merge(&["staging"], "master");
    repository.git(&["branch", "v9.9.9", "master"]);
    assert!(repository.broken().contains("branches.master.release"));
    repository.git(&["branch", "--quiet", "-D", "v9.9.9"]);

    // Nor does it help that the released commit is said to stand for it.
    let (new, old) = (
        repository.git(&["rev-parse", "master"]),
        repository.git(&["rev-parse", "master^"]),
    );
    repository.git(&["replace", &new, &old]);
    assert!(repository.broken().contains("branches.master.release"));
    let grafts = repository.folder.path().join(".git/info/grafts");
    std::fs::create_dir_all(grafts.parent().expect("a folder")).expect("a folder");
    std::fs::write(&grafts, format!("{new}\n")).expect("written");
    assert!(repository.broken().contains("branches.master.release"));
    std::fs::remove_file(grafts).expect("removed");
    repository.git(&["replace", "--delete", &new]);

    // A tag that is moved leaves the commit without one that had it.
    repository.tag("master", "");
    assert_eq!(repository.broken(), BTreeSet::new());
    let tag = repository.git(&["describe", "--exact-match", "master"]);
    repository.git(&[
        "tag",
        "--annotate",
        "-m",
        "again",
        &format!("{tag}-of"),
        &tag,
    ]);
    repository.git(&[
        "tag",
        "--force",
        "--annotate",
        "-m",
        "moved",
        &tag,
        "develop",
    ]);
    assert!(repository.broken().contains("branches.master.release"));
}

#[test]
fn a_change_is_held_against_the_rules_of_its_target() {
    use crate::model::source::Change;

    let mut repository = Repository::new();
    repository.on("staging");
    std::fs::write(repository.folder.path().join("shipit.yaml"), RULES).expect("written");
    repository.git(&["add", "shipit.yaml"]);
    repository.git(&["commit", "--quiet", "-m", "rules"]);
    repository.commit("develop");
    repository.git(&["checkout", "--quiet", "-b", "cart"]);
    let change = Change {
        number: "7".to_owned(),
        from: Some("cart".to_owned()),
        into: Some("staging".to_owned()),
        is_fork: Some(false),
    };
    let asked = |repository: &Repository| {
        let mut grounds = repository.grounds();
        // The change says that anything goes.
        grounds.rules.clear();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let verdicts = runtime
            .expect("a runtime")
            .block_on(may_merge(&mut grounds, &change));
        verdicts.expect("verdicts")
    };
    let refused = asked(&repository);
    let has = |verdicts: &[Verdict], rule: &str, ruling| {
        let mut all = verdicts.iter();
        let found = all.any(|verdict| verdict.rule == rule && verdict.ruling == ruling);
        assert!(found, "{rule}: {verdicts:?}");
    };
    has(&refused, "branches.staging.accepts", Ruling::Refused);

    repository.on("staging");
    std::fs::write(repository.folder.path().join("shipit.yaml"), "branches: [").expect("written");
    repository.git(&["commit", "--quiet", "--all", "-m", "broken"]);
    repository.on("cart");
    let broken = asked(&repository);
    has(&broken, "branches", Ruling::Undecided);

    repository.git(&["branch", "--quiet", "-D", "staging"]);
    let missing = asked(&repository);
    has(&missing, "branches", Ruling::Undecided);
}
