//! `shipit import`

use std::fmt::Write as _;

use crate::cli::{Cx, print};
use crate::ops::import::{candidates, import};
use crate::output::{Exit, Failure};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which, as KIND/NAME; without any the candidates are listed.
    #[arg(value_name = "KIND/NAME")]
    objects: Vec<String>,
    /// Every candidate.
    #[arg(long, conflicts_with = "objects")]
    all: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let mut text = String::new();
    if !args.all && args.objects.is_empty() {
        let found = candidates(&session).await?;
        for one in &found {
            let _ = writeln!(text, "  {}  belongs to {}", one.key, one.manager);
        }
        text.push_str(if found.is_empty() {
            "Nothing that the configuration names belongs to others.\n"
        } else {
            "`shipit import KIND/NAME` takes one over, `shipit import --all` all of them. What they say stays as it is.\n"
        });
        print(&text);
        return Ok(Exit::Done);
    }
    let taken = import(&session, &args.objects).await?;
    for (key, managers) in &taken {
        let from = if managers.is_empty() {
            String::new()
        } else {
            format!(", with the fields of {}", managers.join(", "))
        };
        let _ = writeln!(text, "  {key} is shipit's{from}");
    }
    if taken.is_empty() {
        text.push_str("Nothing that the configuration names belongs to others.\n");
    } else {
        text.push_str("`shipit plan` shows what the configuration changes about them.\n");
    }
    print(&text);
    Ok(Exit::Done)
}
