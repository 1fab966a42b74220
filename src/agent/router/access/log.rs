//! The queue between requests and the file.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::agent::log::file::{LogFile, Quota, Rotating};
use crate::agent::router::access::Line;
use crate::agent::router::connection::clients::network;
use crate::redact::Redactor;

/// How many lines wait at most.
const QUEUE: usize = 8192;
/// How long the last lines have to reach the file when the router shuts down.
const FLUSH: Duration = Duration::from_secs(2);

/// How often the log says at the most that lines are missing from it.
const REPORT: Duration = Duration::from_secs(10);

/// What goes through the queue.
#[derive(Debug)]
enum Message {
    Line(Box<Line>),
    Flush(oneshot::Sender<()>),
}

/// The access log, or none.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<SyncSender<Message>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// Starts the writing thread; it ends with the log. Without one, lines go nowhere.
    pub fn new(file: Option<LogFile>, redactor: Redactor) -> Self {
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = file.and_then(|file| start(file, redactor, Arc::clone(&dropped)));
        Self { queue, dropped }
    }

    /// Whether lines go anywhere.
    pub const fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Adds a line, without waiting.
    pub fn write(&self, line: Line) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(Message::Line(Box::new(line))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were lost.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until the lines so far are in the file, or two seconds. A full queue gets no flush:
    /// there is nobody who writes it.
    pub async fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let (done, flushed) = oneshot::channel();
        let flushing = async {
            let mut message = Message::Flush(done);
            while let Err(TrySendError::Full(back)) = queue.try_send(message) {
                message = back;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            flushed.await
        };
        let _ = tokio::time::timeout(FLUSH, flushing).await;
    }
}

fn start(
    file: LogFile,
    redactor: Redactor,
    dropped: Arc<AtomicU64>,
) -> Option<SyncSender<Message>> {
    let (sender, receiver) = sync_channel(QUEUE);
    let now = Instant::now();
    let writer = Writer {
        quota: Quota::of(&file, now),
        file: Rotating::new(file),
        redactor,
        dropped,
        reported: 0,
        report_at: now,
    };
    let thread = std::thread::Builder::new().name("access-log".to_owned());
    match thread.spawn(move || writer.run(&receiver)) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "no access log: its thread cannot be started");
            None
        }
    }
}

/// Says in the log that lines are missing from it.
#[derive(serde::Serialize)]
struct Dropped {
    time: jiff::Timestamp,
    dropped: u64,
}

struct Writer {
    file: Rotating,
    redactor: Redactor,
    quota: Quota,
    dropped: Arc<AtomicU64>,
    reported: u64,
    report_at: Instant,
}

impl Writer {
    /// Writes until every sender is gone; flushes whenever the queue is empty.
    fn run(mut self, queue: &Receiver<Message>) {
        while let Some(message) = self.next(queue) {
            match message {
                Message::Line(line) => self.line(*line),
                Message::Flush(done) => {
                    self.report();
                    let flushed = self.file.flush();
                    self.note(flushed);
                    let _ = done.send(());
                }
            }
        }
    }

    fn next(&mut self, queue: &Receiver<Message>) -> Option<Message> {
        match queue.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                let flushed = self.file.flush();
                self.note(flushed);
                queue.recv().ok()
            }
        }
    }

    /// Writes a line without the secrets that the agent knows. They are looked for only in what is
    /// written: to look takes its time, and a client chooses what is looked through.
    fn line(&mut self, line: Line) {
        let now = Instant::now();
        if now >= self.report_at {
            self.report();
            self.report_at = now + REPORT;
        }
        let Some(raw) = json(&line) else { return };
        if !self
            .quota
            .allows_about(now, network(line.about()), raw.len() as u64)
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(json) = json(&line.without_values(&self.redactor)) else {
            return;
        };
        let written = self.file.write(&json);
        self.note(written);
    }

    fn report(&mut self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped == self.reported {
            return;
        }
        let report = Dropped {
            time: jiff::Timestamp::now(),
            dropped: dropped - self.reported,
        };
        // One that cannot be written is written with the next ones.
        if json(&report).is_some_and(|json| self.file.write(&json).is_ok()) {
            self.reported = dropped;
        }
    }

    /// A line that cannot be written is a dropped one.
    fn note(&self, result: io::Result<()>) {
        if let Err(error) = result
            && self.dropped.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!(%error, "the access log cannot be written");
        }
    }
}

/// One line of JSON.
fn json(value: &impl serde::Serialize) -> Option<Vec<u8>> {
    let mut json = serde_json::to_vec(value).ok()?;
    json.push(b'\n');
    Some(json)
}
