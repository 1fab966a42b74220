//! Whose a workload's number of pods is. What an autoscaler has set stays: neither put back nor
//! taken for drift.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use http::StatusCode;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::compare::is_own;
use crate::driver::kubernetes::engine::list::{WIDE, key_of};
use crate::model::Manifest;
use crate::model::object::{self, ScaleTarget, has_number, mark, scale_target, target_of};

/// The kinds of autoscalers that are looked for in a cluster. Others have made an autoscaler of
/// these for it, or stand in the manifests.
const KINDS: [(&str, &str); 2] = [
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("keda.sh/v1alpha1", "ScaledObject"),
];

/// Whether a workload is to have pods. One that is stopped has none, whoever else would give it
/// any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pods {
    Wanted,
    Stopped,
}

impl Pods {
    pub const fn of(running: bool) -> Self {
        if running { Self::Wanted } else { Self::Stopped }
    }

    /// Whether these pods are to end by what is applied.
    pub fn are_ended_by(self, manifest: &Manifest) -> bool {
        self == Self::Stopped && manifest.body()["spec"]["replicas"] == 0
    }
}

/// What scales what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scalers(BTreeMap<ScaleTarget, String>);

impl Scalers {
    /// The autoscalers of these namespaces, and of those of workloads with a number, as far as
    /// they may be listed. Nobody is asked when there are no such workloads.
    pub async fn of<'a>(
        api: &Api,
        namespaces: impl IntoIterator<Item = &'a str>,
        numbered: impl Iterator<Item = &'a Value>,
    ) -> Result<Self, ApiError> {
        match places(namespaces, numbered) {
            Some(all) => Self::there(api, &all).await,
            None => Ok(Self::default()),
        }
    }

    /// With the autoscalers among these objects, whether they are there yet or not.
    pub fn and_among<'a>(mut self, objects: impl IntoIterator<Item = &'a Value>) -> Self {
        self.0.extend(object::scalers(objects));
        self
    }

    /// With these.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The same, for those whose number stands in no manifest as well.
    pub async fn there(api: &Api, namespaces: &BTreeSet<&str>) -> Result<Self, ApiError> {
        let kinds = KINDS.into_iter().map(|(version, kind)| async move {
            let kind = match api.kind(version, kind).await {
                Ok(Some(kind)) => kind,
                Ok(None) => return Ok(Vec::new()),
                Err(fault) if is_hidden(&fault) => return Ok(Vec::new()),
                Err(fault) => return Err(fault),
            };
            list_all(api, &kind, namespaces).await
        });
        let found: Vec<Vec<_>> = try_join_all(kinds).await?;
        Ok(Self(found.into_iter().flatten().collect()))
    }

    /// What of these scales one object.
    pub fn only(&self, manifest: &Manifest) -> Self {
        let target = target_of(manifest.key());
        let own = self.0.get(&target).cloned();
        Self(own.map(|by| (target, by)).into_iter().collect())
    }

    /// What scales an object that has a number in its manifest, or that we have given one to.
    fn of_number<'a>(&'a self, manifest: &'a Manifest, live: &Value) -> Option<&'a str> {
        if !has_number(manifest.body()) && !is_of_ours(live) {
            return None;
        }
        self.of_workload(manifest)
    }

    /// What scales an object.
    pub fn of_workload<'a>(&'a self, manifest: &'a Manifest) -> Option<&'a str> {
        let own = manifest.body()["metadata"]["annotations"][mark::SCALED_BY].as_str();
        own.or_else(|| self.0.get(&target_of(manifest.key())).map(String::as_str))
    }

    /// An object as it is applied to the one that is there: with the number of pods that it has,
    /// and without any where the number is another manager's already. What is stopped gets the
    /// number that says so.
    ///
    /// A number that we gave, and that is in the manifest no more, stays ours until the autoscaler
    /// gives another: left out before that, the server would put its default in its place.
    pub fn leave(&self, manifest: &Manifest, live: &Value, pods: Pods) -> Manifest {
        let mut left = manifest.clone();
        if pods.are_ended_by(manifest) || self.of_number(manifest, live).is_none() {
            return left;
        }

        let number = live["spec"]["replicas"].clone();
        // An autoscaler lets a workload be that was given no pods.
        let is_handed_over_stopped = number == 0 && !has_number(manifest.body());
        left.edit(|body| {
            let Some(spec) = body["spec"].as_object_mut() else {
                return;
            };
            if is_of_others(live) || is_handed_over_stopped {
                spec.remove("replicas");
            } else if number.is_number() {
                spec.insert("replicas".to_owned(), number);
            }
        });
        left
    }

    /// An object that is there, without what an autoscaler may change at any time.
    pub fn settled(&self, manifest: &Manifest, live: &Value) -> Value {
        let mut live = live.clone();
        if self.of_number(manifest, &live).is_some()
            && let Some(spec) = live["spec"].as_object_mut()
        {
            spec.remove("replicas");
        }
        live
    }

    /// What a reader should know of an object whose number is not what its manifest says.
    pub fn note(&self, manifest: &Manifest, live: &Value) -> Option<String> {
        let (wanted, has) = (
            &manifest.body()["spec"]["replicas"],
            &live["spec"]["replicas"],
        );
        let short = manifest.key().short();
        match (self.of_number(manifest, live), wanted) {
            (Some(_), wanted) if wanted == has => None,
            (Some(_), Value::Null) if *has == 0 => None,
            (Some(scaler), Value::Null) => Some(format!(
                "{short} keeps the number of pods that it has, {has}: it is left to {scaler}"
            )),
            (Some(scaler), wanted) => Some(format!(
                "{short} has {has} pods, not {wanted}: their number is left to {scaler}"
            )),
            (None, Value::Null) if is_dropped(manifest, live) => Some(format!(
                "{short}: its manifest has no `replicas` any more, and no autoscaler takes it: \
                 instead of {has} pods it gets 1"
            )),
            (None, _) => None,
        }
    }
}

