//! Finding the environment's objects: one LIST per kind and namespace, all of them side by side,
//! each object compared with what it should be as its page arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use futures_util::future::try_join_all;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::Settings;
use crate::driver::kubernetes::engine::autoscale::{Scalers, is_of_ours};
use crate::driver::kubernetes::engine::compare::{Comparison, compare};
use crate::driver::kubernetes::engine::complete::hide;
use crate::driver::kubernetes::engine::holds::is_protected;
use crate::driver::kubernetes::engine::owner::is_ours;
use crate::driver::kubernetes::engine::ready::{Ready, ready};
use crate::driver::kubernetes::engine::record::{Elsewhere, Record};
use crate::model::ObjectKey;
use crate::model::object::has_number;
use crate::model::secret::HashKey;

/// From how many namespaces on a kind is listed in the whole cluster at once, where that is
/// allowed.
pub(super) const WIDE: usize = 8;

/// What one object turned out to be.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The object, unless it is certainly as it should be.
    pub live: Option<Value>,
    pub ready: Ready,
    /// Whether it says of itself that it must never be deleted or replaced.
    pub is_protected: bool,
    /// None when the object is not ours to take away.
    pub uid: Option<String>,
    /// Of a Job that was done and is not there any more: when that was.
    pub done: Option<Timestamp>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct ObjectsFound {
    /// What is expected, and is there.
    pub known: BTreeMap<ObjectKey, Item>,
    /// What is ours and not expected.
    pub unmanaged: BTreeMap<ObjectKey, Value>,
    /// What scales what of it.
    pub scalers: Scalers,
    /// The server's own names of what is known.
    uids: BTreeSet<String>,
}

impl ObjectsFound {
    /// What is ours, with the server's own name of each.
    pub fn ours(&self) -> impl Iterator<Item = (&ObjectKey, &str)> {
        let known = self.known.iter();
        let known = known.filter_map(|(key, item)| Some((key, item.uid.as_deref()?)));
        let unmanaged = self.unmanaged.iter();
        known.chain(unmanaged.map(|(key, live)| (key, uid(live))))
    }

    /// A Job that was done and has gone since is as it should be.
    fn count_done(&mut self, record: &Record, expected: &Expected<'_>) {
        for (key, body) in &expected.objects {
            let done = record.done_at(key, body);
            if done.is_some() && !self.known.contains_key(key) {
                let item = Item {
                    live: None,
                    ready: Ready::Yes,
                    is_protected: false,
                    uid: None,
                    done,
                };
                self.known.insert(key.clone(), item);
            }
        }
    }

    /// What we have given a number of pods that its manifest does not have any more.
    fn given_up<'a>(&'a self, expected: &'a Expected<'_>) -> impl Iterator<Item = &'a Value> {
        let known = self.known.iter();
        let given = known.filter(|(_, item)| item.live.as_ref().is_some_and(is_of_ours));
        let wanted = given.filter_map(|(key, _)| expected.objects.get(key));
        wanted.filter(|body| !has_number(body))
    }

    /// One object may be served in two groups: what is known by one name is not unmanaged by the
    /// other.
    fn forget_twins(&mut self) {
        let uids = &self.uids;
        self.unmanaged.retain(|_, live| !uids.contains(uid(live)));
    }
}

fn uid(live: &Value) -> &str {
    live["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Where objects are looked for.
pub(super) struct Search<'a> {
    pub kinds: &'a BTreeSet<Kind>,
    /// Where objects of every kind may be.
    pub namespaces: Vec<&'a str>,
    /// Where objects of one kind may be besides.
    pub elsewhere: &'a BTreeSet<Elsewhere>,
    pub selector: Selector,
    /// What knows which Jobs were done.
    pub record: &'a Record,
}

/// What is compared with the objects that come.
pub(super) struct Expected<'a> {
    pub objects: BTreeMap<ObjectKey, Value>,
    /// Objects whose right content is only known once all of them are seen.
    pub whole: BTreeSet<ObjectKey>,
    /// Whether what is not expected is kept.
    pub unmanaged: bool,
    pub key: &'a HashKey,
}

