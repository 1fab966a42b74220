//! The last touch on a manifest before it is sent: the image, the secrets' values, the release's
//! number, and what marks it as ours.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::driver::kubernetes::engine::taken;
use crate::model::object::{IMAGE, Names, RELEASE, SECRET, mark, rename, rewrite, scale_target};
use crate::model::secret::{HashKey, SecretValue};
use crate::model::workload::Workload;
use crate::model::{LiveTraffic, Manifest, ReleaseNumber, Slot};

/// What a manifest is finished with. It is recorded beside the release, so that what was applied
/// can be told again without the secrets' values.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Bindings {
    /// The image with its digest.
    pub image: String,
    /// The names of the slot's Secrets by their names in the manifests: each ends in a keyed hash
    /// of its values.
    pub secrets: BTreeMap<String, String>,
    /// The keyed hash of each value, by the secret's name.
    pub values: BTreeMap<String, String>,
}

/// What a workload's manifests are finished with.
pub(super) fn bind(
    workload: &Workload,
    slot: Slot,
    image: String,
    secrets: &BTreeMap<String, SecretValue>,
    key: &HashKey,
) -> Bindings {
    let values = key.hashes(secrets);

    let mut names = BTreeMap::new();
    let objects = workload.objects(slot).iter();
    for manifest in objects.filter(|object| object.kind() == "Secret") {
        let mut all = String::new();
        for (name, value) in manifest.body()["data"].as_object().into_iter().flatten() {
            let secret = value
                .as_str()
                .and_then(|text| text.strip_prefix(SECRET))
                .unwrap_or_default();
            all = format!(
                "{all}{name}={};",
                values.get(secret).map_or("", String::as_str)
            );
        }
        let hash = key.hash(all.as_bytes());
        names.insert(
            manifest.name().to_owned(),
            format!("{}-{}", manifest.name(), &hash[..10]),
        );
    }

    Bindings {
        image,
        secrets: names,
        values,
    }
}

/// How a workload is finished.
pub(super) struct Finish<'a> {
    pub slot: Slot,
    pub release: ReleaseNumber,
    pub running: bool,
    /// Where live traffic goes: tasks run by themselves only there.
    pub traffic: LiveTraffic,
    pub bindings: &'a Bindings,
    /// The values, when they are to be applied; without them a Secret's data is left out.
    pub values: Option<&'a BTreeMap<String, SecretValue>>,
    /// Which `ApplySet` the objects belong to.
    pub set: &'a str,
}

/// The manifests of a workload as they are sent.
pub(super) fn finish(workload: &Workload, how: &Finish<'_>) -> Vec<Manifest> {
    let mut objects = workload.objects(how.slot).to_vec();
    let names: Names = how
        .bindings
        .secrets
        .iter()
        .map(|(old, new)| (("Secret".to_owned(), old.clone()), new.clone()))
        .collect();
    rename(&mut objects, &names);
    let number = how.release.to_string();
    let autoscaled = autoscaled(&objects);
    for object in &mut objects {
        let scales = object.scales() && !autoscaled.contains(&object.key().name);
        object.edit(|body| {
            rewrite(body, &|text| {
                if text.starts_with(IMAGE) {
                    return Some(how.bindings.image.clone());
                }
                text.contains(RELEASE)
                    .then(|| text.replace(RELEASE, &number))
            });
            if !how.running && scales {
                body["spec"]["replicas"] = 0.into();
            }
        });
        if object.scheduled_task().is_some() {
            let runs = how.running && how.traffic.reaches(how.slot);
            object.edit(|body| body["spec"]["suspend"] = (!runs).into());
        }
        if object.kind() == "Secret" {
            fill(object, how);
        }
        object.label(mark::RELEASE, &number);
        object.label(mark::PART_OF, how.set);
    }

    objects
}

/// The names of workloads whose number of pods belongs to an autoscaler.
pub(super) fn autoscaled(objects: &[Manifest]) -> Vec<String> {
    let scalers = objects.iter();
    scalers
        .filter_map(|scaler| Some(scale_target(scaler.body())?.2))
        .collect()
}

fn fill(object: &mut Manifest, how: &Finish<'_>) {
    object.edit(|body| {
        let Some(data) = body.get_mut("data").and_then(Value::as_object_mut) else {
            return;
        };
        for value in data.values_mut() {
            let name = value
                .as_str()
                .and_then(|text| text.strip_prefix(SECRET))
                .unwrap_or_default()
                .to_owned();
            let secret = how.values.and_then(|values| values.get(&name));
            *value = match secret {
                Some(secret) => BASE64_STANDARD.encode(secret.expose()).into(),
                // Compared by its hash, never by its value.
                None => format!(
                    "{SECRET}{}",
                    how.bindings.values.get(&name).map_or("", String::as_str)
                )
                .into(),
            };
        }
    });
}

/// Replaces the data of a live Secret by the keyed hashes that [`finish`] has without the values.
pub(super) fn hide(live: &mut Value, key: &HashKey) {
    if live["kind"] != "Secret" {
        return;
    }
    for value in live
        .get_mut("data")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(serde_json::Map::values_mut)
    {
        let bytes = value
            .as_str()
            .and_then(|text| BASE64_STANDARD.decode(text).ok())
            .unwrap_or_default();
        *value = format!("{SECRET}{}", key.hash(&bytes)).into();
    }
}

/// A manifest that belongs to no slot, as it is sent.
pub(super) fn shared(manifest: &Manifest, set: &str) -> Manifest {
    let mut manifest = manifest.clone();
    manifest.label(mark::PART_OF, set);
    taken::remember(&mut manifest);
    manifest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyed_hash_is_hmac() {
        // RFC 4231, test case 2.
        let hash = HashKey(b"Jefe".to_vec()).hash(b"what do ya want for nothing?");
        assert_eq!(hash, "5bdcc146bf60754e6a042426089575c7");
    }
}
