//! What goes wrong, and when: every call of a run through a port is announced first.

use std::fmt;

use crate::model::journal::Direction;
use crate::model::plan::{Action, Step, StepId};
use crate::model::{Address, Digest, Slot};
use crate::port::builder::BuildError;
use crate::port::checker::CheckFailed;
use crate::port::engine::{EngineError, NotReady};
use crate::port::provider::ProviderError;
use crate::port::registry::RegistryError;
use crate::port::store::StoreError;

/// Whether a call through a port changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It looks.
    Looks,
    /// It acts.
    Acts,
}

/// A call through a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The port's method.
    pub what: &'static str,
    /// Whether it changes something.
    pub kind: Kind,
    /// What it is about, where that has an address.
    pub on: Option<Address>,
    /// The image that it is about, where it is about one.
    pub image: Option<Digest>,
}

impl Call {
    /// One that looks.
    #[must_use]
    pub const fn looks(what: &'static str) -> Self {
        Self {
            what,
            kind: Kind::Looks,
            on: None,
            image: None,
        }
    }

    /// One that acts.
    #[must_use]
    pub const fn acts(what: &'static str) -> Self {
        Self {
            what,
            kind: Kind::Acts,
            on: None,
            image: None,
        }
    }

    /// About this.
    #[must_use]
    pub fn on(self, address: Address) -> Self {
        Self {
            on: Some(address),
            ..self
        }
    }

    /// About this image.
    #[must_use]
    pub fn of_image(self, image: &Digest) -> Self {
        Self {
            image: Some(image.clone()),
            ..self
        }
    }

    /// The slot that it is about.
    #[must_use]
    pub const fn slot(&self) -> Option<Slot> {
        match &self.on {
            Some(Address::Slot(slot) | Address::Workload(slot, _)) => Some(*slot),
            _ => None,
        }
    }
}

/// Whether a call is one by which a step does what it is for. Several may be: a slot is cleared
/// service by service.
#[must_use]
pub fn is_of(call: &Call, step: &Step) -> bool {
    let on = call.on.as_ref();
    let (names, is_on): (&[&str], bool) = match (&step.action, &step.address) {
        (Action::Build { .. }, address) => (&["build", "push", "tag"], on == Some(address)),
        (Action::Fetch { image, .. }, _) => (&["bring"], call.image.as_ref() == Some(image)),
        (Action::Apply { .. }, address) => (&["apply"], on == Some(address)),
        (Action::Delete, address) => (&["delete"], on == Some(address)),
        (Action::Forget, address) => (&["forget"], on == Some(address)),
        (Action::Ensure { .. }, address) => (&["ensure"], on == Some(address)),
        (action @ Action::Listen { .. }, _) => {
            let mut routes = action.routes();
            let is_one = routes.any(|route| on == Some(&Address::Route(route.service.clone())));
            (&["listen"], is_one)
        }
        (Action::StopListening, address) => (&["stop_listening"], on == Some(address)),
        (Action::Deploy { .. }, address) => (&["deploy"], on == Some(address)),
        (Action::Stop, address) => (&["stop"], on == Some(address)),
        (Action::Undeploy, address) => (&["undeploy"], on == Some(address)),
        (Action::Clear, Address::Slot(slot)) => (&["undeploy"], call.slot() == Some(*slot)),
        (Action::Clear, _) => (&[], false),
        (Action::WaitUntilReady { .. }, address) => (&["ready"], on == Some(address)),
        (Action::Check { .. }, _) => (&["check"], true),
        (Action::Task(_), _) => (&["run_task", "stop_task"], true),
        (Action::Switch { .. }, _) => (&["switch"], true),
        (Action::Retain { .. } | Action::RetainUntil { .. }, address) => {
            (&["retain"], on == Some(address))
        }
    };
    is_on && names.contains(&call.what)
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.on {
            Some(address) => write!(f, "{} of {address}", self.what),
            None => f.write_str(self.what),
        }
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, without an effect.
    Error,
    /// It finds another world than the plan saw.
    Moved,
    /// It has its effect, and the answer is an error.
    LostReply,
    /// It takes longer than its deadline, where it has one; else it is only late.
    Slow,
    /// It never answers, and has no effect.
    Hang,
    /// The run is killed before the call has an effect.
    KilledBefore,
    /// The run is killed after the call's effect, before its answer.
    KilledAfter,
    /// The run is stopped before the call's effect, and goes on when it is told to.
    Paused,
}

