//! The texts that manifests are made from: files of the project, and what `kustomize` and `helm`
//! render.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::WalkBuilder;

use crate::config::Project;
use crate::config::schema::{ChartCrds, EnvironmentConfig, TrafficConfig};
use crate::desired::cluster::{Sources, Tool, globs, tools};
use crate::desired::{DesiredError, DesiredPlace, NamedFile, named_files};
use crate::files::beneath::{BeneathError, Links, Root};
use crate::model::EnvironmentName;
use crate::model::kind::Capabilities;
use crate::model::source::Source;
use crate::ops::Error;
use crate::ops::wiring::{Chart, Recipe, render};
use crate::port::Engine;

/// The largest file that is read, and the most of them.
const LARGEST: u64 = 4 << 20;
const MOST: usize = 10_000;

/// The files of the project that an environment's manifests, proxy and services are made from.
pub fn of_the_project(root: &Path, configuration: &EnvironmentConfig) -> Result<Sources, Error> {
    let globs = if configuration.cluster.host().is_some() {
        host_files(&configuration.traffic)
    } else {
        globs(configuration)
    };
    let mut sources = plain(root, &globs)?;
    read_named(root, &named_files(configuration), &mut sources)?;
    Ok(sources)
}

/// Reads them, with what programs render. An environment without a cluster has none of that.
pub async fn read(
    root: &Path,
    project: &Project,
    environment: &EnvironmentName,
    source: &Source,
    engine: &dyn Engine,
) -> Result<Sources, Error> {
    let configuration = &project.environments[environment];
    let mut sources = of_the_project(root, configuration)?;
    if configuration.cluster.host().is_some() {
        return Ok(sources);
    }

    let tools = tools(project, environment, configuration, source)?;
    let has_chart = tools
        .iter()
        .any(|(_, tool)| matches!(tool, Tool::Helm { .. }));
    // A cluster that cannot be asked is named by whoever needs it for more than this.
    let capabilities = if has_chart {
        engine.capabilities().await.ok().flatten()
    } else {
        None
    };

    // One after the other: each may need all of the machine.
    for (place, tool) in tools {
        let recipe = recipe(tool, capabilities.as_ref());
        let text = render(root, &recipe)
            .await
            .map_err(|error| DesiredError::new(error.to_string(), error.help))?;
        sources.rendered.insert(place, text);
    }
    Ok(sources)
}

/// The files of the project alone.
fn plain(root: &Path, globs: &[String]) -> Result<Sources, Error> {
    let files = if globs.is_empty() {
        BTreeMap::new()
    } else {
        files(root, globs)?
    };
    Ok(Sources {
        files,
        ..Sources::default()
    })
}

/// What a host needs of the project's files: the template of its proxy.
fn host_files(traffic: &TrafficConfig) -> Vec<String> {
    let template = match traffic {
        TrafficConfig::Nginx(_, nginx) => nginx.nginx.template.as_ref(),
        TrafficConfig::Embedded(..)
        | TrafficConfig::Service(_)
        | TrafficConfig::Ingress(..)
        | TrafficConfig::Gateway(..) => None,
    };
    template
        .iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

fn recipe(tool: Tool, capabilities: Option<&Capabilities>) -> Recipe {
    match tool {
        Tool::Kustomize { folder } => Recipe::Kustomize {
            folder: folder.into(),
        },
        Tool::Helm {
            chart,
            values,
            name,
            namespace,
            set,
            crds,
        } => Recipe::Helm(Chart {
            chart,
            values: values.map(PathBuf::from),
            name,
            namespace,
            set,
            has_crds: crds == ChartCrds::Include,
            capabilities: capabilities.cloned(),
        }),
    }
}

/// The files that one of these globs means, by their path below the project's folder.
fn files(root: &Path, globs: &[String]) -> Result<BTreeMap<PathBuf, String>, Error> {
    let project = open(root)?;
    let set = set(globs)?;
    let mut starts: Vec<PathBuf> = globs.iter().map(|glob| beginning(glob)).collect();
    starts.sort();
    starts.dedup();

    let mut files = BTreeMap::new();
    for start in starts {
        // Where nothing is, nothing matches.
        if real(&project, &start)?.is_none() {
            continue;
        }
        let walk = WalkBuilder::new(root.join(&start))
            .standard_filters(false)
            .filter_entry(|entry| entry.file_name() != ".git")
            .build();
        for entry in walk {
            // What cannot be looked at is not taken for gone: its objects would be deleted.
            let entry = entry.map_err(|error| {
                let what = format!("{}: {error}", start.display());
                wrong(what, "look at the folder's permissions")
            })?;
            let Ok(path) = entry.path().strip_prefix(root) else {
                continue;
            };
            if !set.is_match(path) || files.contains_key(path) {
                continue;
            }
            let Some(real) = real(&project, path)?.filter(|real| !root.join(real).is_dir()) else {
                continue;
            };
            if files.len() == MOST {
                let what = format!("{}: more than {MOST} files", path.display());
                return Err(wrong(what, "name the right files").into());
            }
            let text = project.text(&real, LARGEST);
            files.insert(
                path.to_path_buf(),
                text.map_err(|error| DesiredError {
                    place: Some(DesiredPlace::File {
                        path: path.to_path_buf(),
                        line: 1,
                    }),
                    ..unreadable(&error)
                })?,
            );
        }
    }
    Ok(files)
}

/// Reads the files that services name. One that is not there is missed by whoever needs it, and
/// says so with everything else that is wrong.
fn read_named(root: &Path, files: &[NamedFile], sources: &mut Sources) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    let project = open(root)?;
    for NamedFile { path, limit } in files {
        match text(&project, path, *limit) {
            Ok(Some(text)) => drop(sources.named.insert(path.clone(), text)),
            Ok(None) => {}
            Err(error) => drop(sources.unread.insert(path.clone(), error)),
        }
    }
    Ok(())
}

