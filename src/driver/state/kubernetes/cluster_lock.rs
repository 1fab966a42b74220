//! State in one place, and the lock in the cluster as well. Whoever deploys to an environment of a
//! cluster meets there, whatever folder their own state is in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::driver::state::kubernetes::KubernetesStore;
use crate::model::command::CommandRecord;
use crate::model::journal::{Journal, JournalEntry};
use crate::model::notice::OutboxEntry;
use crate::model::release::Actor;
use crate::model::state::{LockHolder, State};
use crate::model::{EnvironmentName, ReleaseNumber};
use crate::port::StateStore;
use crate::port::hold::{Hold, clock};
use crate::port::store::{Lease, StoreError};

/// How long a renewal of the cluster's lock can be relied on, and how often it is looked for.
const FRESH: Duration = Duration::from_secs(12);
const BEAT: Duration = Duration::from_secs(4);
/// How often a lock is asked for whose place is still to be made.
const LOOK: Duration = Duration::from_millis(100);
/// How long that may be refused for other reasons than that another run has it.
const PATIENCE: Duration = Duration::from_mins(3);

/// A store of one environment whose lock is the cluster's, too.
pub struct ClusterLock {
    state: Arc<dyn StateStore>,
    cluster: Arc<KubernetesStore>,
    environment: EnvironmentName,
    /// The number that the state's own lock gave last: it knows no other.
    own_fence: AtomicU64,
}

impl ClusterLock {
    /// State as `state` keeps it, under a lock in the environment's home.
    #[must_use]
    pub fn new(
        state: Arc<dyn StateStore>,
        cluster: KubernetesStore,
        environment: EnvironmentName,
    ) -> Self {
        Self {
            state,
            cluster: Arc::new(cluster),
            environment,
            own_fence: AtomicU64::new(0),
        }
    }

    /// The cluster's lock, for what happens to this environment.
    fn shared(&self, environment: &EnvironmentName) -> Option<&Arc<KubernetesStore>> {
        (*environment == self.environment).then_some(&self.cluster)
    }

    /// The state's own lock, while both are held.
    fn own(&self, lease: &dyn Lease, environment: &EnvironmentName) -> Result<Own, StoreError> {
        if lease.lost().is_cancelled() {
            return Err(StoreError::Lost {
                environment: environment.clone(),
                reason: "another run has it".to_owned(),
            });
        }
        Ok(Own(self.own_fence.load(Ordering::Relaxed)))
    }
}

#[async_trait]
impl StateStore for ClusterLock {
    fn place(&self, environment: &EnvironmentName) -> String {
        self.state.place(environment)
    }

    async fn read(&self, environment: &EnvironmentName) -> Result<Option<State>, StoreError> {
        self.state.read(environment).await
    }

    async fn save(&self, lease: &dyn Lease, state: &State) -> Result<(), StoreError> {
        let own = self.own(lease, &state.environment)?;
        self.state.save(&own, state).await
    }

    async fn replace(&self, lease: &dyn Lease, state: &State) -> Result<State, StoreError> {
        let own = self.own(lease, &state.environment)?;
        self.state.replace(&own, state).await
    }

