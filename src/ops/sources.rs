//! The texts that manifests are made from: files of the project, and what `kustomize` and `helm` render.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use crate::config::types::ClusterKind;
use crate::config::{Environment, Project};
use crate::desired::DesiredError;
use crate::desired::cluster::{Sources, Tool, globs, tools};
use crate::files::read_text;
use crate::model::EnvironmentName;
use crate::model::source::Source;
use crate::ops::Error;
use crate::ops::wiring::{Recipe, render};

/// The largest file that is read, and the most of them.
const LARGEST: u64 = 4 << 20;
const MOST: usize = 10_000;

/// Reads them. An environment without a cluster has none.
pub async fn read(
    root: &Path,
    project: &Project,
    environment: &EnvironmentName,
    configuration: &Environment,
    source: &Source,
) -> Result<Sources, Error> {
    if configuration.cluster.kind == ClusterKind::Host {
        let template = configuration
            .traffic
            .nginx
            .as_ref()
            .and_then(|nginx| nginx.template.as_ref());
        let globs: Vec<String> = template
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let files = if globs.is_empty() {
            BTreeMap::new()
        } else {
            files(root, &globs)?
        };
        return Ok(Sources {
            files,
            ..Sources::default()
        });
    }
    let globs = globs(configuration);
    let files = if globs.is_empty() {
        BTreeMap::new()
    } else {
        files(root, &globs)?
    };
    let mut sources = Sources {
        files,
        ..Sources::default()
    };
    // One after the other: each may need all of the machine.
    for (place, tool) in tools(project, environment, configuration, source)? {
        let recipe = match tool {
            Tool::Kustomize { folder } => Recipe::Kustomize {
                folder: folder.into(),
            },
            Tool::Helm {
                chart,
                values,
                name,
                namespace,
                set,
            } => Recipe::Helm {
                chart,
                values: values.map(PathBuf::from),
                name,
                namespace,
                set,
            },
        };
        let text = render(root, &recipe).await.map_err(|error| DesiredError {
            what: error.to_string(),
            help: error.help,
        })?;
        sources.rendered.insert(place, text);
    }
    Ok(sources)
}

/// The files that one of these globs means, by their path below the project's folder.
fn files(root: &Path, globs: &[String]) -> Result<BTreeMap<PathBuf, String>, Error> {
    let wrong = |what: String, help: &str| DesiredError {
        what,
        help: help.to_owned(),
    };
    let mut set = globset::GlobSetBuilder::new();
    for glob in globs {
        let clean = glob.trim_start_matches("./");
        let glob = globset::GlobBuilder::new(clean)
            .literal_separator(true)
            .build();
        set.add(
            glob.map_err(|error| wrong(error.to_string(), "write a path, or `deploy/*.yaml`"))?,
        );
    }
    let set = set
        .build()
        .map_err(|error| wrong(error.to_string(), "write fewer globs"))?;
    let mut files = BTreeMap::new();
    let mut starts: Vec<PathBuf> = globs
        .iter()
        .map(|glob| root.join(beginning(glob)))
        .collect();
    starts.sort();
    starts.dedup();
    for start in starts.iter().filter(|start| start.exists()) {
        let walk = WalkBuilder::new(start)
            .standard_filters(false)
            .filter_entry(|entry| entry.file_name() != ".git")
            .build();
        for entry in walk.flatten() {
            let Ok(path) = entry.path().strip_prefix(root) else {
                continue;
            };
            if !set.is_match(path) || entry.path().is_dir() || files.contains_key(path) {
                continue;
            }
            if files.len() == MOST {
                let what = format!("{}: one file too many ({MOST} at the most)", path.display());
                return Err(wrong(what, "name the right files").into());
            }
            let text = read_text(entry.path(), LARGEST).map_err(|error| {
                wrong(
                    format!("{}: {error}", path.display()),
                    "a manifest or a configuration file is a text in UTF-8",
                )
            })?;
            files.insert(path.to_path_buf(), text);
        }
    }
    Ok(files)
}

/// The folder in which all files of a glob are: what comes before its first sign.
fn beginning(glob: &str) -> PathBuf {
    let clean = Path::new(glob.trim_start_matches("./"));
    let plain = clean.components().take_while(|part| {
        !part
            .as_os_str()
            .to_string_lossy()
            .contains(['*', '?', '[', '{'])
    });
    plain.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_begins_in_a_folder() {
        for (glob, folder) in [
            ("deploy/*.yaml", "deploy"),
            ("./a/b/c.yaml", "a/b/c.yaml"),
            ("**/x", ""),
        ] {
            assert_eq!(beginning(glob), Path::new(folder), "{glob}");
        }
    }
}
