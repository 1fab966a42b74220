//! Forward: the graph of steps, and what is done when one of them fails or somebody stops the run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::execute::hooks::{self, HookError, Stages};
use crate::execute::step::outcome::{Done, StepError};
use crate::execute::step::perform;
use crate::execute::{Begun, Run, WIDTH, back, bundle, log};
use crate::model::Address;
use crate::model::event::Event;
use crate::model::hook::{HookPoint, HookStage};
use crate::model::journal::Direction;
use crate::model::plan::{Step, StepId};
use crate::rollout::{
    AtRest, Back, Cause, CutOff, End, GoingBack, Impact, Rollout, destroyed, is_left_behind,
    no_rollback, touches_live,
};

/// How long steps that are dropped in the middle may take to be gone.
const LEAVING: Duration = Duration::from_secs(1);

/// Carries out the plan's steps, and its reverse if need be.
pub(super) async fn carry_out(run: &Arc<Run>) -> End {
    let mut forward = Forward::new(run);

    // What cuts a run off is heard whatever is being waited for: a step, a journal, a server that
    // does not answer.
    let rested = tokio::select! {
        biased;
        by = run.cut_off() => Err(by),
        rested = forward.until_at_rest() => rested,
    };

    match rested {
        Err(by) => {
            // They are dropped, and with them the processes that they have started.
            let _ = timeout(LEAVING, forward.under_way.shutdown()).await;
            forward.rollout.cut_off(by)
        }
        Ok(()) => match forward.rollout.at_rest() {
            AtRest::End(end) => end,
            AtRest::GoBack(going) => match no_rollback(run.plan(), &forward.begun) {
                Some(reason) => going.ended(Back::Failed(reason)),
                None => go_back(run, &forward.begun, going).await,
            },
        },
    }
}

async fn go_back(run: &Arc<Run>, begun: &Begun, going: GoingBack) -> End {
    let moves_back = hooks::has_begun(run.plan(), begun, HookStage::Switch);
    // A rollback is never held up: what is called before it is called beside it.
    let before = async {
        if moves_back {
            let _ = hooks::call(run, HookPoint::before(HookStage::Rollback)).await;
        }
    };
    let going_back = async {
        let (went, ()) = tokio::join!(back::carry_out(run, begun), before);
        if moves_back && matches!(went, Ok(Back::Done)) {
            let _ = hooks::call(run, HookPoint::after(HookStage::Rollback)).await;
        }
        went
    };
    let went = tokio::select! {
        biased;
        by = run.cut_off() => Err(by),
        went = going_back => went,
    };
    match went {
        Err(by) => going.cut_off(by),
        Ok(Back::Done) => match destroyed(run.plan(), begun) {
            Some(lost) => going.ended_with_a_loss(&lost),
            None => going.ended(Back::Done),
        },
        Ok(failed) => going.ended(failed),
    }
}

type Ended = (StepId, Instant, Result<Done, StepError>);

struct Forward<'a> {
    run: &'a Arc<Run>,
    rollout: Rollout,
    order: Order<'a>,
    begun: Begun,
    stages: Stages,
    under_way: JoinSet<Ended>,
    /// Whether the gate was asked.
    has_touched: bool,
}

impl<'a> Forward<'a> {
    fn new(run: &'a Arc<Run>) -> Self {
        let order = Order::new(&run.plan().steps);
        Self {
            run,
            rollout: Rollout::default(),
            order,
            begun: Begun::new(),
            stages: Stages::of(run.plan()),
            under_way: JoinSet::new(),
            has_touched: false,
        }
    }

    /// Begins steps and waits for them, until none is under way and none may begin. Each turn
    /// begins a step, waits for one, or is the last.
    async fn until_at_rest(&mut self) -> Result<(), CutOff> {
        if let Err(error) = log::began(self.run).await {
            self.stop(error.means()?);
            return Ok(());
        }
        loop {
            self.begin_what_can().await?;
            if self.under_way.is_empty() {
                break;
            }
            self.wait().await?;
        }

        if self.rollout.may_begin() && !self.order.is_done() {
            let reason = "not every step could be begun: the plan's steps wait for each other";
            self.stop(Cause::Failed(reason.to_owned()));
        }
        Ok(())
    }

    async fn begin_what_can(&mut self) -> Result<(), CutOff> {
        while self.rollout.may_begin()
            && self
                .order
                .peek()
                .is_some_and(|step| self.under_way.len() < width(step))
        {
            // What came from outside is heard before anything is begun.
            if self.run.job.stops.interrupted.is_cancelled() {
                self.interrupted().await;
                break;
            }
            let Some(step) = self.order.next() else {
                break;
            };
            if let Err(reason) = self.may_touch(step) {
                self.stop(Cause::Refused(reason));
                break;
            }

            if let Some(stage) = self.stages.begins(step.id)
                && !self.call(HookPoint::before(stage)).await?
            {
                break;
            }

            match log::intent(self.run, step, Direction::Forward).await {
                Ok(()) => self.begin(step),
                Err(error) => self.stop(error.means()?),
            }
        }
        Ok(())
    }

    /// Calls the hooks of a point; whether the run goes on.
    async fn call(&mut self, point: HookPoint) -> Result<bool, CutOff> {
        let interrupted = self.run.job.stops.interrupted.clone();
        let called = tokio::select! {
            biased;
            called = hooks::call(self.run, point) => called,
            // What is left behind a switch is of no stage, and no hook waits for it.
            () = interrupted.cancelled() => {
                self.stop(Cause::Interrupted);
                return Ok(false);
            }
        };
        match called {
            Ok(()) => return Ok(true),
            Err(HookError::Failed(reason)) => self.stop(Cause::Failed(reason)),
            Err(HookError::Journal(error)) => self.stop(error.means()?),
        }
        Ok(false)
    }