impl Expected<'_> {
    /// The versions that objects of a kind are written in.
    fn versions(&self, kind: &Kind) -> BTreeSet<&str> {
        let keys = self.objects.keys().chain(&self.whole);
        keys.filter(|key| kind.is_of(key))
            .map(|key| key.api_version.as_str())
            .collect()
    }

    /// The namespaces that objects of a kind are expected in.
    fn namespaces(&self, kind: &Kind) -> impl Iterator<Item = &str> {
        let keys = self.objects.keys().chain(&self.whole);
        keys.filter(|key| kind.is_of(key))
            .filter_map(|key| key.namespace.as_deref())
    }
}

/// One list's way to the findings.
struct Sorter<'a> {
    settings: &'a Settings,
    expected: &'a Expected<'a>,
    /// The versions that are listed, by `apiVersion` and kind.
    listed: BTreeSet<(String, String)>,
    found: Mutex<ObjectsFound>,
}

/// Lists kinds by label, and compares each object with what is expected.
pub(super) async fn list(
    api: &Api,
    settings: &Settings,
    search: &Search<'_>,
    expected: &Expected<'_>,
) -> Result<ObjectsFound, ApiError> {
    let asked = search.kinds.iter().map(|kind| served(api, kind, expected));
    let kinds: Vec<Kind> = try_join_all(asked).await?.concat();
    let version = |kind: &Kind| (kind.api_version.clone(), kind.kind.clone());
    let sorter = Sorter {
        settings,
        expected,
        listed: kinds.iter().map(version).collect(),
        found: Mutex::default(),
    };

    let lists = kinds.iter().map(|kind| {
        let places = places(kind, search, expected);
        of_kind(api, kind, places, &search.selector, &sorter)
    });
    let numbered = expected.objects.values().filter(|body| has_number(body));
    let scalers = Scalers::of(api, search.namespaces.iter().copied(), numbered);
    let (_, scalers) = tokio::try_join!(try_join_all(lists), scalers)?;

    let mut found = sorter
        .found
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    // Whose a number is that we gave and do not want any more is only known with what is there.
    let others = Scalers::of(
        api,
        search.namespaces.iter().copied(),
        found.given_up(expected),
    );
    found.scalers = scalers
        .and(others.await?)
        .and_among(expected.objects.values());
    found.forget_twins();
    found.count_done(search.record, expected);
    Ok(found)
}

/// A kind in the versions that what is expected of it is written in, so that like is compared with
/// like; without any, as it was asked for last.
async fn served(api: &Api, kind: &Kind, expected: &Expected<'_>) -> Result<Vec<Kind>, ApiError> {
    let mut kinds = Vec::new();
    for version in expected.versions(kind) {
        if version == kind.api_version {
            kinds.push(kind.clone());
        } else {
            kinds.extend(api.kind(version, &kind.kind).await?);
        }
    }
    if kinds.is_empty() {
        kinds.push(kind.clone());
    }
    Ok(kinds)
}

/// The namespaces in which a kind is listed; none for one that is in no namespace.
fn places<'a>(
    kind: &Kind,
    search: &Search<'a>,
    expected: &'a Expected<'_>,
) -> Option<BTreeSet<&'a str>> {
    if !kind.namespaced {
        return None;
    }
    let elsewhere = search.elsewhere.iter().filter(|place| place.is_of(kind));
    let mut all: BTreeSet<&str> = search.namespaces.iter().copied().collect();
    all.extend(elsewhere.map(|place| place.namespace.as_str()));
    all.extend(expected.namespaces(kind));
    Some(all)
}

