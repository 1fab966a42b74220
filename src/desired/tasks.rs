//! Tasks, with the words of their commands rendered.

use std::collections::BTreeMap;

use crate::config::EnvironmentConfig;
use crate::config::schema::TaskConfig;
use crate::desired::DesiredError;
use crate::desired::template::Templates;
use crate::model::schedule::ScheduledTask;
use crate::model::task::{Task, TaskMoment, TaskProgram, TaskSlot};
use crate::model::{ServiceName, TaskName};

/// The tasks of an environment.
pub(super) fn tasks(
    configuration: &EnvironmentConfig,
    templates: &Templates,
) -> Result<BTreeMap<TaskName, Task>, DesiredError> {
    let tasks = configuration.tasks.iter();
    tasks
        .map(|(name, config)| Ok((name.clone(), task(configuration, templates, name, config)?)))
        .collect()
}

/// Those of them that run by themselves with the image of a service.
pub(super) fn scheduled(
    tasks: &BTreeMap<TaskName, Task>,
    service: &ServiceName,
) -> BTreeMap<TaskName, ScheduledTask> {
    let own = tasks.iter().filter(|(_, task)| task.service == *service);
    own.filter_map(|(name, task)| Some((name.clone(), task.scheduled()?)))
        .collect()
}

fn task(
    configuration: &EnvironmentConfig,
    templates: &Templates,
    name: &TaskName,
    config: &TaskConfig,
) -> Result<Task, DesiredError> {
    let service = configuration.service_of(config);
    let service = service.ok_or_else(|| {
        DesiredError::new(
            format!("tasks.{name}: nothing says whose image it runs in"),
            "add `service: NAME`",
        )
    })?;
    let when = config.moment();
    Ok(Task {
        service: service.clone(),
        program: program(config, templates, (name, service), when)?,
        when,
        schedule: config.schedule(),
        once: config.once,
        timeout: config.timeout,
        on_failure: config.on_failure,
        class: config.class,
        reports: config.reports.clone(),
        network: config.network.clone(),
    })
}

fn program(
    config: &TaskConfig,
    templates: &Templates,
    (name, service): (&TaskName, &ServiceName),
    when: TaskMoment,
) -> Result<TaskProgram, DesiredError> {
    let key = if config.exec.is_some() { "exec" } else { "run" };
    let words = config.exec.as_ref().or(config.run.as_ref());
    let words = words.map(|words| words.0.as_slice()).unwrap_or_default();
    let at = format!("tasks.{name}.{key}");
    let command = words
        .iter()
        .map(|word| templates.render(&at, service, word))
        .collect::<Result<_, _>>()?;

    if config.exec.is_none() {
        return Ok(TaskProgram::Run(command));
    }
    let inside = match (when, config.inside) {
        (TaskMoment::BeforeSwitch, None | Some(TaskSlot::New)) => TaskSlot::New,
        _ => TaskSlot::Live,
    };
    Ok(TaskProgram::Exec { command, inside })
}
