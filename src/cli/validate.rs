//! `shipit validate`

use crate::cli::{Cx, print};
use crate::config;
use crate::output::{Exit, Failure, Format};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// In which form.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    match (config::load(&cx.directory), args.output) {
        (Ok(_), Format::Json) => print("[]\n"),
        (Ok(project), _) => {
            let names: Vec<&str> = project
                .environments
                .keys()
                .map(crate::model::EnvironmentName::as_str)
                .collect();
            print(&format!(
                "{} is valid. Environments: {}.\n",
                project.name,
                names.join(", ")
            ));
        }
        (Err(error), Format::Json) => {
            print(&format!(
                "{}\n",
                serde_json::to_string_pretty(&error.faults).unwrap_or_default()
            ));
            return Ok(Exit::Failed);
        }
        (Err(error), _) => return Err(Failure::new(Exit::Failed, error)),
    }
    Ok(Exit::Done)
}
