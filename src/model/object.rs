//! Kubernetes objects as plain data: their manifests, and how those in a cluster differ from them.

mod fault;
mod pod;
mod references;
mod scale;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::model::loss::Holding;
use crate::model::object_name::{
    NameError, check_api_version, check_kind, check_name, check_namespace,
};
use crate::model::plan::Change;
use crate::model::{ContentHash, EnvironmentName, ObjectKey, ProjectName, group_of};

pub use fault::ObjectFault;
pub use pod::pod_like;
pub use references::{Names, references, rename};
pub use scale::{ScaleTarget, has_number, scale_target, scalers, target_of};

/// Stands in a manifest for the image of a service, until the image is known: `image://web`.
pub const IMAGE: &str = "image://";
/// Stands in a Secret's data for a secret's value, until it is applied: `secret://database_url`.
pub const SECRET: &str = "secret://";

/// Stands in a manifest for the release's number, until it is applied.
pub const RELEASE: &str = "release://number";

/// The labels and annotations that shipit puts on what it makes.
pub mod mark {
    /// The project.
    pub const PROJECT: &str = "shipit.dev/project";
    /// The environment.
    pub const ENVIRONMENT: &str = "shipit.dev/environment";
    /// The service.
    pub const SERVICE: &str = "shipit.dev/service";
    /// The slot; on a live object the slot that has its traffic.
    pub const SLOT: &str = "shipit.dev/slot";
    /// The release's number; on objects, not on pods: a release that changes nothing restarts
    /// nothing.
    pub const RELEASE: &str = "shipit.dev/release";
    /// The fields that an object was applied with last, each by a few bytes of its hash.
    pub const APPLIED: &str = "shipit.dev/applied";
    /// On a live object: the slot that has its traffic, or `off`.
    pub const ACTIVE: &str = "shipit.dev/active";
    /// On an object of the state store: which part of the state it is.
    pub const STATE: &str = "shipit.dev/state";
    /// On an object: `"true"` forbids that it is ever deleted or replaced.
    pub const PROTECTED: &str = "shipit.dev/protected";
    /// Helm's own: `keep` on what is never deleted.
    pub const POLICY: &str = "helm.sh/resource-policy";
    /// On a workload: the object that decides how many pods it has.
    pub const SCALED_BY: &str = "shipit.dev/scaled-by";
    /// On a pod that is no instance of a service: whose image it runs, as `SLOT.SERVICE`.
    pub const COMMAND: &str = "shipit.dev/command";
    /// On what a task makes: the attempt, or the task that runs by itself.
    pub const TASK: &str = "shipit.dev/task";
    /// Which `ApplySet` an object belongs to (KEP-3659).
    pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
}

/// Whose an object is, `PROJECT/ENVIRONMENT`, when its labels say that it is not this
/// environment's: `shop` with `eu-prod` and `shop-eu` with `prod` are one name when they are
/// joined.
#[must_use]
pub fn another(
    object: &Value,
    project: &ProjectName,
    environment: &EnvironmentName,
) -> Option<String> {
    let label = |name: &str| object["metadata"]["labels"][name].as_str();
    let (is, of) = (label(mark::PROJECT)?, label(mark::ENVIRONMENT)?);
    let is_own = is == project.as_str() && of == environment.as_str();
    (!is_own).then(|| format!("{is}/{of}"))
}

/// An object as it should be: what is sent to the server, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Manifest(Value);

/// Why a document is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Kubernetes object: {0}")]
pub struct ManifestError(pub String);

