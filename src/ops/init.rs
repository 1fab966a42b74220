//! `init`: a configuration for the project in a folder, from what is found there.

mod cargo;
mod kind;
mod python;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::driver::scm::git::Git;
use crate::files;
use crate::model::{EnvironmentName, ProjectName, ServiceName};
use crate::ops::Error;
use crate::port::Scm as _;

pub use kind::Kind;

/// The largest file that is looked into.
const LARGEST: u64 = 1 << 20;

/// Where the packages of a Python program are.
const PACKAGES: &str = ".packages";

/// What was found in a folder.
#[derive(Debug, Clone)]
pub struct ProjectFound {
    /// The folder's name, as far as it is a name.
    pub project: ProjectName,
    /// What kind of project it is.
    pub kind: Kind,
    /// Each branch that deploys, with its environment.
    pub branches: Vec<(String, EnvironmentName)>,
}

/// What was decided.
#[derive(Debug, Clone)]
pub struct Answers {
    /// The project's name.
    pub project: ProjectName,
    /// The service's name.
    pub service: ServiceName,
    /// Its port.
    pub port: u16,
    /// An environment that it has besides those of the branches.
    pub environment: Option<EnvironmentName>,
}

impl ProjectFound {
    /// The port that the project's own files name.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self.kind {
            Kind::Docker { port } => port,
            _ => None,
        }
    }
}

/// Looks at a folder.
pub async fn look(root: &Path) -> Result<ProjectFound, Error> {
    let git = Git::new(root.to_path_buf());
    let mut branches: Vec<String> = git.branches().await.unwrap_or_default();
    branches.extend(git.source().await?.branch);
    let folder = std::path::absolute(root).unwrap_or_default();
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let fallback = || {
        "app"
            .parse()
            .map_err(|error: crate::model::name::NameError| Error::Usage {
                what: error.to_string(),
                help: String::new(),
            })
    };

    let project = match name.trim_matches('-').parse() {
        Ok(project) => project,
        Err(_) => fallback()?,
    };
    Ok(ProjectFound {
        project,
        kind: kind::kind(root),
        branches: deploying(&branches),
    })
}

/// The branches that deploy by their usual names.
fn deploying(branches: &[String]) -> Vec<(String, EnvironmentName)> {
    let usual = [
        ("develop", "develop"),
        ("staging", "staging"),
        ("main", "production"),
        ("master", "production"),
    ];
    let there = |branch: &str| {
        branches
            .iter()
            .any(|name| name == branch || name.ends_with(&format!("/{branch}")))
    };

    let mut found: Vec<(String, EnvironmentName)> = Vec::new();
    for (branch, environment) in usual.into_iter().filter(|(branch, _)| there(branch)) {
        let Ok(environment) = environment.parse::<EnvironmentName>() else {
            continue;
        };
        if found.iter().all(|(_, taken)| *taken != environment) {
            found.push((branch.to_owned(), environment));
        }
    }

    found
}

/// Writes the configuration. Files that are there are left alone unless `force` says otherwise.
pub fn write(
    root: &Path,
    found: &ProjectFound,
    answers: &Answers,
    force: Overwrite,
) -> Result<Vec<PathBuf>, Error> {
    let mut environments: Vec<EnvironmentName> = found
        .branches
        .iter()
        .map(|(_, name)| name.clone())
        .collect();
    let named = answers.environment.iter();
    let named: Vec<_> = named
        .filter(|name| !environments.contains(name))
        .cloned()
        .collect();
    environments.extend(named);
    if environments.is_empty() {
        environments.extend("production".parse());
    }
    let mut files = vec![(PathBuf::from("shipit.yaml"), project_file(found, answers))];
    for (index, environment) in environments.iter().enumerate() {
        let path = PathBuf::from(format!("environments/{environment}.yaml"));
        let live = live_port(answers.port, environments.len(), index);
        files.push((path, environment_file(environment, found, answers, live)));
    }

    files.push(("state/README.md".into(), STATE_README.to_owned()));
    if force == Overwrite::No
        && let Some((path, _)) = files.iter().find(|(path, _)| root.join(path).exists())
    {
        return Err(Error::Usage {
            what: format!("{} is there already; nothing was written", path.display()),
            help: "--force writes over it".to_owned(),
        });
    }
    for (path, text) in &files {
        put(root, path, text.as_bytes())?;
    }
    let mut written: Vec<PathBuf> = files.into_iter().map(|(path, _)| path).collect();
    if ignore(root, &found.kind)? {
        written.push(".gitignore".into());
    }
    Ok(written)
}

/// Whether files that are there are written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// They are.
    Yes,
    /// They are not.
    No,
}

const STATE_README: &str = "The state of this project's environments: history, journals, locks, \
                            and by default the images.\nKept out of Git; kept by `shipit`.\n";

fn put(root: &Path, path: &Path, content: &[u8]) -> Result<(), Error> {
    let path = root.join(path);
    files::replace(&path, content).map_err(|error| unwritten(&path, error))?;
    // Everybody who reads the project reads them.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
        .map_err(|error| unwritten(&path, error))
}

fn unwritten(path: &Path, source: io::Error) -> Error {
    let what = format!("writing {}", path.display());
    crate::port::store::StoreError::Io { what, source }.into()
}

