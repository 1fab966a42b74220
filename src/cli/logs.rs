//! `shipit logs`

use futures_util::StreamExt as _;

use crate::cli::{Cx, print};
use crate::model::{ServiceName, Slot};
use crate::ops::Error;
use crate::ops::logs::logs;
use crate::output::{Exit, Failure};
use crate::port::engine::LogQuery;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this service.
    service: Option<ServiceName>,

    /// Only this slot.
    #[arg(long, value_name = "blue|green")]
    slot: Option<Slot>,

    /// How many of the last lines of each instance.
    #[arg(short = 'n', long, default_value_t = 50)]
    tail: usize,

    /// Go on with what comes, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let query = LogQuery {
        slot: args.slot,
        service: args.service.clone(),
        tail: args.tail,
        follow: args.follow,
    };
    let mut lines = logs(&session, query).await?;
    loop {
        tokio::select! {
            line = lines.next() => match line {
                None => return Ok(Exit::Done),
                Some(line) => {
                    let line = line.map_err(Error::from)?;
                    print(&format!("{} {}.{} | {}\n", line.slot, line.service, line.instance, line.text));
                }
            },
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
    }
}
