//! What goes from one branch to another: which branches are made from which (`offshoots`), and
//! which are merged into which (`gives`).
//!
//! Both are edges of the history. A branch's *own* commits are those on its line of first parents
//! that are on no line of the branches which it takes. Where a commit of another line has one of
//! them as its first parent, a branch was made from it; where it has one as another parent, it was
//! merged. A branch that was moved forward onto one that it takes has no commits of its own: what
//! was made from it then cannot be told from what was made from the other.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::model::branch::{BranchLines, BranchRule, Offshoots};
use crate::model::source::Commit;
use crate::model::verdict::Verdict;
use crate::policy::changes::{goes_elsewhere, may_go};
use crate::policy::{bounded, one_matches, rule_of, shown};

/// What the rules between branches say of the commits in scope: a verdict for each that breaks one,
/// and one for each rule that holds.
#[must_use]
pub fn crossings(rules: &[BranchRule], facts: &BranchLines) -> Vec<Verdict> {
    let lines = Lines::new(rules, facts);
    let asked = rules.iter().filter(|rule| asks_of_others(rule));
    asked.flat_map(|rule| lines.of_rule(rule)).collect()
}

/// Whether a rule looks at what other branches have of it.
#[must_use]
pub fn asks_of_others(rule: &BranchRule) -> bool {
    rule.offshoots == Offshoots::Refused || rule.gives.is_some()
}

