//! `shipit logs`

use std::collections::BTreeMap;

use futures_util::StreamExt as _;

use crate::cli::Cx;
use crate::model::{ServiceName, Slot};
use crate::ops::Error;
use crate::ops::logs::logs;
use crate::output::{Exit, Failure, Line, Page, Screen};
use crate::port::engine::{LogLine, LogQuery};
use crate::redact::LineStream;

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit logs                    the last lines of every instance
  shipit logs web --follow       of one service, and what comes
  shipit logs --slot green -n 5  of what is in green";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
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
    let mut writers = Writers {
        screen: &cx.screen,
        streams: BTreeMap::new(),
    };

    loop {
        tokio::select! {
            line = lines.next() => match line {
                None => break,
                Some(line) => writers.write(line.map_err(Error::from)?),
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }

    writers.finish();
    Ok(Exit::Done)
}

/// What each instance writes, in lines that follow each other.
struct Writers<'a> {
    screen: &'a Screen,
    streams: BTreeMap<String, LineStream>,
}

impl Writers<'_> {
    fn write(&mut self, line: LogLine) {
        let name = format!("{} {}.{}", line.slot, line.service, line.instance);
        let stream = self.streams.entry(name.clone());
        let stream = stream.or_insert_with(|| self.screen.redactor().stream());
        show(self.screen, &name, stream.push(line.text));
    }

    fn finish(self) {
        for (name, mut stream) in self.streams {
            show(self.screen, &name, stream.finish());
        }
    }
}

fn show(screen: &Screen, name: &str, lines: Vec<String>) {
    let lines = lines.into_iter();
    let page: Page = lines
        .map(|line| Line::from(format!("{name} | ")).quote(line.trim_end_matches('\r')))
        .collect();
    screen.show(&page);
}