/// Has Git leave out the state, and what a build makes: it would be an input of the next one.
fn ignore(root: &Path, kind: &Kind) -> Result<bool, Error> {
    let path = root.join(".gitignore");
    // Whatever its letters are, it is only added to.
    let before = match files::read_if_there(&path, LARGEST) {
        Ok(before) => before.unwrap_or_default(),
        Err(_) => return Ok(false),
    };
    let text = String::from_utf8_lossy(&before);
    let has = |folder: &str| {
        let mut lines = text.lines();
        lines.any(|line| line.trim().trim_matches(['/', '*']) == folder)
    };
    let made = match kind {
        Kind::Cargo(_) => Some("target"),
        Kind::Go(_) => Some("bin"),
        Kind::Python(found) if found.install.is_some() => Some(PACKAGES),
        Kind::Npm { .. } => Some("node_modules"),
        Kind::Docker { .. } | Kind::Python(_) | Kind::Plain => None,
    };

    let mut more = String::new();
    if let Some(folder) = made.filter(|folder| !has(folder)) {
        let _ = writeln!(more, "/{folder}/");
    }
    if !has("state") {
        more.push_str("/state/*\n!/state/README.md\n");
    }
    if more.is_empty() {
        return Ok(false);
    }
    let gap = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    // Where it is a link, its file is added to; its mode stays.
    let added = File::options().create(true).append(true).open(&path);
    let added = added.and_then(|mut file| file.write_all(format!("{gap}{more}").as_bytes()));
    added.map_err(|error| unwritten(Path::new(".gitignore"), error))?;
    Ok(true)
}

fn project_file(found: &ProjectFound, answers: &Answers) -> String {
    let mut text = format!(
        "# What this project is and where it goes. `shipit validate` checks it, `shipit plan` \
         shows what it means.\nversion: 1\nproject: {}\n\n",
        scalar(answers.project.as_str())
    );
    if !found.branches.is_empty() {
        text.push_str("branches:                       # which branch deploys where\n");
        for (branch, environment) in &found.branches {
            let environment = scalar(environment.as_str());
            let _ = writeln!(text, "  {branch}: {{environment: {environment}}}");
        }
        text.push('\n');
    }

    let service = scalar(answers.service.as_str());
    let _ = write!(text, "services:\n  {service}:\n{}", build(found));
    let _ = write!(
        text,
        "    port: {}                  # told to the service as PORT\n    health: {{start_within: \
         60s}}    # add `path: /healthz` if there is one\n",
        answers.port
    );
    text
}

fn build(found: &ProjectFound) -> String {
    let body = match &found.kind {
        Kind::Docker { .. } => return "    build: {kind: docker, context: .}\n".to_owned(),
        Kind::Cargo(program) => {
            let (made, there) = (
                format!("target/release/{program}"),
                format!("/app/{program}"),
            );
            let (made, there) = (scalar(&made), scalar(&there));
            format!(
                "      run: cargo build --release --target-dir target\n      copy: {{{made}: \
                 {there}}}\n      entrypoint: [{there}]\n"
            )
        }
        Kind::Go(package) => {
            let run = scalar(&format!("CGO_ENABLED=0 go build -o bin/app {package}"));
            format!(
                "      run: {{shell: {run}}}\n      copy: {{bin/app: /app/app}}\n      entrypoint: \
                 [/app/app]\n"
            )
        }
        Kind::Npm {
            install,
            build,
            main,
        } => {
            let run = if *build {
                format!("{{shell: {install} && npm run build}}")
            } else {
                (*install).to_owned()
            };
            format!(
                "      run: {run}\n      copy: {{.: /app}}\n      workdir: /app\n      entrypoint: \
                 [node, {}]\n",
                scalar(main)
            )
        }
        Kind::Python(found) => {
            let install = found.install;
            let run = install.map_or_else(String::new, |install| format!("      run: {install}\n"));
            let words: Vec<String> = found.entrypoint.iter().map(|word| scalar(word)).collect();
            let remark = found.remark.map(|remark| format!("   # {remark}"));
            format!(
                "{run}      copy: {{.: /app}}\n      workdir: /app\n      env: {{PYTHONPATH: \
                 /app/{PACKAGES}}}\n      entrypoint: [{}]{}\n",
                words.join(", "),
                remark.unwrap_or_default()
            )
        }
        Kind::Plain => "      copy: {.: /app}\n      workdir: /app\n      entrypoint: \
                        [./start]          # what starts the service\n"
            .to_owned(),
    };
    format!("    build:\n      kind: pack\n{body}")
}

/// Where an environment is reached on this machine: near the service's own port, where there is
/// room for all of them.
fn live_port(port: u16, environments: usize, index: usize) -> usize {
    let base = usize::from(port);
    let last = base + environments * 10;
    let base = if last > usize::from(u16::MAX) {
        8080
    } else {
        base
    };
    base + index * 10
}

/// A text as YAML takes it for one.
fn scalar(text: &str) -> String {
    let is_plain =
        |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_' | '.' | '/');
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let means_more = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    if is_word && text.chars().all(is_plain) && !means_more {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

fn environment_file(
    environment: &EnvironmentName,
    found: &ProjectFound,
    answers: &Answers,
    live: usize,
) -> String {
    let mode = if environment.as_str() == "production" {
        "manual"
    } else {
        "auto"
    };
    let cluster = match found.kind {
        Kind::Docker { .. } => "cluster: {kind: host, runtime: docker}\n",
        _ => "",
    };
    format!(
        "# The environment {environment}. Anything of shipit.yaml may be overridden here.\n\
         {cluster}promotion:\n  mode: {mode}                  # auto: apply switches traffic; \
         manual: shipit promote does\ntraffic:\n  listeners:\n    {}: {{live: {live}, preview: \
         {}}}\n",
        scalar(answers.service.as_str()),
        live + 1
    )
}

#[cfg(test)]
mod tests {
    /// A folder with these files.
    pub(super) fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        folder
    }
}
