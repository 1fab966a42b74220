//! `shipit import`

use serde_json::json;

use crate::cli::Cx;
use crate::ops::import::{candidates, import};
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit import                  list what could be adopted
  shipit import Deployment/web   adopt one
  shipit import --all            adopt all of them";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which objects, as KIND/NAME; without any the candidates are listed.
    #[arg(value_name = "KIND/NAME")]
    objects: Vec<String>,
    /// Every candidate.
    #[arg(long, conflicts_with = "objects")]
    all: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let mut page = Page::new();
    if !args.all && args.objects.is_empty() {
        let found = candidates(&session).await?;
        if cx.format == Format::Json {
            cx.screen
                .document(Kind::Import, &json!({"candidates": found}));
            return Ok(Exit::Done);
        }
        for one in &found {
            page.line(format!("  {}  belongs to {}", one.key, one.manager));
        }
        page.line(if found.is_empty() {
            "Nothing that the configuration names belongs to others."
        } else {
            "`shipit import KIND/NAME` takes one over, `shipit import --all` all of them. What they say stays as it is."
        });
        cx.screen.show(&page);
        return Ok(Exit::Done);
    }

    let taken = import(&session, &args.objects).await?;
    if cx.format == Format::Json {
        let taken = taken.iter();
        let imported = taken.map(|(key, from)| json!({"key": key, "from": from}));
        let document = json!({"imported": imported.collect::<Vec<_>>()});
        cx.screen.document(Kind::Import, &document);
        return Ok(Exit::Done);
    }

    for (key, managers) in &taken {
        let from = if managers.is_empty() {
            String::new()
        } else {
            format!(", with the fields of {}", managers.join(", "))
        };
        page.line(format!("  {key} is shipit's{from}"));
    }

    if taken.is_empty() {
        page.line("Nothing that the configuration names belongs to others.");
    } else {
        page.line("`shipit plan` shows what the configuration changes about them.");
    }

    cx.screen.show(&page);
    Ok(Exit::Done)
}