/// These namespaces, and those of what has a number; none when nothing has.
fn places<'a>(
    namespaces: impl IntoIterator<Item = &'a str>,
    numbered: impl Iterator<Item = &'a Value>,
) -> Option<BTreeSet<&'a str>> {
    let mut numbered = numbered.peekable();
    numbered.peek()?;
    let others = numbered.filter_map(|body| body["metadata"]["namespace"].as_str());
    Some(namespaces.into_iter().chain(others).collect())
}

/// Whether there is nothing to be seen. A server that cannot answer now has not said so.
fn is_hidden(fault: &ApiError) -> bool {
    fault.is(StatusCode::FORBIDDEN) || fault.is(StatusCode::NOT_FOUND)
}

/// Whether we have given an object the number of pods that it has.
pub(super) fn is_of_ours(live: &Value) -> bool {
    owners_of_number(live).any(is_own)
}

/// Whether a number that we alone gave falls to the server's default when it is not applied.
fn is_dropped(manifest: &Manifest, live: &Value) -> bool {
    let is_default = live["spec"]["replicas"] == 1;
    manifest.scales() && is_of_ours(live) && !is_of_others(live) && !is_default
}

/// Whether another manager has the number of pods.
fn is_of_others(live: &Value) -> bool {
    owners_of_number(live).any(|entry| !is_own(entry))
}

/// The entries of the server's record that have the number of pods.
fn owners_of_number(live: &Value) -> impl Iterator<Item = &Value> {
    let entries = live.pointer("/metadata/managedFields");
    let entries = entries.and_then(Value::as_array).into_iter().flatten();
    entries.filter(|entry| entry.pointer("/fieldsV1/f:spec/f:replicas").is_some())
}

/// What a scaler scales, and the scaler.
type Scaled = (ScaleTarget, String);

/// The autoscalers of many namespaces in one list, where that is allowed.
async fn list_all(
    api: &Api,
    kind: &Kind,
    namespaces: &BTreeSet<&str>,
) -> Result<Vec<Scaled>, ApiError> {
    if namespaces.len() >= WIDE {
        match list(api, kind, None).await {
            Err(fault) if is_hidden(&fault) => {}
            other => return other,
        }
    }
    let lists = namespaces.iter().map(|namespace| async move {
        match list(api, kind, Some(namespace)).await {
            // Who may not see autoscalers has none of its own either.
            Err(fault) if is_hidden(&fault) => Ok(Vec::new()),
            other => other,
        }
    });
    Ok(try_join_all(lists).await?.concat())
}