impl TryFrom<Value> for Manifest {
    type Error = ManifestError;
    fn try_from(body: Value) -> Result<Self, ManifestError> {
        let (api_version, kind) = (text(&body, "/apiVersion")?, text(&body, "/kind")?);
        let name = text(&body, "/metadata/name")?;
        let namespace = body.pointer("/metadata/namespace");

        let wrong = |error: NameError| ManifestError(error.to_string());
        check_api_version(api_version).map_err(wrong)?;
        check_kind(kind).map_err(wrong)?;
        // The release's number is not known yet; it is one digit or more.
        let numbered = name.replace(RELEASE, "0");
        check_name(group_of(api_version), kind, &numbered).map_err(wrong)?;
        match namespace {
            None | Some(Value::Null) => {}
            Some(Value::String(namespace)) => check_namespace(namespace).map_err(wrong)?,
            Some(_) => return Err(ManifestError("its namespace is not a text".to_owned())),
        }
        Ok(Self(body))
    }
}

/// A text that every object has.
fn text<'a>(body: &'a Value, path: &str) -> Result<&'a str, ManifestError> {
    let missing = || format!("it has no `{}`", path[1..].replace('/', "."));
    let found = body.pointer(path);
    if let Some(wrong @ (Value::Number(_) | Value::Bool(_))) = found {
        let field = path[1..].replace('/', ".");
        return Err(ManifestError(format!(
            "its `{field}` is {wrong}, and no text: put it in quotes"
        )));
    }
    let found = found.and_then(Value::as_str);
    found
        .filter(|text| !text.is_empty())
        .ok_or_else(|| ManifestError(missing()))
}

impl From<Manifest> for Value {
    fn from(manifest: Manifest) -> Self {
        manifest.0
    }
}

impl Manifest {
    /// The document.
    #[must_use]
    pub const fn body(&self) -> &Value {
        &self.0
    }

    /// Changes the document; what names the object must stay.
    pub fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        edit(&mut self.0);
    }

    fn text(&self, path: &str) -> String {
        self.0
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    /// What names it.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            api_version: self.text("/apiVersion"),
            kind: self.kind().to_owned(),
            namespace: self
                .0
                .pointer("/metadata/namespace")
                .and_then(Value::as_str)
                .map(str::to_owned),
            name: self.name().to_owned(),
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Over all of it.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        ContentHash::of_json(&self.0)
    }

    /// Sets a label of the object.
    pub fn label(&mut self, name: &str, value: &str) {
        set(&mut self.0, &["metadata", "labels", name], value);
    }

    /// Sets an annotation of the object.
    pub fn annotate(&mut self, name: &str, value: &str) {
        set(&mut self.0, &["metadata", "annotations", name], value);
    }

    /// The template of the pods that it makes, if it makes any.
    pub fn pod_template(&mut self) -> Option<&mut Value> {
        let path = match self.kind() {
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => "/spec/template",
            "CronJob" => "/spec/jobTemplate/spec/template",
            "ScaledJob" => "/spec/jobTargetRef/template",
            // What another controller makes pods of has their template in the same place.
            _ => {
                let template = self.0.pointer("/spec/template")?;
                template.pointer("/spec/containers")?;
                "/spec/template"
            }
        };
        self.0.pointer_mut(path)
    }

    /// The task that it runs by itself, when it is a CronJob of one.
    #[must_use]
    pub fn scheduled_task(&self) -> Option<&str> {
        let task = self.0["metadata"]["labels"][mark::TASK].as_str();
        task.filter(|_| self.kind() == "CronJob")
    }

    /// Whether its number of pods is a number of its own.
    #[must_use]
    pub fn scales(&self) -> bool {
        matches!(self.kind(), "Deployment" | "StatefulSet" | "ReplicaSet")
    }
}

/// Whether an object says that it stays when it is not wanted any more, as Helm reads it.
#[must_use]
pub fn is_kept(body: &Value) -> bool {
    let policy = body["metadata"]["annotations"][mark::POLICY].as_str();
    policy.is_some_and(|policy| policy.trim().eq_ignore_ascii_case("keep"))
}

/// Sets a text deep in a document; the maps on the way are made.
pub fn set(body: &mut Value, path: &[&str], value: &str) {
    let mut at = body;
    for name in path {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[*name];
    }
    *at = Value::String(value.to_owned());
}

