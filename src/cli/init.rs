//! `shipit init`

use std::io::IsTerminal as _;

use clap::value_parser;
use serde_json::json;

use crate::cli::{Cx, ask};
use crate::model::{ProjectName, ServiceName};
use crate::ops::init::{Answers, Overwrite, ProjectFound, look, write};
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit init                      ask for the names and write the files
  shipit init --yes --port 3000    do not ask
  shipit init --env staging        an environment besides those of the branches";

/// The arguments. What is not given is asked for at a terminal, and taken from the folder
/// elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The project's name; without it the folder's.
    #[arg(long)]
    project: Option<ProjectName>,

    /// The service's name; without it `web`.
    #[arg(long)]
    service: Option<ServiceName>,

    /// The service's port; without it what a Dockerfile exposes, or 8080.
    #[arg(long, value_parser = value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// Overwrite files that are there.
    #[arg(long)]
    force: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let found = look(&cx.directory).await?;
    let answers = answers(&found, args, cx.env.as_deref())?;
    let overwrite = if args.force {
        Overwrite::Yes
    } else {
        Overwrite::No
    };
    let written = write(&cx.directory, &found, &answers, overwrite)?;
    if cx.format == Format::Json {
        cx.screen.document(Kind::Init, &json!({"written": written}));
        return Ok(Exit::Done);
    }

    for path in written {
        cx.screen
            .show(&Page::of(format!("wrote {}", path.display())));
    }
    cx.screen.show(&Page::of(
        "Next: `shipit plan` shows what would be done, `shipit apply` does it.",
    ));
    Ok(Exit::Done)
}

fn answers(
    found: &ProjectFound,
    args: &Args,
    environment: Option<&str>,
) -> Result<Answers, Failure> {
    let ask = !args.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let service: ServiceName = "web".parse().map_err(unasked)?;
    Ok(Answers {
        project: one(ask, "Project", args.project.clone(), found.project.clone())?,
        service: one(ask, "Service", args.service.clone(), service)?,
        port: one(ask, "Port", args.port, found.port().unwrap_or(8080))?,
        environment: environment.map(str::parse).transpose().map_err(|error| {
            Failure::say(
                Exit::Usage,
                format!("--env: {error}"),
                "write a name like staging",
            )
        })?,
    })
}

fn one<T>(ask: bool, prompt: &str, given: Option<T>, otherwise: T) -> Result<T, Failure>
where
    T: Clone + std::fmt::Display + std::str::FromStr,
    T::Err: std::fmt::Display,
{
    match given {
        Some(given) => Ok(given),
        None if ask => asked(prompt, &otherwise),
        None => Ok(otherwise),
    }
}

/// The answer to a question; the default where nothing is typed.
fn asked<T>(prompt: &str, otherwise: &T) -> Result<T, Failure>
where
    T: Clone + std::fmt::Display + std::str::FromStr,
    T::Err: std::fmt::Display,
{
    loop {
        let typed = ask::line(&format!("{prompt} [{otherwise}]:"));
        let typed = typed.ok_or_else(|| unasked("nobody is there"))?;
        if typed.trim().is_empty() {
            return Ok(otherwise.clone());
        }
        match typed.trim().parse() {
            Ok(answer) => return Ok(answer),
            Err(error) => ask::say(&error.to_string()),
        }
    }
}

fn unasked(error: impl std::fmt::Display) -> Failure {
    Failure::say(
        Exit::Failed,
        format!("the question was not answered: {error}"),
        "give the answers as flags, with --yes",
    )
}
