//! Workloads whose number of pods is an autoscaler's: a number in their manifest is what they begin
//! with.

use crate::model::Manifest;
use crate::model::object::{has_number, mark, scalers, target_of};

/// Which workloads are written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workloads {
    /// Those with a number of pods. The others of a slot are applied together with what scales
    /// them, and are not another release for what is written on them.
    WithNumber,
    /// All. Each of the environment's own objects is a step of its own, which sees no other.
    All,
}

/// Writes on workloads which of these objects scales them.
pub(super) fn note(objects: &mut [Manifest], which: Workloads) {
    let scalers = scalers(objects.iter().map(Manifest::body));
    for object in objects.iter_mut() {
        let is_meant = which == Workloads::All || has_number(object.body());
        if let Some(scaler) = scalers.get(&target_of(object.key())).filter(|_| is_meant) {
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
        let said = |all: &[Manifest]| -> Vec<Option<String>> {
            let names = all.iter().map(|object| {
                let name = &object.body()["metadata"]["annotations"][mark::SCALED_BY];
                name.as_str().map(str::to_owned)
            });
            names.collect()
        };
        let first = [Some("ScaledObject/s".to_owned()), None, None, None];
        let mut bare = all.clone();
        bare[0].edit(|body| body["spec"] = json!({}));

        note(&mut all, Workloads::WithNumber);
        assert_eq!(said(&all), first);

        note(&mut bare, Workloads::WithNumber);
        assert_eq!(said(&bare), [None, None, None, None]);
        note(&mut bare, Workloads::All);
        assert_eq!(said(&bare), first);
    }
}