    async fn lock(
        &self,
        environment: &EnvironmentName,
        actor: &Actor,
        command: &str,
        fence_above: u64,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, StoreError> {
        let began = Instant::now();
        let state = &self.state;
        let own = state
            .lock(environment, actor, command, fence_above, wait)
            .await?;
        let Some(cluster) = self.shared(environment) else {
            return Ok(own);
        };
        self.own_fence.store(own.fence(), Ordering::Relaxed);

        // One wait for both.
        let above = fence_above.max(own.fence().saturating_sub(1));
        let rest = wait.saturating_sub(began.elapsed());
        let shared = cluster.lock(environment, actor, command, above, rest).await;
        let taker = Taker {
            cluster: Arc::clone(cluster),
            environment: environment.clone(),
            actor: actor.clone(),
            command: command.to_owned(),
        };
        match shared {
            Ok(shared) => Ok(Box::new(Both::begin(taker, own, Some(shared)))),
            // The place of the lock is still to be made, and nobody can hold it yet.
            Err(StoreError::Absent { .. }) => Ok(Box::new(Both::begin(taker, own, None))),
            Err(error) => {
                let _ = own.release().await;
                Err(error)
            }
        }
    }

    async fn holder(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        // Who may not read the lock may still read the state.
        if let Some(cluster) = self.shared(environment)
            && let Ok(Some(holder)) = cluster.holder(environment).await
        {
            return Ok(Some(holder));
        }
        self.state.holder(environment).await
    }

    async fn request_abort(&self, environment: &EnvironmentName) -> Result<bool, StoreError> {
        let own = self.state.request_abort(environment).await?;
        match self.shared(environment) {
            Some(cluster) => Ok(there(cluster.request_abort(environment).await)? || own),
            None => Ok(own),
        }
    }

    async fn break_lock(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        let own = self.state.break_lock(environment).await?;
        match self.shared(environment) {
            Some(cluster) => Ok(there(cluster.break_lock(environment).await)?.or(own)),
            None => Ok(own),
        }
    }

    async fn append(
        &self,
        environment: &EnvironmentName,
        run: &str,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        self.state.append(environment, run, entry).await
    }

    async fn keep_failure(
        &self,
        environment: &EnvironmentName,
        release: ReleaseNumber,
        files: &BTreeMap<String, String>,
    ) -> Result<Option<String>, StoreError> {
        self.state.keep_failure(environment, release, files).await
    }

    async fn last_journal(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<Journal>, StoreError> {
        self.state.last_journal(environment).await
    }

    async fn journals(&self, environment: &EnvironmentName) -> Result<Vec<Journal>, StoreError> {
        self.state.journals(environment).await
    }

    async fn keep_journals(
        &self,
        environment: &EnvironmentName,
        journals: &[Journal],
    ) -> Result<usize, StoreError> {
        self.state.keep_journals(environment, journals).await
    }

    async fn keep_commands(
        &self,
        environment: &EnvironmentName,
        records: &[CommandRecord],
    ) -> Result<usize, StoreError> {
        self.state.keep_commands(environment, records).await
    }

    async fn commands(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        self.state.commands(environment).await
    }

    async fn keep_notice(
        &self,
        environment: &EnvironmentName,
        entry: &OutboxEntry,
    ) -> Result<(), StoreError> {
        self.state.keep_notice(environment, entry).await
    }

    async fn notices(&self, environment: &EnvironmentName) -> Result<Vec<OutboxEntry>, StoreError> {
        self.state.notices(environment).await
    }

    async fn forget_notice(
        &self,
        environment: &EnvironmentName,
        id: &str,
    ) -> Result<(), StoreError> {
        self.state.forget_notice(environment, id).await
    }

    async fn environments(&self) -> Result<Vec<EnvironmentName>, StoreError> {
        self.state.environments().await
    }
}

/// What was found at a place that need not be there: nothing, when it is not.
fn there<T: Default>(found: Result<T, StoreError>) -> Result<T, StoreError> {
    match found {
        Err(StoreError::Absent { .. }) => Ok(T::default()),
        other => other,
    }
}

/// The state's own lock, as it sees itself.
struct Own(u64);

#[async_trait]
impl Lease for Own {
    fn fence(&self) -> u64 {
        self.0
    }

    fn hold(&self) -> Hold {
        Hold::none()
    }

    fn abort_requested(&self) -> CancellationToken {
        CancellationToken::new()
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Who takes the cluster's lock, and for what.
#[derive(Clone)]
struct Taker {
    cluster: Arc<KubernetesStore>,
    environment: EnvironmentName,
    actor: Actor,
    command: String,
}

impl Taker {
    /// Waits until the lock's place was made, and takes it; none when another run was there before.
    async fn late(&self, fence: u64) -> Option<Box<dyn Lease>> {
        let began = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let above = fence.saturating_sub(1);
            let (environment, command) = (&self.environment, &self.command);
            let taken = self
                .cluster
                .lock(environment, &self.actor, command, above, Duration::ZERO)
                .await;
            match taken {
                Ok(lease) if lease.fence() == fence => return Some(lease),
                // Another run had it and is done: what this one has planned is for the world
                // before.
                Ok(lease) => {
                    let _ = lease.release().await;
                    return None;
                }
                Err(StoreError::Absent { .. }) => {}
                // A namespace on its way out, or just made, refuses for a while.
                Err(StoreError::Remote { .. }) if began.elapsed() < PATIENCE => {}
                Err(_) => return None,
            }
        }
    }
}

type Shared = Arc<Mutex<Option<Box<dyn Lease>>>>;

/// Both locks, held.
struct Both {
    taker: Taker,
    own: Box<dyn Lease>,
    shared: Shared,
    fence: u64,
    hold: Hold,
    abort: CancellationToken,
    watch: tokio::task::JoinHandle<()>,
}

impl Both {
    fn begin(taker: Taker, own: Box<dyn Lease>, shared: Option<Box<dyn Lease>>) -> Self {
        let fence = shared.as_ref().map_or(own.fence(), |shared| shared.fence());
        let first = shared.as_ref().map_or(own.hold(), |shared| shared.hold());
        let hold = Hold::new(FRESH, clock().saturating_sub(first.age()));
        let abort = CancellationToken::new();
        let shared = Arc::new(Mutex::new(shared));
        let watch = Watch {
            own: (own.hold(), own.abort_requested()),
            both: (hold.clone(), abort.clone()),
            shared: Arc::clone(&shared),
            taker: taker.clone(),
            fence,
        };

        let watch = tokio::spawn(watch.go_on());
        Self {
            taker,
            own,
            shared,
            fence,
            hold,
            abort,
            watch,
        }
    }
}

/// Hands on what happens to either lock: whether it is held, and whether the run is asked to abort.
struct Watch {
    own: (Hold, CancellationToken),
    both: (Hold, CancellationToken),
    shared: Shared,
    taker: Taker,
    fence: u64,
}

impl Watch {
    async fn go_on(self) {
        let own_lost = self.own.0.lost();
        tokio::select! {
            () = self.follow() => {}
            () = own_lost.cancelled() => {}
        }
        self.both.0.lose();
    }

    /// Follows the cluster's lock until another run has it.
    async fn follow(&self) {
        while let Some((hold, abort)) = self.shared().await {
            tokio::select! {
                () = self.renewed_by(&hold) => {}
                () = self.asked(&abort) => {}
            }
            if !self.went_with_its_place().await {
                return;
            }
        }
    }

    /// What the cluster's lock says, once it is there; none when it cannot be had. Until then the
    /// state's own counts.
    async fn shared(&self) -> Option<(Hold, CancellationToken)> {
        let mut shared = self.shared.lock().await;
        if shared.is_none() {
            tokio::select! {
                late = self.taker.late(self.fence) => *shared = late,
                () = self.renewed_by(&self.own.0) => {}
            }
        }
        let lease = shared.as_ref()?;
        Some((lease.hold(), lease.abort_requested()))
    }

    /// Takes each renewal over from a lock that is renewed itself, until that is lost.
    async fn renewed_by(&self, from: &Hold) {
        let both = &self.both.0;
        while from.confirmed().await.is_ok() {
            both.renew(clock().saturating_sub(from.age()));
            tokio::select! {
                () = tokio::time::sleep(BEAT) => {}
                () = both.wanted() => {}
                () = from.lost().cancelled_owned() => return,
            }
        }
    }

    /// Hands on that somebody wants the run aborted; there is nothing more to hear then.
    async fn asked(&self, abort: &CancellationToken) {
        tokio::select! {
            () = abort.cancelled() => {}
            () = self.own.1.cancelled() => {}
        }
        self.both.1.cancel();
        std::future::pending::<()>().await;
    }

    /// Whether the lock is not another's but gone with its namespace, as `destroy` may do. It is
    /// taken again where there is a place for it.
    async fn went_with_its_place(&self) -> bool {
        let there = self.taker.cluster.has_lock(&self.taker.environment).await;
        let is_gone = matches!(there, Ok(false));
        if is_gone {
            *self.shared.lock().await = None;
        }
        is_gone
    }
}

#[async_trait]
impl Lease for Both {
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
        self.watch.abort();
        // The state's own goes first: while the cluster's is held nobody else comes in.
        let own = self.own.release().await;
        let shared = self.shared.lock().await.take();
        if let Some(shared) = shared {
            shared.release().await?;
            if self.taker.command == "destroy" {
                let taker = &self.taker;
                taker.cluster.forget_lock(&taker.environment).await?;
            }
        }
        own
    }
}
