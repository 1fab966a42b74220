//! Open connections, the oldest first, so that one that does nothing can make room for another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::agent::router::connection::activity::Activity;

/// Open connections by a number that counts up.
#[derive(Debug, Default)]
pub struct Open {
    list: Mutex<BTreeMap<u64, Arc<Activity>>>,
}

impl Open {
    /// One more.
    pub fn add(&self, number: u64, activity: Arc<Activity>) {
        self.list().insert(number, activity);
    }

    /// It is closed.
    pub fn remove(&self, number: u64) {
        self.list().remove(&number);
    }

    /// Asks the oldest connection without a request to end. False when each has one.
    pub fn retire_one(&self) -> bool {
        self.list().values().any(|activity| activity.retire())
    }

    fn list(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Activity>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_does_nothing_makes_room_and_is_asked_once() {
        let (open, all): (Open, [Arc<Activity>; 3]) = Default::default();
        for (number, activity) in all.iter().enumerate() {
            open.add(number as u64, Arc::clone(activity));
        }
        let _busy = all[0].begin();
        assert!(open.retire_one());
        assert!(!all[1].retire(), "this was the one");
        assert!(open.retire_one());
        assert!(!open.retire_one(), "one is busy, two are on their way out");
    }
}
