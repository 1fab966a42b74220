//! Tasks: what runs once for each release, or at its times while the release is live.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::model::schedule::{CronTimes, Schedule, ZoneName};
use crate::model::task::{OnFailure, Once, Reports, TaskClass, TaskMoment, TaskSlot};
use crate::model::{Period, ServiceName};

/// A program that runs once for each release, as a step of its plan, or by a schedule. Exactly one
/// of `run` and `exec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// The service whose image, environment and secrets it has; may be left out when there is only
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// This command runs by itself in the release's image, as a process, a container or a Job. Each
    /// of its words may be a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<CommandWords>,
    /// This command runs in an instance of the service that runs. Each of its words may be a
    /// template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<CommandWords>,
    /// For `exec`: in an instance of which slot, before the switch. `new` without it, where the
    /// release is beside the live one; after the switch there is only the live one.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub inside: Option<TaskSlot>,
    /// When it runs: `before_switch` without it, and `after_keep_previous` for one that is
    /// `contract`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<TaskMoment>,
    /// It runs by itself at these times, in the slot that has live traffic: the five fields of cron,
    /// as `0 3 * * *`. It is no step of a plan then, and has no `when`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<CronTimes>,
    /// Where the times of the schedule are meant, as `Europe/Berlin`; UTC without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<ZoneName>,
    /// How often.
    #[serde(default)]
    pub once: Once,
    /// How long it may take. It is ended then, and has failed.
    #[serde(default = "ten_minutes")]
    pub timeout: Period,
    /// What its failure means.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What it does to what the previous release needs. `expand` keeps the rollback; `contract`
    /// waits until the previous release is not kept any more; `breaking` wants
    /// `--allow-no-rollback`.
    #[serde(default)]
    pub class: TaskClass,
    /// The reports that it writes into the folder that the variable `SHIPIT_REPORTS` names, which is
    /// empty when it begins. They are collected when it has ended, however it did. On a host only.
    #[serde(default, skip_serializing_if = "Reports::is_empty")]
    pub reports: Reports,
    /// For `run` with the runtime `docker`: the network of its container, as `host` for one that is
    /// to reach the preview listener; its service's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

impl TaskConfig {
    /// When it runs as a step of a plan.
    #[must_use]
    pub fn moment(&self) -> TaskMoment {
        self.when.unwrap_or(match (&self.schedule, self.class) {
            (Some(_), _) => TaskMoment::Never,
            (None, TaskClass::Expand | TaskClass::Breaking) => TaskMoment::BeforeSwitch,
            (None, TaskClass::Contract) => TaskMoment::AfterKeepPrevious,
        })
    }

    /// When it runs by itself.
    #[must_use]
    pub fn schedule(&self) -> Option<Schedule> {
        Some(Schedule {
            at: self.schedule.clone()?,
            timezone: self.timezone.clone(),
        })
    }
}

const fn ten_minutes() -> Period {
    Period::from_secs(600)
}

/// A command: a text is split at blanks (no shell), a list is taken as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "WordsForm")]
pub struct CommandWords(pub Vec<String>);

#[derive(JsonSchema)]
#[schemars(inline)]
#[serde(untagged)]
#[allow(dead_code)]
enum WordsForm {
    Line(String),
    Vector(Vec<String>),
}

impl<'de> Deserialize<'de> for CommandWords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = CommandWords;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command: a text, or a list of its words")
    }

    fn visit_str<E>(self, text: &str) -> Result<CommandWords, E> {
        let words = text.split_whitespace().map(str::to_owned);
        Ok(CommandWords(words.collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<CommandWords, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(items)).map(CommandWords)
    }
}
