//! Following a job to its end: its log as it grows, and how it ended.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Client, Unserved};
use crate::model::job::{JobEnding, JobNumber, JobState};
use crate::ops::doors::jobs::Patience;

/// How long a server that went away is waited for: it is being restarted.
const AWAY: Duration = Duration::from_secs(30);

/// How long to wait before it is asked again.
const PAUSE: Duration = Duration::from_millis(300);

/// How following ended.
#[derive(Debug)]
pub enum Followed {
    /// The job is over.
    Ended(JobEnding),
    /// It is not, and the time is.
    Late,
}

/// What whoever follows does with what comes.
pub trait Listener {
    /// Lines that the job wrote. Whether to go on.
    fn lines(&mut self, lines: &[String]) -> Go;

    /// What it waits for, when that changes, and from time to time when nothing else is said.
    fn waits(&mut self, words: &str) -> Go;
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// Yes.
    On,
    /// Nobody listens any more.
    Away,
}

/// Follows a job until it is over, or until a time.
pub async fn follow(
    client: &Client,
    number: JobNumber,
    deadline: Option<Instant>,
    listener: &mut impl Listener,
) -> Result<Option<Followed>, Unserved> {
    let (mut from, mut rest, mut away_since) = (0, String::new(), None::<Instant>);
    loop {
        let piece = match client.log(number, from, Patience::Waits).await {
            Ok(piece) => piece,
            Err(Unserved::Away(reason)) => {
                let since = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() > AWAY {
                    return Err(Unserved::Away(reason));
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(refused) => return Err(refused),
        };
        away_since = None;
        from = piece.next;
        rest.push_str(&piece.text);
        let is_over = !piece.job.job.is_open() && piece.text.is_empty();
        let lines = whole_lines(&mut rest, is_over);

        let go = if lines.is_empty() && !is_over {
            let waits = piece.job.waits_for.as_deref();
            listener.waits(waits.unwrap_or("it runs"))
        } else {
            listener.lines(&lines)
        };
        if go == Go::Away {
            return Ok(None);
        }
        if let (true, JobState::Ended { ending, .. }) = (is_over, &piece.job.job.state) {
            return Ok(Some(Followed::Ended(ending.clone())));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Some(Followed::Late));
        }
    }
}

/// Takes the lines out that are whole; all of them when nothing follows.
fn whole_lines(rest: &mut String, is_all: bool) -> Vec<String> {
    let end = if is_all {
        rest.len()
    } else {
        rest.rfind('\n').map_or(0, |at| at + 1)
    };
    let lines: String = rest.drain(..end).collect();
    lines.lines().map(str::to_owned).collect()
}
