//! What a rehearsal found: for each step of a plan, what would come of a fault there.

use std::fmt;
use std::str::FromStr;

use crate::model::outcome::Ending;
use crate::model::plan::StepId;
use crate::model::{Address, EnvironmentName, ProjectName, ReleaseNumber, Slot};

/// What goes wrong in a step.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It fails without an effect.
    Error,
    /// The run is killed (SIGKILL) when the step has had its effect and nothing of that is written
    /// down.
    Kill,
    /// It takes longer than its deadline, where it has one; else it is only late.
    Slow,
    /// It has its effect, and its answer is an error.
    LostReply,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Error, Self::Kill, Self::Slow, Self::LostReply];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Kill => "kill",
            Self::Slow => "slow",
            Self::LostReply => "lost-reply",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which steps a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Each of them.
    Every,
    /// The one with this number.
    Number(StepId),
    /// All with this address.
    Address(Address),
}

/// Faults that are asked for: `3:kill`, `traffic:lost-reply`, `all:slow`, `workload.green/web`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSpec {
    /// In which steps.
    pub which: Which,
    /// What goes wrong there, one after the other.
    pub kinds: Vec<FaultKind>,
}

impl Default for FaultSpec {
    /// Each step fails once, and is killed once.
    fn default() -> Self {
        Self {
            which: Which::Every,
            kinds: vec![FaultKind::Error, FaultKind::Kill],
        }
    }
}

/// Why a text asks for no faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no faults: STEP, KIND or STEP:KIND, where STEP is a number or an address of the \
     plan or `all`, and KIND `error`, `kill`, `slow`, `lost-reply` or `all`"
)]
pub struct FaultSpecError(String);

impl FromStr for FaultSpec {
    type Err = FaultSpecError;
    fn from_str(text: &str) -> Result<Self, FaultSpecError> {
        let wrong = || FaultSpecError(text.to_owned());
        let default = Self::default();
        if text == "all" {
            return Ok(default);
        }
        if let Some(kinds) = kinds(text) {
            return Ok(Self { kinds, ..default });
        }

        // The names of objects may have a colon in them.
        let (which, kinds) = match text.rsplit_once(':') {
            Some((which, "all")) => (which, FaultKind::ALL.to_vec()),
            Some((which, kind)) => match kinds(kind) {
                Some(kinds) => (which, kinds),
                None => (text, default.kinds),
            },
            None => (text, default.kinds),
        };
        let which = match (which, which.parse()) {
            ("all", _) => Which::Every,
            (_, Ok(number)) => Which::Number(StepId(number)),
            (address, Err(_)) => Which::Address(address.parse().map_err(|_| wrong())?),
        };
        Ok(Self { which, kinds })
    }
}

fn kinds(text: &str) -> Option<Vec<FaultKind>> {
    let kind = FaultKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text);
    kind.map(|kind| vec![kind])
}

/// A plan that was carried out in memory, once undisturbed, and once with each fault.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RehearsalReport {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The command that carries the plan out.
    pub command: String,
    /// What it comes to when nothing goes wrong.
    pub undisturbed: EndState,
    /// Each step that was disturbed, in the plan's order.
    pub steps: Vec<RehearsedStep>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

impl RehearsalReport {
    /// Everything that would break a rule, or that the next command would not put right.
    pub fn broken(&self) -> impl Iterator<Item = &String> {
        let faults = self.steps.iter().flat_map(|step| &step.faults);
        let next = faults.clone().filter_map(|fault| fault.next.as_ref());
        let ends = faults.map(|fault| &fault.end);
        let ends = ends.chain(next.map(|next| &next.end));
        std::iter::once(&self.undisturbed)
            .chain(ends)
            .flat_map(|end| &end.broken)
    }
}

/// A step, and what comes of faults in it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RehearsedStep {
    /// Its number.
    pub step: StepId,
    /// What it acts on.
    pub address: Address,
    /// What it does.
    pub action: String,
    /// The faults.
    pub faults: Vec<RehearsedFault>,
}

/// What comes of one fault.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RehearsedFault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// What the run comes to.
    pub end: EndState,
    /// What the same command does when it is run again; none where nothing is left to do.
    pub next: Option<NextRun>,
}

/// How things stand when a run is over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EndState {
    /// How it ended; none where it was killed.
    pub ending: Option<Ending>,
    /// What has live traffic; none where nothing has.
    pub live: Option<Live>,
    /// What is not as it was before.
    pub left: Vec<Leftover>,
    /// Which rules were broken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
}

/// A release with live traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Live {
    /// Where it stands.
    pub slot: Slot,
    /// Its number.
    pub release: ReleaseNumber,
}

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Leftover {
    /// Which.
    pub address: Address,
    /// How it stands against what was.
    pub is: Compared,
}

/// How something stands against what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// It was not there.
    Added,
    /// It was another one.
    Changed,
    /// It was there.
    Gone,
}

/// The same command, run once more.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NextRun {
    /// How many steps its plan has.
    pub steps: usize,
    /// What it comes to.
    pub end: EndState,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(which: Which, kinds: &[FaultKind]) -> FaultSpec {
        let kinds = kinds.to_vec();
        FaultSpec { which, kinds }
    }

    #[test]
    fn faults_are_asked_for_by_step_by_kind_or_by_both() {
        use FaultKind::{Error, Kill, LostReply, Slow};
        let role = "object.rbac.authorization.k8s.io/v1/ClusterRole//system:web";
        let cases = [
            ("all", FaultSpec::default()),
            ("slow", spec(Which::Every, &[Slow])),
            ("3", spec(Which::Number(StepId(3)), &[Error, Kill])),
            ("3:kill", spec(Which::Number(StepId(3)), &[Kill])),
            (
                "traffic:lost-reply",
                spec(Which::Address(Address::Traffic), &[LostReply]),
            ),
            ("all:all", spec(Which::Every, &FaultKind::ALL)),
        ];
        for (text, wanted) in cases {
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
        for wrong in ["", "web", "3:die", "traffic:", ":kill"] {
            assert!(wrong.parse::<FaultSpec>().is_err(), "{wrong}");
        }
        if let Ok(address) = role.parse() {
            let wanted = spec(Which::Address(address), &[Kill]);
            assert_eq!(format!("{role}:kill").parse(), Ok(wanted));
        }
    }
}
