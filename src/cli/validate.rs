//! `shipit validate`

use crate::cli::Cx;
use crate::cli::arguments::FormArgs;
use crate::config;
use crate::output::{Exit, Failure, Format, Page};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    form: FormArgs,
}

pub(super) fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    match (config::load(&cx.directory), args.form.output) {
        (Ok(_), Format::Json) => cx.screen.document(&Vec::<()>::new()),
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
        }
        (Err(error), Format::Json) => {
            cx.screen.document(&error.faults);
            return Ok(Exit::Failed);
        }
        (Err(error), _) => return Err(Failure::new(Exit::Failed, error)),
    }

    Ok(Exit::Done)
}
