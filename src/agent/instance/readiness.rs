//! Whether an instance can take traffic, and whether it lives, from what it answers. Pure: answers
//! and times come in.
//!
//! Neither is told from the agent's own trouble: an answer that the agent could not get leaves
//! everything as it was.

use std::time::Duration;

use crate::agent::trouble::Trouble;
use crate::model::facts::HealthState;
use crate::model::health::{Health, Liveness};

/// How soon a new instance is asked first, so that a quick one is ready quickly.
const FIRST: Duration = Duration::from_millis(20);

/// What an answer changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It can take traffic from here on.
    Ready,
    /// It cannot take traffic any more, for this reason. It lives.
    Unready(String),
    /// It has had the time that a new instance has, and never answered well.
    TooLate(String),
}

/// How an instance has answered until now.
#[derive(Debug)]
pub(super) struct Readiness {
    failures: u32,
    interval: Duration,
    start_within: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Never ready yet: how long it has been waited for, and when it is asked next.
    Starting { waited: Duration, pause: Duration },
    /// Ready, with so many bad answers in a row.
    Ready { bad: u32 },
    /// Not any more.
    Unready,
}

impl Readiness {
    pub fn new(health: &Health, at_first: HealthState) -> Self {
        let state = if at_first == HealthState::Ready {
            State::Ready { bad: 0 }
        } else {
            State::Starting {
                waited: Duration::ZERO,
                pause: FIRST,
            }
        };
        Self {
            failures: health.failures.max(1),
            interval: health.interval.get(),
            start_within: health.start_within.get(),
            state,
        }
    }

    /// Whether it ever was.
    pub const fn was_ready(&self) -> bool {
        !matches!(self.state, State::Starting { .. })
    }

    /// How long to wait until it is asked again.
    pub const fn pause(&self) -> Duration {
        match self.state {
            State::Starting { pause, .. } => pause,
            State::Ready { .. } | State::Unready => self.interval,
        }
    }

    /// Takes an answer that came this long after the one before.
    pub fn hear(&mut self, answer: Result<(), Trouble>, after: Duration) -> Change {
        let reason = match answer {
            Ok(()) => return self.good(),
            // It could not be asked: that is no answer, and no time that it was waited for.
            Err(Trouble::Local(_)) => return Change::None,
            Err(Trouble::Instance(reason)) => reason,
        };

        match &mut self.state {
            State::Starting { waited, pause } => {
                *waited += after;
                *pause = (*pause * 2).min(self.interval);
                if *waited > self.start_within {
                    return Change::TooLate(reason);
                }
            }
            State::Ready { bad } => {
                *bad += 1;
                if *bad >= self.failures {
                    self.state = State::Unready;
                    return Change::Unready(reason);
                }
            }
            State::Unready => {}
        }

        Change::None
    }

    fn good(&mut self) -> Change {
        let was = std::mem::replace(&mut self.state, State::Ready { bad: 0 });
        match was {
            State::Ready { .. } => Change::None,
            State::Starting { .. } | State::Unready => Change::Ready,
        }
    }
}

/// Whether an instance is still alive, by its own question.
#[derive(Debug)]
pub(super) struct Life {
    failures: u32,
    bad: u32,
}

impl Life {
    pub fn new(liveness: &Liveness) -> Self {
        Self {
            failures: liveness.failures.max(1),
            bad: 0,
        }
    }

    /// Takes an answer; the reason once it is taken for dead.
    pub fn hear(&mut self, answer: Result<(), Trouble>) -> Option<String> {
        match answer {
            Ok(()) => self.bad = 0,
            Err(Trouble::Local(_)) => {}
            Err(Trouble::Instance(reason)) => {
                self.bad += 1;
                return (self.bad >= self.failures).then_some(reason);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn local() -> Result<(), Trouble> {
        Err(Trouble::Local("Too many open files".to_owned()))
    }

    fn bad() -> Result<(), Trouble> {
        Err(Trouble::Instance("refused".to_owned()))
    }

    fn ready() -> Readiness {
        Readiness::new(&Health::default(), HealthState::Ready)
    }

    #[test]
    fn an_instance_that_fails_leaves_traffic_and_comes_back_with_its_first_good_answer() {
        let mut readiness = ready();
        assert_eq!(readiness.hear(bad(), SECOND), Change::None);
        assert_eq!(readiness.hear(bad(), SECOND), Change::None);
        let unready = Change::Unready("refused".to_owned());
        assert_eq!(readiness.hear(bad(), SECOND), unready);
        assert_eq!(readiness.hear(bad(), SECOND), Change::None, "told once");
        assert_eq!(readiness.hear(Ok(()), SECOND), Change::Ready);
    }

    #[test]
    fn a_new_instance_has_its_time_and_no_more() {
        let mut readiness = Readiness::new(&Health::default(), HealthState::Starting);
        for _ in 0..60 {
            assert_eq!(readiness.hear(bad(), SECOND), Change::None);
        }
        let late = Change::TooLate("refused".to_owned());
        assert_eq!(readiness.hear(bad(), SECOND), late);
    }

    #[test]
    fn an_instance_is_dead_after_so_many_bad_answers_in_a_row() {
        let mut life = Life::new(&Liveness {
            failures: 2,
            ..Liveness::default()
        });
        assert_eq!(life.hear(bad()), None);
        assert_eq!(life.hear(Ok(())), None);
        assert_eq!(life.hear(bad()), None);
        assert_eq!(life.hear(local()), None);
        assert_eq!(life.hear(bad()), Some("refused".to_owned()));
    }

    #[derive(Debug, Clone, Copy)]
    enum Heard {
        Good,
        Bad,
        Local,
    }

    fn heard() -> impl Strategy<Value = Vec<Heard>> {
        let one = prop_oneof![Just(Heard::Good), Just(Heard::Bad), Just(Heard::Local)];
        prop::collection::vec(one, 0..60)
    }

    fn answer(heard: Heard) -> Result<(), Trouble> {
        match heard {
            Heard::Good => Ok(()),
            Heard::Bad => bad(),
            Heard::Local => local(),
        }
    }

    proptest! {
        #[test]
        fn the_agents_own_trouble_changes_nothing(answers in heard(), at_first: bool) {
            let first = if at_first { HealthState::Ready } else { HealthState::Starting };
            let fresh = || Readiness::new(&Health::default(), first);
            let (mut all, mut without) = (fresh(), fresh());
            for one in answers {
                let change = all.hear(answer(one), SECOND * 30);
                if matches!(one, Heard::Local) {
                    prop_assert_eq!(change, Change::None);
                } else {
                    prop_assert_eq!(change, without.hear(answer(one), SECOND * 30));
                }
            }
        }
    }
}
