//! Several runs, in which anything goes wrong; then nothing any more, and all is well.

use std::fmt::Write as _;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::model::ReleaseNumber;
use crate::model::facts::Facts;
use crate::model::outcome::Ending;
use crate::model::promotion::Strategy;
use crate::model::release::{Release, ReleaseStatus};
use crate::model::workload::WorkloadKind;
use crate::simulate::ports::SECRET;
use crate::simulate::samples::scenario;
use crate::simulate::tests::dice::{Chance, Dice};
use crate::simulate::{Came, Locked, NoFaults, Ran, Scenario, World, broken};

/// How many seeds are told when nobody says.
const SEEDS: u64 = 1_000;

/// How many runs in which nothing goes wrong may be needed until all is well.
const RUNS: usize = 3;

/// Longer than any story takes, by far.
const PATIENCE: Duration = Duration::from_secs(30);

/// A story.
struct Story {
    dice: Dice,
    world: Arc<World>,
    /// What is to be deployed.
    wanted: Scenario,
    /// Which one that is.
    content: u8,
    strategy: Strategy,
    runs: usize,
    /// What was live when a run was done last: where another one, which finds what was cut off,
    /// moves traffic back to.
    settled: Vec<String>,
    /// What had live traffic when a run was over.
    was_live: Vec<ReleaseNumber>,
    /// What happened, for a reader.
    told: String,
    broken: Vec<String>,
}

