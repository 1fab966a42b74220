//! Workloads whose number of pods is an autoscaler's: a number in their manifest is what they begin
//! with.

use std::collections::BTreeMap;

use crate::model::Manifest;
use crate::model::object::{mark, scale_target};

/// Writes on every workload with a number of pods which of these objects scales it.
pub(super) fn note(objects: &mut [Manifest]) {
    let scalers: BTreeMap<_, String> = objects
        .iter()
        .filter_map(|object| Some((scale_target(object.body())?, object.key().short())))
        .collect();
    for object in objects.iter_mut() {
        let key = object.key();
        let target = (key.kind, key.namespace, key.name);
        let has_number = object.body()["spec"]["replicas"].is_number();
        if let Some(scaler) = scalers.get(&target).filter(|_| has_number) {
            object.annotate(mark::SCALED_BY, scaler);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_names_a_target_to_scale_has_its_number_to_itself() {
        let object = |body| Manifest::try_from(body).expect("a manifest");
        let workload = |kind: &str, namespace: &str| {
            object(json!({"apiVersion": "apps/v1", "kind": kind,
                "metadata": {"name": "web", "namespace": namespace}, "spec": {"replicas": 3}}))
        };
        // KEDA means a Deployment when it says no kind.
        let scaler = object(
            json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "s", "namespace": "a"}, "spec": {"scaleTargetRef": {"name": "web"}}}),
        );
        let mut all = [
            workload("Deployment", "a"),
            workload("StatefulSet", "a"),
            workload("Deployment", "b"),
            scaler,
        ];
        note(&mut all);
        let said: Vec<Option<&str>> = all
            .iter()
            .map(|object| object.body()["metadata"]["annotations"][mark::SCALED_BY].as_str())
            .collect();
        assert_eq!(said, [Some("ScaledObject/s"), None, None, None]);
    }
}
