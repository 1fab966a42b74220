//! The steps on listeners. Where live traffic arrives now goes on until the release that moves it
//! has been verified: before it comes the new addresses open, behind it the old ones close.
//! Services that take over each other's addresses change behind it, in one step.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::desired::Desired;
use crate::model::drift::MovedField;
use crate::model::facts::Facts;
use crate::model::object::Drift;
use crate::model::plan::{Action, Change, StepId};
use crate::model::route::{Listeners as Listened, Route};
use crate::model::{Address, ServiceName};
use crate::plan::draft::{Draft, Proposal};
use crate::plan::route_changes;

type Routes = BTreeMap<ServiceName, Route>;

/// The listeners of an environment on their way from what is there to what is desired.
pub(super) struct Listeners {
    /// What is there now.
    there: Routes,
    /// Where one is not as it was applied.
    drift: BTreeMap<ServiceName, Vec<Drift>>,
    /// Where a proxy's files, or keys, are not as they were written.
    files: BTreeMap<ServiceName, Vec<MovedField>>,
    /// What is there once the new addresses are open, and until the release has been verified.
    between: Routes,
    /// What is desired.
    next: Routes,
    /// Services that change together, for one takes over an address of another.
    groups: Vec<BTreeSet<ServiceName>>,
}

impl Listeners {
    pub fn new(desired: &Desired, facts: &Facts) -> Self {
        let services = desired.services.iter();
        let next: Routes = services
            .filter_map(|(name, service)| Some((name.clone(), service.route.clone()?)))
            .collect();
        let there = facts.routes.clone();
        let groups = groups(&there, &next);

        let takes_over = |name: &ServiceName| takes_from(name, &there, &next).next().is_some();
        let gives_away = |name: &ServiceName| {
            let mut others = next.keys();
            others.any(|other| takes_from(other, &there, &next).any(|from| from == name))
        };
        let between = next.iter().filter_map(|(name, next)| {
            let route = match there.get(name) {
                there if takes_over(name) => there?.clone(),
                // What another one waits for is held until then, so that nobody else comes in
                // between.
                Some(there) if gives_away(name) => there.until(&beside_live(there, next)),
                Some(there) => there.until(next),
                None => next.clone(),
            };
            Some((name.clone(), route))
        });
        Self {
            between: between.collect(),
            drift: facts.route_drift.clone(),
            files: facts.route_files.clone(),
            there,
            next,
            groups,
        }
    }

    /// Opens what is missing, and changes what may change before the release is there.
    pub fn open(&self, draft: &mut Draft, facts: &Facts, needs: &[StepId]) -> Vec<StepId> {
        let mut steps = Vec::new();
        for (name, route) in &self.between {
            let (there, moved) = (self.there.get(name), self.drift.get(name));
            let files = self.files.get(name).map(Vec::as_slice).unwrap_or_default();
            if there == Some(route) && moved.is_none() && files.is_empty() {
                if self.next.get(name) == Some(route) || !route.former().is_empty() {
                    draft.same(Address::Route(name.clone()), route.to_string());
                }
                continue;
            }

            let reason = match (there, moved) {
                (Some(_), Some(moved)) => format!("{} is not as it was applied", names(moved)),
                (Some(_), None) if !route.former().is_empty() => moves(route),
                (Some(there), None) if there == route => {
                    let names: Vec<&str> = files.iter().map(|it| it.field.as_str()).collect();
                    format!("{} is not as shipit wrote it", names.join(", "))
                }
                (Some(_), None) => "the listeners differ".to_owned(),
                (None, _) => "there are no listeners yet".to_owned(),
            };
            let mut changes = moved.map(|moved| drifted(moved)).unwrap_or_default();
            changes.extend(files.iter().map(MovedField::put_back));
            changes.extend(there.iter().flat_map(|there| route_changes(there, route)));
            let address = Address::Route(name.clone());
            let undo = there.map_or(Action::StopListening, |there| Action::listen(there.clone()));
            let new = Proposal::new(address.clone(), Action::listen(route.clone()), reason)
                .changing(changes)
                .expecting(facts.route_fingerprint(name))
                .after(needs);
            let undo = Proposal::new(address, undo, "the listeners as they were");
            steps.push(draft.add_with_undo(new, undo));
        }
        steps
    }