impl Story {
    async fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let strategies = [Strategy::BlueGreen, Strategy::Rolling, Strategy::Recreate];
        let strategy = dice.one_of(&strategies);
        let first = scenario(1, strategy);
        let mut story = Self {
            world: Arc::new(first.world()),
            wanted: scenario(2, strategy),
            content: 2,
            strategy,
            runs: 0,
            settled: Vec::new(),
            was_live: Vec::new(),
            told: format!("{strategy:?}"),
            broken: Vec::new(),
            dice,
        };
        // Mostly there is something to lose.
        if !story.dice.once_in(4) {
            let ran = story.undisturbed(&first).await;
            story.expect(ran.came.is_done(), "the first release is deployed");
            story.settled = live(&story.world.engine.facts());
        }
        story
    }

    fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            self.broken.push(what.to_owned());
        }
    }

    fn name(&mut self) -> String {
        self.runs += 1;
        self.runs.to_string()
    }

    fn wants_another(&mut self) {
        self.content += 1;
        self.wanted = scenario(self.content, self.strategy);
    }

    async fn undisturbed(&mut self, scenario: &Scenario) -> Ran {
        let name = self.name();
        // Whoever had the lock is dead by now.
        self.world.store.expire();
        let taken = Locked::take(scenario, &self.world, Arc::new(NoFaults), &name).await;
        let locked = taken.expect("the lock is free");
        let ran = Box::pin(locked.carry_out(scenario, None)).await;
        self.note_live();
        ran
    }

    /// A run in which anything may go wrong. While it is paused, another one takes its place.
    async fn disturbed(&mut self) {
        let (name, rarity) = (self.name(), self.dice.one_of(&[4, 16, 64]));
        let chance = Arc::new(Chance::new(self.dice.next(), rarity));
        let wanted = self.wanted.clone();
        let taken = Locked::take(&wanted, &self.world, chance.clone(), &name).await;
        let mut locked = taken.expect("the lock is free");
        chance.stopping(&locked.stops);
        let is_gated = self.dice.once_in(16);
        if is_gated {
            locked.gate = Some(Arc::new(|| Err("the window has closed".to_owned())));
        }

        let before = self.world.engine.facts();
        let runner = locked.runner.clone();
        let mut run = Box::pin(locked.carry_out(&wanted, None));
        let ran = tokio::select! {
            biased;
            ran = &mut run => Some(ran),
            () = runner.paused.cancelled() => None,
        };
        let (ran, was_alone) = if let Some(ran) = ran {
            (ran, true)
        } else {
            self.world.store.expire();
            let other = Box::pin(self.other()).await;
            let _ = write!(self.told, "\n  while it was paused: {:?}", other.came);
            // The call that was under way may still arrive; it may also be that the run finds its
            // lock lost first.
            if self.dice.once_in(2) {
                runner.hold.lose();
            }
            runner.resumed.cancel();
            tokio::select! {
                biased;
                ran = &mut run => (ran, false),
                () = later(&runner.hold) => (run.await, false),
            }
        };
        self.note_live();
        self.world.store.expire();
        let happened = chance.happened().join(", ");
        let _ = write!(self.told, "\n  run {name} ({happened}): {:?}", ran.came);
        let _ = write!(
            self.told,
            "\n    {} → {}\n    {}",
            shown(&before),
            shown(&self.world.engine.facts()),
            steps(&ran),
        );
        if was_alone {
            self.is_true(&before, &ran);
        }
        if is_gated && was_alone {
            let after = self.world.engine.facts();
            self.expect(live(&before) == live(&after), "a closed window was passed");
        }
    }

    /// The run of somebody else, in whose way nothing is.
    async fn other(&mut self) -> Ran {
        let wanted = self.wanted.clone();
        self.undisturbed(&wanted).await
    }

    /// What a run says of live traffic is so.
    fn is_true(&mut self, before: &Facts, ran: &Ran) {
        let after = self.world.engine.facts();
        let is_as_before = live(before) == live(&after);
        let is_settled = self.settled == live(&after);
        match &ran.came {
            Came::Ended(
                Ending::Failed { .. }
                | Ending::Refused { .. }
                | Ending::Stale { .. }
                | Ending::Interrupted { reverted: false },
            ) => self.expect(
                is_as_before,
                "a run said that live traffic is as it was, and it is not",
            ),
            Came::Ended(Ending::Reverted { .. } | Ending::Interrupted { reverted: true }) => self
                .expect(
                    is_as_before || is_settled,
                    "a run said that traffic was moved back, and it was not",
                ),
            Came::Ended(Ending::Done) => {
                let switched = before.traffic.slot();
                let switched = switched.filter(|slot| !after.traffic.reaches(*slot));
                let is_startable = switched.is_none_or(|slot| after.slots.contains_key(&slot));
                self.expect(is_startable, "the previous release is gone");
                self.settled = live(&after);
            }
            _ => {}
        }
    }

    /// Nothing goes wrong any more.
    async fn ends_well(&mut self) {
        let wanted = self.wanted.clone();
        let mut ended = false;
        for _ in 0..RUNS {
            let ran = self.undisturbed(&wanted).await;
            let _ = write!(
                self.told,
                "\n  undisturbed: {:?}\n    {}\n    {}",
                ran.came,
                shown(&self.world.engine.facts()),
                steps(&ran),
            );
            if ran.came.is_done() {
                ended = true;
                break;
            }
        }
        self.expect(ended, "no run comes to a good end any more");

        let effects = self.world.effects().len();
        let again = self.undisturbed(&wanted).await;
        let has_nothing_to_do = matches!(again.came, Came::Ended(Ending::NoChanges));
        self.expect(
            has_nothing_to_do && self.world.effects().len() == effects,
            "there is something to do after everything was done",
        );
        let live = live(&self.world.engine.facts());
        let last = format!("\"{}\"", self.content);
        let is_last = !live.is_empty() && live.iter().all(|it| it.contains(&last));
        self.expect(is_last, "what was wanted last is not what is live");
        self.has_a_history().await;
        let is_told = self.world.store.texts().contains(SECRET);
        self.expect(!is_told, "a secret's value is written down");
    }

    /// Whatever had live traffic when a run was over is in the history, however that run ended.
    async fn has_a_history(&mut self) {
        let state = self.wanted.state(&self.world).await;
        let was_live = std::mem::take(&mut self.was_live);
        for &number in &was_live {
            let known = state.releases.iter();
            let known: Vec<_> = known.map(|it| (it.number, &it.status)).collect();
            let what = format!("release {number} had live traffic, and the history has {known:?}");
            self.expect(state.release(number).is_some(), &what);
        }

        let had_traffic = |number: &&ReleaseNumber| {
            let is_good = |release: &Release| {
                matches!(
                    release.status,
                    ReleaseStatus::Live | ReleaseStatus::Superseded
                )
            };
            state.release(**number).is_some_and(is_good)
        };
        let live = state.live().map(|release| release.number);
        let mut before = was_live
            .iter()
            .rev()
            .filter(|number| Some(**number) != live);
        let before = before.find(had_traffic).copied();
        let back = live.and_then(|live| state.previous_good(live));
        let back = back.map(|release| release.number);
        let what =
            format!("{before:?} had traffic before {live:?}, and a rollback goes to {back:?}");
        self.expect(was_live.is_empty() || before == back, &what);
    }

    /// What is put in the place of another may be half there, and is nothing to go back to then.
    fn note_live(&mut self) {
        if self.strategy != Strategy::BlueGreen {
            return;
        }
        let facts = self.world.engine.facts();
        let live = facts.live().map(|(_, there)| there.label.number);
        self.was_live.extend(live);
    }

    fn verdict(mut self) -> Result<(), String> {
        self.broken.extend(broken(&self.world));
        if self.broken.is_empty() {
            return Ok(());
        }
        Err(format!("{}\n  broken: {:#?}", self.told, self.broken))
    }
}

