//! The files of the project that a service names: those of variables, and those that its instances
//! find.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::Project;
use crate::config::schema::{EnvironmentConfig, Runtime, ServiceConfig};
use crate::desired::cluster::Sources;
use crate::desired::env_file::{self, EnvFileFault, Variables};
use crate::desired::template::Templates;
use crate::desired::{DesiredError, DesiredErrors, secret};
use crate::model::ServiceName;
use crate::model::workload::{EnvValue, WorkloadFile};

/// The largest file of variables: a program is not started with more.
const ENV_FILE: u64 = 256 << 10;

/// The most that the files of an instance have together: a `ConfigMap` has 1 MiB at the most.
const FILES: u64 = 512 << 10;

/// A file that a service names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Where it is, below the project's folder.
    pub path: PathBuf,
    /// How many bytes it may have.
    pub limit: u64,
}

/// The files that the services of an environment name.
#[must_use]
pub fn named_files(configuration: &EnvironmentConfig) -> Vec<NamedFile> {
    let mut named = Vec::new();
    for service in configuration.services.values() {
        named.extend(service.env_file.0.iter().map(|path| NamedFile {
            path: path.clone(),
            limit: ENV_FILE,
        }));
        let files = service.files.iter();
        named.extend(files.filter_map(|(_, file)| {
            Some(NamedFile {
                path: file.detailed().file?,
                limit: FILES,
            })
        }));
    }
    named
}

/// The variables of a service's files; a later file counts before an earlier one.
pub(super) fn variables(
    configuration: &EnvironmentConfig,
    sources: &Sources,
    name: &ServiceName,
    service: &ServiceConfig,
) -> Result<Variables, DesiredErrors> {
    let host = configuration.cluster.host();
    let is_unit = host.is_some_and(|host| host.runtime == Runtime::Systemd);
    let at = format!("services.{name}.env_file");
    let mut errors = DesiredErrors::default();
    let mut all = Variables::new();
    for path in &service.env_file.0 {
        let Some(text) = errors.keep(text(sources, &at, path)) else {
            continue;
        };
        let found = env_file::parse(text, &all).map_err(|fault| wrong(path, fault));
        let Some(found) = errors.keep(found) else {
            continue;
        };
        if let Some(odd) = found
            .keys()
            .find(|name| is_unit && name.contains(['.', '-']))
        {
            errors.0.push(
                DesiredError::new(
                    format!("{}: systemd passes no variable `{odd}` on", path.display()),
                    "use letters, digits and _ only",
                )
                .of_key(&at),
            );
        }
        all.extend(found);
    }

    let size: usize = all
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size as u64 > ENV_FILE {
        errors.0.push(
            DesiredError::new(
                format!("{at}: the variables have more than {ENV_FILE} bytes"),
                "no program is started with so many: make a file of them, under `files`",
            )
            .of_key(&at),
        );
    }
    errors.unless_any(all)
}

fn wrong(path: &Path, fault: EnvFileFault) -> DesiredError {
    let EnvFileFault { line, reason, help } = fault;
    DesiredError::new(format!("{}:{line}: {reason}", path.display()), help).of_line(path, line)
}

/// The files that the instances of a service find.
pub(super) fn files(
    project: &Project,
    configuration: &EnvironmentConfig,
    templates: &Templates,
    sources: &Sources,
    (name, service): (&ServiceName, &ServiceConfig),
) -> Result<BTreeMap<PathBuf, WorkloadFile>, DesiredErrors> {
    let mut errors = DesiredErrors::default();
    let mut files = BTreeMap::new();
    let mut size = 0;
    for (inside, file) in &service.files {
        let detailed = file.detailed();
        let at = format!("services.{name}.files.{}", inside.display());
        let content = match (&detailed.file, &detailed.secret) {
            (Some(path), _) => text(sources, &at, path).and_then(|text| {
                let text = if detailed.template {
                    templates.render_file(path, name, text)?
                } else {
                    text.to_owned()
                };
                Ok(EnvValue::Plain(text))
            }),
            (None, named) => {
                let name = named.clone().unwrap_or_default();
                secret(project, configuration, &name).map(|from| EnvValue::Secret { name, from })
            }
        };
        let Some(content) = errors.keep(content.map_err(|error| error.or_of_key(&at))) else {
            continue;
        };

        if let EnvValue::Plain(text) = &content {
            size += text.len() as u64;
        }
        let variable = detailed.variable;
        files.insert(inside.clone(), WorkloadFile { content, variable });
    }

    if size > FILES {
        let at = format!("services.{name}.files");
        errors.0.push(
            DesiredError::new(
                format!("{at}: they have more than {FILES} bytes together"),
                "what is larger belongs into the image, or into a volume",
            )
            .of_key(at),
        );
    }
    errors.unless_any(files)
}

fn text<'a>(sources: &'a Sources, at: &str, path: &Path) -> Result<&'a str, DesiredError> {
    if let Some(error) = sources.unread.get(path) {
        return Err(error.clone().named_by(at));
    }
    let text = sources.named.get(path).map(String::as_str);
    text.ok_or_else(|| {
        DesiredError::new(
            format!("{at}: there is no file {}", path.display()),
            "paths are relative to the project's folder",
        )
        .of_key(at)
    })
}
