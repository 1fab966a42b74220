//! Reading a project's files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;

use crate::config::de::{Error, Kind};
use crate::config::explained::{describe, key_at};
use crate::config::findings::TAKE_OUT;
use crate::config::forms;
use crate::config::keys;
use crate::config::kinds::{self, KIND};
use crate::config::node::{FILE_LIMIT, Node, Value, parse};
use crate::config::problem::{ConfigError, ConfigProblem, File, Position, Problem};
use crate::config::project_keys::of_the_project;
use crate::config::rules::{Places, places};
use crate::config::schema::{Branches, EnvironmentConfig};
use crate::config::slips;
use crate::config::validate::{across, validate};
use crate::config::volumes;
use crate::files;
use crate::files::beneath::{Alone, in_repository};
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
    pub environments: BTreeMap<EnvironmentName, EnvironmentConfig>,
    /// What `shipit.yaml` says of branches.
    pub branches: Branches,
    /// The files that it was read from, by their path below the folder, with the hash of what they
    /// say.
    pub files: BTreeMap<String, ContentHash>,
    /// What those files say.
    pub(super) texts: BTreeMap<String, String>,
    /// Where the rules of all environments are written.
    pub places: Places,
    /// Where those of each environment are.
    pub places_in: BTreeMap<EnvironmentName, Places>,
    /// What may be a slip and may be meant.
    pub notes: Vec<ConfigProblem>,
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
        taken_out: Vec::new(),
        misspelled: Vec::new(),
        unread: BTreeSet::new(),
    };

    let Some(base) = reading.read("shipit.yaml")? else {
        if root.is_relative() && std::env::current_dir().is_err() {
            return Err(ConfigError::absent(
                "shipit.yaml",
                "the folder that this runs in is not there any more".to_owned(),
                "`cd` to the project's folder, which may have been made anew",
            ));
        }
        if root.join("shipit.yml").is_file() {
            return Err(ConfigError::absent(
                "shipit.yml",
                format!("{} has a shipit.yml and no shipit.yaml", root.display()),
                "rename it: `git mv shipit.yml shipit.yaml`",
            ));
        }
        return Err(ConfigError::absent(
            "shipit.yaml",
            format!("there is no shipit.yaml in {}", root.display()),
            "`shipit init` writes one; -C names another folder",
        ));
    };

    let overlays = reading.overlays()?;
    // Nothing can be said of what stands in a file that is no YAML, and nothing of environments
    // without the project that they are of.
    let has_keys = matches!(&base.value, Value::Map(keys) if !keys.is_empty());
    let loaded = if reading.unread.contains(&base.at.file) {
        None
    } else if has_keys {
        reading.environments(&base, overlays)
    } else {
        reading.typed(base, Reads::Project);
        None
    };
    match loaded {
        Some(project) if reading.problems.is_empty() => Ok(project),
        _ => Err(ConfigError::new(reading.problems, &reading.files)),
    }
}

struct Reading<'a> {
    root: &'a Path,
    files: Vec<File>,
    problems: Vec<Problem>,
    /// The maps out of which something was taken because it did not fit: what seems to be missing
    /// there, is not.
    incomplete: Vec<Vec<String>>,
    /// What was taken out, so that it is not said to be missing.
    taken_out: Vec<Vec<String>>,
    /// The keys that are none, and what they were read as.
    misspelled: Vec<(Vec<String>, String)>,
    /// The files that are no YAML.
    unread: BTreeSet<usize>,
}

/// Which tree is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// That of `shipit.yaml` alone. An environment may still say another kind for the keys that are
    /// there.
    Project,
    /// That of an environment, with all that holds for it.
    Environment,
}