/// The call that was under way when a run was resumed had its time: the run hears now that its lock
/// is lost.
async fn later(hold: &crate::port::hold::Hold) {
    tokio::task::yield_now().await;
    hold.lose();
}

/// What stands where, for a reader: the release of each slot, and what does not run in it.
fn shown(facts: &Facts) -> String {
    let slots = facts.slots.iter().map(|(slot, there)| {
        let sign = if facts.traffic.reaches(*slot) {
            "*"
        } else {
            ""
        };
        let workloads = there.workloads.iter();
        let stopped = workloads.filter(|(_, workload)| !workload.running);
        let stopped: Vec<&str> = stopped.map(|(name, _)| name.as_str()).collect();
        let stopped = stopped.join(", ");
        format!("{sign}{slot} {} (stopped: {stopped})", there.label.number)
    });
    slots.collect::<Vec<_>>().join(", ")
}

/// The steps that a run was to take.
fn steps(ran: &Ran) -> String {
    let steps = ran.plan.iter().flat_map(|plan| &plan.steps);
    let steps = steps.map(|step| format!("{} {}", step.address, step.action.title()));
    steps.collect::<Vec<_>>().join(", ")
}

/// What live traffic sees.
fn live(facts: &Facts) -> Vec<String> {
    let there = facts.live().map(|(_, there)| there);
    let workloads = there.into_iter().flat_map(|there| there.workloads.values());
    let shown = workloads.map(|workload| match &workload.spec.kind {
        WorkloadKind::Process(process) => format!("{:?}", process.env.get("V")),
        other @ WorkloadKind::Objects(_) => format!("{other:?}"),
    });
    shown.collect()
}

/// Tells a seed's story.
async fn tell(seed: u64) -> Result<(), String> {
    let mut story = Story::of(seed).await;
    for _ in 0..=story.dice.below(4) {
        story.disturbed().await;
    }
    // Somebody has changed it meanwhile.
    if story.dice.once_in(3) {
        story.wants_another();
        story.disturbed().await;
    }
    story.ends_well().await;
    story.verdict()
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}

#[test]
fn whatever_goes_wrong_no_rule_is_broken_and_the_end_is_the_same() {
    let seeds = match number("SHIPIT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SHIPIT_SEEDS").unwrap_or(SEEDS),
    };
    let (send, receive) = std::sync::mpsc::channel();
    let told = seeds.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        for seed in told {
            let _ = send.send(runtime.block_on(tell(seed)));
        }
    });
    // A story that never ends fails the test, and does not hang it.
    for seed in seeds {
        let replay = format!("SHIPIT_SEED={seed} cargo test --lib whatever_goes_wrong");
        match receive.recv_timeout(PATIENCE) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => panic!("seed {seed} ({replay}): {why}"),
            Err(error) => panic!("seed {seed} ({replay}) does not come to its end: {error}"),
        }
    }
}
