//! Taking, renewing and giving back a lock, wherever it is kept. What differs by place is how one
//! change of it is made while nobody else makes one ([`LockPlace`]); the rule is
//! [`crate::model::lease`]'s.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::files::process;
use crate::model::EnvironmentName;
use crate::model::lease::{Life, LockVerdict, Process, Sign, Watch, seems_silent};
use crate::model::release::Actor;
use crate::model::state::LockHolder;
use crate::port::hold::{Hold, clock};
use crate::port::store::{Lease, StoreError};

/// How long one renewal may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// What is kept of a lock. The fence stays when the holder has gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::driver) struct Lock {
    /// The highest fencing number that was ever given.
    pub fence: u64,
    pub holder: Option<LockHolder>,
    /// The fence of the run that somebody wants aborted.
    #[serde(default)]
    pub abort: Option<u64>,
}

/// How often things are done about a lock: what is cheap in a folder is not so in a cluster.
#[derive(Debug, Clone, Copy)]
pub(in crate::driver) struct Pace {
    /// How often the holder says that it lives.
    pub beat: Duration,
    /// How often a waiting taker looks.
    pub poll: Duration,
    /// After how long without a sign of life a holder counts as dead, unless its process can be
    /// looked at.
    pub expiry: Duration,
}

impl Pace {
    /// How long a renewal can be relied on: a beat may be late, and one may fail.
    const fn fresh(self) -> Duration {
        self.beat.saturating_mul(3)
    }
}

/// Where a lock is kept.
pub(in crate::driver) trait LockPlace: Clone + Send + Sync + 'static {
    fn environment(&self) -> &EnvironmentName;

    fn pace(&self) -> Pace;

    fn read(&self) -> impl Future<Output = Result<Lock, StoreError>> + Send;

    /// Changes the lock while nobody else does. `change` may be asked several times, each time with
    /// what stands there now; none leaves the lock as it is.
    fn change<T: Send + 'static>(
        &self,
        change: impl FnMut(&mut Lock) -> Result<Option<T>, StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<Option<T>, StoreError>> + Send;
}

/// This process, as a lock names it. One that cannot look at itself, for want of a descriptor, is
/// one that nobody can look at: its signs alone tell.
fn here() -> Process {
    let pid = std::process::id();
    let started = process::look(pid).ok().flatten();
    Process {
        machine: process::machine(),
        boot: started.map_or_else(String::new, |_| process::boot()),
        pid_namespace: process::pid_namespace(),
        pid,
        started: started.unwrap_or_default(),
    }
}

fn life(holder: &LockHolder) -> Life {
    // A record of before has no process in it: only its signs tell.
    holder
        .process
        .as_ref()
        .map_or(Life::Unseen, |process| process.life(&here(), process::look))
}

/// Who holds the lock, as far as one look tells: who is not seen to be dead, and gave a sign not
/// long ago.
pub(in crate::driver) async fn holder(
    place: &impl LockPlace,
) -> Result<Option<LockHolder>, StoreError> {
    let may_live = |holder: &LockHolder| match life(holder) {
        Life::Lives => true,
        Life::Ended => false,
        Life::Unseen => !seems_silent(holder, Timestamp::now(), place.pace().expiry),
    };
    Ok(place.read().await?.holder.filter(may_live))
}

/// Asks the run that holds the lock to abort. One that may be dead is asked all the same.
pub(in crate::driver) async fn request_abort(place: &impl LockPlace) -> Result<bool, StoreError> {
    // Where the answer to a write was lost, it is asked again: whoever has the lock by then was not
    // meant.
    let mut meant = None;
    let asked = place.change(move |lock| {
        let holder = lock.holder.as_ref();
        let fence = holder
            .filter(|holder| life(holder) != Life::Ended)
            .map(|holder| holder.fence);
        if *meant.get_or_insert(fence) != fence {
            return Ok(None);
        }
        lock.abort = fence.or(lock.abort);
        Ok(fence)
    });
    Ok(asked.await?.is_some())
}

