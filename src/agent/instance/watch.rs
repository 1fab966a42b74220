//! A process that runs is asked how it is until it ends, or must be ended.

use std::net::SocketAddr;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};
use tokio::time::Instant;

use crate::agent::engine::environment_state::local;
use crate::agent::instance::listening::{Listening, listeners_of};
use crate::agent::instance::owner::{Owner, PortOwner};
use crate::agent::instance::prober::{LATE, Question, through_docker};
use crate::agent::instance::readiness::{Change, Life, Readiness};
use crate::agent::instance::{End, Instance, STAYS_UP};
use crate::agent::runtime::{Launch, Running};
use crate::agent::trouble::Trouble;
use crate::files::process::look;
use crate::model::facts::HealthState;
use crate::model::workload::ContainerKind;

/// What there is to know about a process that runs.
struct Watched<'a> {
    launch: &'a Launch,
    /// Where it is asked whether it can take traffic.
    address: Option<SocketAddr>,
    /// The ports at which it has to be the one that listens.
    owners: Vec<PortOwner>,
    /// Those at which Docker listens in its place, and that nothing else is asked at.
    through: Vec<SocketAddr>,
    /// Its first process, where Docker has it.
    dockers: Option<u32>,
    since: Instant,
}

/// What came of asking it once.
enum Round {
    /// What it answered, if it was this instance that answered.
    Answer(Result<(), Trouble>),
    /// Somebody else has its port.
    Taken(String),
}

impl Instance {
    /// Asks how it is until it ends, or must be ended.
    pub(super) async fn watch(
        &self,
        mut process: Box<dyn Running>,
        launch: &Launch,
        at_first: HealthState,
    ) -> End {
        let rules = &self.spec.workload.health;
        let mut watched = self.watched(process.as_ref(), launch);
        let mut readiness = Readiness::new(rules, at_first);
        let mut dead = self.dead_once(readiness.was_ready(), launch);
        loop {
            let (pause, begun) = (readiness.pause(), Instant::now());
            let round = async {
                tokio::time::sleep(pause).await;
                self.round(&mut watched).await
            };
            let round = tokio::select! {
                // What it has left behind may answer as well.
                biased;
                reason = process.wait() => {
                    // What it started and left behind.
                    process.kill();
                    return self.ended(reason, readiness.was_ready(), &mut watched).await;
                }
                () = self.stop.cancelled() => {
                    self.end(process.as_mut()).await;
                    return End::Stopped;
                }
                reason = &mut dead => {
                    self.back_off(process.as_mut()).await;
                    return End::AfterReady(format!("ended by its liveness check: {reason}"));
                }
                round = round => round,
            };
            let answer = match round {
                // Its end is seen at once: what answered is not it any more.
                Round::Answer(Ok(())) if has_ended(process.as_ref()) => continue,
                Round::Answer(answer) => answer,
                Round::Taken(reason) => {
                    self.back_off(process.as_mut()).await;
                    return End::Local(reason);
                }
            };

            // An agent that was held up has not been waiting for an answer meanwhile.
            let after = begun.elapsed().min(pause + rules.timeout.get() + LATE);
            let is_first = !readiness.was_ready();
            let change = readiness.hear(answer, after);
            if is_first && matches!(change, Change::Ready) {
                self.health(HealthState::Ready);
                dead = self.dead_once(true, launch);
            } else if let Some(end) = self.follow(change, process.as_mut()).await {
                return end;
            }
        }
    }

    /// Puts a change of readiness into effect; gives the end of an instance that has to be ended
    /// for it.
    async fn follow(&self, change: Change, process: &mut dyn Running) -> Option<End> {
        match change {
            Change::None => None,
            Change::Ready => {
                self.health(HealthState::Ready);
                None
            }
            Change::Unready(reason) => {
                self.unready(&reason);
                None
            }
            Change::TooLate(reason) => {
                self.end(process).await;
                let within = self.spec.workload.health.start_within;
                Some(End::TooLate(format!("not ready within {within}: {reason}")))
            }
        }
    }

    /// Ends what is to be begun again.
    async fn back_off(&self, process: &mut dyn Running) {
        self.health(HealthState::BackingOff);
        self.end(process).await;
    }

