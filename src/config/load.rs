//! Reading a project's files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;

use crate::config::de::{Error, Kind};
use crate::config::keys;
use crate::config::node::{FILE_LIMIT, Node, parse};
use crate::config::problem::{ConfigError, File, Place, Problem};
use crate::config::schema::Environment;
use crate::config::suggest::suggest;
use crate::config::validate::{across, validate};
use crate::files;
use crate::files::beneath::{Alone, in_repository};
use crate::model::branch::{BranchRule, DirectCommits};
use crate::model::{ContentHash, EnvironmentName, ProjectName};

/// The most faults that are shown at once.
const MOST: usize = 50;

/// The most environments of a project.
const MOST_OVERLAYS: usize = 500;

/// A project: its name, and each of its environments with everything that holds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The project's folder.
    pub root: PathBuf,
    /// The project's name.
    pub name: ProjectName,
    /// By name; the file's name is the environment's name.
    pub environments: BTreeMap<EnvironmentName, Environment>,
    /// What `shipit.yaml` says of branches.
    pub branches: BTreeMap<String, crate::config::schema::Branch>,
    /// The files that it was read from, by their path below the folder, with the hash of what they say.
    pub files: BTreeMap<String, ContentHash>,
}

impl Project {
    /// The branch rules, those with a name before those with a glob.
    #[must_use]
    pub fn branch_rules(&self) -> Vec<BranchRule> {
        let mut rules: Vec<BranchRule> = self
            .branches
            .iter()
            .map(|(pattern, branch)| BranchRule {
                pattern: pattern.clone(),
                environment: branch.environment.clone(),
                accepts: branch.accepts.clone(),
                direct_commits: if branch.direct_commits {
                    DirectCommits::Allowed
                } else {
                    DirectCommits::Refused
                },
            })
            .collect();
        rules.sort_by_key(|rule| rule.pattern.contains('*'));
        rules
    }
}

/// Reads `shipit.yaml` and `environments/*.yaml`.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(root: &Path) -> Result<Project, ConfigError> {
    let mut reading = Reading {
        root,
        files: Vec::new(),
        problems: Vec::new(),
        incomplete: Vec::new(),
    };
    let Some(base) = reading.read("shipit.yaml")? else {
        return Err(ConfigError::absent(
            "shipit.yaml",
            format!("there is no shipit.yaml in {}", root.display()),
            "`shipit init` writes one; -C names another folder",
        ));
    };
    let overlays = reading.overlays()?;
    let loaded = reading.environments(&base, overlays);
    match loaded {
        Some(project) if reading.problems.is_empty() => Ok(project),
        _ => Err(ConfigError::new(reading.problems, &reading.files)),
    }
}

struct Reading<'a> {
    root: &'a Path,
    files: Vec<File>,
    problems: Vec<Problem>,
    /// The maps out of which something was taken because it did not fit: what seems to be missing there, is not.
    incomplete: Vec<Vec<String>>,
}

