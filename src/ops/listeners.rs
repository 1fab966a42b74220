//! What a plan's listeners would meet: others that have their addresses, and ports to which nothing
//! leads.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use jiff::Timestamp;

use crate::agent::router::{PortHolder, holder_of};
use crate::config::schema::{HostCluster, TrafficConfig};
use crate::model::desired::Desired;
use crate::model::facts::Facts;
use crate::model::plan::Plan;
use crate::model::route::{Listeners, Route};
use crate::ops::{Error, Session, certificates};
use crate::policy::Refusal;
use crate::port::engine::Scope;
use crate::proto::Directory;

/// Fails when another environment of the project has a listener on this machine that this one
/// wants. The configuration alone does not tell: its environments may be on machines of their own.
pub async fn addresses_are_free(session: &Session, desired: &Desired) -> Result<(), Error> {
    let Some(own) = session.configuration()?.cluster.host() else {
        return Ok(());
    };
    let agent = |host: &HostCluster| {
        if host.at.is_some() {
            return (host.at.clone(), host.directory.clone());
        }
        let folder = Directory::find(host.directory(&session.root));
        (None, Some(folder.path().to_owned()))
    };
    let routes: Vec<&Route> = desired
        .services
        .values()
        .filter_map(|service| service.route.as_ref())
        .collect();

    for (name, configuration) in &session.project.environments {
        let host = configuration.cluster.host();
        let has_our_agent = host.is_some_and(|host| agent(host) == agent(own));
        if *name == session.environment || !has_our_agent {
            continue;
        }
        let other = Scope {
            project: session.project.name.clone(),
            environment: name.clone(),
        };
        let there = session.ports.engine.observe(&other).await?;
        let taken = routes.iter().find_map(|route| {
            let shared = |held: &'_ Route| {
                let own = route.listeners()?.shared_with(held.listeners()?)?;
                Some(own.address)
            };
            let mut holders = there.routes.values();
            holders.find_map(|held| Some((route, shared(held)?, held)))
        });
        if let Some((route, address, holder)) = taken {
            let what = format!(
                "{} cannot listen at {address}: {} of {name} listens there, on this machine",
                route.service, holder.service
            );
            let help = format!(
                "give {} its own ports under `traffic.listeners` of {}",
                route.service, session.environment
            );
            return Err(Refusal { what, help }.into());
        }
    }
    Ok(())
}

/// What has to be said of the plan's listeners.
pub async fn notes(session: &Session, plan: &Plan, facts: &Facts) -> Result<Vec<String>, Error> {
    let host = session.configuration()?.cluster.host();
    // Whose the ports of another machine are is not seen from here.
    let is_host = host.is_some_and(|host| host.at.is_none());
    let mut notes = unreached(session)?;
    notes.extend(certificates::notes(facts, Timestamp::now()));
    if is_host {
        let opened = opened(plan, facts);
        let looked = tokio::task::spawn_blocking(move || taken(opened)).await;
        notes.extend(looked.unwrap_or_default());
        let routes = plan.steps.iter().flat_map(|step| step.action.routes());
        let now = Timestamp::now();
        let wanted = certificates::wanted(routes, facts, now).await;
        notes.extend(wanted.iter().map(|one| one.note(facts, now)));
    }
    Ok(notes)
}

/// The addresses that a plan opens, and whose they become.
fn opened(plan: &Plan, facts: &Facts) -> Vec<(SocketAddr, String)> {
    let addresses = |route: &Route| {
        let routed = route.listeners().map(Listeners::routed).unwrap_or_default();
        routed.into_iter().map(|it| it.address).collect::<Vec<_>>()
    };
    let there: BTreeSet<SocketAddr> = facts.routes.values().flat_map(addresses).collect();
    let routes = plan.steps.iter().flat_map(|step| step.action.routes());
    let all: BTreeSet<(SocketAddr, String)> = routes
        .flat_map(|route| {
            let service = route.service.to_string();
            addresses(route)
                .into_iter()
                .map(move |it| (it, service.clone()))
        })
        .collect();
    all.into_iter()
        .filter(|(address, _)| !there.contains(address))
        .collect()
}

/// Those that a program of somebody else's has now.
fn taken(opened: Vec<(SocketAddr, String)>) -> Vec<String> {
    let of_others = |holder: &PortHolder| match holder {
        PortHolder::Process { pid, name } => *pid != 1 && name != "shipit",
        PortHolder::Route(_) | PortHolder::Unknown => false,
    };
    let taken = opened.into_iter().filter_map(|(address, service)| {
        let holder = holder_of(address).filter(of_others)?;
        Some(format!(
            "{service} is to listen at {address}, which {holder} has now: stop it, or set another \
             address under `traffic.listeners`"
        ))
    });
    taken.collect()
}

/// The ports of services on a cluster to which no live object leads.
fn unreached(session: &Session) -> Result<Vec<String>, Error> {
    let environment = session.configuration()?;
    let object = match &environment.traffic {
        TrafficConfig::Ingress(..) => "an Ingress leads",
        TrafficConfig::Gateway(..) => "a route leads",
        TrafficConfig::Embedded(..) | TrafficConfig::Nginx(..) | TrafficConfig::Service(_) => {
            return Ok(Vec::new());
        }
    };
    let services = environment.services.iter();
    let notes = services.flat_map(|(name, service)| {
        let ports = service.other_ports().into_iter();
        let tcp = ports.filter(|(_, port)| !port.protocol.is_http());
        tcp.map(move |(port, _)| {
            format!(
                "`{port}` of {name} is reached by the Services of its slots alone ({name}-blue, \
                 {name}-green): {object} to the port with the traffic"
            )
        })
    });
    Ok(notes.collect())
}
