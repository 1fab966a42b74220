//! `shipit scale`, which says why it is not done by hand, and what does it.

use crate::cli::Cx;
use crate::model::ServiceName;
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit scale web=3  refused: says what to write instead";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A service, and how many instances it should have.
    #[arg(value_name = "SERVICE=N", value_parser = wanted)]
    wanted: (ServiceName, u16),
}

fn wanted(text: &str) -> Result<(ServiceName, u16), String> {
    let (name, count) = text.split_once('=').ok_or("write it as `web=3`")?;
    let name = name.parse().map_err(|error| format!("{error}"))?;
    let count = count
        .parse()
        .map_err(|_| format!("`{count}` is not a number of instances"))?;
    Ok((name, count))
}

/// A number that was set by hand would be in no file, no plan and no release: a rollback and the
/// next apply would undo it without a word.
pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let (name, count) = &args.wanted;
    let (environment, project) = (&session.environment, &session.project);
    let has_it = project.environments[environment]
        .services
        .contains_key(name);
    if !has_it {
        return Err(Failure::say(
            Exit::Usage,
            format!("{environment} has no service {name}"),
            "`shipit status` shows the services",
        ));
    }
    Err(Failure::say(
        Exit::Usage,
        "the number of instances is part of the configuration, and not set by hand: the next apply \
         would undo it",
        format!(
            "write `services: {{{name}: {{replicas: {count}}}}}` into \
             environments/{environment}.yaml, then `shipit apply`; on a cluster an autoscaler may \
             have it"
        ),
    ))
}