    fn watched<'a>(&self, process: &dyn Running, launch: &'a Launch) -> Watched<'a> {
        let health = &self.spec.workload.health;
        let address = self.address(&Question::readiness(health));
        let facts = self.state.instance(&self.key);
        let traffic = facts.as_ref().and_then(|facts| facts.port);
        // Docker has its ports itself, and says so when it cannot get one.
        let is_dockers = self.spec.workload.runs_by() == Some(ContainerKind::Docker);
        let mut ports: Vec<u16> = address.map(|address| address.port()).into_iter().collect();
        let routed = self.spec.process.routed.iter();
        let routed = routed.filter_map(|name| facts.as_ref()?.ports.get(name).copied());
        for port in traffic.into_iter().chain(routed) {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        let mut watched = Watched {
            launch,
            address,
            owners: Vec::new(),
            through: Vec::new(),
            dockers: is_dockers.then(|| process.pid()),
            since: Instant::now(),
        };
        if is_dockers {
            let asked = address.filter(|_| health.path.is_some());
            let unasked = ports.into_iter().map(local);
            watched.through = unasked.filter(|it| Some(*it) != asked).collect();
        } else {
            let pid = process.pid();
            let owners = ports.into_iter().map(|port| PortOwner::new(port, pid));
            watched.owners = owners.collect();
        }
        watched
    }

    /// Where it is asked this; nowhere when it has no such port.
    fn address(&self, question: &Question<'_>) -> Option<SocketAddr> {
        let facts = self.state.instance(&self.key)?;
        facts.port_of(question.port()).map(local)
    }

    /// Asks it once, if it is the one that would answer.
    async fn round(&self, watched: &mut Watched<'_>) -> Round {
        for owner in &mut watched.owners {
            match owner.look().await {
                Ok(Owner::Instance) => {}
                Ok(Owner::Nobody) => {
                    let (port, variable) = (owner.port(), self.variable(owner.port()));
                    let reason = format!("it does not listen at port {port} ({variable})");
                    return Round::Answer(Err(Trouble::Instance(reason)));
                }
                Ok(Owner::Elsewhere(at)) => {
                    let variable = self.variable(at.port());
                    let reason = format!(
                        "it listens at {at} alone ({variable}), and is asked at 127.0.0.1: have \
                         it listen at 0.0.0.0 or 127.0.0.1"
                    );
                    return Round::Answer(Err(Trouble::Instance(reason)));
                }
                Ok(Owner::Stranger(reason)) => return Round::Taken(reason),
                Err(trouble) => return Round::Answer(Err(trouble)),
            }
        }
        let health = &self.spec.workload.health;
        for address in &watched.through {
            if let Err(trouble) = through_docker(*address, health.timeout.get()).await {
                let inside = self.inside(watched, *address);
                return Round::Answer(Err(inside.map_or(trouble, Trouble::Instance)));
            }
        }
        let question = Question::readiness(health);
        if !question.asks(watched.address) {
            tokio::time::sleep_until(watched.since + STAYS_UP).await;
        }
        let answer = self.ask(question, watched.launch, watched.address).await;
        let Some(address) = watched.address else {
            return Round::Answer(answer);
        };
        Round::Answer(answer.map_err(|trouble| match trouble {
            Trouble::Instance(reason) => {
                Trouble::Instance(self.inside(watched, address).unwrap_or(reason))
            }
            local @ Trouble::Local(_) => local,
        }))
    }

    /// What keeps connections from a service in a container of Docker's, where its network can be
    /// looked at and says so.
    fn inside(&self, watched: &Watched<'_>, address: SocketAddr) -> Option<String> {
        let facts = self.state.instance(&self.key)?;
        let mut others = facts.ports.iter();
        let named = others.find(|(_, number)| **number == address.port());
        let (port, variable) = match named {
            Some((name, _)) => (*self.spec.process.ports.get(name)?, name.variable()),
            None => (self.spec.workload.port?, "PORT".to_owned()),
        };
        let found = listeners_of(watched.dockers?, port).ok()?;
        if found.is_empty() {
            let reason = format!("it does not listen at port {port} of its container ({variable})");
            return Some(reason);
        }
        let own = found
            .iter()
            .all(Listening::is_loopback)
            .then(|| &found[0])?;
        Some(format!(
            "it listens at {} of its container alone ({variable}), where nothing from outside \
             comes to: have it listen at 0.0.0.0",
            own.at()
        ))
    }

    /// The variable that tells it this port of its own.
    fn variable(&self, port: u16) -> String {
        let facts = self.state.instance(&self.key);
        let others = facts.into_iter().flat_map(|facts| facts.ports);
        let mut named = others.filter(|(_, number)| *number == port);
        named
            .next()
            .map_or_else(|| "PORT".to_owned(), |(name, _)| name.variable())
    }

    async fn ask(
        &self,
        question: Question<'_>,
        launch: &Launch,
        address: Option<SocketAddr>,
    ) -> Result<(), Trouble> {
        let (prober, runtime) = (&self.spec.prober, self.spec.runtime.as_ref());
        prober.ask(question, address, launch, runtime).await
    }

    /// Says why it is taken for dead, once it is; never while it was not ready yet, and never
    /// without a rule for it.
    fn dead_once<'a>(&'a self, was_ready: bool, launch: &'a Launch) -> BoxFuture<'a, String> {
        let health = &self.spec.workload.health;
        let Some(liveness) = health.liveness.as_ref().filter(|_| was_ready) else {
            return pending().boxed();
        };

        let question = Question::liveness(health, liveness);
        let address = self.address(&question);
        async move {
            let mut life = Life::new(liveness);
            loop {
                tokio::time::sleep(liveness.interval.get()).await;
                let answer = self.ask(question, launch, address).await;
                if let Some(reason) = life.hear(answer) {
                    return reason;
                }
            }
        }
        .boxed()
    }

    /// Out of traffic, and left alone: what is busy is not dead.
    fn unready(&self, reason: &str) {
        let reason = self.spec.redactor.text(reason);
        tracing::warn!(scope = %self.spec.scope, service = %self.key.service, slot = %self.key.slot, index = self.key.index, %reason, "an instance is unhealthy and out of traffic; it is not restarted");
        self.state.set(&self.key, |entry| {
            entry.facts.health = HealthState::Unhealthy;
            entry.facts.last_exit = Some(reason);
        });
    }

    /// How it ended. One that could not get its port because somebody else had it did nothing
    /// wrong.
    async fn ended(&self, reason: String, was_ready: bool, watched: &mut Watched<'_>) -> End {
        if was_ready {
            return End::AfterReady(reason);
        }
        for owner in &mut watched.owners {
            if let Ok(Owner::Stranger(taken)) = owner.look().await {
                return End::Local(taken);
            }
        }
        End::NeverReady(reason)
    }
}

/// Whether the first of processes that nothing holds together has ended, and what answers is what
/// it has left; what cannot be told has not.
fn has_ended(process: &dyn Running) -> bool {
    let ticks = look(process.pid());
    process.mark().is_some() && ticks.is_ok_and(|ticks| ticks != Some(process.started()))
}
