//! Every cause of a stop, at every moment at which it can be heard: a run comes to its end, with
//! the right word for it, and has no effect once its lock is lost.

mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{Finished, Gate, Job, Stops, execute};
use crate::model::approval::Approval;
use crate::model::facts::Facts;
use crate::model::plan::Plan;
use crate::model::promotion::Strategy as Rollout;
use crate::model::task::TaskId;
use crate::port::engine::{Permit, Scope};
use crate::port::hold::Hold;
use crate::redact::Redactor;
use crate::rollout::{End, Traffic};
use crate::simulate::samples::scenario;
use crate::simulate::{Call, Fault, Faults, Kind, Runner, World, actor, broken};

/// Longer than any run here takes, by far.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// What is asked for fails.
    Fails,
    /// What is asked for finds another world than the plan saw.
    Stale,
    /// A person asks to stop.
    Interrupted,
    /// A person asks twice.
    Killed,
    /// A person asks twice, and what is asked for never answers.
    KilledWhileItHangs,
    /// Another run takes the lock.
    LockLost,
    /// Another run takes the lock, and what is asked for never answers.
    LockLostWhileItHangs,
}

const TRIGGERS: [Trigger; 7] = [
    Trigger::Fails,
    Trigger::Stale,
    Trigger::Interrupted,
    Trigger::Killed,
    Trigger::KilledWhileItHangs,
    Trigger::LockLost,
    Trigger::LockLostWhileItHangs,
];

impl Trigger {
    const fn hangs(self) -> bool {
        matches!(self, Self::KilledWhileItHangs | Self::LockLostWhileItHangs)
    }

    const fn loses_the_lock(self) -> bool {
        matches!(self, Self::LockLost | Self::LockLostWhileItHangs)
    }

    const fn kills(self) -> bool {
        matches!(self, Self::Killed | Self::KilledWhileItHangs)
    }
}

/// What was asked of the ports, in order, and what is to happen at which moment.
#[derive(Debug, Default)]
struct Moments {
    passed: usize,
    plan: BTreeMap<usize, Trigger>,
    heard: Vec<Trigger>,
    after_the_loss: Vec<&'static str>,
    calls: Vec<&'static str>,
}

/// What goes wrong in one run, by the count of its calls.
struct Troubles {
    moments: Mutex<Moments>,
    stops: Stops,
    hold: Hold,
}

impl Troubles {
    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to happen now.
    fn next(&self, call: &Call) -> Option<Trigger> {
        let mut moments = self.moments();
        if call.kind == Kind::Acts && self.hold.lost().is_cancelled() {
            moments.after_the_loss.push(call.what);
        }
        moments.calls.push(call.what);
        let now = moments.passed;
        moments.passed += 1;
        let trigger = moments.plan.get(&now).copied();
        moments.heard.extend(trigger);
        trigger
    }
}

impl Faults for Troubles {
    fn at(&self, call: &Call) -> Option<Fault> {
        let trigger = self.next(call)?;
        match trigger {
            Trigger::Fails => return Some(Fault::Error),
            Trigger::Stale => return Some(Fault::Moved),
            Trigger::Interrupted => self.stops.interrupted.cancel(),
            Trigger::Killed | Trigger::KilledWhileItHangs => {
                self.stops.interrupted.cancel();
                self.stops.killed.cancel();
            }
            Trigger::LockLost | Trigger::LockLostWhileItHangs => self.hold.lose(),
        }
        trigger.hangs().then_some(Fault::Hang)
    }
}

/// What came of a run.
struct Story {
    finished: Finished,
    before: Facts,
    after: Facts,
    heard: Vec<Trigger>,
    /// How many calls it took.
    passed: usize,
    after_the_loss: Vec<&'static str>,
    calls: Vec<&'static str>,
    broken: Vec<String>,
    /// How the next run ended, behind one that was killed.
    again: Option<End>,
    /// The tasks that were begun by then.
    begun: Vec<TaskId>,
}

/// Carries the second release out, with these triggers at these moments.
async fn tell(strategy: Rollout, triggers: BTreeMap<usize, Trigger>) -> Story {
    tell_at(strategy, triggers, None).await
}

/// One run, all of whose troubles are still to come.
struct Stage {
    runner: Runner,
    troubles: Arc<Troubles>,
    gate: Option<Gate>,
}

impl Stage {
    /// In a world that hears of its first release late, where nothing else goes wrong.
    fn new(is_undisturbed: bool, gate: Option<Gate>) -> Self {
        let hold = Hold::none();
        let troubles = Arc::new(Troubles {
            moments: Mutex::default(),
            stops: Stops {
                interrupted: CancellationToken::new(),
                killed: CancellationToken::new(),
            },
            hold: hold.clone(),
        });
        let world = Arc::new(World::unheard(if is_undisturbed { 2 } else { 0 }));
        Self {
            runner: Runner::new(world, troubles.clone(), hold, actor("r")),
            troubles,
            gate,
        }
    }

