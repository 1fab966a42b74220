//! The files that Helm reads: a copy of a chart of the project's. Helm follows every link in a
//! chart, and gives its templates whatever they lead to; in the copy there is no link, and nothing
//! that is not the project's.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::driver::render::{Recipe, RenderError, own, refused};
use crate::files::beneath::{Links, Root};

/// The most bytes of a chart and its values.
const BYTES: u64 = 128 << 20;

/// The most files and folders of a chart.
const ENTRIES: usize = 20_000;

/// How deep its folders may be: a link may lead back up.
const DEEPEST: usize = 32;

/// What Helm is given.
pub(super) struct Copied {
    /// The folder that it runs in.
    pub folder: TempDir,
    /// The chart as a word of its command line.
    pub chart: String,
    /// The values, if there are any.
    pub values: Option<String>,
}

/// Copies a chart and its values. A chart that is somewhere else keeps its reference.
///
/// # Errors
/// A file is not the project's, or there is too much of it.
pub(super) fn copied(root: &Path, recipe: &Recipe) -> Result<Copied, RenderError> {
    let Recipe::Helm { chart, values, .. } = recipe else {
        return Err(refused(recipe, &"it is no chart"));
    };
    let failed = |error: std::io::Error| refused(recipe, &error);
    let folder = tempfile::tempdir().map_err(failed)?;
    let project = Root::open(root, Links::StayBeneath).map_err(failed)?;
    let mut copy = Copy {
        recipe,
        project,
        to: folder.path().to_path_buf(),
        bytes: 0,
        entries: 0,
    };

    let there = own(&copy.project, recipe, Path::new(chart))?;
    let chart = match &there {
        Some(real) => {
            copy.all(Path::new(chart), real, 0)?;
            word(real)
        }
        None => reference(recipe, chart)?.to_owned(),
    };
    let values = match values {
        Some(named) => {
            let real = own(&copy.project, recipe, named)?.ok_or_else(|| RenderError {
                what: format!("helm {chart}"),
                reason: format!("{} is not there", named.display()),
                help: "name the file of values, below the project's folder".to_owned(),
            })?;
            copy.file(&real)?;
            Some(word(&real))
        }
        None => None,
    };
    Ok(Copied {
        folder,
        chart,
        values,
    })
}

/// A path that no program takes for an option.
pub(super) fn word(path: &Path) -> String {
    format!("./{}", path.display())
}

/// A chart that is not the project's, as Helm finds it.
fn reference<'a>(recipe: &Recipe, chart: &'a str) -> Result<&'a str, RenderError> {
    let is_path = chart.starts_with(['.', '/']) || chart.starts_with("file:");
    if !is_path && !chart.starts_with('-') && !chart.is_empty() {
        return Ok(chart);
    }
    Err(RenderError {
        what: refused(recipe, &"").what,
        reason: format!("there is no folder {chart} in the project"),
        help: "name a chart's folder, or its reference: `oci://HOST/CHART`, `REPOSITORY/CHART`"
            .to_owned(),
    })
}

struct Copy<'a> {
    recipe: &'a Recipe,
    project: Root,
    to: PathBuf,
    bytes: u64,
    entries: usize,
}

impl Copy<'_> {
    /// What is at a path, with all that is below it. The first path is where it goes, the second
    /// where it comes from.
    fn all(&mut self, name: &Path, real: &Path, depth: usize) -> Result<(), RenderError> {
        self.entries += 1;
        if self.entries > ENTRIES || depth > DEEPEST {
            let reason = format!(
                "{} has more than {ENTRIES} files, or folders in each other without end",
                name.display()
            );
            return Err(self.refused(&reason));
        }
        let from = self.project.path().join(real);
        if !from.is_dir() {
            return self.put(name, real);
        }

        fs::create_dir_all(self.to.join(clean(name))).map_err(|error| self.refused(&error))?;
        let entries = fs::read_dir(&from).map_err(|error| self.refused(&error))?;
        for entry in entries {
            let entry = entry.map_err(|error| self.refused(&error))?.file_name();
            if entry == ".git" {
                continue;
            }
            // A link that leads nowhere is a file that is not there.
            if let Some(below) = own(&self.project, self.recipe, &real.join(&entry))? {
                self.all(&name.join(&entry), &below, depth + 1)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, real: &Path) -> Result<(), RenderError> {
        self.put(real, real)
    }

    fn put(&mut self, name: &Path, real: &Path) -> Result<(), RenderError> {
        let left = BYTES - self.bytes;
        let content = self.project.read(real, left);
        let content = content.map_err(|error| self.refused(&error))?;
        self.bytes += content.len() as u64;

        let to = self.to.join(clean(name));
        let written = to
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| File::create(&to)?.write_all(&content));
        written.map_err(|error| self.refused(&error))
    }

    fn refused(&self, reason: &dyn std::fmt::Display) -> RenderError {
        refused(self.recipe, reason)
    }
}

/// A path without what would lead out of a folder.
fn clean(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect()
}
