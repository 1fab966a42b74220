//! Changes the listeners of services: of one, or of several that take over each other's addresses.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::agent::engine::{Agent, moved};
use crate::agent::front::nginx::{self, Mark};
use crate::agent::router::{RouteError, RouteKey, tls};
use crate::model::route::{Listeners, Route};
use crate::model::{Address, Fingerprint, ServiceName};
use crate::port::engine::{EngineError, Permit};

/// Makes the listeners what the routes say, all in one step. Where an address cannot be had, none
/// of them has changed; where a proxy in front refuses, nothing is recorded, and the next try finds
/// them as they are.
pub(in crate::agent) async fn change(
    agent: &Arc<Agent>,
    permit: &Permit,
    routes: &[Route],
    expects: Option<Fingerprint>,
) -> Result<(), EngineError> {
    let Some(first) = routes.first() else {
        return Ok(());
    };
    let environment = agent.environment(&permit.scope);
    let before = environment.state.record();
    let _work = agent.enter(&environment, permit).await?;
    let record = environment.state.record();
    let is_done = |route: &Route| record.routes.get(&route.service) == Some(route);
    let services = routes.iter().map(|route| &route.service);
    let found = environment.state.facts().routes_fingerprint(services);
    if !routes.iter().all(is_done) && found != expects {
        return Err(moved(Address::Route(first.service.clone()), &before));
    }

    let key = |route: &Route| RouteKey {
        scope: permit.scope.clone(),
        service: route.service.clone(),
    };
    let objects = || EngineError::Refused {
        reason: "an entry point that is made of objects is a cluster's".to_owned(),
        help: "name the environment's cluster in the configuration".to_owned(),
    };
    let changes = routes.iter().map(|route| {
        let listeners = route.listeners().ok_or_else(objects)?;
        Ok((key(route), listeners))
    });
    let changes: Vec<_> = changes.collect::<Result<_, EngineError>>()?;
    let refused = |error: RouteError| EngineError::Refused {
        reason: error.to_string(),
        help: error.help().to_owned(),
    };
    for (key, listeners) in &changes {
        check_certificates(key, listeners).await.map_err(refused)?;
    }
    agent.router().open_all(&changes).await.map_err(refused)?;

    let by_service = |route: &Route| (route.service.clone(), route.clone());
    let all: BTreeMap<_, _> = routes.iter().map(by_service).collect();
    nginx::lead(&all, &Mark::of(&record), record.traffic)
        .await
        .map_err(|reason| EngineError::Refused {
            reason: format!(
                "the proxy in front of {} stays as it was: {reason}",
                first.service
            ),
            help: "look at `traffic` in the configuration".to_owned(),
        })?;
    agent.write(&environment, |record| record.routes.extend(all))
}

/// A certificate that clients would refuse is not begun with. One that expires later goes on being
/// shown, also by an agent that was started anew.
async fn check_certificates(key: &RouteKey, listeners: &Listeners) -> Result<(), RouteError> {
    let Some(wanted) = &listeners.tls else {
        return Ok(());
    };
    let checked = tls::check(wanted, Timestamp::now()).await;
    checked.map_err(|reason| RouteError::Certificate {
        route: key.clone(),
        reason,
    })
}

/// Takes the listeners of a service away.
pub(super) async fn remove(
    agent: &Agent,
    permit: &Permit,
    service: &ServiceName,
) -> Result<(), EngineError> {
    let environment = agent.environment(&permit.scope);
    let _work = agent.enter(&environment, permit).await?;
    if let Some(route) = environment.state.record().routes.get(service) {
        nginx::remove(route).await;
    }

    agent.write(&environment, |record| {
        record.routes.remove(service);
    })?;
    let key = RouteKey {
        scope: permit.scope.clone(),
        service: service.clone(),
    };
    agent.router().close(&key).await;
    Ok(())
}