/// Replaces every text of a document for which `new` has another.
pub fn rewrite(body: &mut Value, new: &impl Fn(&str) -> Option<String>) {
    match body {
        Value::String(text) => {
            if let Some(other) = new(text) {
                *text = other;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, new)),
        Value::Object(map) => map.values_mut().for_each(|value| rewrite(value, new)),
        _ => {}
    }
}

/// Where an environment's objects are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Namespaces {
    /// What belongs to no slot: the live objects and shipit's own record.
    pub home: String,
    /// The slots; the same one twice when they are not apart.
    pub slots: BTreeMap<crate::model::Slot, String>,
}

impl Namespaces {
    /// Each once.
    #[must_use]
    pub fn all(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.slots.values().map(String::as_str).collect();
        all.push(&self.home);
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The rank of what asks at every later write: it comes when all else is there.
pub const LAST: u8 = 12;

/// What must be there before what: a lower rank is made first and deleted last. Kinds of one rank
/// do not need each other.
#[must_use]
pub fn rank(kind: &str) -> u8 {
    match kind {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "StorageClass" | "PriorityClass" | "IngressClass" | "GatewayClass" | "RuntimeClass" => 2,
        // The token of an account that is not there is deleted by the server.
        "ResourceQuota" | "LimitRange" | "NetworkPolicy" | "ReferenceGrant" | "ServiceAccount" => 3,
        "ConfigMap" | "Secret" | "PersistentVolume" => 4,
        "PersistentVolumeClaim" | "ClusterRole" | "Role" => 5,
        "ClusterRoleBinding" | "RoleBinding" => 6,
        "Service" | "Gateway" => 7,
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Pod" | "Job" | "CronJob" => 9,
        "PodDisruptionBudget" | "HorizontalPodAutoscaler" => 10,
        "Ingress" | "HTTPRoute" | "GRPCRoute" | "TLSRoute" => 11,
        "APIService"
        | "ValidatingWebhookConfiguration"
        | "MutatingWebhookConfiguration"
        | "ValidatingAdmissionPolicyBinding"
        | "MutatingAdmissionPolicyBinding" => LAST,
        _ => 8,
    }
}

/// What an engine found about one object that should be there, or that should not.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObjectFacts {
    /// Which.
    pub key: ObjectKey,
    /// How it stands against what is desired.
    pub state: ObjectState,
    /// Over what identifies it and what of it is owned; none when it is not there.
    pub fingerprint: Option<crate::model::Fingerprint>,
    /// The fields that would change.
    pub changes: Vec<Change>,
    /// What was applied last, as far as the server knows: what a rollback applies.
    pub before: Option<Manifest>,
    /// Fields that another manager has, in words, when they are not to be taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    /// Of one that would be deleted or replaced: what goes with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Holding>,
    /// Whether it says of itself that it must never be deleted or replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_protected: bool,
    /// Whether it says of itself that it stays when it is not wanted any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_kept: bool,
    /// Whether it is the namespace of the environment's record: it is made before all others, and
    /// deleted after them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_home: bool,
    /// What a reader should know of it besides, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl ObjectFacts {
    /// An object of which nothing else is known.
    #[must_use]
    pub const fn plain(key: ObjectKey, state: ObjectState) -> Self {
        Self {
            key,
            state,
            fingerprint: None,
            changes: Vec::new(),
            before: None,
            conflicts: Vec::new(),
            holds: Vec::new(),
            is_protected: false,
            is_kept: false,
            is_home: false,
            notes: Vec::new(),
        }
    }
}

/// How an object stands against what is desired.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ObjectState {
    /// It is as it should be.
    Same,
    /// It is a Job that was done, and has gone since: it is not run again.
    Done {
        /// When it was done.
        at: jiff::Timestamp,
    },
    /// It is not there.
    Absent,
    /// Fields differ.
    Differs,
    /// A field differs that cannot be changed: it must be deleted and made again. The engine
    /// deletes a `StatefulSet` without its pods and its claims, which the new one adopts.
    Replace {
        /// What the server says.
        reason: String,
    },
    /// The server does not know its kind yet: it comes with a definition that is desired too.
    After {
        /// The definition.
        definition: ObjectKey,
    },
    /// The server would refuse it as the configuration has it.
    Refused {
        /// Why, at least one thing.
        faults: Vec<ObjectFault>,
    },
    /// It is one of ours and not desired any more.
    Gone,
    /// The same, and it is being deleted already: whatever it waits for, deleting it again is
    /// nothing.
    Going {
        /// What it waits for, in words.
        waits: String,
    },
    /// It is there and belongs to nobody shipit knows: it is not touched until it is imported.
    Foreign {
        /// Who manages it, as far as it is known.
        manager: String,
    },
}

