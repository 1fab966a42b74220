//! The thread that has the database to itself. What waits for it goes into one transaction, so that
//! many that come at once share one sync of the disk; nobody is answered before it.

use std::sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::port::queue::QueueError;

/// How many calls go into one transaction at the most.
const MOST: usize = 64;

/// Answers whoever asked, once it is known whether the transaction was committed.
type Answer = Box<dyn FnOnce(Result<(), QueueError>) + Send>;

/// One call.
type Work = Box<dyn FnOnce(&Connection) -> Answer + Send>;

/// The thread, for as long as somebody may ask it.
#[derive(Debug)]
pub(super) struct Writer {
    calls: Sender<Work>,
}

impl Writer {
    /// Gives the database to a thread of its own.
    pub fn start(database: Connection) -> std::io::Result<Self> {
        let (calls, waiting) = channel();
        let thread = thread::Builder::new().name("queue".to_owned());
        thread.spawn(move || write(&database, &waiting))?;
        Ok(Self { calls })
    }

    /// Makes a call, and waits until the disk has what it stored.
    pub async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |database| {
            let result = within_savepoint(database, call).map_err(|error| failed(what, &error));
            Box::new(move |committed| {
                let _ = answer.send(committed.and(result));
            })
        });
        let gone = || QueueError {
            what: what.to_owned(),
            reason: "its thread has ended".to_owned(),
        };
        self.calls.send(work).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

pub(super) fn failed(what: &str, error: &rusqlite::Error) -> QueueError {
    QueueError {
        what: what.to_owned(),
        reason: error.to_string(),
    }
}

/// One call that fails takes nothing of the others with it.
fn within_savepoint<T>(
    database: &Connection,
    call: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    database.execute_batch("savepoint call")?;
    let result = call(database);
    let end = if result.is_ok() {
        "release call"
    } else {
        "rollback to call; release call"
    };
    database.execute_batch(end)?;
    result
}

fn write(database: &Connection, calls: &Receiver<Work>) {
    loop {
        let first = match calls.recv() {
            Ok(work) => work,
            Err(RecvError) => return,
        };
        let mut batch = vec![first];
        while batch.len() < MOST {
            match calls.try_recv() {
                Ok(work) => batch.push(work),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }

        let begun = database.execute_batch("begin immediate");
        let answers: Vec<Answer> = batch.into_iter().map(|work| work(database)).collect();
        let committed = begun.and_then(|()| database.execute_batch("commit"));
        if committed.is_err() && !database.is_autocommit() {
            let _ = database.execute_batch("rollback");
        }
        let committed = committed.map_err(|error| failed("storing", &error));
        for answer in answers {
            answer(committed.clone());
        }
    }
}
