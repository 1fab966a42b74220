//! Which commits of a branch have a release: a tag that is a version.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use globset::Glob;
use semver::Version;

use crate::model::branch::{BranchRule, ReleaseKind, ReleaseRule, ReleaseWhen, Tag};
use crate::model::source::Commit;
use crate::model::verdict::Verdict;
use crate::policy::{bounded, shown};

/// Characters with which the part of a glob begins that is not fixed.
const META: [char; 5] = ['*', '?', '[', '{', '\\'];

/// Whether each of these commits, newest first, has its tag: a verdict for each that has none, or
/// one for all of them.
#[must_use]
pub fn released(rule: &BranchRule, branch: &str, commits: &[Commit], tags: &[Tag]) -> Vec<Verdict> {
    let Some(release) = &rule.release else {
        return Vec::new();
    };
    let key = rule.key("release");
    let mut by_commit: BTreeMap<&str, Vec<&Tag>> = BTreeMap::new();
    for tag in tags {
        by_commit.entry(&tag.commit).or_default().push(tag);
    }

    let asked = match release.when {
        ReleaseWhen::Required => commits,
        ReleaseWhen::Later => commits.get(1..).unwrap_or_default(),
    };
    let mut against = Vec::new();
    let mut movable = Vec::new();
    for commit in asked {
        let own = by_commit.get(commit.id.as_str());
        let own = own.map(Vec::as_slice).unwrap_or_default();
        match own
            .iter()
            .filter(|tag| is_it(release, tag))
            .max_by_key(|tag| tag.is_annotated)
        {
            Some(tag) if tag.is_annotated => {}
            Some(tag) => movable.push(tag.name.as_str()),
            None => against.push(
                missing(release, branch, commit, own, &key)
                    .on(branch)
                    .at(&commit.id),
            ),
        }
    }
    if !against.is_empty() {
        return bounded(against);
    }

    let mut reason = format!("each of {} commits of {branch} has its tag", asked.len());
    if let Some(first) = movable.first() {
        let _ = write!(
            reason,
            "; {} of them, as {first}, can be moved without a trace, which one of `git tag \
             --annotate` cannot",
            movable.len()
        );
    }
    vec![Verdict::passed(key, reason).on(branch)]
}

/// That a commit has no tag of the kind, with those that it has.
fn missing(
    release: &ReleaseRule,
    branch: &str,
    commit: &Commit,
    own: &[&Tag],
    key: &str,
) -> Verdict {
    let kind = release.kind.as_str();
    let names: Vec<&str> = own.iter().take(3).map(|tag| tag.name.as_str()).collect();
    let has = if names.is_empty() {
        "has no tag".to_owned()
    } else {
        format!("has {} and no other tag", names.join(", "))
    };
    let by = match release.when {
        ReleaseWhen::Required => "before it is deployed",
        ReleaseWhen::Later => "before the commit after it is deployed",
    };
    let version = match release.kind {
        ReleaseKind::Beta => "1.2.3-beta.1",
        ReleaseKind::Stable => "1.2.3",
    };
    let example = format!("{}{version}", prefix(&release.tag));
    Verdict::refused(
        key,
        format!(
            "{} {has}, and each commit of {branch} is a {kind} release (`{}`) {by}",
            shown(commit),
            release.tag
        ),
        format!(
            "tag it, as with `git tag --annotate {example} {}`, and push the tag; one that is \
             there already is fetched by `git fetch --tags`",
            crate::model::source::short(&commit.id)
        ),
    )
}

/// Whether a tag is a version of the channel.
fn is_it(release: &ReleaseRule, tag: &Tag) -> bool {
    let matches =
        Glob::new(&release.tag).is_ok_and(|glob| glob.compile_matcher().is_match(&tag.name));
    matches
        && version(&release.tag, &tag.name).is_some_and(|version| match release.kind {
            ReleaseKind::Beta => !version.pre.is_empty(),
            ReleaseKind::Stable => version.pre.is_empty(),
        })
}

