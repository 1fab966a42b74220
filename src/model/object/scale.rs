//! Who has the number of a workload's pods.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::ObjectKey;

/// Kind, namespace and name of what an autoscaler scales.
pub type ScaleTarget = (String, Option<String>, String);

/// What an object scales, if it is an autoscaler of any kind: it is a Deployment where no kind is
/// said.
#[must_use]
pub fn scale_target(body: &Value) -> Option<ScaleTarget> {
    let target = body.pointer("/spec/scaleTargetRef")?;
    let kind = target["kind"].as_str().unwrap_or("Deployment").to_owned();
    let namespace = body["metadata"]["namespace"].as_str().map(str::to_owned);
    Some((kind, namespace, target["name"].as_str()?.to_owned()))
}

/// An object as an autoscaler would name it.
#[must_use]
pub fn target_of(key: ObjectKey) -> ScaleTarget {
    (key.kind, key.namespace, key.name)
}

/// What is scaled by the autoscalers among these objects, with kind and name of what scales it.
#[must_use]
pub fn scalers<'a>(objects: impl IntoIterator<Item = &'a Value>) -> BTreeMap<ScaleTarget, String> {
    let scaled = objects.into_iter().filter_map(|body| {
        let target = scale_target(body)?;
        let (kind, name) = (body["kind"].as_str()?, body["metadata"]["name"].as_str()?);
        Some((target, format!("{kind}/{name}")))
    });
    scaled.collect()
}

/// Whether a manifest says how many pods there are.
#[must_use]
pub fn has_number(body: &Value) -> bool {
    body["spec"]["replicas"].is_number()
}