/// The text of a file of the project; none, where nothing is.
fn text(project: &Root, path: &Path, limit: u64) -> Result<Option<String>, DesiredError> {
    let Some(real) = real(project, path)? else {
        return Ok(None);
    };
    let text = project.text(&real, limit);
    text.map(Some).map_err(|error| unreadable(&error))
}

fn open(root: &Path) -> Result<Root, DesiredError> {
    Root::open(root, Links::StayBeneath).map_err(|error| {
        wrong(
            format!("{}: {error}", root.display()),
            "look at the folder's permissions",
        )
    })
}

fn wrong(what: String, help: &str) -> DesiredError {
    DesiredError::new(what, help)
}

fn unreadable(error: &BeneathError) -> DesiredError {
    let help = match error {
        BeneathError::Link { .. } | BeneathError::Outside { .. } => {
            "copy the file into the project: what is rendered comes from the project alone, so \
             that a plan shows nothing else of the machine that makes it"
        }
        BeneathError::OfGit { .. } => "name a file of the project",
        BeneathError::TooLarge { .. } => "name the right files",
        _ => "a manifest or a configuration file is a text in UTF-8",
    };
    wrong(error.to_string(), help)
}

/// Where a path of the project leads to; none, where nothing is.
fn real(project: &Root, path: &Path) -> Result<Option<PathBuf>, DesiredError> {
    project.of_project(path).map_err(|error| unreadable(&error))
}

fn set(globs: &[String]) -> Result<GlobSet, DesiredError> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let clean = glob.trim_start_matches("./");
        let glob = GlobBuilder::new(clean).literal_separator(true).build();
        let glob =
            glob.map_err(|error| wrong(error.to_string(), "write a path, or `deploy/*.yaml`"))?;
        set.add(glob);
    }
    set.build()
        .map_err(|error| wrong(error.to_string(), "write fewer globs"))
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

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, content).expect("a file");
        }
    }

    fn read(root: &Path, glob: &str) -> Result<Vec<(String, String)>, String> {
        let found = files(root, &[glob.to_owned()]).map_err(|error| error.to_string())?;
        let named = |(path, text): (PathBuf, String)| (path.display().to_string(), text);
        Ok(found.into_iter().map(named).collect())
    }

    #[test]
    fn what_is_rendered_comes_from_the_project_alone() {
        let machine = tempfile::tempdir().expect("a folder");
        let root = machine.path().join("project");
        write(
            machine.path(),
            &[("host", "TOPSECRET"), ("folder/host", "TOPSECRET")],
        );
        write(
            &root,
            &[
                ("conf/own", "own"),
                ("shared/x", "x"),
                (".git/config", "token"),
                ("deep/a/b/c", "c"),
            ],
        );
        let link = |target: &str, name: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::os::unix::fs::symlink(target, path).expect("a link");
        };
        link("../shared/x", "conf/link");
        link("../shared", "conf/folder");
        link("../../host", "out/a");
        link(
            &machine.path().join("host").display().to_string(),
            "absolute/a",
        );
        link("../folder", "folder");
        link("../.git/config", "git/a");

        let own = [("conf/link", "x"), ("conf/own", "own")];
        let own = own.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(read(&root, "conf/*"), Ok(own.to_vec()));
        let through = vec![("conf/folder/x".to_owned(), "x".to_owned())];
        assert_eq!(read(&root, "conf/folder/*"), Ok(through));
        assert_eq!(read(&root, "none/*"), Ok(Vec::new()));

        for (glob, reason) in [
            ("out/*", "out/a is a link to ../../host"),
            ("out/**", "is a link to"),
            ("absolute/a", "which is outside of"),
            ("folder/*", "folder is a link to ../folder"),
            ("../host", "is outside of"),
            ("conf/../../host", "is outside of"),
            ("/etc/hostname", "is outside of"),
            ("git/a", "Git's own"),
            (".git/config", "Git's own"),
        ] {
            let error = read(&root, glob).expect_err(glob);
            assert!(error.contains(reason), "{glob}: {error}");
            assert!(!error.contains("TOPSECRET"), "{error}");
        }
    }

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
