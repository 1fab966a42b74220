//! The rule of an environment's lock, the same wherever the lock is kept: whose it is, whether its
//! holder lives, and how long a holder may rely on a renewal.
//!
//! Two clocks are never compared. A taker counts how long a holder has been silent on its own
//! clock, from when it saw the holder's last sign for the first time; a holder counts on its own
//! how old its last renewal is.

use std::io;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::state::LockHolder;

/// After how long without a sign of life a holder counts as dead, unless its process can be looked
/// at.
pub const EXPIRY: Duration = Duration::from_secs(30);

/// A process, told apart from every other: names of machines, numbers of processes, and the images
/// that machines are made from are all used more than once.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// The machine's own id; empty where it has none.
    #[serde(default)]
    pub machine: String,
    /// The id of this start of the kernel.
    pub boot: String,
    /// The namespace in which the number counts.
    pub pid_namespace: String,
    /// Its number there.
    pub pid: u32,
    /// When it started, in clock ticks since the kernel did.
    pub started: u64,
}

/// What is known for certain about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Lives,
    /// It has ended.
    Ended,
    /// It cannot be seen from here: only its signs tell.
    Unseen,
}

impl Process {
    /// Whether it lives, as far as `here` can tell. `look` looks a number up: when that process
    /// started, if there is one; an error where that cannot be told.
    pub fn life(&self, here: &Self, look: impl FnOnce(u32) -> io::Result<Option<u64>>) -> Life {
        let is_known = !self.boot.is_empty() && !self.pid_namespace.is_empty();
        let is_same = (&self.machine, &self.boot, &self.pid_namespace)
            == (&here.machine, &here.boot, &here.pid_namespace);
        if !is_known || !is_same {
            return Life::Unseen;
        }
        match look(self.pid) {
            Ok(Some(started)) if started == self.started => Life::Lives,
            Ok(_) => Life::Ended,
            Err(_) => Life::Unseen,
        }
    }
}

/// What changes each time that a holder says that it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    fence: u64,
    beats: u64,
    heartbeat: Timestamp,
}

impl Sign {
    /// A holder's last sign.
    #[must_use]
    pub const fn of(holder: &LockHolder) -> Self {
        Self {
            fence: holder.fence,
            beats: holder.beats,
            heartbeat: holder.heartbeat,
        }
    }
}

/// Whether a lock may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockVerdict {
    /// Its holder is dead.
    Free,
    /// Its holder lives, or has to be taken for living until it was silent for this much longer.
    Held {
        /// None: it was seen to live.
        silent_for_another: Option<Duration>,
    },
}

/// What a taker has seen of a holder's signs.
#[derive(Debug)]
pub struct Watch {
    /// After how long without a sign a holder is dead.
    expiry: Duration,
    seen: Option<(Sign, Duration)>,
    changed: bool,
}

impl Watch {
    /// One that has seen nothing yet.
    #[must_use]
    pub const fn new(expiry: Duration) -> Self {
        Self {
            expiry,
            seen: None,
            changed: false,
        }
    }

    /// Judges a holder that shows this sign at `now`, on a clock of the taker's own that only goes
    /// forward.
    pub fn judge(&mut self, life: Life, sign: &Sign, now: Duration) -> LockVerdict {
        let since = match &self.seen {
            Some((seen, since)) if seen == sign => *since,
            before => {
                self.changed |= before.is_some();
                self.seen = Some((sign.clone(), now));
                now
            }
        };

        let silent = now.saturating_sub(since);
        match life {
            Life::Ended => LockVerdict::Free,
            Life::Unseen if silent >= self.expiry => LockVerdict::Free,
            Life::Lives => LockVerdict::Held {
                silent_for_another: None,
            },
            Life::Unseen => LockVerdict::Held {
                silent_for_another: Some(self.expiry.saturating_sub(silent)),
            },
        }
    }

    /// Whether a sign came while it was watched: then the holder lives, whatever any clock says.
    #[must_use]
    pub const fn saw_a_sign(&self) -> bool {
        self.changed
    }
}

