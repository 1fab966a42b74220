//! Forward: the graph of steps, and what is done when one of them fails or somebody stops the run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::execute::perform::{Done, StepError, perform};
use crate::execute::{Begun, Run, WIDTH, back, bundle, log};
use crate::model::journal::Direction;
use crate::model::plan::{Action, Step, StepId};
use crate::rollout::{Cause, Decision, End, Event, Reach, Rollout, Traffic};

/// Carries out the plan's steps, and its reverse if need be.
pub(super) async fn carry_out(run: &Arc<Run>) -> End {
    if let Err(error) = log::began(run).await {
        return End::Failed(error.to_string());
    }
    let mut forward = Forward::new(run);
    loop {
        forward.begin_what_can().await;
        if forward.under_way.is_empty() {
            match forward.rollout.on(Event::Idle) {
                Decision::End(end) => return end,
                Decision::GoBack => return forward.go_back().await,
                // Only reached when a step that was begun was refused: nothing is under way, so ask again.
                _ => continue,
            }
        }
        if let Some(end) = forward.wait().await {
            return end;
        }
    }
}

type Ended = (StepId, Instant, Result<Done, StepError>);

struct Forward<'a> {
    run: &'a Arc<Run>,
    rollout: Rollout,
    order: Order<'a>,
    begun: Begun,
    under_way: JoinSet<Ended>,
}

impl<'a> Forward<'a> {
    fn new(run: &'a Arc<Run>) -> Self {
        let order = Order::new(&run.plan().steps);
        Self {
            run,
            rollout: Rollout::default(),
            order,
            begun: Begun::new(),
            under_way: JoinSet::new(),
        }
    }

    async fn begin_what_can(&mut self) {
        while self.rollout.may_begin()
            && self
                .order
                .peek()
                .is_some_and(|step| self.under_way.len() < width(step))
        {
            // What came from outside is heard before anything is begun.
            if let Some(cause) = self.heard() {
                self.stop(cause);
                return;
            }
            let Some(step) = self.order.next() else {
                return;
            };
            self.rollout.on(Event::Begins(Reach::of(&step.action)));
            self.begun.insert(step.id);
            if let Err(error) = log::intent(self.run, step, Direction::Forward).await {
                self.begun.remove(&step.id);
                self.stop(Cause::Failed(error.to_string()));
                return;
            }
            let (run, step) = (Arc::clone(self.run), step.clone());
            self.under_way.spawn(async move {
                let since = Instant::now();
                (
                    step.id,
                    since,
                    perform(&run, &step, Direction::Forward).await,
                )
            });
        }
    }

    fn heard(&self) -> Option<Cause> {
        let stops = &self.run.job.stops;
        if stops.lock_lost.is_cancelled() {
            Some(Cause::LockLost)
        } else if stops.killed.is_cancelled() {
            Some(Cause::Killed)
        } else if stops.interrupted.is_cancelled() {
            Some(Cause::Interrupted)
        } else {
            None
        }
    }

    fn stop(&mut self, cause: Cause) -> Option<End> {
        self.run.soft.cancel();
        match self.rollout.on(Event::Stops(cause)) {
            Decision::End(end) => Some(end),
            _ => None,
        }
    }

    /// Waits for the next thing to happen: a step ends, or somebody stops the run.
    async fn wait(&mut self) -> Option<End> {
        let stops = self.run.job.stops.clone();
        let forward = self.rollout.may_begin();
        tokio::select! {
            biased;
            () = stops.lock_lost.cancelled() => self.stop(Cause::LockLost),
            () = stops.killed.cancelled() => self.stop(Cause::Killed),
            Some(joined) = self.under_way.join_next() => self.ended(joined).await,
            () = stops.interrupted.cancelled(), if forward => self.stop(Cause::Interrupted),
        }
    }

    async fn ended(&mut self, joined: Result<Ended, tokio::task::JoinError>) -> Option<End> {
        let (id, since, result) = match joined {
            Ok(ended) => ended,
            Err(panic) => {
                return self.stop(Cause::Failed(format!(
                    "a step ended in a fault of shipit: {panic}"
                )));
            }
        };
        let step = self.run.plan().step(id)?;
        match result {
            Ok(done) => {
                self.order.done(id);
                match log::done(self.run, step, Direction::Forward, &done, since).await {
                    Ok(()) => None,
                    Err(error) => self.stop(Cause::Failed(error.to_string())),
                }
            }
            // A step that was told to stop has not failed.
            Err(StepError::Stopped) => None,
            Err(error) => {
                log::failed(self.run, step, Direction::Forward, &error).await;
                bundle::gather(self.run, step, &error.reason()).await;
                let cause = error.cause(&step.address);
                self.stop(cause)
            }
        }
    }

    async fn go_back(mut self) -> End {
        let event = match back::carry_out(self.run, &self.begun).await {
            Ok(back) => Event::WentBack(back),
            Err(cause) => Event::Stops(cause),
        };
        match self.rollout.on(event) {
            Decision::End(end) => end,
            _ => End::Interrupted(Traffic::Unknown),
        }
    }
}

/// How many steps may be under way when this one begins. Objects cost a few requests each, and there may be many.
const fn width(step: &Step) -> usize {
    match step.action {
        Action::Apply { .. } | Action::Delete => 4 * WIDTH,
        _ => WIDTH,
    }
}

/// Which steps may begin: those whose needs are done.
struct Order<'a> {
    steps: BTreeMap<StepId, &'a Step>,
    /// How many needs of a step are not done yet.
    open: BTreeMap<StepId, usize>,
    /// Who needs a step.
    needed_by: BTreeMap<StepId, Vec<StepId>>,
    free: VecDeque<StepId>,
}

impl<'a> Order<'a> {
    fn new(steps: &'a [Step]) -> Self {
        let mut order = Self {
            steps: steps.iter().map(|step| (step.id, step)).collect(),
            open: BTreeMap::new(),
            needed_by: BTreeMap::new(),
            free: VecDeque::new(),
        };
        for step in steps {
            let needs: BTreeSet<StepId> = step.needs.iter().copied().collect();
            for need in &needs {
                order.needed_by.entry(*need).or_default().push(step.id);
            }
            if needs.is_empty() {
                order.free.push_back(step.id);
            }
            order.open.insert(step.id, needs.len());
        }
        order
    }

    fn peek(&self) -> Option<&'a Step> {
        self.free.front().map(|id| self.steps[id])
    }

    fn next(&mut self) -> Option<&'a Step> {
        self.free.pop_front().map(|id| self.steps[&id])
    }

    fn done(&mut self, id: StepId) {
        for waiting in self.needed_by.remove(&id).unwrap_or_default() {
            let open = self.open.entry(waiting).or_insert(1);
            *open -= 1;
            if *open == 0 {
                self.free.push_back(waiting);
            }
        }
    }
}