    /// Makes the listeners what is desired, once live traffic is where it belongs.
    pub fn settle(&self, draft: &mut Draft, needs: &[StepId]) {
        for group in &self.groups {
            let moves = |name: &&ServiceName| self.between.get(*name) != self.next.get(*name);
            let services: Vec<&ServiceName> = group.iter().filter(moves).collect();
            let Some((first, rest)) = services.split_first() else {
                continue;
            };
            let action = Action::Listen {
                route: self.next[*first].clone(),
                with: rest.iter().map(|name| self.next[*name].clone()).collect(),
            };
            let reason = match rest {
                [] => "live traffic does not arrive there any more".to_owned(),
                _ => format!("{} take over addresses from each other", words(&services)),
            };
            let found = Facts {
                routes: self.between.clone(),
                ..Facts::default()
            };
            let new = Proposal::new(Address::Route((*first).clone()), action, reason)
                .changing(self.changes(&services))
                .expecting(found.routes_fingerprint(services.iter().copied()))
                .after(needs);
            draft.add_with_undos(new, self.unsettle(&services));
        }
    }

    /// What has to be said where the release waits, and is promoted later by another plan.
    pub fn notes_of_waiting(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, route) in self
            .between
            .iter()
            .filter(|(_, it)| !it.former().is_empty())
        {
            notes.push(format!(
                "{name} goes on at {} until the release is promoted",
                list(&route.former())
            ));
        }

        let is_left = |name: &&ServiceName| {
            let between = self.between.get(*name);
            between.map(Route::settled).as_ref() != self.next.get(*name)
        };
        let left: Vec<&ServiceName> = self.next.keys().filter(is_left).collect();
        if !left.is_empty() {
            notes.push(format!(
                "the listeners of {} change once the release is live: promote it, then `shipit \
                 apply` again",
                words(&left)
            ));
        }
        notes
    }

    /// What takes the last step of these services back: those that had no listeners lose them
    /// first, for another one may have had their addresses.
    fn unsettle(&self, services: &[&ServiceName]) -> Vec<Proposal> {
        let (before, new): (Vec<_>, Vec<_>) = services
            .iter()
            .partition(|name| self.between.contains_key(**name));
        let address = |name: &ServiceName| Address::Route(name.clone());
        let closed = new.into_iter().map(|name| {
            let reason = "there were no listeners";
            Proposal::new(address(name), Action::StopListening, reason)
        });
        let mut before = before.into_iter();
        let back = before.next().map(|first| {
            let action = Action::Listen {
                route: self.between[first].clone(),
                with: before.map(|name| self.between[name].clone()).collect(),
            };
            Proposal::new(address(first), action, "the listeners as they were")
        });
        closed.chain(back).collect()
    }

    fn changes(&self, services: &[&ServiceName]) -> Vec<Change> {
        let of = |name: &&ServiceName| {
            let between = self.between.get(*name);
            let found = between.map_or_else(Vec::new, |it| route_changes(it, &self.next[*name]));
            let field = |field: String| match services {
                [_] => field,
                _ => format!("{name} {field}"),
            };
            found
                .into_iter()
                .map(|change| Change {
                    field: field(change.field),
                    ..change
                })
                .collect::<Vec<_>>()
        };
        services.iter().flat_map(of).collect()
    }
}

/// What becomes of live addresses that move, in words.
fn moves(route: &Route) -> String {
    let (new, former) = (route.listeners(), list(&route.former()));
    match new.map(Listened::moving).unwrap_or_default() {
        new if new.is_empty() => format!("{former} closes once the release is verified"),
        new => format!("{} opens before {former} closes", list(&new)),
    }
}

/// The desired entry point, with every address but the live ones where it is now.
fn beside_live(there: &Route, next: &Route) -> Route {
    let mut next = next.clone();
    if let Some((there, next)) = there.listeners().zip(next.listeners_mut()) {
        next.preview = there.preview;
        next.slots.clone_from(&there.slots);
        for (name, there) in &there.ports {
            let port = next.ports.entry(name.clone()).or_default();
            port.protocol = there.protocol;
            port.preview = there.preview;
            port.slots.clone_from(&there.slots);
        }
    }
    next
}

/// The other services whose addresses a service takes over: they have them now, and leave them.
fn takes_from<'a>(
    name: &'a ServiceName,
    there: &'a Routes,
    next: &'a Routes,
) -> impl Iterator<Item = &'a ServiceName> {
    let own = next.get(name);
    let is_taken = move |other: &Route| {
        let stays = next.get(&other.service);
        own.is_some_and(|own| own.overlaps(other) && !stays.is_some_and(|it| it.overlaps(own)))
    };
    there
        .iter()
        .filter(move |(other, route)| *other != name && is_taken(route))
        .map(|(other, _)| other)
}