/// Whether a holder seems to have been silent for long, by the clock of this machine against that
/// of its own. A guess: it decides whether watching is worth the while, and what a reader is told;
/// never who has the lock.
#[must_use]
pub fn seems_silent(holder: &LockHolder, now: Timestamp, expiry: Duration) -> bool {
    now.duration_since(holder.heartbeat).unsigned_abs() >= expiry
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::release::Actor;

    fn process(machine: &str, boot: &str, namespace: &str, pid: u32, started: u64) -> Process {
        Process {
            machine: machine.to_owned(),
            boot: boot.to_owned(),
            pid_namespace: namespace.to_owned(),
            pid,
            started,
        }
    }

    fn holder(beats: u64, heartbeat: i64) -> LockHolder {
        let at = |second| Timestamp::from_second(second).expect("in range");
        LockHolder {
            actor: Actor {
                user: "kim".to_owned(),
                host: "ci".to_owned(),
                run: "r".to_owned(),
                ci: None,
            },
            pid: 7,
            pid_started: 9,
            process: None,
            command: "apply".to_owned(),
            since: at(0),
            heartbeat: at(heartbeat),
            beats,
            fence: 1,
        }
    }

    fn sign(beats: u64) -> Sign {
        Sign::of(&holder(beats, 0))
    }

    #[test]
    fn a_process_is_looked_at_only_where_its_number_means_the_same() {
        let here = process("m", "b", "n", 1, 1);
        let runs = |pid| Ok((pid == 7).then_some(9));
        let hidden = |_| Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(process("m", "b", "n", 7, 9).life(&here, runs), Life::Lives);
        assert_eq!(process("m", "b", "n", 7, 8).life(&here, runs), Life::Ended);
        assert_eq!(process("m", "b", "n", 6, 9).life(&here, runs), Life::Ended);
        let unseen = process("m", "b", "n", 7, 9).life(&here, hidden);
        assert_eq!(unseen, Life::Unseen, "what cannot be looked at may live");
        for elsewhere in [
            process("x", "b", "n", 7, 9),
            process("m", "x", "n", 7, 9),
            process("m", "b", "x", 7, 9),
        ] {
            assert_eq!(
                elsewhere.life(&here, |_| Ok(None)),
                Life::Unseen,
                "{elsewhere:?}"
            );
        }
        let unknown = process("", "", "", 7, 9);
        assert_eq!(unknown.life(&unknown, |_| Ok(None)), Life::Unseen);
    }

    #[test]
    fn a_holder_that_is_not_seen_is_dead_once_it_was_silent_for_long_enough() {
        let mut watch = Watch::new(EXPIRY);
        let at = Duration::from_secs;
        let held = |left| LockVerdict::Held {
            silent_for_another: Some(at(left)),
        };
        assert_eq!(watch.judge(Life::Unseen, &sign(1), at(100)), held(30));
        assert_eq!(watch.judge(Life::Unseen, &sign(1), at(129)), held(1));
        assert!(!watch.saw_a_sign());
        assert_eq!(watch.judge(Life::Unseen, &sign(2), at(130)), held(30));
        assert!(watch.saw_a_sign());
        assert_eq!(
            watch.judge(Life::Unseen, &sign(2), at(160)),
            LockVerdict::Free
        );
    }

    proptest! {
        #[test]
        fn no_clock_of_a_holder_makes_it_dead_or_alive(
            heartbeats in prop::collection::vec(any::<i32>(), 1..20),
            pause in 1_u64..29,
        ) {
            let mut watch = Watch::new(EXPIRY);
            let mut now = Duration::from_secs(1_000);
            for (beat, heartbeat) in (0..).zip(&heartbeats) {
                let sign = Sign::of(&holder(beat, i64::from(*heartbeat)));
                let verdict = watch.judge(Life::Unseen, &sign, now);
                prop_assert_ne!(verdict, LockVerdict::Free, "it beats every {} s", pause);
                now += Duration::from_secs(pause);
            }
            let last = Sign::of(&holder(heartbeats.len() as u64 - 1, i64::from(heartbeats[heartbeats.len() - 1])));
            now += EXPIRY;
            prop_assert_eq!(watch.judge(Life::Unseen, &last, now), LockVerdict::Free);
        }
    }
}
