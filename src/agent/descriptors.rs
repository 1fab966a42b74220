//! How many file descriptors this process may have open, and what they are for.
//!
//! Traffic takes as many as clients open. What the agent needs for itself is set apart first:
//! health checks, its control socket, logs and new instances must work when traffic has taken all
//! that it may.

use rustix::process::{Resource, getrlimit};

use crate::agent::posture::Limits;

/// Of how many the limit is taken for true. More would be promised to clients than the memory of a
/// connection allows.
const MOST: u64 = 1 << 16;
/// The fewest that the agent keeps for itself.
const FEWEST_OF_ITS_OWN: u64 = 64;
/// In how many parts what is left is divided.
const PARTS: u64 = 16;
/// How many of them the other listeners than the live ones have, for clients and for instances
/// each: a release that is looked at before it is live must be reached whatever happens to the live
/// one.
const INSIDE: u64 = 1;

/// The descriptors of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    limit: u64,
    /// How many a service may have open.
    service: u64,
}

impl Descriptors {
    /// As many as the system allows this process at this moment.
    #[must_use]
    pub fn of_this_process() -> Self {
        let service = Limits::started_with().files_of_a_service();
        Self {
            limit: getrlimit(Resource::Nofile).current.unwrap_or(MOST),
            service: service.unwrap_or(MOST),
        }
    }

    /// As if the system allowed so many.
    #[must_use]
    pub const fn limited_to(limit: u64) -> Self {
        Self {
            limit,
            service: limit,
        }
    }

    /// How many requests an instance is given at a time at the most: each is a connection that it
    /// has open, and it needs others for itself. One that is given more than it can accept answers
    /// nobody, its health check neither.
    #[must_use]
    pub fn at_instance(self) -> u32 {
        let half = self.service.min(MOST) / 2;
        u32::try_from(half).unwrap_or(u32::MAX).max(1)
    }

    /// For connections of clients to live listeners; as many again are for connections to their
    /// instances.
    #[must_use]
    pub fn live(self) -> usize {
        self.parts(PARTS / 2 - INSIDE)
    }

    /// The same for all other listeners.
    #[must_use]
    pub fn inside(self) -> usize {
        self.parts(INSIDE)
    }

    fn parts(self, parts: u64) -> usize {
        let limit = self.limit.min(MOST);
        let own = FEWEST_OF_ITS_OWN.max(limit / 8);
        let count = limit.saturating_sub(own) * parts / PARTS;
        usize::try_from(count).unwrap_or(usize::MAX).max(1)
    }
}

impl Default for Descriptors {
    fn default() -> Self {
        Self::of_this_process()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_never_has_what_the_agent_needs_for_itself() {
        for limit in [256, 1024, 4096, 20_000, 1 << 20, u64::MAX] {
            let descriptors = Descriptors::limited_to(limit);
            let traffic = 2 * (descriptors.live() + descriptors.inside());
            let own = limit.min(MOST) - traffic as u64;
            assert!(own >= 64.max(limit.min(MOST) / 8), "{limit}: {own}");
            assert!(descriptors.live() >= 5 * descriptors.inside(), "{limit}");
        }
        assert_eq!(Descriptors::limited_to(1024).live(), 392);
    }

    #[test]
    fn an_instance_is_given_no_more_than_it_can_accept() {
        let soft = Descriptors {
            limit: 20_000,
            service: 256,
        };
        assert_eq!(soft.at_instance(), 128);
        let none = Descriptors { service: 1, ..soft };
        assert_eq!(none.at_instance(), 1);
    }
}