/// Takes the lock away from whoever has it.
pub(in crate::driver) async fn break_lock(
    place: &impl LockPlace,
) -> Result<Option<LockHolder>, StoreError> {
    let mut meant = None;
    let broken = place.change(move |lock| {
        let fence = lock.holder.as_ref().map(|holder| holder.fence);
        if *meant.get_or_insert(fence) != fence {
            return Ok(None);
        }
        Ok(lock.holder.take())
    });
    broken.await
}

/// Fails when the lock is not this fence's any more.
pub(in crate::driver) fn still_held(
    lock: &Lock,
    fence: u64,
    environment: &EnvironmentName,
) -> Result<(), StoreError> {
    let reason = match &lock.holder {
        Some(holder) if holder.fence == fence => return Ok(()),
        Some(holder) => format!("{} has it now, for `{}`", holder.actor, holder.command),
        None => "somebody took it away".to_owned(),
    };
    Err(StoreError::Lost {
        environment: environment.clone(),
        reason,
    })
}

/// Who wants the lock.
#[derive(Debug, Clone)]
pub(in crate::driver) struct Taker {
    pub actor: Actor,
    pub command: String,
    /// The number must be above this.
    pub fence_above: u64,
}

/// Takes the lock, waiting for a living holder `wait` at the most. A holder that cannot be seen and
/// seems to have been silent for long is watched until it would have expired even so: only watching
/// tells whether it is dead.
pub(in crate::driver) async fn take(
    place: impl LockPlace,
    taker: Taker,
    wait: Duration,
) -> Result<Box<dyn Lease>, StoreError> {
    let began = Instant::now();
    let expiry = place.pace().expiry;
    let mut watch = Watch::new(expiry);

    // Mostly nobody has it, and one look is enough.
    let asked = clock();
    if let Some(fence) = take_from(&place, &taker, None).await? {
        return Ok(Box::new(Held::begin(place, fence, asked)));
    }
    loop {
        let asked = clock();
        let free = match place.read().await?.holder {
            None => None,
            Some(holder) => match judge(&mut watch, &holder, began, expiry) {
                Ok(sign) => Some(sign),
                Err(patience) if began.elapsed() < wait.max(patience) => {
                    tokio::time::sleep(place.pace().poll).await;
                    continue;
                }
                Err(_) => return Err(locked(&place, holder)),
            },
        };
        if let Some(fence) = take_from(&place, &taker, free).await? {
            return Ok(Box::new(Held::begin(place, fence, asked)));
        }
    }
}

/// The sign of a holder that is dead; else for how long, from the beginning, it is worth to go on
/// watching.
fn judge(
    watch: &mut Watch,
    holder: &LockHolder,
    began: Instant,
    expiry: Duration,
) -> Result<Sign, Duration> {
    let sign = Sign::of(holder);
    match watch.judge(life(holder), &sign, began.elapsed()) {
        LockVerdict::Free => Ok(sign),
        LockVerdict::Held {
            silent_for_another: Some(left),
        } if !watch.saw_a_sign() && seems_silent(holder, Timestamp::now(), expiry) => {
            Err(began.elapsed() + left + Duration::from_secs(1))
        }
        LockVerdict::Held { .. } => Err(Duration::ZERO),
    }
}

fn locked(place: &impl LockPlace, holder: LockHolder) -> StoreError {
    StoreError::Locked {
        environment: place.environment().clone(),
        holder: Box::new(holder),
    }
}

