//! `shipit logs`

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use regex::Regex;
use serde_json::json;

use crate::cli::Cx;
use crate::cli::since::Since;
use crate::model::schedule::ScheduledRun;
use crate::model::{ServiceName, Slot, TaskName};
use crate::ops::logs::{logs, of_task};
use crate::ops::{Error, Session};
use crate::output::{Exit, Failure, Format, Kind, Line, Page, Screen};
use crate::port::engine::{LogLine, LogQuery};
use crate::redact::LineStream;

/// How many of the last lines are shown where nothing else is asked for.
const TAIL: usize = 50;

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit logs                    the last lines of every instance
  shipit logs web --follow       of one service, and what comes
  shipit logs --slot green -n 5  of what is in green
  shipit logs --since 10m        what was written in the last ten minutes
  shipit logs --grep 'error|panic' --follow  only lines that match
  shipit logs --task report      what a task with a schedule wrote, time by time";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only this service.
    service: Option<ServiceName>,

    /// Only this slot.
    #[arg(long, value_name = "blue|green")]
    slot: Option<Slot>,

    /// What this task wrote, which runs by a schedule: its last times, the oldest first.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["service", "slot", "follow"])]
    task: Option<TaskName>,

    /// How many of the last lines of each instance are looked at; without it 50, and with --since
    /// or --grep all that are kept.
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,

    /// Only what was written since: a duration back from now, as `10m`, or a time, as
    /// `2026-11-27T10:30:00Z`, `2026-11-27 10:30` or `10:30`.
    #[arg(long, value_name = "DURATION|TIME")]
    since: Option<Since>,

    /// Only lines in which this regular expression is found.
    #[arg(long, value_name = "REGEX")]
    grep: Option<Regex>,

    /// Go on with what comes, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let since = args.since.as_ref().map(Since::begins).transpose()?;
    let session = cx.session().await?;
    if let Some(task) = &args.task {
        return times_of(cx, &session, args, (task, since)).await;
    }
    let is_narrowed = args.since.is_some() || args.grep.is_some();
    let query = LogQuery {
        slot: args.slot,
        service: args.service.clone(),
        tail: args.tail.or((!is_narrowed).then_some(TAIL)),
        since,
        follow: args.follow,
    };

    let mut lines = logs(&session, query).await?;
    let mut writers = Writers {
        screen: &cx.screen,
        format: cx.format,
        grep: args.grep.as_ref(),
        streams: BTreeMap::new(),
    };

    loop {
        tokio::select! {
            line = lines.next() => match line {
                None => break,
                Some(line) => {
                    writers.write(line.map_err(Error::from)?);
                    if cx.screen.is_over() {
                        return Ok(Exit::Done);
                    }
                }
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }

    writers.finish();
    Ok(Exit::Done)
}

/// Shows what a task wrote at each of its last times.
async fn times_of(
    cx: &Cx,
    session: &Session,
    args: &Args,
    (task, since): (&TaskName, Option<Timestamp>),
) -> Result<Exit, Failure> {
    let found = of_task(session, task).await?;
    let is_meant = |run: &&ScheduledRun| since.is_none_or(|since| run.due >= since);
    let runs: Vec<&ScheduledRun> = found.runs.iter().filter(is_meant).collect();
    for run in runs.into_iter().rev() {
        let mut stream = cx.screen.redactor().stream();
        let mut lines: Vec<String> = Vec::new();
        run.log
            .iter()
            .for_each(|line| lines.extend(stream.push(line.clone())));
        lines.extend(stream.finish());
        lines.retain(|line| args.grep.as_ref().is_none_or(|grep| grep.is_match(line)));
        let skip = lines.len().saturating_sub(args.tail.unwrap_or(usize::MAX));
        let lines = &lines[skip..];

        if cx.format == Format::Json {
            let document = json!({
                "task": task, "due": run.due, "slot": run.slot, "release": run.release,
                "began": run.began, "ended": run.ended, "outcome": run.outcome, "lines": lines,
            });
            cx.screen.document_line(Kind::Log, &document);
            continue;
        }
        let outcome = run
            .outcome
            .as_ref()
            .map_or_else(|| "runs".to_owned(), ToString::to_string);
        let title = format!("{task} {:.0} {} | {outcome}", run.due, run.slot);
        cx.screen.show(&Page::of(Line::from(title)));
        for line in lines {
            let name = format!("{task} {:.0} {} | ", run.due, run.slot);
            let text = line.trim_end_matches('\r');
            cx.screen.show(&Page::of(Line::from(name).quote(text)));
        }
    }
    Ok(Exit::Done)
}

/// What each instance writes, in lines that follow each other.
struct Writers<'a> {
    screen: &'a Screen,
    format: Format,
    /// What a line has to have in it. It is looked for when the values of secrets are hidden.
    grep: Option<&'a Regex>,
    streams: BTreeMap<(Slot, ServiceName, u16), LineStream>,
}

impl Writers<'_> {
    fn write(&mut self, line: LogLine) {
        let name = (line.slot, line.service, line.instance);
        let stream = self.streams.entry(name.clone());
        let stream = stream.or_insert_with(|| self.screen.redactor().stream());
        let lines = stream.push(line.text);
        self.show(&name, lines);
    }

    fn finish(mut self) {
        for (name, mut stream) in std::mem::take(&mut self.streams) {
            self.show(&name, stream.finish());
        }
    }

    fn show(&self, (slot, service, instance): &(Slot, ServiceName, u16), lines: Vec<String>) {
        let is_wanted = |line: &String| self.grep.is_none_or(|grep| grep.is_match(line));
        let lines = lines.into_iter().filter(is_wanted);
        for line in lines {
            let text = line.trim_end_matches('\r');
            if self.format == Format::Json {
                let document = json!({
                    "slot": slot,
                    "service": service,
                    "instance": instance,
                    "text": text,
                });
                self.screen.document_line(Kind::Log, &document);
            } else {
                let name = format!("{slot} {service}.{instance} | ");
                self.screen.show(&Page::of(Line::from(name).quote(text)));
            }
        }
    }
}
