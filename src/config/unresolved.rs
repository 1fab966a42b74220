//! What a configuration says and nobody can resolve, at the place where it is written.

use std::path::Path;

use crate::config::forms;
use crate::config::node::{Key, Node, Value, parse};
use crate::config::problem::Position;
use crate::config::{ConfigError, ConfigProblem, Project};
use crate::files::beneath::{Links, Root};
use crate::model::EnvironmentName;

/// The largest file of which a line is shown.
const LARGEST: u64 = 1 << 20;

impl Project {
    /// What is wrong with what a key of an environment says. One that is not written itself is
    /// where the nearest above it is.
    #[must_use]
    pub fn problem_of_key(
        &self,
        environment: &EnvironmentName,
        key: &str,
        message: &str,
        help: &str,
    ) -> ConfigProblem {
        let place = self.place(environment, key);
        let place = place.unwrap_or_else(|| (format!("environments/{environment}.yaml"), 1, 1));
        let text = self.texts.get(&place.0).map_or("", String::as_str);
        ConfigProblem::new(place, text, message, help)
    }

    /// The file, the line and the column of a key. They are looked for when something is wrong, in
    /// what was read: nobody else pays for them.
    fn place(&self, environment: &EnvironmentName, key: &str) -> Option<(String, usize, usize)> {
        let is_its_own = |name: &&String| {
            let path = Path::new(name);
            path.starts_with("environments")
                && path.file_stem() == Some(environment.as_str().as_ref())
        };
        let own = self.texts.keys().find(is_its_own);
        let files: Vec<&str> = ["shipit.yaml"]
            .into_iter()
            .chain(own.map(String::as_str))
            .collect();

        let mut tree: Option<Node> = None;
        for (number, file) in files.iter().enumerate() {
            let over = parse(self.texts.get(*file)?, number).ok()?;
            tree = Some(match tree {
                Some(mut under) => {
                    forms::give_way(&mut under, &over);
                    under.merge(over)
                }
                None => over,
            });
        }
        let at = nearest(&tree?, key)?;
        Some(((*files.get(at.file)?).to_owned(), at.line, at.column))
    }

    /// What is wrong with a line of one of the project's files, counted from 1. What it says is not
    /// shown: manifests and files of variables have values that nobody should see, and in one of
    /// several lines a key looks like any other word.
    #[must_use]
    pub fn problem_of_line(
        &self,
        file: &Path,
        line: usize,
        message: &str,
        help: &str,
    ) -> ConfigProblem {
        let root = Root::open(&self.root, Links::StayBeneath).ok();
        let real = root.as_ref().and_then(|root| root.of_project(file).ok()?);
        let text = real.and_then(|real| root.as_ref()?.text(&real, LARGEST).ok());
        let masked: Vec<&str> = text
            .iter()
            .flat_map(|text| text.lines())
            .map(masked)
            .collect();

        let file = file.display().to_string();
        let line = line.clamp(1, masked.len().max(1));
        ConfigProblem::new((file, line, 1), &masked.join("\n"), message, help)
    }
}

/// Where a key below a node is, or the deepest one above it. A name may have dots in it.
fn nearest(node: &Node, key: &str) -> Option<Position> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let below = |(name, node): &(Key, Node)| {
        let rest = key.strip_prefix(&name.name)?;
        let deeper = rest.strip_prefix('.').and_then(|rest| nearest(node, rest));
        let is_on_the_way = rest.is_empty() || rest.starts_with('.');
        is_on_the_way.then(|| (name.name.len(), deeper.unwrap_or(name.at)))
    };
    let longest = entries
        .iter()
        .filter_map(below)
        .max_by_key(|(length, _)| *length);
    longest.map(|(_, at)| at)
}

/// That there is something in a line.
const fn masked(line: &str) -> &'static str {
    if line.is_empty() { "" } else { "…" }
}

impl ConfigError {
    /// Everything that cannot be resolved, in the order of its places.
    #[must_use]
    pub fn of(mut faults: Vec<ConfigProblem>) -> Self {
        faults.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        faults.dedup();
        Self { faults }
    }
}
