//! The queue in memory, for tests: as the one in a file, until the process ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::delivery::{Delivery, DeliveryNumber, RecordedDelivery};
use crate::model::job::{Job, JobNumber, JobRequest, JobState, Lane, Placing};
use crate::port::queue::{Accepted, Change, JobQuery, Placed, Queue, QueueError, Rules};

#[derive(Debug, Default)]
struct Kept {
    deliveries: BTreeMap<u64, RecordedDelivery>,
    jobs: BTreeMap<JobNumber, Job>,
    fences: BTreeMap<Lane, u64>,
    /// The last numbers that were given; they are not given again.
    last: (u64, u64),
}

/// The queue in memory.
#[derive(Debug)]
pub struct MemoryQueue {
    kept: Mutex<Kept>,
    rules: Rules,
}

impl MemoryQueue {
    /// An empty one.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            kept: Mutex::default(),
            rules,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn place(&mut self, rules: Rules, request: &JobRequest, now: Timestamp) -> Placed {
        let is_here = |job: &&Job| job.is_open() && job.request.lane == request.lane;
        let open: Vec<Job> = self.jobs.values().filter(is_here).cloned().collect();
        let superseded = match (rules.place)(request, &open) {
            Placing::Same(number) => {
                return Placed {
                    number,
                    is_new: false,
                };
            }
            Placing::New(superseded) => superseded,
        };

        self.last.1 += 1;
        let number = JobNumber(self.last.1);
        for old in open.iter().filter(|job| superseded.contains(&job.number)) {
            if let Some(next) = (rules.supersede)(old, number, now) {
                self.jobs.insert(next.number, next);
            }
        }
        let job = Job {
            number,
            request: request.clone(),
            created: now,
            attempt: 0,
            fence: 0,
            checked_out: None,
            state: JobState::Waiting {
                not_before: now,
                reason: None,
            },
        };
        self.jobs.insert(number, job);
        Placed {
            number,
            is_new: true,
        }
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn accept(
        &self,
        delivery: Delivery,
        requests: Vec<JobRequest>,
    ) -> Result<Accepted, QueueError> {
        let mut kept = self.kept();
        let is_it = |known: &&RecordedDelivery| {
            known.delivery.door == delivery.door && known.delivery.key == delivery.key
        };
        if let Some(known) = kept.deliveries.values().find(is_it) {
            let jobs = known.jobs.iter().map(|number| Placed {
                number: *number,
                is_new: false,
            });
            return Ok(Accepted {
                delivery: known.number,
                is_repeated: true,
                jobs: jobs.collect(),
            });
        }

        let now = delivery.received;
        let place = |request| kept.place(self.rules, request, now);
        let jobs: Vec<Placed> = requests.iter().map(place).collect();
        kept.last.0 += 1;
        let number = DeliveryNumber(kept.last.0);
        let mut asked: Vec<JobNumber> = jobs.iter().map(|placed| placed.number).collect();
        asked.sort();
        asked.dedup();
        kept.deliveries.insert(
            number.0,
            RecordedDelivery {
                number,
                delivery,
                jobs: asked,
            },
        );
        Ok(Accepted {
            delivery: number,
            is_repeated: false,
            jobs,
        })
    }

    async fn claim(&self, now: Timestamp) -> Result<Option<Job>, QueueError> {
        let mut kept = self.kept();
        let may = |job: &&Job| {
            let is_due =
                matches!(job.state, JobState::Waiting { not_before, .. } if not_before <= now);
            let runs = |other: &Job| {
                matches!(other.state, JobState::Running { .. })
                    && other.request.lane == job.request.lane
            };
            is_due && !kept.jobs.values().any(runs)
        };
        let Some(job) = kept.jobs.values().find(may).cloned() else {
            return Ok(None);
        };
        let fence = kept.fences.entry(job.request.lane.clone()).or_default();
        *fence += 1;
        let begun = (self.rules.claim)(&job, *fence, now);
        if let Some(begun) = &begun {
            kept.jobs.insert(begun.number, begun.clone());
        }
        Ok(begun)
    }

    async fn update(&self, number: JobNumber, change: Change) -> Result<Option<Job>, QueueError> {
        let mut kept = self.kept();
        let Some(job) = kept.jobs.get_mut(&number) else {
            return Ok(None);
        };
        if let Some(next) = change(job) {
            *job = next;
        }
        Ok(Some(job.clone()))
    }

    async fn job(&self, number: JobNumber) -> Result<Option<Job>, QueueError> {
        Ok(self.kept().jobs.get(&number).cloned())
    }

    async fn jobs(&self, query: JobQuery) -> Result<Vec<Job>, QueueError> {
        let is_wanted = |job: &&Job| {
            let is_here = query
                .lane
                .as_ref()
                .is_none_or(|lane| *lane == job.request.lane);
            let is_before = query.before.is_none_or(|before| job.number < before);
            is_here && is_before && (job.is_open() || !query.is_open)
        };
        let kept = self.kept();
        let wanted = kept.jobs.values().rev().filter(is_wanted);
        Ok(wanted.take(query.last).cloned().collect())
    }

    async fn deliveries(
        &self,
        before: Option<DeliveryNumber>,
        last: usize,
    ) -> Result<Vec<RecordedDelivery>, QueueError> {
        let kept = self.kept();
        let is_before = |one: &&RecordedDelivery| before.is_none_or(|before| one.number < before);
        let wanted = kept.deliveries.values().rev().filter(is_before);
        Ok(wanted.take(last).cloned().collect())
    }

    async fn forget(
        &self,
        deliveries: Timestamp,
        jobs: Timestamp,
    ) -> Result<Vec<JobNumber>, QueueError> {
        let mut kept = self.kept();
        kept.deliveries
            .retain(|_, one| one.delivery.received >= deliveries);
        let is_old = |job: &&Job| matches!(job.state, JobState::Ended { at, .. } if at < jobs);
        let old: Vec<JobNumber> = kept
            .jobs
            .values()
            .filter(is_old)
            .map(|job| job.number)
            .collect();
        for number in &old {
            kept.jobs.remove(number);
        }
        Ok(old)
    }
}