async fn list(api: &Api, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Scaled>, ApiError> {
    let mut found = Vec::new();
    let take = |scaler: Value| {
        if let (Some(target), Some(key)) = (scale_target(&scaler), key_of(&scaler)) {
            found.push((target, key.short()));
        }
    };
    api.list(kind, namespace, &Selector::All, take).await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::driver::kubernetes::client::api::MANAGER;

    fn workload(number: u64, managers: &[&str]) -> Value {
        let entries: Vec<Value> = managers
            .iter()
            .map(|manager| {
                let operation = if *manager == MANAGER { "Apply" } else { "Update" };
                json!({"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {"f:replicas": {}}}})
            })
            .collect();
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": number},
            "metadata": {"name": "web", "namespace": "a", "managedFields": entries}})
    }

    #[test]
    fn a_server_that_cannot_answer_has_not_said_that_nothing_scales() {
        let refused = |code: u16| {
            let status = kube::core::Status::failure("no", "").with_code(code);
            ApiError::Refused(Box::new(status))
        };
        assert!([403, 404].into_iter().all(|code| is_hidden(&refused(code))));
        for code in [401, 429, 500, 503, 504] {
            assert!(!is_hidden(&refused(code)), "{code}");
        }
    }

    #[test]
    fn a_number_that_an_autoscaler_has_is_not_applied_and_ours_stays_as_it_is() {
        let wanted = Manifest::try_from(workload(3, &[])).expect("a manifest");
        let target = (
            "Deployment".to_owned(),
            Some("a".to_owned()),
            "web".to_owned(),
        );
        let scalers = Scalers([(target, "HorizontalPodAutoscaler/h".to_owned())].into());
        let number = |scalers: &Scalers, live: &Value| {
            let left = scalers.leave(&wanted, live, Pods::Wanted);
            left.body()["spec"]["replicas"].as_u64()
        };
        assert_eq!(number(&scalers, &workload(7, &["hpa"])), None);
        assert_eq!(number(&scalers, &workload(7, &[MANAGER, "hpa"])), None);
        // Left out it would fall to one pod.
        assert_eq!(number(&scalers, &workload(7, &[MANAGER])), Some(7));
        assert_eq!(number(&Scalers::default(), &workload(7, &["hpa"])), Some(3));
        let mut stopped = wanted.clone();
        stopped.edit(|body| body["spec"]["replicas"] = 0.into());
        let left = scalers.leave(&stopped, &workload(7, &["hpa"]), Pods::Stopped);
        assert_eq!(left.body()["spec"]["replicas"], 0);
        let note = scalers.note(&wanted, &workload(7, &[])).expect("a note");
        assert!(note.contains("left to HorizontalPodAutoscaler/h"), "{note}");
    }

    #[test]
    fn a_number_that_leaves_its_manifest_stays_for_an_autoscaler() {
        let mut wanted = Manifest::try_from(workload(3, &[])).expect("a manifest");
        wanted.edit(|body| body["spec"] = json!({}));
        let scaler = json!({"kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "namespace": "a"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}}});
        let scalers = Scalers::default().and_among([&scaler]);
        let number = |scalers: &Scalers, live: &Value| {
            let left = scalers.leave(&wanted, live, Pods::Wanted);
            left.body()["spec"]["replicas"].as_u64()
        };

        let ours = workload(4, &[MANAGER]);
        assert_eq!(number(&scalers, &ours), Some(4));
        let note = scalers.note(&wanted, &ours).expect("a note");
        assert!(note.contains("that it has, 4: it is left to"), "{note}");

        // Whoever else has it keeps it.
        assert_eq!(number(&scalers, &workload(4, &[MANAGER, "hpa"])), None);
        assert_eq!(number(&scalers, &workload(4, &["hpa"])), None);
        assert_eq!(number(&scalers, &workload(4, &[])), None);
        // No autoscaler begins with none.
        assert_eq!(number(&scalers, &workload(0, &[MANAGER])), None);

        let nobody = Scalers::default();
        assert_eq!(number(&nobody, &ours), None);
        let note = nobody.note(&wanted, &ours).expect("a note");
        assert!(note.contains("instead of 4 pods it gets 1"), "{note}");
        assert_eq!(nobody.note(&wanted, &workload(4, &[MANAGER, "hpa"])), None);
        assert_eq!(nobody.note(&wanted, &workload(1, &[MANAGER])), None);
    }
}
