//! Whether a configuration that can be read can be resolved, too: without source control, without
//! a program that renders manifests, and without asking any engine.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::{ConfigError, Project};
use crate::desired::cluster::tools;
use crate::desired::{self, DesiredError, DesiredErrors, DesiredPlace};
use crate::model::EnvironmentName;
use crate::model::source::Source;
use crate::ops::error::problems;
use crate::ops::{Error, sources};

/// Every template that cannot be rendered and every file that is named and not there, of all
/// environments. What `kustomize` and `helm` make is not looked at.
///
/// # Errors
/// All of them, each at its place.
pub fn validate(root: &Path, project: &Project) -> Result<(), ConfigError> {
    let faults: Vec<_> = project
        .environments
        .keys()
        .flat_map(|environment| {
            let wrong = of_environment(root, project, environment);
            problems(project, environment, &wrong)
        })
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(ConfigError::of(faults))
    }
}

fn of_environment(root: &Path, project: &Project, environment: &EnvironmentName) -> DesiredErrors {
    let configuration = &project.environments[environment];
    // Of which commit an apply will be is not known here: that there is one is. The branch is that
    // which deploys there.
    let rules = project.branch_rules();
    let is_plain = |pattern: &str| !pattern.contains(['*', '?', '[', '{']);
    let mut own = rules
        .iter()
        .filter(|rule| rule.environment.as_ref() == Some(environment));
    let branch = own.find(|rule| is_plain(&rule.pattern));
    let source = Source {
        commit: Some("0".repeat(40)),
        branch: Some(branch.map_or_else(|| "main".to_owned(), |rule| rule.pattern.clone())),
        ..Source::default()
    };

    let rendered = match tools(project, environment, configuration, &source) {
        Ok(tools) => tools.into_iter().map(|((service, _), _)| service),
        Err(error) => return error.into(),
    };
    let rendered: BTreeSet<String> = rendered
        .map(|service| match service {
            Some(service) => format!("services.{service}.manifests"),
            None => "manifests".to_owned(),
        })
        .collect();
    let is_made_later = |error: &DesiredError| match &error.place {
        Some(DesiredPlace::Key(key)) => rendered.contains(key),
        Some(DesiredPlace::File { .. }) | None => false,
    };

    let sources = match sources::of_the_project(root, configuration) {
        Ok(sources) => sources,
        Err(Error::Desired(error)) => return error.into(),
        Err(error) => return DesiredError::new(error.to_string(), "").into(),
    };
    let resolved = desired::resolve(project, environment, &source, &sources);
    let mut wrong = resolved.err().unwrap_or_default();
    wrong.0.retain(|error| !is_made_later(error));
    let services = configuration.services.keys();
    let mut named =
        services.map(|service| desired::repository(project, environment, configuration, service));
    wrong.0.extend(named.find_map(Result::err));
    wrong
}