/// The services by what they take over from each other. A service that goes has gone before.
fn groups(there: &Routes, next: &Routes) -> Vec<BTreeSet<ServiceName>> {
    let mut groups: Vec<BTreeSet<ServiceName>> = Vec::new();
    for name in next.keys() {
        let others = takes_from(name, there, next).filter(|other| next.contains_key(*other));
        let mut group: BTreeSet<ServiceName> = others.chain([name]).cloned().collect();
        let joined = groups.extract_if(.., |other| !other.is_disjoint(&group));
        let joined: Vec<_> = joined.flatten().collect();
        group.extend(joined);
        groups.push(group);
    }
    groups
}

/// Closes the addresses at which live traffic of these services arrived before the release that has
/// it now.
pub(super) fn close_former<'a>(
    draft: &mut Draft,
    facts: &Facts,
    services: impl Iterator<Item = &'a ServiceName>,
    needs: &[StepId],
) {
    let reason = "live traffic does not arrive there any more";
    let moving = services.filter_map(|name| facts.routes.get(name));
    end_the_move(draft, facts, moving, Route::settled, reason, needs);
}

/// Closes the addresses that were opened for a release that is given up: live traffic arrives where
/// it did before.
pub(super) fn keep_former(draft: &mut Draft, facts: &Facts, needs: &[StepId]) {
    let reason = "the release that moves it is given up";
    let moving = facts.routes.values();
    end_the_move(draft, facts, moving, Route::unmoved, reason, needs);
}

fn end_the_move<'a>(
    draft: &mut Draft,
    facts: &Facts,
    routes: impl Iterator<Item = &'a Route>,
    end: impl Fn(&Route) -> Route,
    reason: &str,
    needs: &[StepId],
) {
    for route in routes.filter(|route| !route.former().is_empty()) {
        let name = &route.service;
        let (address, next) = (Address::Route(name.clone()), end(route));
        let new = Proposal::new(address.clone(), Action::listen(next.clone()), reason)
            .changing(route_changes(route, &next))
            .expecting(facts.route_fingerprint(name))
            .after(needs);
        let back = Action::listen(route.clone());
        let undo = Proposal::new(address, back, "the listeners as they were");
        draft.add_with_undo(new, undo);
    }
}

/// What moved, as fields of the workload.
pub(super) fn drifted(drift: &[Drift]) -> Vec<Change> {
    let of = |drift: &Drift| {
        let object = drift.key.short();
        if drift.missing {
            let after = Some("made again".to_owned());
            return vec![Change {
                field: object,
                before: None,
                after,
                origin: Some("is not there".to_owned()),
                by: None,
            }];
        }
        let named = |change: &Change| Change {
            field: format!("{object} {}", change.field),
            ..change.clone()
        };
        drift.changes.iter().map(named).collect::<Vec<_>>()
    };
    drift.iter().flat_map(of).collect()
}

fn names(drift: &[Drift]) -> String {
    drift
        .iter()
        .map(|drift| drift.key.short())
        .collect::<Vec<_>>()
        .join(", ")
}

fn list(addresses: &[std::net::SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn words(services: &[&ServiceName]) -> String {
    let names: Vec<&str> = services.iter().map(|name| name.as_str()).collect();
    names.join(", ")
}

/// Closes the listeners of services that are not desired any more.
pub(super) fn close_gone(
    draft: &mut Draft,
    desired: &Desired,
    facts: &Facts,
    needs: &[StepId],
) -> Vec<StepId> {
    let gone = |name: &ServiceName| !is_routed(desired, name);
    close(draft, facts, gone, needs)
}

/// The same while the release waits for its promotion: what the live release has goes on until
/// then. What is left was opened for a release that waited before this one.
pub(super) fn close_left(
    draft: &mut Draft,
    desired: &Desired,
    facts: &Facts,
    needs: &[StepId],
) -> Vec<StepId> {
    let live = facts.live().map(|(_, there)| &there.workloads);
    let is_live = |name: &ServiceName| live.is_some_and(|live| live.contains_key(name));
    let left = |name: &ServiceName| !is_routed(desired, name) && !is_live(name);
    close(draft, facts, left, needs)
}

fn is_routed(desired: &Desired, name: &ServiceName) -> bool {
    let service = desired.services.get(name);
    service.is_some_and(|service| service.route.is_some())
}

fn close(
    draft: &mut Draft,
    facts: &Facts,
    which: impl Fn(&ServiceName) -> bool,
    needs: &[StepId],
) -> Vec<StepId> {
    let mut closed = Vec::new();
    for (name, route) in facts.routes.iter().filter(|(name, _)| which(name)) {
        let address = Address::Route(name.clone());
        let reason = "nothing listens there any more";
        let new = Proposal::new(address.clone(), Action::StopListening, reason).after(needs);
        let back = Action::listen(route.clone());
        let undo = Proposal::new(address, back, "the listeners as they were");
        closed.push(draft.add_with_undo(new, undo));
    }

    closed
}