    fn world(&self) -> &World {
        &self.runner.world
    }

    async fn carry_out(&self, version: u8, strategy: Rollout) -> Finished {
        let scenario = scenario(version, strategy);
        let plan = scenario.draw(self.world()).await.expect("a plan");
        let runner = Runner {
            actor: actor(&version.to_string()),
            ..self.runner.clone()
        };
        execute(self.job(&runner, version, scenario.scope(), plan)).await
    }

    /// Goes on behind a run that was killed: how that ended, if anything was left to do.
    async fn again(&self, strategy: Rollout) -> Option<End> {
        let scenario = scenario(2, strategy);
        let plan = scenario.draw(self.world()).await.expect("a plan");
        if plan.is_empty() {
            return None;
        }
        let runner = Runner {
            actor: actor("3"),
            hold: Hold::none(),
            ..self.runner.clone()
        };
        let job = Job {
            stops: Stops {
                interrupted: CancellationToken::new(),
                killed: CancellationToken::new(),
            },
            ..self.job(&runner, 3, scenario.scope(), plan)
        };
        Some(execute(job).await.end)
    }

    fn job(&self, runner: &Runner, version: u8, scope: Scope, plan: Plan) -> Job {
        Job {
            plan,
            approval: Approval::InAdvance,
            ports: runner.ports(Redactor::default()),
            permit: Permit {
                scope,
                lineage: "l".to_owned(),
                fence: u64::from(version),
                actor: runner.actor.clone(),
                hold: runner.hold.clone(),
            },
            root: "/".into(),
            stops: self.troubles.stops.clone(),
            gate: self.gate.clone(),
            outside_window: None,
            called: BTreeSet::new(),
            sink: Arc::new(|_| ()),
        }
    }
}

/// The same, with something that is asked before live traffic is touched.
async fn tell_at(
    strategy: Rollout,
    triggers: BTreeMap<usize, Trigger>,
    gate: Option<Gate>,
) -> Story {
    let stage = Stage::new(triggers.is_empty(), gate);
    let first = stage.carry_out(1, strategy).await;
    assert_eq!(first.end, End::Done, "the first release");
    assert!(stage.world().is_heard());
    let before = stage.world().engine.facts();
    *stage.troubles.moments() = Moments {
        plan: triggers,
        ..Moments::default()
    };

    let finished = stage.carry_out(2, strategy).await;
    let passed = stage.troubles.moments().passed;
    // Whatever was left under way would act now.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let moments = std::mem::take(&mut *stage.troubles.moments());
    let mut story = Story {
        finished,
        before,
        after: stage.world().engine.facts(),
        heard: moments.heard,
        passed,
        after_the_loss: moments.after_the_loss,
        calls: moments.calls,
        broken: broken(stage.world()),
        again: None,
        begun: Vec::new(),
    };

    if let End::Interrupted(Traffic::Unknown | Traffic::Untouched) = story.finished.end {
        story.again = stage.again(strategy).await;
    }
    story.begun = stage.world().engine.tasks_begun();
    story
}

/// The same on a thread of its own: a run that never ends fails the test, and does not hang it.
fn story(strategy: Rollout, triggers: &BTreeMap<usize, Trigger>) -> Story {
    let (send, receive) = mpsc::channel();
    let wanted = triggers.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let _ = send.send(runtime.block_on(tell(strategy, wanted)));
    });
    receive
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("{strategy:?}: the run does not end: {triggers:?}"))
}

