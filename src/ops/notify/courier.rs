//! Carries what is told while a run is under way, and for a short time after its end. A run waits
//! for it no longer, and nothing that happens here fails one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::execute::Sink;
use crate::model::NotifyName;
use crate::model::event::Event;
use crate::model::notice::{Notice, OutboxEntry, Receipt};
use crate::model::outcome::Ending;
use crate::model::plan::Plan;
use crate::model::release::Actor;
use crate::ops::Session;
use crate::ops::notify::office::{Office, late};
use crate::ops::notify::outbox::Pace;
use crate::ops::notify::{notice, outbox};
use crate::port::hold::{Hold, LockLost};
use crate::port::notifier::{DeliveryError, DeliveryFault};
use crate::port::store::Lease;

/// How long the outbox may take to take something.
const KEEPING: Duration = Duration::from_secs(5);
/// How long the end of a run waits for what is under way.
pub(in crate::ops) const AFTER: Duration = Duration::from_secs(5);
/// How long what came of it may take to be kept then.
const RECORDING: Duration = Duration::from_secs(2);

/// Carries what is told of one run. Nothing is done where nobody is told.
pub struct Courier(Option<Running>);

struct Running {
    office: Arc<Office>,
    sink: Sink,
    queue: mpsc::UnboundedSender<OutboxEntry>,
    /// By when all of it ends; none while the run is under way.
    until: watch::Sender<Option<Instant>>,
    killed: CancellationToken,
    task: JoinHandle<()>,
}

impl Courier {
    /// Begins with what earlier runs have left. `killed`: when a person waits for nothing more.
    pub fn begin(
        session: &Session,
        lease: &dyn Lease,
        sink: &Sink,
        killed: &CancellationToken,
        pace: Pace,
    ) -> Self {
        let office = match Office::of(session) {
            Ok(office) if !office.told.is_empty() => Arc::new(office),
            _ => return Self(None),
        };
        let (queue, queued) = mpsc::unbounded_channel();
        let (until, ends) = watch::channel(None);
        let round = Round {
            office: Arc::clone(&office),
            hold: lease.hold(),
            sink: Arc::clone(sink),
            until: ends,
            entries: Vec::new(),
            pace,
            resting: BTreeMap::new(),
            said: BTreeSet::new(),
        };
        Self(Some(Running {
            office,
            sink: Arc::clone(sink),
            queue,
            until,
            killed: killed.clone(),
            task: tokio::spawn(round.carry(queued)),
        }))
    }

    /// Tells that a run begins to carry out its plan.
    pub async fn started(&self, plan: &Plan, actor: &Actor) {
        if let Some(running) = &self.0 {
            let kept = running.keep(notice::started(plan, actor)).await;
            running.tell(kept);
        }
    }

    /// Puts how a run ended into the outbox, before anything else is written of it.
    pub async fn keep_end(
        &self,
        plan: &Plan,
        actor: &Actor,
        ending: &Ending,
        notes: Vec<String>,
    ) -> Kept {
        let ended = notice::ended(plan, actor, ending, notes);
        match (&self.0, ended) {
            (Some(running), Some(notice)) => running.keep(notice).await,
            _ => Kept(None),
        }
    }

    /// Tells what was put into the outbox.
    pub fn tell(&self, kept: Kept) {
        if let Some(running) = &self.0 {
            running.tell(kept);
        }
    }

    /// Waits for what is under way, for so long at the most. The rest is for the next command.
    pub async fn finish(self, patience: Duration) {
        let Some(running) = self.0 else { return };
        let Running {
            queue,
            until,
            killed,
            mut task,
            ..
        } = running;
        drop(queue);
        let _ = until.send(Some(Instant::now() + patience));
        let ended = tokio::select! {
            biased;
            () = killed.cancelled() => false,
            ended = tokio::time::timeout(patience + RECORDING, &mut task) => ended.is_ok(),
        };
        if !ended {
            task.abort();
        }
    }
}

/// Something that is in the outbox.
#[must_use]
pub struct Kept(Option<OutboxEntry>);

impl Running {
    /// Puts something into the outbox. What it does not take is told all the same.
    async fn keep(&self, notice: Notice) -> Kept {
        let told = self.office.told.iter();
        let told = told.filter(|(_, config)| config.wants(notice.event));
        let told: Vec<NotifyName> = told.map(|(name, _)| name.clone()).collect();
        if told.is_empty() {
            return Kept(None);
        }

        let redactor = &self.office.ports.redactor;
        let mut entry = redactor.notice(OutboxEntry::new(notice, told));
        entry.notice = entry.notice.shortened();
        let store = &self.office.ports.store;
        let keeping = store.keep_notice(&self.office.environment, &entry);
        let reason = match tokio::time::timeout(KEEPING, keeping).await {
            Ok(Ok(())) => return Kept(Some(entry)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done within {} s", KEEPING.as_secs()),
        };
        let text = format!("what is reported of this run could not be kept: {reason}");
        note(&self.office, &self.sink, &text);
        Kept(Some(entry))
    }

    fn tell(&self, Kept(entry): Kept) {
        if let Some(entry) = entry {
            // Who is not there any more has been stopped.
            let _ = self.queue.send(entry);
        }
    }
}

fn note(office: &Office, sink: &Sink, text: &str) {
    let text = office.ports.redactor.text(text);
    sink(Event::Note { text });
}

/// What came of one attempt.
struct Attempted {
    name: NotifyName,
    id: String,
    result: Result<Option<Receipt>, DeliveryError>,
}

/// One who carries: the oldest first, to each who is told by itself.
struct Round {
    office: Arc<Office>,
    hold: Hold,
    sink: Sink,
    until: watch::Receiver<Option<Instant>>,
    entries: Vec<OutboxEntry>,
    pace: Pace,
    /// Those who have taken nothing, and why.
    resting: BTreeMap<NotifyName, DeliveryFault>,
    /// What was said already: a reason is said once.
    said: BTreeSet<String>,
}

impl Round {
    async fn carry(mut self, mut queued: mpsc::UnboundedReceiver<OutboxEntry>) {
        self.take_over().await;
        let mut under_way: FuturesUnordered<BoxFuture<'static, Attempted>> =
            FuturesUnordered::new();
        let mut busy: BTreeSet<NotifyName> = BTreeSet::new();
        let mut is_open = true;
        loop {
            for name in self.office.told.keys() {
                if busy.contains(name) || self.resting.contains_key(name) || self.is_over() {
                    continue;
                }
                if let Some(attempt) = self.attempt(name) {
                    busy.insert(name.clone());
                    under_way.push(attempt);
                }
            }
            tokio::select! {
                entry = queued.recv(), if is_open => match entry {
                    Some(entry) => self.add(entry),
                    None => is_open = false,
                },
                Some(attempted) = under_way.next(), if !under_way.is_empty() => {
                    busy.remove(&attempted.name);
                    self.record(attempted).await;
                }
                else => break,
            }
        }
        self.prune().await;
    }

