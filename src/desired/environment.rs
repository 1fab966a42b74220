//! Which environment is meant.

use globset::Glob;

use crate::config::Project;
use crate::desired::DesiredError;
use crate::model::EnvironmentName;

/// The environment that was named, else the current branch's, else the only one.
///
/// # Errors
/// When that leaves none or several, with all there are.
pub fn environment_for(
    project: &Project,
    named: Option<&str>,
    branch: Option<&str>,
) -> Result<EnvironmentName, DesiredError> {
    if let Some(named) = named {
        let known = project
            .environments
            .keys()
            .find(|name| name.as_str() == named);
        return known.cloned().ok_or_else(|| unknown(project, named));
    }
    if let Some(environment) = branch.and_then(|branch| of_branch(project, branch)) {
        return Ok(environment);
    }

    let mut all = project.environments.keys();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => Err(DesiredError::new(
            match branch {
                Some(_) if project.branch_rules().is_empty() => {
                    "there are several environments, and no `branches:` say which".to_owned()
                }
                Some(branch) => format!("no rule says where branch {branch} deploys"),
                None => "it is not clear which environment is meant".to_owned(),
            },
            format!("name one with --env: {}", list(project)),
        )),
    }
}

fn of_branch(project: &Project, branch: &str) -> Option<EnvironmentName> {
    let matches = |pattern: &str| {
        pattern == branch
            || Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(branch))
    };
    let rules = project.branch_rules();
    rules
        .into_iter()
        .find(|rule| matches(&rule.pattern))
        .and_then(|rule| rule.environment)
}

fn unknown(project: &Project, named: &str) -> DesiredError {
    let likely = project
        .environments
        .keys()
        .find(|name| strsim::jaro_winkler(name.as_str(), named) > 0.8);
    let help = match likely {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("the environments are: {}", list(project)),
    };
    DesiredError::new(
        format!("{} has no environment `{named}`", project.name),
        help,
    )
}

fn list(project: &Project) -> String {
    let names: Vec<&str> = project
        .environments
        .keys()
        .map(EnvironmentName::as_str)
        .collect();
    names.join(", ")
}