struct Lines<'a> {
    rules: &'a [BranchRule],
    facts: &'a BranchLines,
    /// On which lines a commit is.
    on: HashMap<&'a str, Vec<&'a str>>,
    /// The branches that have each branch below them: those that take it, and those that take
    /// these.
    below: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Lines<'a> {
    fn new(rules: &'a [BranchRule], facts: &'a BranchLines) -> Self {
        let mut on: HashMap<&str, Vec<&str>> = HashMap::new();
        for (name, line) in &facts.lines {
            for commit in &line.all {
                on.entry(commit).or_default().push(name);
            }
        }
        let names = facts.lines.keys().map(String::as_str);
        let below = names
            .map(|name| (name, takers(rules, facts, name)))
            .collect();
        Self {
            rules,
            facts,
            on,
            below,
        }
    }

    fn of_rule(&self, rule: &'a BranchRule) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        if let Some(unknown) = self.unknown(rule) {
            return vec![unknown];
        }
        let names = self.facts.lines.keys();
        let names: Vec<&String> = names
            .filter(|name| rule_of(self.rules, name).is_some_and(|its| its.pattern == rule.pattern))
            .collect();
        for name in names {
            verdicts.extend(self.of_branch(rule, name));
        }
        if verdicts.is_empty() {
            return passed(rule, self.facts.scope.len());
        }
        bounded(verdicts)
    }

    /// A branch that is not here may have anything on its line.
    fn unknown(&self, rule: &BranchRule) -> Option<Verdict> {
        let needed: Vec<&String> = self
            .facts
            .missing
            .iter()
            .filter(|name| **name == rule.pattern || rule.accepts.contains(name))
            .collect();
        let first = needed.first()?;
        let names: Vec<&str> = needed.iter().map(|name| name.as_str()).collect();
        let key = rule.key(if rule.offshoots == Offshoots::Refused {
            "offshoots"
        } else {
            "gives"
        });
        let reason = format!(
            "it cannot be told what others have of {}: {} is not in this checkout",
            rule.pattern,
            names.join(", ")
        );
        let help = fetch(first);
        Some(Verdict::undecided(key, reason, help).on(&rule.pattern))
    }

    fn of_branch(&self, rule: &'a BranchRule, name: &str) -> Vec<Verdict> {
        let line = &self.facts.lines[name];
        let shared = self.upstream(rule, name);
        let own: HashSet<&str> = line
            .since
            .iter()
            .map(String::as_str)
            .filter(|commit| !shared.contains(commit))
            .collect();

        let mut verdicts = Vec::new();
        let mut unclear = Vec::new();
        for commit in &self.facts.scope {
            if line.all.contains(&commit.id) {
                continue;
            }
            for (number, parent) in commit.parents.iter().enumerate() {
                if own.contains(parent.as_str()) {
                    let verdict = match number {
                        0 => self.made(rule, name, commit),
                        _ => self.merged(rule, name, commit, parent),
                    };
                    verdicts.extend(verdict.map(|verdict| verdict.on(name).at(&commit.id)));
                } else if number == 0 && line.since.contains(parent) && self.is_on_none(commit) {
                    unclear.push(commit);
                }
            }
        }
        if rule.offshoots == Offshoots::Refused {
            verdicts.extend(self.stands_on(rule, name, &own));
            if own.is_empty() && verdicts.is_empty() {
                verdicts.extend(
                    unclear
                        .first()
                        .map(|first| undecided(rule, name, first, unclear.len())),
                );
            }
        }
        verdicts
    }

    /// A commit that has one of the branch's own as its first parent.
    fn made(&self, rule: &BranchRule, name: &str, commit: &Commit) -> Option<Verdict> {
        let is_taken = self.lines_of(commit).iter().any(|on| self.takes(name, on));
        if rule.offshoots == Offshoots::Allowed || is_taken {
            return None;
        }
        let reason = format!(
            "{} was made on a branch from {name}, and no branch is made from {name}",
            shown(commit)
        );
        if self.lines_of(commit).is_empty() {
            return Some(self.against(rule, reason, self.remedy(rule, name)));
        }
        Some(Verdict::refused(
            rule.key("offshoots"),
            reason,
            self.remedy(rule, name),
        ))
    }

    /// What is said of a commit that is on no line: it may be on that of a branch that is not here.
    fn against(&self, rule: &BranchRule, reason: String, help: String) -> Verdict {
        let key = rule.key("offshoots");
        let Some(missing) = self.facts.missing.first() else {
            return Verdict::refused(key, reason, help);
        };
        let all = self.facts.missing.join(", ");
        let reason =
            format!("{reason}, unless it is on a branch that is not in this checkout: {all}");
        let fetch = fetch(missing);
        Verdict::undecided(key, reason, format!("{fetch}; or {help}"))
    }

    /// A commit that merges one of the branch's own.
    fn merged(
        &self,
        rule: &BranchRule,
        name: &str,
        commit: &Commit,
        parent: &str,
    ) -> Option<Verdict> {
        let targets = self.named_lines_of(commit);
        let empty = Vec::new();
        let sources = self.on.get(parent).unwrap_or(&empty);
        let rule_of_giver = |giver: &&str| rule_of(self.rules, giver);
        let goes = |giver: &&str, target: &str| {
            *giver == target
                || rule_of_giver(giver).is_none_or(|its| may_go(self.rules, its, target))
        };
        let Some(target) = targets.first() else {
            // On no branch that a rule names: as if it were made from there anew.
            let is_open = |giver: &&&str| {
                rule_of_giver(giver).is_none_or(|its| its.offshoots == Offshoots::Allowed)
            };
            if sources.iter().any(|giver| is_open(&giver)) {
                return None;
            }
            let reason = format!(
                "{} merges {name} into a branch that does not take it",
                shown(commit)
            );
            return Some(self.against(rule, reason, self.remedy(rule, name)));
        };
        if targets
            .iter()
            .any(|target| sources.iter().any(|giver| goes(giver, target)))
        {
            return None;
        }
        let gives = rule.gives.as_ref()?;
        let mut verdict = goes_elsewhere(&rule.key("gives"), name, target, gives);
        verdict.reason = format!(
            "{} merges {name} into {target}: {}",
            shown(commit),
            verdict.reason
        );
        Some(verdict)
    }

    fn remedy(&self, rule: &BranchRule, name: &str) -> String {
        let from = self.open_above(rule).unwrap_or("another branch");
        format!(
            "make the branch from {from}, and replay its commits there (`git rebase --onto {from} \
             {name} BRANCH`); what is merged already is let through by `since: COMMIT` of {}",
            rule.pattern
        )
    }

    /// The nearest branch above it from which others may be made.
    fn open_above(&self, rule: &BranchRule) -> Option<&'a str> {
        let mut seen = BTreeSet::new();
        let mut ahead: Vec<&String> = rule.accepts.iter().collect();
        while let Some(name) = ahead.pop() {
            let its = self.rules.iter().find(|rule| rule.pattern == *name)?;
            if its.offshoots == Offshoots::Allowed {
                return Some(&its.pattern);
            }
            if seen.insert(name) {
                ahead.extend(&its.accepts);
            }
        }
        None
    }

    /// Branches that are at one of its own commits, and have none themselves.
    fn stands_on(&self, rule: &BranchRule, name: &str, own: &HashSet<&str>) -> Vec<Verdict> {
        let tips = self.facts.tips.iter();
        tips.filter(|(branch, tip)| {
            own.contains(tip.as_str()) && *branch != name && !self.takes(name, branch)
        })
        .map(|(branch, tip)| {
            let reason = format!(
                "{branch} is at commit {} of {name}, and no branch is made from {name}",
                crate::model::source::short(tip)
            );
            let verdict = Verdict::refused(rule.key("offshoots"), reason, self.remedy(rule, name));
            verdict.on(branch).at(tip)
        })
        .collect()
    }

    /// What the lines of the branches have that it takes, and those that they take. A branch that
    /// is only said to go there may have been made from it, and then has its commits.
    fn upstream(&self, rule: &'a BranchRule, name: &str) -> HashSet<&'a str> {
        let is_pattern = rule.pattern != name;
        let above = self.above(rule);
        let others = self.facts.lines.iter();
        others
            .filter(|(other, _)| other.as_str() != name && self.is_named(other))
            .filter(|(other, _)| is_pattern || above.contains(other.as_str()))
            .flat_map(|(_, line)| line.all.iter().map(String::as_str))
            .collect()
    }

    /// The names under `accepts`, and those under theirs.
    fn above(&self, rule: &'a BranchRule) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut ahead: Vec<&str> = rule.accepts.iter().map(String::as_str).collect();
        while let Some(name) = ahead.pop() {
            let its = self.rules.iter().find(|rule| rule.pattern == name);
            if let Some(its) = its.filter(|_| found.insert(name)) {
                ahead.extend(its.accepts.iter().map(String::as_str));
            }
        }
        found
    }

    fn is_named(&self, branch: &str) -> bool {
        self.rules.iter().any(|rule| rule.pattern == branch)
    }

    /// Whether `below` takes `name`, itself or by one that does.
    fn takes(&self, name: &str, below: &str) -> bool {
        self.below.get(name).is_some_and(|all| all.contains(below))
    }

    fn lines_of(&self, commit: &Commit) -> Vec<&'a str> {
        self.on.get(commit.id.as_str()).cloned().unwrap_or_default()
    }

    /// On the lines of branches that a rule names; of those that a glob matches where it is on
    /// none.
    fn named_lines_of(&self, commit: &Commit) -> Vec<&'a str> {
        let all = self.lines_of(commit);
        let is_named = |name: &&&str| self.rules.iter().any(|rule| rule.pattern == **name);
        let named: Vec<&str> = all.iter().filter(is_named).copied().collect();
        if named.is_empty() { all } else { named }
    }

    fn is_on_none(&self, commit: &Commit) -> bool {
        !self.on.contains_key(commit.id.as_str())
    }
}