impl Reading<'_> {
    /// A file's tree; none when there is no such file, or when it is no YAML.
    fn read(&mut self, name: &str) -> Result<Option<Node>, ConfigError> {
        let path = self.root.join(name);
        let unreadable = |error: std::io::Error| {
            ConfigError::absent(
                name,
                format!("{} cannot be read: {error}", path.display()),
                "it must be a file of the repository, of one mebibyte at the most, that you can read",
            )
        };
        let Some(bytes) = files::read_if_there(&path, FILE_LIMIT).map_err(unreadable)? else {
            return Ok(None);
        };
        // An error shows the line that it is about: none of a file that is not the repository's.
        in_repository(self.root, Path::new(name), Alone::Project)
            .and_then(|(repository, inside)| Ok(repository.real(&inside)?))
            .map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid =
                String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()])
                    .into_owned();
            let line = valid.lines().count().max(1);
            ConfigError::absent(
                name,
                format!("line {line} is not UTF-8"),
                "save the file as UTF-8",
            )
        })?;
        let file = self.files.len();
        let parsed = parse(&text, file);
        self.files.push(File {
            name: name.to_owned(),
            text,
        });
        match parsed {
            Ok(node) => Ok(Some(node)),
            Err(problem) => {
                self.problems.push(problem);
                Ok(Some(Node::empty(file)))
            }
        }
    }

    fn overlays(&mut self) -> Result<Vec<(EnvironmentName, Node)>, ConfigError> {
        let mut names: Vec<String> = fs::read_dir(self.root.join("environments"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| {
                Path::new(name)
                    .extension()
                    .is_some_and(|e| e == "yaml" || e == "yml")
            })
            .collect();
        names.sort();
        if names.len() > MOST_OVERLAYS {
            return Err(ConfigError::absent(
                "environments",
                format!(
                    "there are {} environments; {MOST_OVERLAYS} are the most",
                    names.len()
                ),
                "take away those that nobody needs",
            ));
        }
        let mut overlays = Vec::new();
        for name in names {
            let file = format!("environments/{name}");
            let Some(node) = self.read(&file)? else {
                continue;
            };
            let stem = Path::new(&name)
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            match stem.parse() {
                Ok(environment) => overlays.push((environment, node)),
                Err(error) => self.problems.push(
                    Problem::new(
                        node.at,
                        format!("the file's name is the environment's name: {error}"),
                    )
                    .help("rename the file"),
                ),
            }
        }
        Ok(overlays)
    }

    fn environments(
        &mut self,
        base: &Node,
        overlays: Vec<(EnvironmentName, Node)>,
    ) -> Option<Project> {
        // The base is looked at by itself too: it may have faults that every overlay hides.
        let whole = self.typed(base.clone())?;
        let mut environments = BTreeMap::new();
        let mut trees = BTreeMap::new();
        for (name, overlay) in overlays {
            let tree = base.clone().merge(overlay);
            let Some(mut environment) = self.typed(tree.clone()) else {
                continue;
            };
            let mut found = validate(&environment, &tree);
            found.extend(keys::read(self.root, &mut environment, &tree));
            let is_whole = |problem: &Problem| {
                !self
                    .incomplete
                    .iter()
                    .any(|map| !map.is_empty() && problem.path.starts_with(map))
            };
            self.problems
                .extend(found.into_iter().filter(is_whole).collect::<Vec<_>>());
            environments.insert(name.clone(), environment);
            trees.insert(name, tree);
        }
        self.problems
            .extend(across(&whole, base, &environments, &trees));
        Some(Project {
            root: self.root.to_path_buf(),
            name: whole.project.clone(),
            environments,
            branches: whole.branches,
            files: self.files.iter().map(File::hash).collect(),
        })
    }

    /// The typed form of a tree. A node that does not fit is noted, taken out, and the rest is tried again.
    fn typed(&mut self, mut tree: Node) -> Option<Environment> {
        let whole = tree.clone();
        let mut found = None;
        for _ in 0..MOST {
            match Environment::deserialize(&tree) {
                Ok(environment) => {
                    found = Some(environment);
                    break;
                }
                Err(error) => {
                    let problem = describe(&error, &whole);
                    // What an overlay repeats was said before.
                    if !self.problems.contains(&problem) {
                        self.problems.push(problem);
                    }
                    let path = error.path();
                    let at = path_to_prune(&error, &path, &tree);
                    if !tree.prune(&at) {
                        break;
                    }
                    self.incomplete
                        .extend(at.split_last().map(|(_, map)| map.to_vec()));
                }
            }
        }
        found
    }
}

/// What is taken out to go on: the node that is wrong; where something is missing, what it is missing from,
/// unless that is the whole.
fn path_to_prune(error: &Error, path: &[String], tree: &Node) -> Vec<String> {
    let mut at = path.to_vec();
    if matches!(error.kind, Kind::MissingField(_)) && at.is_empty() {
        return at;
    }
    // The path of a variant ends with its name, which is a key of the tree only in its long form.
    while !at.is_empty() && !tree.clone().prune(&at) {
        at.pop();
    }
    at
}

fn describe(error: &Error, tree: &Node) -> Problem {
    let path = error.path();
    let at: Place = match (&error.kind, path.split_last()) {
        // An unknown key is shown at the key, a missing one at the key of the map that lacks it.
        (Kind::UnknownField { .. }, Some((last, parents))) => parent(tree, parents, last),
        _ => tree.find(&path),
    };
    let place = if path.is_empty() {
        String::new()
    } else {
        format!("{}: ", path.join("."))
    };
    let problem = Problem::new(at, format!("{place}{error}"));
    match &error.kind {
        Kind::UnknownField { field, expected } => problem.help(suggest(field, expected, "keys")),
        Kind::UnknownVariant { variant, expected } => problem.help(suggest(variant, expected, "values")),
        Kind::MissingField(_) => {
            problem.help("add it, or look at the indentation: it may stand under another key")
        }
        Kind::WrongType { expected, .. } if expected == "a text" => problem.help(
            "durations and sizes carry a unit, as `30s` and `10MiB`; a text that looks like a number is quoted",
        ),
        Kind::WrongType { .. } | Kind::Other(_) => problem,
    }
}

fn parent(tree: &Node, parents: &[String], last: &str) -> Place {
    let mut node = tree;
    for name in parents {
        match node.get(name) {
            Some((_, next)) => node = next,
            None => return tree.find(parents),
        }
    }
    node.get(last).map_or(node.at, |(key, _)| key.at)
}
