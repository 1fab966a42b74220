//! A kind that the server does not have: what it has instead, and what was meant.

use std::collections::BTreeSet;

use crate::driver::kubernetes::client::api::{Api, Kind};
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::spelling::nearest;
use crate::model::ObjectKey;
use crate::model::object::ObjectFault;

/// What to do where nothing of that name is known.
const INSTALL: &str =
    "install what defines it first, or add its CustomResourceDefinition to the manifests";

/// What is wrong with an object of a kind that the server does not have, with what it has instead.
/// A server that cannot list its kinds has nothing to say to that.
pub(super) async fn unknown(api: &Api, key: &ObjectKey) -> ObjectFault {
    let served = api.served().await.unwrap_or_default();
    let (reason, help) = explain(&key.api_version, &key.kind, served);
    ObjectFault {
        reason: format!("{}: {reason}", said(key)),
        field: Some(".apiVersion".to_owned()),
        help: Some(help),
    }
}

fn explain(api_version: &str, kind: &str, served: &[Kind]) -> (String, String) {
    let mut reason = format!("the server has no kind {kind} in {api_version}");
    if let Some(version) = removed_in(api_version, kind) {
        reason = format!("{reason}, which Kubernetes {version} has removed");
    }

    let same = served.iter().filter(|one| one.kind == kind);
    let elsewhere: BTreeSet<&str> = same.map(|one| one.api_version.as_str()).collect();
    let help = if !elsewhere.is_empty() {
        let named: Vec<String> = elsewhere.iter().map(|it| format!("`{it}`")).collect();
        format!(
            "the server has {kind} in {}: write that as its `apiVersion`, and look at what its \
             fields are called there",
            named.join(" and ")
        )
    } else if let Some(meant) = meant(api_version, kind, served) {
        let name = &meant.kind;
        match meant.api_version.as_str() {
            same if same == api_version => format!("did you mean `{name}`?"),
            other => format!("did you mean `{name}` in `{other}`?"),
        }
    } else {
        INSTALL.to_owned()
    };
    (reason, help)
}

/// The kind that was probably meant, in the same version before all others.
fn meant<'a>(api_version: &str, kind: &str, served: &'a [Kind]) -> Option<&'a Kind> {
    let (same, others): (Vec<&Kind>, Vec<&Kind>) = served
        .iter()
        .partition(|one| one.api_version == api_version);
    [same, others].into_iter().find_map(|kinds| {
        let name = nearest(kind, kinds.iter().map(|one| one.kind.as_str()))?;
        kinds.into_iter().find(|one| one.kind == name)
    })
}

/// The versions of APIs that Kubernetes has removed of its own kinds: in which version of its own,
/// and for which kinds; for all of them where none is named.
const REMOVED: [(&str, &str, &[&str]); 26] = [
    ("1.22", "extensions/v1beta1", &["Ingress"]),
    ("1.16", "extensions/v1beta1", &[]),
    ("1.16", "apps/v1beta1", &[]),
    ("1.16", "apps/v1beta2", &[]),
    ("1.21", "batch/v2alpha1", &[]),
    (
        "1.22",
        "admissionregistration.k8s.io/v1beta1",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ],
    ),
    (
        "1.22",
        "networking.k8s.io/v1beta1",
        &["Ingress", "IngressClass"],
    ),
    ("1.22", "apiextensions.k8s.io/v1beta1", &[]),
    ("1.22", "apiregistration.k8s.io/v1beta1", &[]),
    ("1.22", "authentication.k8s.io/v1beta1", &["TokenReview"]),
    ("1.22", "authorization.k8s.io/v1beta1", &[]),
    (
        "1.22",
        "certificates.k8s.io/v1beta1",
        &["CertificateSigningRequest"],
    ),
    ("1.22", "coordination.k8s.io/v1beta1", &["Lease"]),
    ("1.22", "rbac.authorization.k8s.io/v1beta1", &[]),
    ("1.22", "scheduling.k8s.io/v1beta1", &[]),
    (
        "1.22",
        "storage.k8s.io/v1beta1",
        &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"],
    ),
    ("1.27", "storage.k8s.io/v1beta1", &["CSIStorageCapacity"]),
    ("1.25", "batch/v1beta1", &[]),
    ("1.25", "discovery.k8s.io/v1beta1", &[]),
    ("1.25", "events.k8s.io/v1beta1", &[]),
    ("1.25", "autoscaling/v2beta1", &[]),
    ("1.25", "policy/v1beta1", &[]),
    ("1.25", "node.k8s.io/v1beta1", &[]),
    ("1.26", "autoscaling/v2beta2", &[]),
    ("1.29", "flowcontrol.apiserver.k8s.io/v1beta2", &[]),
    ("1.32", "flowcontrol.apiserver.k8s.io/v1beta3", &[]),
];

/// The version of Kubernetes that has removed a kind of its own from a version of an API.
fn removed_in(api_version: &str, kind: &str) -> Option<&'static str> {
    let removed = REMOVED.iter().find(|(_, version, kinds)| {
        *version == api_version && (kinds.is_empty() || kinds.contains(&kind))
    });
    removed.map(|(removed, ..)| *removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served() -> Vec<Kind> {
        let all = [
            ("apps/v1", "Deployment"),
            ("apps/v1", "DaemonSet"),
            ("networking.k8s.io/v1", "Ingress"),
            ("policy/v1", "PodDisruptionBudget"),
            ("v1", "Pod"),
            ("example.com/v1", "Deploymint"),
        ];
        let kinds = all.map(|(version, kind)| Kind {
            api_version: version.to_owned(),
            kind: kind.to_owned(),
            plural: String::new(),
            namespaced: true,
        });
        kinds.into()
    }

    fn said(api_version: &str, kind: &str) -> (String, String) {
        explain(api_version, kind, &served())
    }

    #[test]
    fn a_version_that_was_removed_is_told_with_the_one_that_is_there() {
        let (reason, help) = said("policy/v1beta1", "PodDisruptionBudget");
        assert_eq!(
            reason,
            "the server has no kind PodDisruptionBudget in policy/v1beta1, which Kubernetes 1.25 has \
             removed"
        );
        assert!(
            help.contains("has PodDisruptionBudget in `policy/v1`"),
            "{help}"
        );
        let (reason, help) = said("extensions/v1beta1", "Ingress");
        assert!(reason.contains("1.22"), "{reason}");
        assert!(help.contains("`networking.k8s.io/v1`"), "{help}");
        let (reason, _) = said("extensions/v1beta1", "Deployment");
        assert!(reason.contains("1.16"), "{reason}");
        let (reason, help) = said("v1", "Deployment");
        assert_eq!(reason, "the server has no kind Deployment in v1");
        assert!(help.contains("`apps/v1`"), "{help}");
    }

    #[test]
    fn a_slip_is_told_with_what_was_meant() {
        assert_eq!(
            said("apps/v1", "Deploymnet").1,
            "did you mean `Deployment`?"
        );
        assert_eq!(
            said("apps/v2", "deployment").1,
            "did you mean `Deployment` in `apps/v1`?"
        );
        assert_eq!(said("example.com/v1", "Widget").1, INSTALL);
        assert_eq!(said("v1", "Pot").1, "did you mean `Pod`?");
        assert_eq!(explain("v1", "Pot", &[]).1, INSTALL);
    }
}
