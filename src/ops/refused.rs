//! What the cluster would not take, told at the places where it is written.

use std::collections::BTreeMap;

use crate::config::ConfigError;
use crate::desired::cluster::Written;
use crate::desired::{self, DesiredError, DesiredErrors, DesiredPlace};
use crate::model::object::ObjectFault;
use crate::model::observed::Observed;
use crate::model::{ObjectKey, ServiceName};
use crate::ops::error::problems;
use crate::ops::{Error, Session};
use crate::policy::Refusal;

/// What to do where nothing better is known.
const LOOK: &str = "`shipit render` shows the objects as they are sent";

/// An object that the cluster would not take.
pub(super) struct Refused<'a> {
    /// Whose manifests it is in; none for one of the environment's own.
    pub service: Option<&'a ServiceName>,
    pub key: &'a ObjectKey,
    pub fault: &'a ObjectFault,
}

impl Refused<'_> {
    /// The key of the configuration that names its manifests.
    fn at(&self) -> String {
        match self.service {
            Some(service) => format!("services.{service}.manifests"),
            None => "manifests".to_owned(),
        }
    }

    fn problem(&self, written: &BTreeMap<ObjectKey, Written>) -> DesiredError {
        let ObjectFault {
            reason,
            field,
            help,
        } = self.fault;
        let place = match written.get(self.key) {
            Some(written) => written.place(field.as_deref()),
            None => DesiredPlace::Key(self.at()),
        };
        DesiredError {
            what: format!("the cluster would refuse it: {reason}"),
            help: help.clone().unwrap_or_else(|| LOOK.to_owned()),
            place: Some(place),
        }
    }
}

/// Refuses the environment's own objects that the cluster would not take.
///
/// # Errors
/// There are some: all of them, at once.
pub(super) async fn own_objects(session: &Session, observed: &Observed) -> Result<(), Error> {
    let refused = observed.objects.iter().flat_map(|object| {
        let faults = object.faults().iter();
        faults.map(|fault| Refused {
            service: None,
            key: &object.key,
            fault,
        })
    });
    refuse(session, &refused.collect::<Vec<_>>()).await
}

/// Refuses what the cluster would not take.
///
/// # Errors
/// There is something: all of it, each at its place where that is a line of a manifest.
pub(super) async fn refuse(session: &Session, refused: &[Refused<'_>]) -> Result<(), Error> {
    if refused.is_empty() {
        return Ok(());
    }
    let written = written(session).await;
    // What shipit makes itself is written nowhere.
    if !refused.iter().any(|one| written.contains_key(one.key)) {
        return Err(in_one(refused).into());
    }

    let faults = refused.iter().map(|one| one.problem(&written));
    let errors = DesiredErrors(faults.collect());
    let faults = problems(&session.project, &session.environment, &errors);
    Err(Error::WouldBeRefused(ConfigError::of(faults)))
}

/// Where the objects are written; nothing where that cannot be told any more.
async fn written(session: &Session) -> BTreeMap<ObjectKey, Written> {
    let Ok(sources) = session.sources().await else {
        return BTreeMap::new();
    };
    let (project, environment) = (&session.project, &session.environment);
    desired::places(project, environment, &session.source, sources).unwrap_or_default()
}

/// All of it in one sentence.
fn in_one(refused: &[Refused<'_>]) -> Refusal {
    let all: Vec<String> = refused
        .iter()
        .map(|one| match one.service {
            Some(service) => format!("services.{service}: {}", one.fault),
            None => format!("manifests: {}", one.fault),
        })
        .collect();
    Refusal {
        what: format!("the cluster would refuse it: {}", all.join("; ")),
        help: LOOK.to_owned(),
    }
}