/// The new fence, if the lock is still nobody's, or still the dead holder's whose sign this is.
async fn take_from(
    place: &impl LockPlace,
    taker: &Taker,
    dead: Option<Sign>,
) -> Result<Option<u64>, StoreError> {
    let taker = taker.clone();
    let (now, process) = (Timestamp::now(), here());
    place
        .change(move |lock| {
            // A write whose answer was lost, and that somebody's wish to abort came behind.
            let own = lock.holder.as_ref().filter(|holder| {
                holder.process.as_ref() == Some(&process)
                    && holder.since == now
                    && holder.actor == taker.actor
            });
            if let Some(own) = own {
                return Ok(Some(own.fence));
            }
            if lock.holder.as_ref().map(Sign::of) != dead {
                return Ok(None);
            }
            let last = lock.fence.max(taker.fence_above);
            let fence = last.checked_add(1).ok_or_else(|| StoreError::Damaged {
                path: "the lock".to_owned(),
                reason: format!("its number is {last}, above which there is none"),
                help: "somebody has written it by hand: put a smaller number there".to_owned(),
            })?;
            let process = process.clone();
            let holder = LockHolder {
                actor: taker.actor.clone(),
                pid: process.pid,
                pid_started: process.started,
                process: Some(process),
                command: taker.command.clone(),
                since: now,
                heartbeat: now,
                beats: 0,
                fence,
            };
            *lock = Lock {
                fence,
                holder: Some(holder),
                abort: None,
            };
            Ok(Some(fence))
        })
        .await
}

/// A held lock, with its heartbeat.
struct Held<P: LockPlace> {
    place: P,
    fence: u64,
    hold: Hold,
    abort: CancellationToken,
    heart: tokio::task::JoinHandle<()>,
}

impl<P: LockPlace> Held<P> {
    fn begin(place: P, fence: u64, asked: Duration) -> Self {
        let hold = Hold::new(place.pace().fresh(), asked);
        let abort = CancellationToken::new();
        let heart = tokio::spawn(beat(place.clone(), fence, hold.clone(), abort.clone()));
        Self {
            place,
            fence,
            hold,
            abort,
            heart,
        }
    }
}

/// Says that the holder lives, until the lock is lost. A heartbeat that cannot be written (a full
/// disk, a server that does not answer) is tried again until the lock would have expired for
/// others; meanwhile nobody acts under it.
async fn beat(place: impl LockPlace, fence: u64, hold: Hold, abort: CancellationToken) {
    let times = place.pace();
    let mut failing: Option<Instant> = None;
    while failing.is_none_or(|since| since.elapsed() < times.expiry) {
        tokio::select! {
            () = tokio::time::sleep(times.beat) => {}
            () = hold.wanted() => {}
        }
        let asked = clock();

        match tokio::time::timeout(ATTEMPT, renew(&place, fence)).await {
            Ok(Ok(abort_asked)) => {
                failing = None;
                hold.renew(asked);
                if abort_asked {
                    abort.cancel();
                }
            }
            Ok(Err(StoreError::Lost { .. })) => break,
            Ok(Err(_)) | Err(_) => {
                failing.get_or_insert_with(Instant::now);
                // Whoever waits for a renewal asks for it at once.
                tokio::time::sleep(times.poll).await;
            }
        }
    }
    hold.lose();
}

/// Whether somebody wants this run aborted.
async fn renew(place: &impl LockPlace, fence: u64) -> Result<bool, StoreError> {
    let environment = place.environment().clone();
    let renewed = place.change(move |lock| {
        still_held(lock, fence, &environment)?;
        if let Some(holder) = &mut lock.holder {
            holder.heartbeat = Timestamp::now();
            holder.beats += 1;
        }
        Ok(Some(lock.abort == Some(fence)))
    });
    Ok(renewed.await? == Some(true))
}

#[async_trait]
impl<P: LockPlace> Lease for Held<P> {
    fn fence(&self) -> u64 {
        self.fence
    }

    fn hold(&self) -> Hold {
        self.hold.clone()
    }

    fn abort_requested(&self) -> CancellationToken {
        self.abort.clone()
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        self.heart.abort();
        let fence = self.fence;
        let given = self.place.change(move |lock| {
            let is_own = lock
                .holder
                .as_ref()
                .is_some_and(|holder| holder.fence == fence);
            if is_own {
                lock.holder = None;
            }
            Ok(is_own.then_some(()))
        });
        given.await.map(drop)
    }
}

