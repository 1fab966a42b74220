//! What a seed decides.

use std::sync::{Mutex, PoisonError};

use crate::execute::Stops;
use crate::simulate::{Call, Fault, Faults};

/// Numbers that follow from a seed (`SplitMix64`).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of so many.
    pub(super) const fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }

    /// Once in so many times.
    pub(super) const fn once_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// One of these.
    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let count = u64::try_from(all.len()).unwrap_or(1);
        all[usize::try_from(self.below(count)).unwrap_or_default()]
    }
}

/// What happens to a run.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Fault(Fault),
    /// A person asks to stop.
    Interrupted,
    /// A person asks twice.
    Killed,
}

const TROUBLES: [Trouble; 9] = [
    Trouble::Fault(Fault::Error),
    Trouble::Fault(Fault::Moved),
    Trouble::Fault(Fault::LostReply),
    Trouble::Fault(Fault::Slow),
    Trouble::Fault(Fault::KilledBefore),
    Trouble::Fault(Fault::KilledAfter),
    Trouble::Fault(Fault::Paused),
    Trouble::Interrupted,
    Trouble::Killed,
];

/// Faults by dice.
pub(super) struct Chance {
    dice: Mutex<Dice>,
    /// A call goes wrong once in so many times.
    rarity: u64,
    stops: Mutex<Option<Stops>>,
    happened: Mutex<Vec<String>>,
}

impl Chance {
    pub(super) fn new(seed: u64, rarity: u64) -> Self {
        Self {
            dice: Mutex::new(Dice::new(seed)),
            rarity,
            stops: Mutex::default(),
            happened: Mutex::default(),
        }
    }

    /// What a person stops the run with.
    pub(super) fn stopping(&self, stops: &Stops) {
        let mut own = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        *own = Some(stops.clone());
    }

    /// What went wrong, in order.
    pub(super) fn happened(&self) -> Vec<String> {
        let happened = self.happened.lock();
        happened.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stop(&self, also_kill: bool) {
        let stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stops) = stops.as_ref() {
            stops.interrupted.cancel();
            if also_kill {
                stops.killed.cancel();
            }
        }
    }
}

impl Faults for Chance {
    fn at(&self, call: &Call) -> Option<Fault> {
        let trouble = {
            let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
            if !dice.once_in(self.rarity) {
                return None;
            }
            dice.one_of(&TROUBLES)
        };
        let happened = format!("{trouble:?} at {call}");
        let mut all = self.happened.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(happened);
        drop(all);

        match trouble {
            Trouble::Fault(fault) => Some(fault),
            Trouble::Interrupted => {
                self.stop(false);
                None
            }
            Trouble::Killed => {
                self.stop(true);
                None
            }
        }
    }
}
