//! All that is known about an environment at one moment: its record, its pods and its objects.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use serde_json::Value;

use super::{of_scope, sent, slots};
use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::complete::shared;
use crate::driver::kubernetes::engine::leavings::Leavings;
use crate::driver::kubernetes::engine::list::{Expected, ObjectsFound, Search, list};
use crate::driver::kubernetes::engine::record::{Read, Record, Records, Workloads};
use crate::driver::kubernetes::engine::{KubernetesEngine, holds};
use crate::model::loss::Claim;
use crate::model::object::mark;
use crate::model::route::Route;
use crate::model::secret::HashKey;
use crate::model::{Manifest, ObjectKey, Slot};
use crate::port::engine::Scope;

/// All that is known about an environment at one moment.
pub(super) struct Snapshot {
    pub read: Read,
    pub slots: BTreeMap<Slot, Workloads>,
    pub found: ObjectsFound,
    pub pods: Vec<Value>,
    pub claims: Vec<Claim>,
    pub set: String,
    /// What is to be there, in whatever slot or entry point.
    expected: BTreeSet<ObjectKey>,
}

impl Snapshot {
    /// What of ours nothing asks for.
    pub fn leavings(&self) -> Leavings {
        let record = &self.read.record;
        Leavings::of(record, self.expected.iter(), self.found.unmanaged.keys())
    }
}

/// Kinds of wanted objects that the server does not know.
pub(super) type Missing = BTreeSet<(String, String)>;

pub(super) async fn snapshot(
    engine: &KubernetesEngine,
    api: &Api,
    records: &Records<'_>,
    wanted: Option<&[Manifest]>,
) -> Result<(Snapshot, Missing), ApiError> {
    let set = records.set();
    let manifests = wanted.unwrap_or_default();
    // Whether the key is needed is only known with the record; it is asked for beside it.
    let (read, wanted_kinds, key) =
        tokio::join!(records.read(), kinds_of(api, manifests), records.key(false));
    let (read, (mut kinds, missing)) = (read?, wanted_kinds?);
    let record = &read.record;
    let is_known =
        !record.slots.is_empty() || record.kinds.iter().any(|kind| kind.kind == "Secret");
    let key = if is_known { key? } else { HashKey(Vec::new()) };
    let pods = pods(engine, api, records.scope);
    let (slots, pods) = tokio::try_join!(slots(records, record), pods)?;

    let mut contents = Contents::default();
    contents.add_slots(record, &slots, &set);
    contents.add_routes(record, &set);
    contents.add_wanted(manifests, &set);
    kinds.extend(record.kinds.iter().cloned());

    let all = contents.objects.keys().chain(&contents.whole);
    let all = all.cloned().collect();
    let expected = Expected {
        objects: contents.objects,
        whole: contents.whole,
        unmanaged: wanted.is_some(),
        key: &key,
    };
    let search = Search {
        kinds: &kinds,
        namespaces: records.namespaces.all(),
        elsewhere: &record.elsewhere,
        record,
        selector: Selector::Labels(format!("{}={set}", mark::PART_OF)),
    };
    let storage = async {
        if contents.with_storage.is_empty() {
            return Ok(Vec::new());
        }
        // A slot may get pods for what is in its claims already.
        let slots = search.namespaces.iter().copied();
        let others = contents.with_storage.iter().map(String::as_str);
        let places: BTreeSet<&str> = slots.chain(others).collect();
        holds::claims(api, &places).await
    };
    let lists = list(api, &engine.settings, &search, &expected);
    let (found, claims) = tokio::try_join!(lists, storage)?;

    let snapshot = Snapshot {
        read,
        slots,
        found,
        pods,
        claims,
        set,
        expected: all,
    };
    Ok((snapshot, missing))
}

/// What the environment's objects are compared with.
#[derive(Default)]
struct Contents {
    objects: BTreeMap<ObjectKey, Value>,
    /// Objects whose right content is only known once all of them are seen.
    whole: BTreeSet<ObjectKey>,
    /// The namespaces of what asks for storage.
    with_storage: BTreeSet<String>,
}

impl Contents {
    fn add_slots(&mut self, record: &Record, slots: &BTreeMap<Slot, Workloads>, set: &str) {
        for (slot, workloads) in slots {
            let number = record.slots[slot].label.number;
            for placed in workloads.values() {
                for manifest in sent(placed, *slot, (number, record.traffic), set) {
                    self.note_storage(&manifest);
                    self.objects.insert(manifest.key(), manifest.into());
                }
            }
        }
    }

    fn add_routes(&mut self, record: &Record, set: &str) {
        let routes = record.routes.values();
        for route in routes.filter_map(Route::objects) {
            for manifest in &route.fixed {
                let object = shared(manifest, set);
                self.objects.insert(manifest.key(), object.into());
            }
            self.whole.insert(route.off.key());
        }
    }

    fn note_storage(&mut self, manifest: &Manifest) {
        if holds::asks_for_storage(manifest) {
            self.with_storage.extend(manifest.key().namespace);
        }
    }

    fn add_wanted(&mut self, wanted: &[Manifest], set: &str) {
        for manifest in wanted {
            self.note_storage(manifest);
            let object = shared(manifest, set);
            self.objects.insert(manifest.key(), object.into());
        }
    }
}

/// The kinds of manifests, and those that the server does not know.
async fn kinds_of(
    api: &Api,
    manifests: &[Manifest],
) -> Result<(BTreeSet<Kind>, Missing), ApiError> {
    let names: BTreeSet<(String, String)> = manifests
        .iter()
        .map(Manifest::key)
        .map(|key| (key.api_version, key.kind))
        .collect();
    let asked = names.into_iter().map(|name| async move {
        let kind = api.kind(&name.0, &name.1).await?;
        Ok::<_, ApiError>((name, kind))
    });
    let (mut kinds, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for (name, kind) in try_join_all(asked).await? {
        match kind {
            Some(kind) => {
                kinds.insert(kind);
            }
            None => {
                missing.insert(name);
            }
        }
    }

    Ok((kinds, missing))
}

/// The pods of an environment. In an empty slot there may be those of commands.
async fn pods(engine: &KubernetesEngine, api: &Api, scope: &Scope) -> Result<Vec<Value>, ApiError> {
    let slots = engine.settings.namespaces.slots.values();
    let namespaces: BTreeSet<&String> = slots.collect();

    let selector = Selector::Labels(of_scope(scope));
    let lists = namespaces.into_iter().map(|namespace| {
        let selector = &selector;
        async move {
            let mut pods = Vec::new();
            let kind = api.must(("v1", "Pod")).await?;
            api.list(&kind, Some(namespace), selector, |pod| pods.push(pod))
                .await?;
            Ok::<_, ApiError>(pods)
        }
    });
    Ok(try_join_all(lists).await?.concat())
}