    /// Whether live traffic may be touched, asked before the first step that does. Once it is
    /// begun, it is better to come to its end.
    fn may_touch(&mut self, step: &Step) -> Result<(), String> {
        let gate = self.run.job.gate.as_ref().filter(|_| !self.has_touched);
        let Some(gate) = gate else {
            return Ok(());
        };
        if !touches_live(self.run.plan(), step) {
            return Ok(());
        }
        self.has_touched = true;
        gate()
    }

    /// Its intent is on the disk: from here on it counts as having had its effect.
    fn begin(&mut self, step: &Step) {
        self.rollout.begins(Impact::of_step(self.run.plan(), step));
        self.begun.insert(step.id);
        let (run, step) = (Arc::clone(self.run), step.clone());
        self.under_way.spawn(async move {
            let since = Instant::now();
            let result = perform(&run, &step, Direction::Forward).await;
            (step.id, since, result)
        });
    }

    /// Nothing more begins, and what is under way is asked to come to its end.
    fn stop(&mut self, cause: Cause) {
        self.run.soft.cancel();
        self.rollout.stops(cause);
    }

    /// Waits for the next thing to happen: a step ends, or somebody stops the run.
    async fn wait(&mut self) -> Result<(), CutOff> {
        let interrupted = self.run.job.stops.interrupted.clone();
        let forward = self.rollout.may_begin();
        tokio::select! {
            biased;
            Some(joined) = self.under_way.join_next() => self.ended(joined).await,
            () = interrupted.cancelled(), if forward && !self.run.leaving.is_cancelled() => {
                self.interrupted().await;
                Ok(())
            }
        }
    }

    /// Somebody has asked to stop. Where the new release is live and verified, and all that is left
    /// is to take away what it does not have any more, that stays for the next apply: nothing of it
    /// comes back by moving traffic.
    async fn interrupted(&mut self) {
        let plan = self.run.plan();
        let stays = |step: &Step| is_left_behind(plan, &self.begun, step);
        if self.order.is_done() || !self.order.undone().all(stays) {
            return self.stop(Cause::Interrupted);
        }

        self.run.leaving.cancel();
        while let Some(step) = self.order.next() {
            self.leave(step, &StepError::Stopped).await;
        }
    }

    async fn leave(&mut self, step: &Step, error: &StepError) {
        let reason = match error {
            StepError::Stopped => "somebody has asked to stop".to_owned(),
            error => error.reason(),
        };
        if self.begun.contains(&step.id) {
            log::failed(self.run, step, Direction::Forward, error).await;
        }
        self.run.say(Event::Note {
            text: format!("{} is left behind: {reason}", step.address),
        });
        self.order.done(step.id);
    }

    async fn ended(&mut self, joined: Result<Ended, JoinError>) -> Result<(), CutOff> {
        let (id, since, result) = match joined {
            Ok(ended) => ended,
            Err(panic) => {
                let reason = format!("a step ended in a fault of shipit: {panic}");
                self.stop(Cause::Failed(reason));
                return Ok(());
            }
        };
        let Some(step) = self.run.plan().step(id) else {
            return Ok(());
        };

        match result {
            Ok(done) => {
                self.order.done(id);
                if let Err(error) =
                    log::done(self.run, step, Direction::Forward, &done, since).await
                {
                    self.stop(error.means()?);
                }
                if let Some(stage) = self.stages.ends(id)
                    && self.rollout.may_begin()
                {
                    self.call(HookPoint::after(stage)).await?;
                }
            }
            // Nothing of what is left behind comes back by moving traffic: the new release is live
            // and verified, and the next apply tries again.
            Err(error)
                if self.rollout.may_begin()
                    && is_left_behind(self.run.plan(), &self.begun, step)
                    && error.means(&step.address).is_ok() =>
            {
                self.leave(step, &error).await;
            }
            // A step that was told to stop has not failed.
            Err(StepError::Stopped) if !self.rollout.may_begin() => {}
            Err(error) => {
                let cause = error.means(&step.address)?;
                log::failed(self.run, step, Direction::Forward, &error).await;
                bundle::gather(self.run, step, &error.reason()).await;
                self.stop(cause);
            }
        }
        Ok(())
    }
}

/// How many steps may be under way when this one begins. Objects cost a few requests each, and
/// there may be many.
const fn width(step: &Step) -> usize {
    match step.address {
        Address::Object(_) => 4 * WIDTH,
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
    /// Which are not done yet.
    left: BTreeSet<StepId>,
}

impl<'a> Order<'a> {
    fn new(steps: &'a [Step]) -> Self {
        let mut order = Self {
            steps: steps.iter().map(|step| (step.id, step)).collect(),
            open: BTreeMap::new(),
            needed_by: BTreeMap::new(),
            free: VecDeque::new(),
            left: steps.iter().map(|step| step.id).collect(),
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

    fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    fn undone(&self) -> impl Iterator<Item = &'a Step> {
        self.left.iter().map(|id| self.steps[id])
    }

    fn done(&mut self, id: StepId) {
        self.left.remove(&id);
        for waiting in self.needed_by.remove(&id).unwrap_or_default() {
            let open = self.open.entry(waiting).or_insert(1);
            *open -= 1;
            if *open == 0 {
                self.free.push_back(waiting);
            }
        }
    }
}