impl<P: LockPlace> Drop for Held<P> {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// What others make of a lock.
    type Others = fn(&mut Lock);

    /// A lock in memory.
    #[derive(Clone)]
    struct Memory {
        lock: Arc<Mutex<Lock>>,
        environment: EnvironmentName,
        expiry: Duration,
        /// What others make of the lock once the next write has happened, whose answer is lost.
        lost: Arc<Mutex<Option<Others>>>,
    }

    impl Memory {
        fn held_by(holder: LockHolder, expiry: Duration) -> Self {
            let lock = Lock {
                fence: holder.fence,
                holder: Some(holder),
                abort: None,
            };
            Self {
                lock: Arc::new(Mutex::new(lock)),
                environment: "staging".parse().expect("a name"),
                expiry,
                lost: Arc::default(),
            }
        }

        /// The same, where the answer to the next write is lost, and others come between.
        fn losing(self, others: Others) -> Self {
            *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(others);
            self
        }

        fn with<T>(&self, see: impl FnOnce(&mut Lock) -> T) -> T {
            see(&mut self.lock.lock().unwrap_or_else(PoisonError::into_inner))
        }

        async fn take(&self, wait: Duration) -> Result<u64, StoreError> {
            let taker = Taker {
                actor: actor(),
                command: "apply".to_owned(),
                fence_above: 0,
            };
            take(self.clone(), taker, wait)
                .await
                .map(|lease| lease.fence())
        }
    }

    impl LockPlace for Memory {
        fn environment(&self) -> &EnvironmentName {
            &self.environment
        }

        fn pace(&self) -> Pace {
            Pace {
                beat: Duration::from_millis(20),
                poll: Duration::from_millis(5),
                expiry: self.expiry,
            }
        }

        async fn read(&self) -> Result<Lock, StoreError> {
            Ok(self.with(|lock| lock.clone()))
        }