async fn of_kind(
    api: &Api,
    kind: &Kind,
    places: Option<BTreeSet<&str>>,
    selector: &Selector,
    sorter: &Sorter<'_>,
) -> Result<(), ApiError> {
    let Some(places) = places else {
        return one(api, kind, None, selector, &|object| sorter.take(object)).await;
    };

    if places.len() >= WIDE {
        let is_here = |object: &Value| {
            let namespace = object["metadata"]["namespace"].as_str();
            namespace.is_some_and(|name| places.contains(name))
        };
        let take = |object: Value| {
            if is_here(&object) {
                sorter.take(object);
            }
        };
        match one(api, kind, None, selector, &take).await {
            // Who may not see the whole cluster sees the namespaces one by one.
            Err(fault) if fault.is(StatusCode::FORBIDDEN) => {}
            other => return other,
        }
    }

    let lists = places.into_iter().map(|namespace| async move {
        let take = |object| sorter.take(object);
        let listed = one(api, kind, Some(namespace), selector, &take).await;
        listed.map_err(|fault| sorter.explained(fault, kind, namespace))
    });
    try_join_all(lists).await.map(drop)
}

async fn one(
    api: &Api,
    kind: &Kind,
    namespace: Option<&str>,
    selector: &Selector,
    take: &(impl Fn(Value) + Sync),
) -> Result<(), ApiError> {
    match api.list(kind, namespace, selector, take).await {
        Err(fault) if fault.is(StatusCode::NOT_FOUND) => {}
        other => return other.map(drop),
    }

    // That version is gone. The kind, and its objects, may still be served in another.
    match api.serving(kind.group(), &kind.kind).await? {
        Some(other) if other.api_version != kind.api_version => {
            let listed = api.list(&other, namespace, selector, take).await;
            listed.map(drop)
        }
        _ => Ok(()),
    }
}

impl Sorter<'_> {
    /// A refusal to list where no manifest has anything, with why it is asked there: what may not
    /// be seen is not taken for gone.
    fn explained(&self, fault: ApiError, kind: &Kind, namespace: &str) -> ApiError {
        let mut expected = self.expected.namespaces(kind);
        let is_expected = expected.any(|expected| expected == namespace);
        match fault {
            ApiError::Refused(mut status) if status.code == 403 && !is_expected => {
                status.message.push_str(
                    "; this environment has had objects of that kind, which may still be there",
                );
                ApiError::Refused(status)
            }
            other => other,
        }
    }

    fn take(&self, mut object: Value) {
        let Some(key) = key_of(&object) else { return };
        let expected = self.expected;
        hide(&mut object, expected.key);
        if let Some(wanted) = expected.objects.get(&key) {
            let is_listed =
                |wanted: &str| self.listed.contains(&(wanted.to_owned(), key.kind.clone()));
            // It comes once more, in the version that it is written in.
            let wanted_version = wanted["apiVersion"].as_str().unwrap_or_default();
            if wanted_version != key.api_version && is_listed(wanted_version) {
                return;
            }
            let ready = ready(&object, &self.settings.rules);
            let differs = compare(wanted, &object) == Comparison::Ask;
            self.known(key, object, ready, differs);
        } else if expected.whole.contains(&key) {
            self.known(key, object, Ready::Yes, true);
        } else if expected.unmanaged && is_ours(&object) {
            self.found().unmanaged.insert(key, object);
        }
    }

    fn known(&self, key: ObjectKey, object: Value, ready: Ready, differs: bool) {
        let name = uid(&object).to_owned();
        let item = Item {
            is_protected: is_protected(&object),
            uid: is_ours(&object).then(|| name.clone()),
            live: differs.then_some(object),
            ready,
            done: None,
        };
        let mut found = self.found();
        found.known.insert(key, item);
        found.uids.insert(name);
    }

    fn found(&self) -> std::sync::MutexGuard<'_, ObjectsFound> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What names an object that the server has given.
pub(super) fn key_of(object: &Value) -> Option<ObjectKey> {
    let text = |path: &str| {
        object
            .pointer(path)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    Some(ObjectKey {
        api_version: text("/apiVersion")?,
        kind: text("/kind")?,
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name")?,
    })
}
