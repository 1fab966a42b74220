//! What a kustomization is made of. Kustomize reads files from below its folder alone, and takes
//! folders from wherever they are, other machines included: each of them has to be in the project.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::driver::render::Refusal;
use crate::files::beneath::{BeneathError, Root};

/// As Kustomize looks for it.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// What names folders and files that are loaded.
const LOADED: [&str; 10] = [
    "resources",
    "bases",
    "components",
    "crds",
    "configurations",
    "generators",
    "transformers",
    "validators",
    "patchesStrategicMerge",
    "openapi",
];

/// The largest kustomization, and the most of them.
const LARGEST: u64 = 1 << 20;
const MOST: usize = 1000;

/// The longest text that may name a file (`PATH_MAX`).
const LONGEST: usize = 4096;

/// Refuses a kustomization that is made of what is not the project's, or of Git's own files.
pub(super) fn stay_inside(project: &Root, first: &Path) -> Result<(), Refusal> {
    let mut left = vec![first.to_path_buf()];
    let mut seen = BTreeSet::new();
    while let Some(folder) = left.pop() {
        if !seen.insert(folder.clone()) {
            continue;
        }
        if seen.len() > MOST {
            return Err(Refusal::from(format!("it has more than {MOST} bases")));
        }
        for file in NAMES.map(|name| folder.join(name)) {
            if let Some(real) = project.of_project(&file)? {
                let found = Kustomization {
                    project,
                    file: &file,
                    folder: &folder,
                };
                left.extend(found.bases(&project.text(&real, LARGEST)?)?);
            }
        }
    }
    Ok(())
}

struct Kustomization<'a> {
    project: &'a Root,
    file: &'a Path,
    folder: &'a Path,
}

impl Kustomization<'_> {
    /// The folders that it takes in.
    fn bases(&self, text: &str) -> Result<Vec<PathBuf>, Refusal> {
        let options = serde_saphyr::options! { emit_comments: false };
        let document: Value = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| self.says(&error))?;
        let mut bases = Vec::new();
        for (key, value) in document.as_object().into_iter().flatten() {
            let is_loaded = LOADED.contains(&key.as_str());
            for named in strings(value) {
                self.is_not_of_git(named)?;
                if is_loaded && !is_inline(named) {
                    bases.extend(self.base(key, named)?);
                }
            }
        }
        Ok(bases)
    }

    /// What is loaded: a folder is another kustomization.
    fn base(&self, key: &str, named: &str) -> Result<Option<PathBuf>, Refusal> {
        let found = self.project.of_project(&self.folder.join(named))?;
        let real = found.ok_or_else(|| {
            let named = named.escape_debug();
            self.says(&format!("`{key}` has {named}, which is not in the project"))
        })?;
        Ok(self.project.path().join(&real).is_dir().then_some(real))
    }

    /// Wherever a file is named, also as `key=file`: Git's own have the credentials of the clone.
    fn is_not_of_git(&self, named: &str) -> Result<(), Refusal> {
        let file = named.split_once('=').map_or(named, |(_, file)| file);
        if file.len() > LONGEST || is_inline(file) {
            return Ok(());
        }
        let path = self.folder.join(file);
        let leads = self.project.of_project(&path);
        let leads_to_git = matches!(leads, Err(BeneathError::OfGit { .. }));
        if leads_to_git || path.iter().any(|part| part == ".git") {
            let named = named.escape_debug();
            return Err(self.says(&format!("{named} is one of Git's own files")));
        }
        Ok(())
    }

    fn says(&self, what: &dyn std::fmt::Display) -> Refusal {
        Refusal::from(format!("{}: {what}", self.file.display()))
    }
}

/// A document in the place of a file's name.
fn is_inline(named: &str) -> bool {
    named.contains('\n') || named.trim_start().starts_with('{')
}

/// All texts in a value.
fn strings(value: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => found.push(text.as_str()),
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}