/// What decides about faults.
pub trait Faults: Send + Sync {
    /// What becomes of a call that is about to be made; none: nothing.
    fn at(&self, call: &Call) -> Option<Fault>;

    /// A step's intent is in the journal.
    fn began(&self, step: StepId, direction: Direction) {
        let _ = (step, direction);
    }

    /// A step is done, which is about to be written down.
    fn ends(&self, step: StepId, direction: Direction) -> Option<Fault> {
        let _ = (step, direction);
        None
    }
}

/// Nothing goes wrong.
#[derive(Debug, Clone, Copy)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn at(&self, _: &Call) -> Option<Fault> {
        None
    }
}

/// An error that a fault makes.
pub(super) trait Broken: Sized {
    /// It failed.
    fn failed(call: &Call) -> Self;

    /// The world is another one.
    fn moved(call: &Call) -> Self {
        Self::failed(call)
    }

    /// It was not done in time; none where nobody waits only so long.
    fn late(call: &Call) -> Option<Self> {
        let _ = call;
        None
    }
}

/// Why, in every error that a rehearsal makes.
const REASON: &str = "it fails, in this rehearsal";

impl Broken for EngineError {
    fn failed(call: &Call) -> Self {
        match call.slot() {
            Some(slot) if call.what == "ready" => Self::NotReady {
                slot,
                not_ready: NotReady {
                    reason: REASON.to_owned(),
                    log: Vec::new(),
                },
            },
            _ => Self::Failed {
                what: call.to_string(),
                reason: REASON.to_owned(),
            },
        }
    }

    fn moved(call: &Call) -> Self {
        Self::Moved {
            address: call.on.clone().unwrap_or(Address::Traffic),
            by: None,
            at: None,
        }
    }

    fn late(call: &Call) -> Option<Self> {
        let slot = call.slot().filter(|_| call.what == "ready")?;
        Some(Self::NotReady {
            slot,
            not_ready: NotReady {
                reason: "it was not ready in time, in this rehearsal".to_owned(),
                log: Vec::new(),
            },
        })
    }
}

impl Broken for RegistryError {
    fn failed(call: &Call) -> Self {
        Self::Remote {
            what: call.to_string(),
            reason: REASON.to_owned(),
            help: String::new(),
        }
    }

    fn late(call: &Call) -> Option<Self> {
        Some(Self::Timeout {
            what: call.to_string(),
            seconds: 60,
        })
    }
}

impl Broken for BuildError {
    fn failed(_: &Call) -> Self {
        Self::Invalid {
            reason: REASON.to_owned(),
        }
    }

    fn moved(call: &Call) -> Self {
        match &call.on {
            Some(Address::Image(service)) => Self::InputsMoved {
                service: service.clone(),
            },
            _ => Self::failed(call),
        }
    }
}

impl Broken for CheckFailed {
    fn failed(call: &Call) -> Self {
        Self {
            check: call.to_string(),
            reason: REASON.to_owned(),
            detail: Vec::new(),
        }
    }

    fn late(call: &Call) -> Option<Self> {
        Some(Self {
            check: call.to_string(),
            reason: "no answer in time, in this rehearsal".to_owned(),
            detail: Vec::new(),
        })
    }
}

impl Broken for StoreError {
    fn failed(call: &Call) -> Self {
        Self::Io {
            what: call.to_string(),
            source: std::io::Error::other(REASON),
        }
    }
}

impl Broken for ProviderError {
    fn failed(call: &Call) -> Self {
        Self::Failed {
            what: call.to_string(),
            reason: REASON.to_owned(),
            help: String::new(),
        }
    }

    fn moved(call: &Call) -> Self {
        match &call.on {
            Some(address) => Self::Moved {
                address: address.clone(),
            },
            None => Self::failed(call),
        }
    }

    fn late(call: &Call) -> Option<Self> {
        Some(Self::Timeout {
            what: call.to_string(),
            minutes: 30,
        })
    }
}