/// The version that a tag says: what stands behind the fixed beginning of the glob, and behind a
/// `v`.
fn version(glob: &str, tag: &str) -> Option<Version> {
    let rest = tag.strip_prefix(prefix(glob))?;
    let rest = rest.strip_prefix('v').unwrap_or(rest);
    Version::parse(rest).ok()
}

/// What every tag of a glob begins with.
fn prefix(glob: &str) -> &str {
    let end = glob.find(META).unwrap_or(0);
    &glob[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: ReleaseKind, tag: &str, when: ReleaseWhen) -> BranchRule {
        BranchRule {
            release: Some(ReleaseRule {
                kind,
                tag: tag.to_owned(),
                when,
            }),
            ..BranchRule::open("master")
        }
    }

    fn commit(id: &str) -> Commit {
        Commit {
            id: id.to_owned(),
            parents: vec![],
            subject: "merged".to_owned(),
            author: "kim".to_owned(),
        }
    }

    fn tag(name: &str, commit: &str) -> Tag {
        Tag {
            name: name.to_owned(),
            commit: commit.to_owned(),
            is_annotated: true,
        }
    }

    #[test]
    fn a_tag_is_a_version_of_its_channel_or_no_release() {
        use ReleaseKind::{Beta, Stable};
        let cases = [
            (Stable, "v*", "v1.2.3", true),
            (Stable, "v*", "v1.2.3-rc.1", false),
            (Beta, "v*", "v1.2.3-rc.1", true),
            (Beta, "v*", "v1.2.3", false),
            (Stable, "v*", "1.2.3", false),
            (Stable, "*", "1.2.3", true),
            (Stable, "*", "v1.2.3+build.5", true),
            (Stable, "web/v*", "web/v1.0.0", true),
            (Stable, "web/*", "web/v1.0.0", true),
            (Stable, "web/v*", "api/v1.0.0", false),
            (Stable, "v*", "v1.2", false),
            (Stable, "v*", "v01.2.3", false),
            (Stable, "v*", "v1.2.3 ", false),
            (Stable, "v*", "version", false),
            (Beta, "v*-beta.*", "v1.2.3-beta.4", true),
            (Beta, "v*-beta.*", "v1.2.3-rc.4", false),
            (Stable, "v[0-9]*", "v1.2.3", true),
        ];
        for (kind, glob, name, wanted) in cases {
            let release = rule(kind, glob, ReleaseWhen::Required)
                .release
                .expect("one");
            assert_eq!(is_it(&release, &tag(name, "a")), wanted, "{glob} {name}");
        }
    }

    #[test]
    fn every_commit_without_its_tag_is_named_and_the_newest_has_time_where_the_rule_says_so() {
        let commits = ["ccccccc", "bbbbbbb", "aaaaaaa"].map(commit);
        let tags = [tag("v1.0.0", "aaaaaaa"), tag("v1.0.0-rc.1", "bbbbbbb")];
        let asked = |when| {
            let verdicts = released(
                &rule(ReleaseKind::Stable, "v*", when),
                "master",
                &commits,
                &tags,
            );
            let named = verdicts.into_iter().filter(|verdict| !verdict.is_passed());
            named
                .filter_map(|verdict| verdict.commit)
                .collect::<Vec<_>>()
        };
        assert_eq!(asked(ReleaseWhen::Required), ["ccccccc", "bbbbbbb"]);
        assert_eq!(asked(ReleaseWhen::Later), ["bbbbbbb"]);
    }

    #[test]
    fn one_of_several_tags_is_enough_and_a_movable_one_is_said() {
        let commits = [commit("aaaaaaa")];
        let rule = rule(ReleaseKind::Stable, "v*", ReleaseWhen::Required);
        let mut light = tag("v1.0.0", "aaaaaaa");
        light.is_annotated = false;
        let tags = [
            tag("v1.0.0-rc.2", "aaaaaaa"),
            light,
            tag("latest", "aaaaaaa"),
        ];
        let verdicts = released(&rule, "master", &commits, &tags);
        assert!(
            verdicts[0].is_passed() && verdicts.len() == 1,
            "{verdicts:?}"
        );
        assert!(
            verdicts[0].reason.contains("as v1.0.0, can be moved"),
            "{verdicts:?}"
        );
    }
}
