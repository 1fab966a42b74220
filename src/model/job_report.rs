//! What the process of a job reports of itself: the commit, the steps, and how the environment
//! stands at its end. It is for people who look on; nothing is decided by it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{ReleaseNumber, Slot};

/// The most steps that are kept of an attempt.
pub const MOST_STEPS: usize = 500;

/// The longest text of a mark, in characters.
const LONGEST: usize = 300;

/// Something that a job's process reports, one a line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mark", rename_all = "snake_case")]
pub enum JobMark {
    /// The commit is checked out.
    CheckedOut(JobCommit),
    /// A step began.
    Began {
        /// What tells it apart from others of the attempt.
        key: String,
        /// Its name, for people.
        name: String,
        /// When.
        at: Timestamp,
    },
    /// A step ended.
    Ended {
        /// Which.
        key: String,
        /// When.
        at: Timestamp,
        /// How.
        #[serde(flatten)]
        ending: StepEnding,
    },
    /// How the environment stands now.
    Standing(Standing),
}

/// A commit, as its author describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCommit {
    /// Its hash.
    pub commit: String,
    /// The first line of its message; empty where Git does not say.
    pub title: String,
    /// Its author's name.
    pub author: String,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum StepEnding {
    /// It is done.
    Done {
        /// What came of it, in words; empty where there is nothing to say.
        result: String,
    },
    /// It failed.
    Failed {
        /// Why, in a line.
        reason: String,
    },
}

/// How an environment stood at the end of a job that deployed to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The release that the job made, promoted, or found in place.
    pub release: Option<ReleaseNumber>,
    /// The slot with live traffic; none while it is off.
    pub live: Option<Slot>,
    /// The release that waits for its promotion.
    pub waiting: Option<ReleaseNumber>,
    /// Where services can be reached: what answers there, and the URL.
    pub urls: Vec<(String, String)>,
}

/// A step of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStep {
    /// What tells it apart from others.
    pub key: String,
    /// Its name, for people.
    pub name: String,
    /// When it began.
    pub began: Timestamp,
    /// When and how it ended; none while it runs, or where its process went before it did.
    pub ended: Option<(Timestamp, StepEnding)>,
}

/// What is known of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// What was checked out; none when it did not come so far.
    pub commit: Option<JobCommit>,
    /// The steps, in the order in which they began.
    pub steps: Vec<JobStep>,
    /// How the environment stood at its end; none where the job did not come to one, and for a job
    /// that only plans.
    pub standing: Option<Standing>,
}

impl JobMark {
    /// A step that begins.
    #[must_use]
    pub fn began(key: impl Into<String>, name: &str, at: Timestamp) -> Self {
        Self::Began {
            key: key.into(),
            name: shortened(name),
            at,
        }
    }

    /// A step that is done.
    #[must_use]
    pub fn done(key: impl Into<String>, result: &str, at: Timestamp) -> Self {
        let result = shortened(result);
        Self::Ended {
            key: key.into(),
            at,
            ending: StepEnding::Done { result },
        }
    }

    /// A step that failed.
    #[must_use]
    pub fn failed(key: impl Into<String>, reason: &str, at: Timestamp) -> Self {
        let reason = shortened(reason);
        Self::Ended {
            key: key.into(),
            at,
            ending: StepEnding::Failed { reason },
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

impl JobReport {
    /// What the marks of an attempt say, in the order in which they were written.
    #[must_use]
    pub fn of(marks: impl IntoIterator<Item = JobMark>) -> Self {
        let mut report = Self::default();
        for mark in marks {
            report.add(mark);
        }
        report
    }

    fn add(&mut self, mark: JobMark) {
        match mark {
            JobMark::CheckedOut(commit) => self.commit = Some(commit),
            JobMark::Standing(standing) => self.standing = Some(standing),
            JobMark::Began { key, name, at } if self.steps.len() < MOST_STEPS => {
                self.steps.push(JobStep {
                    key,
                    name,
                    began: at,
                    ended: None,
                });
            }
            JobMark::Began { .. } => {}
            JobMark::Ended { key, at, ending } => {
                let mut open = self.steps.iter_mut().rev();
                let found = open.find(|step| step.key == key && step.ended.is_none());
                if let Some(step) = found {
                    step.ended = Some((at, ending));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn marks_make_steps_and_a_step_ends_once() {
        let report = JobReport::of([
            JobMark::began("p0", "compile", at(1)),
            JobMark::done("p0", "", at(2)),
            JobMark::began("f1", "image.web", at(2)),
            JobMark::failed("f1", "no such file", at(5)),
            // It says so twice, and one says so that never began.
            JobMark::done("f1", "", at(6)),
            JobMark::done("f9", "", at(6)),
            JobMark::began("b0", "traffic", at(7)),
        ]);
        let shown: Vec<(&str, bool)> = report
            .steps
            .iter()
            .map(|step| (step.name.as_str(), step.ended.is_some()))
            .collect();
        assert_eq!(
            shown,
            [("compile", true), ("image.web", true), ("traffic", false)]
        );
        let failed = StepEnding::Failed {
            reason: "no such file".to_owned(),
        };
        assert_eq!(report.steps[1].ended, Some((at(5), failed)));
    }

    #[test]
    fn no_attempt_has_more_steps_than_are_kept_and_no_text_is_longer() {
        let long = "x".repeat(10_000);
        let marks = (0..2_000).map(|step| JobMark::began(step.to_string(), &long, at(step)));
        let report = JobReport::of(marks);
        assert_eq!(report.steps.len(), MOST_STEPS);
        assert_eq!(report.steps[0].name.len(), LONGEST);
    }
}