        async fn change<T: Send + 'static>(
            &self,
            mut change: impl FnMut(&mut Lock) -> Result<Option<T>, StoreError> + Send + 'static,
        ) -> Result<Option<T>, StoreError> {
            let lost = self
                .lost
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            self.with(|lock| {
                if let Some(others) = lost {
                    change(lock)?;
                    others(lock);
                }
                let mut changed = lock.clone();
                let result = change(&mut changed)?;
                if result.is_some() {
                    *lock = changed;
                }
                Ok(result)
            })
        }
    }

    fn actor() -> Actor {
        Actor {
            user: "kim".to_owned(),
            host: process::host(),
            run: "r".to_owned(),
            ci: None,
        }
    }

    /// A holder on a machine of the same name that cannot be seen from here.
    fn elsewhere(heartbeat: Timestamp) -> LockHolder {
        let process = Process {
            boot: "another".to_owned(),
            ..here()
        };
        LockHolder {
            actor: actor(),
            pid: process.pid,
            pid_started: process.started,
            process: Some(process),
            command: "apply".to_owned(),
            since: heartbeat,
            heartbeat,
            beats: 0,
            fence: 7,
        }
    }

    fn in_hours(hours: i64) -> Timestamp {
        Timestamp::now() + jiff::SignedDuration::from_hours(hours)
    }

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_living_holder_keeps_its_lock_whatever_its_clock_says() {
        for clock in [-24, 0, 24] {
            let place = Memory::held_by(elsewhere(in_hours(clock)), LONG);
            let other = place.clone();
            let beats = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    other.with(|lock| lock.holder.as_mut().expect("held").beats += 1);
                }
            });
            let taken = place.take(Duration::ZERO).await;
            assert!(
                matches!(taken, Err(StoreError::Locked { .. })),
                "{clock} h: {taken:?}"
            );
            beats.abort();
        }
    }

    #[tokio::test]
    async fn a_silent_holder_is_dead_whatever_its_clock_said() {
        for clock in [-24, 24] {
            let place = Memory::held_by(elsewhere(in_hours(clock)), SHORT);
            assert_eq!(
                place.take(Duration::ZERO).await.expect("taken"),
                8,
                "{clock} h"
            );
        }
        let place = Memory::held_by(elsewhere(in_hours(0)), SHORT);
        assert_eq!(place.take(LONG).await.expect("taken"), 8);
    }

    #[tokio::test]
    async fn a_holder_that_has_ended_here_needs_no_waiting_and_one_that_runs_is_never_dead() {
        let mut holder = elsewhere(in_hours(0));
        holder.process = Some(Process {
            started: 0,
            ..here()
        });
        let place = Memory::held_by(holder.clone(), LONG);
        assert_eq!(place.take(Duration::ZERO).await.expect("taken"), 8);

        holder.heartbeat = in_hours(-24);
        holder.process = Some(here());
        let place = Memory::held_by(holder, SHORT);
        let taken = place.take(SHORT * 2).await;
        assert!(matches!(taken, Err(StoreError::Locked { .. })), "{taken:?}");
    }

    #[tokio::test]
    async fn a_record_without_a_process_is_judged_by_its_signs_alone() {
        let old = format!(
            r#"{{"fence":3,"holder":{{"actor":{{"user":"kim","host":"{}","run":"r"}},"pid":1,"pid_started":1,
                "command":"apply","since":"2026-01-01T00:00:00Z","heartbeat":"2026-01-01T00:00:00Z","fence":3}}}}"#,
            process::host()
        );
        let lock: Lock = serde_json::from_str(&old).expect("an old record");
        let place = Memory::held_by(lock.holder.expect("a holder"), SHORT);
        assert_eq!(place.take(Duration::ZERO).await.expect("taken"), 4);
    }

    /// The holder has gone, and this one has the lock.
    fn next_holder(lock: &mut Lock) {
        let holder = LockHolder {
            fence: 8,
            ..elsewhere(in_hours(0))
        };
        *lock = Lock {
            fence: 8,
            holder: Some(holder),
            abort: None,
        };
    }

    #[tokio::test]
    async fn what_is_sent_twice_does_not_reach_the_next_holder() {
        let place = || Memory::held_by(elsewhere(in_hours(0)), LONG).losing(next_holder);
        let asked = place();
        assert!(!request_abort(&asked).await.expect("an answer"));
        assert_eq!(asked.with(|lock| lock.abort), None);

        let broken = place();
        assert_eq!(break_lock(&broken).await.expect("an answer"), None);
        let holder = broken.with(|lock| lock.holder.clone());
        assert_eq!(holder.map(|holder| holder.fence), Some(8));
    }

    #[tokio::test]
    async fn a_lock_whose_taking_was_not_answered_is_held() {
        let place = Memory::held_by(elsewhere(in_hours(-24)), SHORT);
        place.with(|lock| lock.holder = None);
        let place = place.losing(|lock| lock.abort = Some(lock.fence));
        assert_eq!(place.take(Duration::ZERO).await.expect("taken"), 8);
        assert_eq!(place.with(|lock| lock.abort), Some(8), "the wish is kept");
    }

    #[tokio::test]
    async fn a_lock_that_was_taken_away_is_lost_and_one_that_is_renewed_is_not() {
        let place = Memory::held_by(elsewhere(in_hours(-24)), SHORT);
        let taker = Taker {
            actor: actor(),
            command: "apply".to_owned(),
            fence_above: 0,
        };
        let lease = take(place.clone(), taker, Duration::ZERO)
            .await
            .expect("taken");
        assert_eq!(lease.hold().confirmed().await, Ok(()));
        let before = place.with(|lock| lock.holder.as_ref().map(|holder| holder.beats));
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let now = place.with(|lock| lock.holder.as_ref().map(|holder| holder.beats));
            if now > before {
                break;
            }
        }
        break_lock(&place).await.expect("broken");
        lease.lost().cancelled().await;
        assert!(lease.hold().confirmed().await.is_err());
    }
}