/// What must hold of every run.
fn judge(story: &Story, context: &str) {
    let end = &story.finished.end;
    let heard = |which: fn(Trigger) -> bool| story.heard.iter().copied().any(which);
    let lost = heard(Trigger::loses_the_lock);
    let killed = heard(Trigger::kills);
    let failed = heard(|trigger| matches!(trigger, Trigger::Fails | Trigger::Stale));
    let interrupted = heard(|trigger| trigger == Trigger::Interrupted);

    assert_eq!(
        story.after_the_loss,
        Vec::<&str>::new(),
        "{context}: acted without its lock"
    );
    assert_eq!(story.broken, Vec::<String>::new(), "{context}");
    let is_rightly_so = match end {
        End::Done => true,
        End::LockLost => lost,
        End::Interrupted(Traffic::Unknown) => killed,
        End::Interrupted(_) => killed || interrupted,
        End::Failed(_)
        | End::Refused(_)
        | End::Reverted(_)
        | End::Stale(_)
        | End::RollbackFailed { .. } => failed,
    };
    assert!(
        is_rightly_so,
        "{context}: ended with {end:?} after {:?}",
        story.heard
    );
    let unique: BTreeSet<&TaskId> = story.begun.iter().collect();
    let begun = &story.begun;
    assert_eq!(unique.len(), begun.len(), "{context}: {begun:?}");
    let again = story.again.as_ref();
    assert!(
        again.is_none_or(|end| *end == End::Done),
        "{context}: {again:?}"
    );

    let (live_before, live_after) = (live(&story.before), live(&story.after));
    match end {
        End::Done => assert_ne!(live_after, live_before, "{context}: {end:?}"),
        End::Failed(_)
        | End::Refused(_)
        | End::Reverted(_)
        | End::Stale(_)
        | End::Interrupted(Traffic::Untouched | Traffic::MovedBack) => {
            assert_eq!(live_after, live_before, "{context}: {end:?}");
        }
        End::RollbackFailed { .. } | End::Interrupted(Traffic::Unknown) | End::LockLost => {}
    }
}

/// What live traffic sees.
fn live(facts: &Facts) -> Vec<String> {
    let (_, there) = facts.live().expect("something is live");
    there
        .workloads
        .values()
        .map(|workload| format!("{:?}", workload.spec.kind))
        .collect()
}

#[test]
fn every_cause_at_every_moment_ends_the_run_with_the_right_word_and_without_a_late_effect() {
    for strategy in [Rollout::BlueGreen, Rollout::Rolling] {
        let undisturbed = story(strategy, &BTreeMap::new());
        assert_eq!(undisturbed.finished.end, End::Done);
        assert!(undisturbed.passed > 20, "{}", undisturbed.passed);
        for moment in 0..undisturbed.passed {
            for trigger in TRIGGERS {
                let context = format!("{strategy:?}, {trigger:?} at {moment}");
                let told = story(strategy, &BTreeMap::from([(moment, trigger)]));
                judge(&told, &context);
                assert_eq!(told.heard, [trigger], "{context}");
                if trigger.hangs() {
                    assert_ne!(told.finished.end, End::Done, "{context}");
                }
            }
        }
    }
}

#[test]
fn room_for_all_images_is_looked_for_before_anything_is_stopped() {
    for strategy in [Rollout::BlueGreen, Rollout::Rolling, Rollout::Recreate] {
        let undisturbed = story(strategy, &BTreeMap::new());
        let calls = &undisturbed.calls;
        let first = |what: &[&str]| calls.iter().position(|call| what.contains(call));
        let looked = first(&["room"]).expect("it is looked for");
        assert!(
            Some(looked) < first(&["deploy", "undeploy"]),
            "{strategy:?}: {calls:?}"
        );

        // Without it, nothing that runs is touched.
        let told = story(strategy, &BTreeMap::from([(looked, Trigger::Fails)]));
        assert!(
            matches!(told.finished.end, End::Failed(_) | End::Reverted(_)),
            "{:?}",
            told.finished.end
        );
        // In place, the rollback puts the old release where it stands already.
        let acted = told.calls.contains(&"deploy") && strategy == Rollout::BlueGreen;
        assert!(!acted, "{strategy:?}: {:?}", told.calls);
        let stands = |facts: &Facts| (facts.traffic, facts.slots.clone());
        assert_eq!(stands(&told.after), stands(&told.before), "{strategy:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn several_causes_end_the_run_as_well(
        triggers in prop::collection::btree_map(0_usize..60, prop::sample::select(&TRIGGERS[..]), 1..5),
        rolling in any::<bool>(),
    ) {
        let strategy = if rolling { Rollout::Rolling } else { Rollout::BlueGreen };
        judge(&story(strategy, &triggers), &format!("{strategy:?}, {triggers:?}"));
    }
}

#[tokio::test]
async fn live_traffic_is_not_touched_once_its_window_has_closed() {
    for strategy in [Rollout::BlueGreen, Rollout::Rolling] {
        let asked = AtomicU32::new(0);
        // The first release comes in time, the second does not.
        let gate: Gate = Arc::new(move || match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err("the window has closed".to_owned()),
        });
        let told = tell_at(strategy, BTreeMap::new(), Some(gate)).await;
        let End::Refused(reason) = &told.finished.end else {
            panic!("{strategy:?}: {:?}", told.finished.end);
        };
        assert_eq!(reason, "the window has closed");
        assert_eq!(told.before.traffic, told.after.traffic, "{strategy:?}");
        assert!(!told.calls.contains(&"switch"), "{:?}", told.calls);
    }
}
