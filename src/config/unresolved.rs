//! What a configuration says and nobody can resolve, at the place where it is written.

use std::path::Path;

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
        let places = self.places_in.get(environment);
        let mut above = std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        let place = above.find_map(|key| places?.get(key));
        let (file, line, column) = match place {
            Some(place) => (place.file.clone(), place.line, place.column),
            None => (format!("environments/{environment}.yaml"), 1, 1),
        };
        let text = self.texts.get(&file).map_or("", String::as_str);
        ConfigProblem::new((file, line, column), text, message, help)
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
