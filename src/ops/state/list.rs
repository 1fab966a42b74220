//! `state list`: what shipit holds in an environment.

use crate::model::Address;
use crate::model::facts::{Facts, Overview, SlotFacts};
use crate::model::object::ObjectFacts;
use crate::model::release::Release;
use crate::model::resource::{ResourceFacts, Settings};
use crate::model::route::{Listener, Listeners, Route};
use crate::model::state::State;
use crate::model::workload::Known;
use crate::observe::ObserveError;
use crate::ops::state::remove::still_needed;
use crate::ops::{Error, Session, behind, wiring};
use crate::output::state::{HeldItem, StateList};

/// What is held: by the state itself, by the engine, and at the provider. Changes nothing, and
/// starts nothing.
pub async fn list(session: &Session) -> Result<StateList, Error> {
    let (ports, scope) = (&session.ports, session.scope());
    let state = session.state().await?;
    let outline = session.outline()?;
    let engine = wiring::looking_engine(session)?;
    let (facts, objects) = engine.observe_with(&scope, &[]).await?;
    let resources = ports.provider.observe(&scope, &outline.resources).await;
    let resources = resources.map_err(ObserveError::Provider)?;
    // While a run is changing it, it is behind.
    let is_under_way = ports.store.holder(&session.environment).await?.is_some();
    let note = if is_under_way {
        None
    } else {
        behind::compared(session, &state, &Overview::from(&facts)).await?
    };

    let mut items = releases(&state, &facts);
    items.extend(of_engine(&facts));
    items.extend(objects.iter().map(object));
    items.extend(resources.iter().filter_map(resource));
    Ok(StateList {
        project: scope.project,
        environment: scope.environment,
        place: ports.store.place(&session.environment),
        lineage: state.lineage,
        serial: state.serial,
        items,
        note,
    })
}

fn item(address: &impl ToString, about: String) -> HeldItem {
    HeldItem {
        address: address.to_string(),
        about,
        can_be_forgotten: false,
        settings: Settings::new(),
    }
}

/// The releases, newest first.
fn releases(state: &State, facts: &Facts) -> Vec<HeldItem> {
    let one = |release: &Release| {
        let about = format!(
            "{}, {}, {:.0}, by {}",
            release.status.word(),
            release.source.short(),
            release.created_at,
            release.created_by.user
        );
        HeldItem {
            can_be_forgotten: still_needed(state, facts, release).is_none(),
            ..item(&format!("release.{}", release.number), about)
        }
    };
    state.releases.iter().rev().map(one).collect()
}

/// Slots, what is in them, entry points, and where live traffic goes.
fn of_engine(facts: &Facts) -> Vec<HeldItem> {
    let mut items = Vec::new();
    for (slot, there) in &facts.slots {
        let role = if facts.traffic.reaches(*slot) {
            "live"
        } else if there.is_running() {
            "without live traffic"
        } else {
            "stopped"
        };
        let about = format!("release {}, {role}", there.label.number);
        items.push(item(&Address::Slot(*slot), about));
        for (service, about) in workloads(there) {
            items.push(item(&Address::Workload(*slot, service), about));
        }
    }

    for (service, route) in &facts.routes {
        items.push(item(&Address::Route(service.clone()), entry(route)));
    }
    if let Some(slot) = facts.traffic.slot() {
        items.push(item(&Address::Traffic, format!("goes to {slot}")));
    }
    items
}

fn workloads(there: &SlotFacts) -> impl Iterator<Item = (crate::model::ServiceName, String)> + '_ {
    there.workloads.iter().map(|(service, workload)| {
        let image = match &workload.spec.image {
            Known::Value(digest) => digest.short().to_owned(),
            Known::After(_) => "an image that is not known".to_owned(),
        };
        let about = format!(
            "{image}, {} of {}",
            workload.health().word(),
            match workload.spec.replicas {
                1 => "1 instance".to_owned(),
                count => format!("{count} instances"),
            }
        );
        (service.clone(), about)
    })
}

fn entry(route: &Route) -> String {
    if let Some(objects) = route.objects() {
        let keys = objects.keys().map(|key| key.short());
        return keys.collect::<Vec<_>>().join(", ");
    }
    let all = route.listeners().map(Listeners::routed).unwrap_or_default();
    let live = all.iter().filter(|it| it.listener == Listener::Live);
    let addresses: Vec<String> = live
        .map(|it| match it.port {
            Some(port) => format!("{} ({port})", it.address),
            None => it.address.to_string(),
        })
        .collect();
    format!("listens on {}", addresses.join(", "))
}

fn object(found: &ObjectFacts) -> HeldItem {
    let mut about = vec!["an object of the environment"];
    about.extend(found.is_home.then_some("the record is in it"));
    about.extend(found.is_protected.then_some("protected"));
    about.extend(
        found
            .is_kept
            .then_some("stays when it is not wanted any more"),
    );
    HeldItem {
        can_be_forgotten: !found.is_home,
        ..item(&Address::Object(found.key.clone()), about.join(", "))
    }
}

/// One that is there.
fn resource(found: &ResourceFacts) -> Option<HeldItem> {
    let settings = found.settings.clone()?;
    let about = if found.wanted {
        "at the provider"
    } else {
        "at the provider, not in the configuration any more"
    };
    Some(HeldItem {
        settings,
        ..item(&Address::Resource(found.key.clone()), about.to_owned())
    })
}