/// An object of a slot or a route that is not as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Drift {
    /// Which.
    pub key: ObjectKey,
    /// Whether it is not there at all.
    pub missing: bool,
    /// The fields that moved.
    pub changes: Vec<Change>,
    /// Fields that another manager has, in words, when they are not to be taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rename_holds_for_every_reference() {
        let mut all = vec![
            Manifest::try_from(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}))
                .expect("a manifest"),
            Manifest::try_from(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"},
                "spec": {"template": {"spec": {"serviceAccountName": "s", "containers": [{"name": "c",
                    "envFrom": [{"configMapRef": {"name": "c"}}],
                    "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}],
                "volumes": [{"name": "c", "configMap": {"name": "c"}}, {"name": "d", "configMap": {"name": "other"}}]}}}}))
            .expect("a manifest"),
        ];
        let names = Names::from([
            (("ConfigMap".to_owned(), "c".to_owned()), "c-1".to_owned()),
            (
                ("ServiceAccount".to_owned(), "s".to_owned()),
                "s-blue".to_owned(),
            ),
        ]);
        rename(&mut all, &names);
        assert_eq!(all[0].name(), "c-1");
        let spec = &all[1].body()["spec"]["template"]["spec"];
        assert_eq!(spec["serviceAccountName"], "s-blue");
        assert_eq!(
            spec["containers"][0]["name"], "c",
            "a container's name refers to nothing"
        );
        assert_eq!(
            spec["containers"][0]["envFrom"][0]["configMapRef"]["name"],
            "c-1"
        );
        assert_eq!(
            spec["containers"][0]["env"][0]["valueFrom"]["configMapKeyRef"]["name"],
            "c-1"
        );
        assert_eq!(spec["volumes"][0]["configMap"]["name"], "c-1");
        assert_eq!(spec["volumes"][0]["name"], "c");
        assert_eq!(spec["volumes"][1]["configMap"]["name"], "other");
    }

    #[test]
    fn what_scales_routes_or_signs_refers_by_the_kind_that_its_place_means() {
        let body = json!({"apiVersion": "v1", "kind": "Any", "metadata": {"name": "a"},
        "data": {"serviceName": "x", "secretName": "x"},
        "spec": {
            "scaleTargetRef": {"name": "x"}, "authenticationRef": {"name": "x"},
            "parentRefs": [{"name": "x"}], "certificateRefs": [{"name": "x"}],
            "issuerRef": {"kind": "ClusterIssuer", "name": "x"}, "activeService": "x",
            "dataSource": {"kind": "PersistentVolumeClaim", "name": "x"},
            "imagePullSecrets": [{"name": "x"}],
        }});
        let manifest = Manifest::try_from(body).expect("a manifest");
        let mut found = references(&manifest);
        found.sort();
        let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
        let expected = [
            "ClusterIssuer",
            "Deployment",
            "Gateway",
            "PersistentVolumeClaim",
            "Secret",
            "Secret",
            "Service",
            "TriggerAuthentication",
        ];
        assert_eq!(kinds, expected);
    }
}
