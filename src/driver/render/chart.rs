//! The files that Helm reads: a copy of a chart of the project's. Helm follows every link in a
//! chart, and gives its templates whatever they lead to; in the copy there is no link, and nothing
//! that is not the project's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use serde_json::Value;
use tempfile::TempDir;

use crate::driver::render::{Chart, Refusal};
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
pub(super) fn copied(root: &Path, wanted: &Chart) -> Result<Copied, Refusal> {
    let folder = crate::files::temporary::folder()?;
    let mut copy = Copy {
        project: Root::open(root, Links::StayBeneath)?,
        to: folder.path().to_path_buf(),
        bytes: 0,
        entries: 0,
    };

    let chart = match copy.project.of_project(Path::new(&wanted.chart))? {
        Some(real) => {
            copy.all(&real, &real, 0)?;
            word(&real)
        }
        None => reference(&wanted.chart)?.to_owned(),
    };
    let values = match &wanted.values {
        Some(named) => {
            let real = copy.project.of_project(named)?.ok_or_else(|| Refusal {
                reason: format!("{} is not there", named.display()),
                help: "name the file of values, below the project's folder",
            })?;
            copy.file(&real, &real)?;
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

/// What the definitions of a chart bring, and of those charts that it brings along, as Helm names
/// what a cluster serves: `VERSION` and `VERSION/KIND`. Helm installs them before it renders.
pub(super) fn defined(copied: &Copied) -> BTreeSet<String> {
    let chart = copied.folder.path().join(&copied.chart);
    let walk = WalkBuilder::new(chart).standard_filters(false).build();
    let files = walk.flatten().filter(|entry| {
        let mut folders = entry.path().components().rev().skip(1);
        entry.path().is_file() && folders.any(|folder| folder.as_os_str() == "crds")
    });

    let mut apis = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        // What cannot be read is Helm's to complain about.
        let options = serde_saphyr::options! { emit_comments: false };
        let documents: Vec<Value> =
            serde_saphyr::from_multiple_with_options(&text, options).unwrap_or_default();
        for definition in &documents {
            let spec = &definition["spec"];
            let (group, kind) = (spec["group"].as_str(), spec["names"]["kind"].as_str());
            let (Some(group), Some(kind)) = (group, kind) else {
                continue;
            };
            let versions = spec["versions"].as_array().into_iter().flatten();
            let served = versions.filter(|version| version["served"] == true);
            for version in served.filter_map(|version| version["name"].as_str()) {
                apis.insert(format!("{group}/{version}"));
                apis.insert(format!("{group}/{version}/{kind}"));
            }
        }
    }
    apis
}

/// A path that no program takes for an option.
pub(super) fn word(path: &Path) -> String {
    format!("./{}", path.display())
}

/// A chart that is not the project's, as Helm finds it.
fn reference(chart: &str) -> Result<&str, Refusal> {
    let is_path = chart.starts_with(['.', '/']) || chart.starts_with("file:");
    if is_path || chart.starts_with('-') {
        return Err(Refusal {
            reason: format!("there is no folder {chart} in the project"),
            help: "name a chart's folder, or its reference: `oci://HOST/CHART`, `REPOSITORY/CHART`",
        });
    }
    Ok(chart)
}

struct Copy {
    project: Root,
    to: PathBuf,
    bytes: u64,
    entries: usize,
}

impl Copy {
    /// What is at a path, with all that is below it: to `name` in the copy, from `real` in the
    /// project.
    fn all(&mut self, name: &Path, real: &Path, depth: usize) -> Result<(), Refusal> {
        self.entries += 1;
        if self.entries > ENTRIES || depth > DEEPEST {
            let name = name.display();
            return Err(Refusal::from(format!(
                "{name} has more than {ENTRIES} files, or folders in each other without end"
            )));
        }
        let from = self.project.path().join(real);
        if !from.is_dir() {
            return self.file(name, real);
        }

        fs::create_dir_all(self.to.join(name))?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?.file_name();
            if entry == ".git" {
                continue;
            }
            // A link that leads nowhere is a file that is not there.
            if let Some(below) = self.project.of_project(&real.join(&entry))? {
                self.all(&name.join(&entry), &below, depth + 1)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &Path, real: &Path) -> Result<(), Refusal> {
        let content = self.project.read(real, BYTES - self.bytes)?;
        self.bytes += content.len() as u64;

        let to = self.to.join(name);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(&to, &content)?)
    }
}