impl Reading<'_> {
    /// A file's tree; none when there is no such file, and an empty one when it is no YAML.
    fn read(&mut self, name: &str) -> Result<Option<Node>, ConfigError> {
        let path = self.root.join(name);
        let unreadable = |error: std::io::Error| {
            ConfigError::absent(
                name,
                format!("{} cannot be read: {error}", path.display()),
                "it must be a file of the repository, of one mebibyte at the most, that you can \
                 read",
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
                self.unread.insert(file);
                Ok(Some(Node::empty(file)))
            }
        }
    }

    fn overlays(&mut self) -> Result<Vec<(EnvironmentName, Node)>, ConfigError> {
        let mut names: Vec<String> = fs::read_dir(self.root.join("environments"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            // What is hidden is an editor's, or another system's own.
            .filter(|name| !name.starts_with('.'))
            .filter(|name| {
                let ending = Path::new(name).extension();
                ending.is_some_and(|ending| {
                    ending.eq_ignore_ascii_case("yaml") || ending.eq_ignore_ascii_case("yml")
                })
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
                Ok(environment) if overlays.iter().any(|(other, _)| *other == environment) => {
                    self.problems.push(
                        Problem::new(
                            node.at,
                            format!(
                                "environments/{environment}.yaml is this environment's file, too"
                            ),
                        )
                        .help("keep one of the two"),
                    );
                }
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
        let whole = self.typed(base.clone(), Reads::Project);
        let base = &base.with_keys(&self.misspelled);

        let files: BTreeSet<EnvironmentName> =
            overlays.iter().map(|(name, _)| name.clone()).collect();
        let mut environments = BTreeMap::new();
        let mut trees = BTreeMap::new();
        for (name, overlay) in overlays {
            if self.unread.contains(&overlay.at.file) {
                continue;
            }
            self.problems.extend(of_the_project(&overlay));
            let mut shared = base.clone();
            forms::give_way(&mut shared, &overlay);
            let tree = shared.merge(overlay);
            let Some(mut environment) = self.typed(tree.clone(), Reads::Environment) else {
                continue;
            };
            let mut found = validate(&name, &environment, &tree);
            found.extend(keys::read(self.root, &mut environment, &tree));
            found.retain(|problem| !self.follows(problem));
            self.problems.extend(found);
            environments.insert(name.clone(), environment);
            trees.insert(name, tree);
        }

        let whole = whole?;
        self.problems
            .extend(across(&whole, base, &files, &environments, &trees));
        let notes = volumes::of_several(&environments, &trees);
        Some(Project {
            root: self.root.to_path_buf(),
            name: whole.project.clone(),
            environments,
            branches: whole.branches,
            files: self.files.iter().map(File::hash).collect(),
            texts: self.files.iter().map(File::named).collect(),
            places: places(base, &self.files),
            places_in: trees
                .iter()
                .map(|(name, tree)| (name.clone(), places(tree, &self.files)))
                .collect(),
            notes: ConfigError::new(notes, &self.files).faults,
        })
    }

    /// The typed form of a tree. A node that does not fit is noted, taken out, and the rest is
    /// tried again.
    fn typed(&mut self, mut tree: Node, reads: Reads) -> Option<EnvironmentConfig> {
        let mut whole = tree.clone();
        let mut is_clear = true;
        for _ in 0..MOST {
            let error = match EnvironmentConfig::deserialize(&tree) {
                // Without a kind it is not clear what the other keys should be.
                Ok(environment) => return is_clear.then_some(environment),
                Err(error) => slips::of_kind(error, &tree),
            };
            is_clear &= !error.is_decisive;

            let path = error.path();
            let misplaced = Misplaced::find(&error, &path);
            let problem = match &misplaced {
                Some(misplaced) => misplaced.problem(&path, &whole),
                None => describe(&error, &whole),
            };
            let is_open = reads == Reads::Project && misplaced.is_some();
            let is_known = is_open || self.was_taken_out(&error, &path);
            if !is_known {
                self.note(problem);
            }

            // What else is wrong below it, or for want of it, is its own fault or none.
            let meant = slips::misspelled(&error).filter(|_| misplaced.is_none());
            if let Some(meant) = meant.filter(|meant| tree.rename(&path, meant)) {
                whole.rename(&path, meant);
                self.misspelled.push((path, meant.to_owned()));
                continue;
            }

            let at = slips::path_to_prune(&error, &path, &tree);
            if !tree.prune(&at) {
                return None;
            }
            // A key of another kind is no slip in the name of one that is needed here.
            if misplaced.is_none() {
                self.incomplete
                    .extend(at.split_last().map(|(_, map)| map.to_vec()));
            }
            self.taken_out.push(at);
        }
        None
    }

    /// Whether a problem may be there only because something else was taken out: what it is about
    /// is not known as a whole.
    fn follows(&self, problem: &Problem) -> bool {
        let is_beside = |map: &Vec<String>| !map.is_empty() && problem.path.starts_with(map);
        self.incomplete.iter().any(is_beside)
            || self
                .taken_out
                .iter()
                .any(|at| slips::asks_ports(problem, at))
    }

    /// What an overlay repeats was said before.
    fn note(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Whether what is missing was there, and was taken out.
    fn was_taken_out(&self, error: &Error, map: &[String]) -> bool {
        let Kind::MissingField(field) = error.kind else {
            return false;
        };
        let is_it = |path: &Vec<String>| {
            path.split_last()
                .is_some_and(|(last, parents)| last == field && parents == map)
        };
        self.taken_out.iter().any(is_it)
    }
}

/// A key that belongs to another kind than the one that its map has.
struct Misplaced<'a> {
    key: &'a str,
    kinds: Vec<String>,
}

impl<'a> Misplaced<'a> {
    fn find(error: &'a Error, path: &[String]) -> Option<Self> {
        let Kind::UnknownField { field, .. } = &error.kind else {
            return None;
        };
        let kinds = kinds::having(path);
        (!kinds.is_empty()).then_some(Self { key: field, kinds })
    }

    fn problem(&self, path: &[String], tree: &Node) -> Problem {
        let kinds: Vec<String> = self
            .kinds
            .iter()
            .map(|kind| format!("`kind: {kind}`"))
            .collect();
        let (place, key) = (path.join("."), self.key);
        let message = format!("{place}: `{key}` belongs to {}", kinds.join(" and "));

        let at = key_at(tree, path);
        let help = match kind_of(tree, path) {
            None => format!("write {}, or take the key out", kinds.join(" or ")),
            Some(kind) if kind.file == at.file => TAKE_OUT.to_owned(),
            Some(_) => {
                format!("take the key out; `{key}: null` beside `kind` does it for one environment")
            }
        };
        Problem::new(at, message).help(help)
    }
}

/// Where the kind of the map is named that a path leads through.
fn kind_of(tree: &Node, path: &[String]) -> Option<Position> {
    let mut node = tree;
    let mut kind = None;
    for name in path {
        kind = node.get(KIND).map(|(key, _)| key.at).or(kind);
        match node.step(name) {
            Some(next) => node = next,
            None => break,
        }
    }
    kind
}

/// A project of these two files.
#[cfg(any(test, fuzzing))]
pub(super) fn project(shipit: &str, staging: &str) -> Result<Project, ConfigError> {
    let folder = tempfile::tempdir().expect("this machine has folders");
    for (file, text) in [
        ("shipit.yaml", shipit),
        ("environments/staging.yaml", staging),
    ] {
        let path = folder.path().join(file);
        let parent = path.parent().unwrap_or(folder.path());
        fs::create_dir_all(parent).expect("this machine has folders");
        fs::write(&path, text).expect("this machine has files");
    }
    load(folder.path())
}

/// Both files in one text: up to a form feed, and behind it.
#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (shipit, staging) = text.split_once('\u{c}').unwrap_or((&text, ""));
    let _ = project(shipit, staging);
}