fn passed(rule: &BranchRule, commits: usize) -> Vec<Verdict> {
    let branch = &rule.pattern;
    let mut verdicts = Vec::new();
    if rule.offshoots == Offshoots::Refused {
        let reason = format!("none of {commits} commits was made on a branch from {branch}");
        verdicts.push(Verdict::passed(rule.key("offshoots"), reason).on(branch));
    }
    if rule.gives.is_some() {
        let reason = format!("none of {commits} commits merges {branch} where it must not go");
        verdicts.push(Verdict::passed(rule.key("gives"), reason).on(branch));
    }
    verdicts
}

fn fetch(branch: &str) -> String {
    format!("fetch it: `git fetch origin {branch}:refs/remotes/origin/{branch}`, or `--fetch`")
}

fn undecided(rule: &BranchRule, name: &str, first: &Commit, count: usize) -> Verdict {
    let others = match count - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let reason = format!(
        "it cannot be told whether {}{others} was made on a branch from {name}: {name} has no \
         commit of its own, as it was moved forward (a fast-forward)",
        shown(first)
    );
    let help = format!(
        "merge into {name} with a merge commit (`git merge --no-ff`); what is there already is let \
         through by `since: COMMIT` of {name}"
    );
    Verdict::undecided(rule.key("offshoots"), reason, help)
        .on(name)
        .at(&first.id)
}

/// The branches that take a branch, and those that take these.
fn takers<'a>(rules: &[BranchRule], facts: &'a BranchLines, name: &str) -> BTreeSet<&'a str> {
    let take = |from: &str, into: &str| {
        let accepts = rule_of(rules, into).is_some_and(|rule| one_matches(&rule.accepts, from));
        let gives = rule_of(rules, from).and_then(|rule| rule.gives.as_ref());
        accepts || gives.is_some_and(|gives| one_matches(gives, into))
    };
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let mut ahead = vec![name];
    while let Some(from) = ahead.pop() {
        for into in facts.lines.keys().map(String::as_str) {
            if into != name && take(from, into) && found.insert(into) {
                ahead.push(into);
            }
        }
    }
    found
}
