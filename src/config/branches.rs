//! What the rules of branches must hold besides their types: that the branches which they name have
//! rules, that two of them do not say the opposite, and that nothing has no effect.

use globset::Glob;

use crate::config::Project;
use crate::config::findings::Findings;
use crate::config::schema::{Branch, Branches, ReleaseConfig};
use crate::config::suggest::suggest;
use crate::model::branch::BranchRule;

/// What is wrong with the rules, whatever environments there are.
pub(super) fn check(findings: &mut Findings<'_>, branches: &Branches) {
    let names: Vec<&str> = branches.rules.keys().map(String::as_str).collect();
    for (branch, rule) in &branches.rules {
        if Glob::new(branch).is_err() {
            let help = "write a name, or `feature/*`";
            findings.add(&["branches", branch], "this is not a glob", help);
        }
        since(findings, branch, rule);
        release(findings, branch, rule);
        for (key, named) in [
            ("accepts", rule.accepts.as_slice()),
            ("gives", rule.gives.as_deref().unwrap_or_default()),
        ] {
            for name in named.iter().filter(|name| !names.contains(&name.as_str())) {
                let message = format!("there is no branch `{name}` here");
                let help = suggest(name, &names, "branches");
                findings.add(&["branches", branch, key], message, help);
            }
        }
        opposites(findings, branches, branch, rule);
    }
}

/// Two rules that cannot both be kept.
fn opposites(findings: &mut Findings<'_>, branches: &Branches, branch: &str, rule: &Branch) {
    let holds = |named: &[String], name: &str| named.iter().any(|one| one == name);
    for into in rule.gives.iter().flatten() {
        let Some(target) = branches.rules.get(into) else {
            continue;
        };
        let is_strict = !target.accepts.is_empty() || !target.direct_commits;
        if is_strict && !holds(&target.accepts, branch) {
            let message = format!("{into} does not take {branch}");
            let help = format!("add {branch} to `accepts` of {into}, or take {into} out");
            findings.add(&["branches", branch, "gives"], message, help);
        }
    }
    for from in &rule.accepts {
        let gives = branches
            .rules
            .get(from)
            .and_then(|source| source.gives.as_ref());
        if gives.is_some_and(|gives| !holds(gives, branch)) {
            let message = format!("{from} does not go to {branch}");
            let help = format!("add {branch} to `gives` of {from}, or take {from} out");
            findings.add(&["branches", branch, "accepts"], message, help);
        }
    }
}

/// A rule about commits begins with one that can be named, and only where it looks at commits.
fn since(findings: &mut Findings<'_>, branch: &str, rule: &Branch) {
    let Some(since) = &rule.since else {
        return;
    };
    let path = ["branches", branch, "since"];
    let has_release = matches!(rule.release, Some(ReleaseConfig::Rule(_)));
    let looks = !rule.direct_commits || !rule.offshoots || rule.gives.is_some() || has_release;
    if !looks {
        let message = "`since` has no effect where direct commits are allowed";
        let help = "add `direct_commits: false`, or take it out";
        findings.add(&path, message, help);
    } else if since.is_empty() || since.starts_with('-') || since.contains(char::is_whitespace) {
        let help = "write the id of a commit, or the name of a tag";
        findings.add(&path, "this is no commit and no tag", help);
    }
}

fn release(findings: &mut Findings<'_>, branch: &str, rule: &Branch) {
    let Some(ReleaseConfig::Rule(release)) = &rule.release else {
        return;
    };
    if release.tag.is_empty() || Glob::new(&release.tag).is_err() {
        let path = ["branches", branch, "release", "tag"];
        findings.add(&path, "this is not a glob", "write `v*`");
    }
}

impl Project {
    /// The branch rules, those with a name before those with a glob.
    #[must_use]
    pub fn branch_rules(&self) -> Vec<BranchRule> {
        self.branches.branch_rules()
    }
}
