//! `shipit validate`

use serde_json::json;

use crate::cli::Cx;
use crate::output::{Exit, Failure, Format, Kind, Page};
use crate::{config, ops};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit validate                 every error of shipit.yaml and environments/*.yaml
  shipit validate --output json   for an editor";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

pub(super) fn exec(cx: &Cx, _: &Args) -> Result<Exit, Failure> {
    let read = config::load(&cx.directory).and_then(|project| {
        ops::validate::validate(&cx.directory, &project)?;
        Ok(project)
    });
    match (read, cx.format) {
        (Ok(project), Format::Json) => {
            let names: Vec<_> = project.environments.keys().collect();
            let valid = json!({
                "valid": true,
                "project": project.name,
                "environments": names,
                "faults": [],
                "notes": project.notes,
            });
            cx.screen.document(Kind::Validation, &valid);
        }
        (Ok(project), _) => {
            let names: Vec<&str> = project
                .environments
                .keys()
                .map(crate::model::EnvironmentName::as_str)
                .collect();
            cx.screen.show(&Page::of(format!(
                "{} is valid. Environments: {}.",
                project.name,
                names.join(", ")
            )));
            for note in &project.notes {
                let help = note.help.as_deref().unwrap_or_default();
                cx.screen.say(&Page::of(format!("note: {note}: {help}")));
            }
        }
        (Err(error), Format::Json) => {
            let faults = json!({"valid": false, "faults": error.faults});
            cx.screen.document(Kind::Validation, &faults);
            return Ok(Exit::Failed);
        }
        (Err(error), _) => return Err(Failure::new(Exit::Failed, error)),
    }

    Ok(Exit::Done)
}
