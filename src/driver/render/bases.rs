//! What a kustomization is made of. Kustomize reads files from below its folder alone, and takes
//! folders from wherever they are, other machines included: each of them has to be in the project.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::driver::render::{Recipe, RenderError, own, refused};
use crate::files::beneath::Root;

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

/// Refuses a kustomization that is made of what is not the project's, or of Git's own files.
pub(super) fn stay_inside(
    project: &Root,
    recipe: &Recipe,
    first: &Path,
) -> Result<(), RenderError> {
    let mut left = vec![first.to_path_buf()];
    let mut seen = BTreeSet::new();
    while let Some(folder) = left.pop() {
        if !seen.insert(folder.clone()) {
            continue;
        }
        if seen.len() > MOST {
            return Err(refused(recipe, &format!("it has more than {MOST} bases")));
        }
        let names = NAMES.iter().map(|name| folder.join(name));
        for file in names {
            if let Some(real) = own(project, recipe, &file)? {
                let text = project.text(&real, LARGEST);
                let text = text.map_err(|error| refused(recipe, &error))?;
                let found = Kustomization {
                    project,
                    recipe,
                    file: &file,
                    folder: &folder,
                };
                left.extend(found.bases(&text)?);
            }
        }
    }
    Ok(())
}

struct Kustomization<'a> {
    project: &'a Root,
    recipe: &'a Recipe,
    file: &'a Path,
    folder: &'a Path,
}

impl Kustomization<'_> {
    /// The folders that it takes in.
    fn bases(&self, text: &str) -> Result<Vec<PathBuf>, RenderError> {
        let document: Value = serde_saphyr::from_str(text)
            .map_err(|error| refused(self.recipe, &format!("{}: {error}", self.file.display())))?;
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
    fn base(&self, key: &str, named: &str) -> Result<Option<PathBuf>, RenderError> {
        let path = self.folder.join(named);
        let Some(real) = own(self.project, self.recipe, &path)? else {
            let reason = format!(
                "{}: `{key}` has {}, which is not in the project",
                self.file.display(),
                named.escape_debug()
            );
            return Err(refused(self.recipe, &reason));
        };
        Ok(self.project.path().join(&real).is_dir().then_some(real))
    }

    /// Wherever a file is named, also as `key=file`: Git's own have the credentials of the clone.
    fn is_not_of_git(&self, named: &str) -> Result<(), RenderError> {
        let named = named.split_once('=').map_or(named, |(_, file)| file);
        if named.len() > 4096 || named.contains('\n') {
            return Ok(());
        }
        let path = self.folder.join(named);
        let real = self.project.real(&path).unwrap_or_else(|_| path.clone());
        if real.iter().chain(path.iter()).any(|part| part == ".git") {
            let reason = format!(
                "{}: {} is one of Git's own files",
                self.file.display(),
                named.escape_debug()
            );
            return Err(refused(self.recipe, &reason));
        }
        Ok(())
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
