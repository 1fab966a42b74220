//! The rules of a project by themselves: those of another branch, whose other keys are nobody's
//! matter here, and where each is written.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::de::Error;
use crate::config::findings::Findings;
use crate::config::node::{Node, Value, parse};
use crate::config::problem::{ConfigError, File, Problem};
use crate::config::schema::{ApprovalsConfig, Approvers, Branches, PolicyConfig};
use crate::config::{approvals, branches, own_rules};
use crate::model::ticket::TicketRule;
use crate::model::verdict::RulePlace;
use crate::model::window::{Freeze, Window};

/// The keys that are rules, and are looked at by themselves.
const RULES: [&str; 7] = [
    "branches",
    "policy",
    "windows",
    "freezes",
    "ticket",
    APPROVERS,
    "approvals",
];

/// Those are the project's alone.
const APPROVERS: &str = "approvers";

/// Where rules are written, by their keys: `branches.staging.offshoots`.
pub type Places = BTreeMap<String, RulePlace>;

/// The rules of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// What it says of branches.
    pub branches: Branches,
    /// The project's own.
    pub policy: Vec<PolicyConfig>,
    /// When live traffic may be touched.
    pub windows: Vec<Window>,
    /// When it may not.
    pub freezes: Vec<Freeze>,
    /// What a change has to name.
    pub ticket: Option<TicketRule>,
    /// Who may approve plans.
    pub approvers: Approvers,
    /// How many of them must.
    pub approvals: Option<ApprovalsConfig>,
    /// Where each rule is written.
    #[serde(skip)]
    pub places: Places,
}

/// The rules in the text of a `shipit.yaml`, and in that of an environment's file which lies over
/// it. The files' names are for whoever reads what is wrong with them.
///
/// # Errors
/// What is wrong with the rules, or why the texts are no YAML.
pub fn rules_of(
    project: (&str, &str),
    environment: Option<(&str, &str)>,
) -> Result<Rules, ConfigError> {
    let texts = std::iter::once(project).chain(environment);
    let mut files = Vec::new();
    let mut trees = Vec::new();
    for (index, (name, text)) in texts.enumerate() {
        files.push(File {
            name: name.to_owned(),
            text: text.to_owned(),
        });
        match parse(text, index) {
            Ok(tree) if index == 0 => trees.push(tree),
            Ok(tree) => trees.push(without(tree, |key| key == APPROVERS)),
            Err(problem) => return Err(ConfigError::new(vec![problem], &files)),
        }
    }
    let tree = trees.into_iter().reduce(Node::merge);
    let tree = tree.unwrap_or_else(|| Node::empty(0));
    let tree = without(tree, |key| !RULES.contains(&key));

    let wrong = |error: Error| {
        let path = error.path();
        let message = format!("{}: {error}", path.join("."));
        ConfigError::new(vec![Problem::new(tree.find(&path), message)], &files)
    };
    let mut rules = Rules::deserialize(&tree).map_err(wrong)?;
    let mut findings = Findings::of(&tree);
    branches::check(&mut findings, &rules.branches);
    let ticket = rules.ticket.as_ref();
    own_rules::check(&mut findings, &rules.policy, &rules.freezes, ticket);
    approvals::check(&mut findings, &rules.approvers, rules.approvals.as_ref());
    let problems = findings.done();
    if !problems.is_empty() {
        return Err(ConfigError::new(problems, &files));
    }
    rules.places = places(&tree, &files);
    Ok(rules)
}

/// A tree without some of its keys.
fn without(mut tree: Node, goes: impl Fn(&str) -> bool) -> Node {
    if let Value::Map(entries) = &mut tree.value {
        entries.retain(|(key, _)| !goes(&key.name));
    }
    tree
}

/// Where the rules of a tree are.
pub(super) fn places(tree: &Node, files: &[File]) -> Places {
    let mut places = Places::new();
    for rule in RULES {
        if let Some((key, node)) = tree.get(rule) {
            place(&mut places, files, rule, key.at, node, 2);
        }
    }
    places
}

/// The place of a key, and of those below it, so many levels deep.
fn place(
    places: &mut Places,
    files: &[File],
    path: &str,
    at: crate::config::problem::Position,
    node: &Node,
    deep: usize,
) {
    let file = files.get(at.file).map(|file| file.name.clone());
    let of_file = |file| RulePlace {
        file,
        line: at.line,
        column: at.column,
    };
    places.extend(file.map(|file| (path.to_owned(), of_file(file))));
    if deep == 0 {
        return;
    }
    match &node.value {
        Value::Map(entries) => {
            for (key, below) in entries {
                place(
                    places,
                    files,
                    &format!("{path}.{}", key.name),
                    key.at,
                    below,
                    deep - 1,
                );
            }
        }
        Value::List(items) => {
            for (index, below) in items.iter().enumerate() {
                place(
                    places,
                    files,
                    &format!("{path}.{index}"),
                    below.at,
                    below,
                    deep - 1,
                );
            }
        }
        _ => {}
    }
}