    /// What earlier runs have left.
    async fn take_over(&mut self) {
        let store = &self.office.ports.store;
        match store.notices(&self.office.environment).await {
            Ok(entries) => self.entries = entries,
            Err(error) => {
                let text = format!("what earlier runs had to report cannot be read: {error}");
                return note(&self.office, &self.sink, &text);
            }
        }

        let now = Timestamp::now();
        for index in 0..self.entries.len() {
            let told = &self.office.told;
            let entry = &mut self.entries[index];
            let given_up = outbox::give_up(entry, |name| told.contains_key(name), now);
            if given_up.is_empty() {
                continue;
            }
            let (title, entry) = (entry.notice.title(), entry.clone());
            for name in given_up {
                let text = format!("the notification {name} is given up: {title}");
                note(&self.office, &self.sink, &text);
            }
            self.keep(&entry).await;
        }
    }

    fn add(&mut self, entry: OutboxEntry) {
        self.entries
            .retain(|other| other.notice.id != entry.notice.id);
        self.entries.push(entry);
        // It may be back. What somebody has to change first is not changed meanwhile.
        self.resting
            .retain(|_, fault| *fault == DeliveryFault::Refused);
    }

    fn is_over(&self) -> bool {
        let until = *self.until.borrow();
        until.is_some_and(|until| until <= Instant::now())
    }

    /// The next attempt to tell one of something.
    fn attempt(&self, name: &NotifyName) -> Option<BoxFuture<'static, Attempted>> {
        let entry = outbox::next(&self.entries, name, (self.pace, Timestamp::now()))?.clone();
        let thread = outbox::thread(&self.entries, name, &entry);
        let (office, hold) = (Arc::clone(&self.office), self.hold.clone());
        let (name, until) = (name.clone(), self.until.clone());
        Some(Box::pin(async move {
            let sending = async {
                // Whoever has the lock now delivers it.
                hold.confirmed().await.map_err(taken)?;
                office.send(&name, &entry.notice, thread).await
            };
            let result = tokio::select! {
                biased;
                result = sending => result,
                patience = over(until) => Err(late(patience)),
            };
            let id = entry.notice.id;
            Attempted { name, id, result }
        }))
    }

    async fn record(&mut self, attempted: Attempted) {
        let Attempted { name, id, result } = attempted;
        if let Err(error) = &result {
            self.resting.insert(name.clone(), error.kind);
            let text = format!(
                "the notification {name} was not delivered: {}; {}",
                error.reason, error.help
            );
            if self.said.insert(text.clone()) {
                note(&self.office, &self.sink, &text);
            }
        }

        let mut entries = self.entries.iter_mut();
        let Some(entry) = entries.find(|entry| entry.notice.id == id) else {
            return;
        };
        if let Some(delivery) = entry.deliveries.get_mut(&name) {
            outbox::record(delivery, result, Timestamp::now());
        }
        let entry = entry.clone();
        self.keep(&entry).await;
    }

    async fn keep(&self, entry: &OutboxEntry) {
        let store = &self.office.ports.store;
        let kept = store.keep_notice(&self.office.environment, entry).await;
        if let Err(error) = kept {
            let text =
                format!("what was reported could not be kept, and may be sent twice: {error}");
            note(&self.office, &self.sink, &text);
        }
    }

    /// What is not needed any more goes; that it cannot is no reason to say anything.
    async fn prune(&self) {
        let store = &self.office.ports.store;
        for id in outbox::surplus(&self.entries) {
            let _ = store.forget_notice(&self.office.environment, &id).await;
        }
    }
}

fn taken(error: LockLost) -> DeliveryError {
    DeliveryError {
        reason: error.to_string(),
        help: "it delivers what waits".to_owned(),
        kind: DeliveryFault::Unavailable(None),
    }
}

/// Waits until the time is over that the end of a run has: how much that was.
async fn over(mut until: watch::Receiver<Option<Instant>>) -> Duration {
    let asked = Instant::now();
    let known = until.wait_for(Option::is_some).await;
    let end = known.map_or(None, |end| *end);
    let end = end.unwrap_or_else(Instant::now);
    tokio::time::sleep_until(end).await;
    asked.elapsed()
}
