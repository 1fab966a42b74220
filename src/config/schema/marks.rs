//! Annotations and labels of the user's own on what shipit makes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::{Findings, TAKE_OUT};
use crate::config::schema::Text;
use crate::model::mark_key::{self, Mark};

/// Annotations or labels by their keys.
pub type Marks = BTreeMap<String, Text>;

/// The account that the pods of a service run as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceAccountConfig {
    /// One that is there already, in the slot's namespace, with whatever it may do. Without it
    /// shipit makes one for each slot, `SERVICE-SLOT`, or `SERVICE` where slots have namespaces of
    /// their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Annotations of the one that shipit makes, as `eks.amazonaws.com/role-arn`. Values may be
    /// templates.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub annotations: Marks,
    /// Labels of the one that shipit makes. Values may be templates.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub labels: Marks,
}

/// What the pods of a service have besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PodConfig {
    /// Their annotations. Values may be templates.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub annotations: Marks,
    /// Their labels. Values may be templates.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub labels: Marks,
    /// Conditions that somebody else sets on a pod, and without which it is not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub readiness_gates: Vec<String>,
}

impl ServiceAccountConfig {
    pub(in crate::config) fn check(&self, findings: &mut Findings<'_>, at: &[&str]) {
        check_marks(findings, at, Mark::Annotation, &self.annotations);
        check_marks(findings, at, Mark::Label, &self.labels);
        let Some(name) = &self.name else { return };
        let message = "shipit changes nothing on an account that is there already";
        findings.refuse(at, &["annotations", "labels"], message);
        if let Err(error) = crate::model::object_name::check_name("", "ServiceAccount", name) {
            let path = [at, &["name"]].concat();
            findings.add(&path, error.to_string(), "write the account's own name");
        }
    }
}

impl PodConfig {
    pub(in crate::config) fn check(&self, findings: &mut Findings<'_>, at: &[&str]) {
        check_marks(findings, at, Mark::Annotation, &self.annotations);
        check_marks(findings, at, Mark::Label, &self.labels);
        for (index, gate) in self.readiness_gates.iter().enumerate() {
            if let Some(problem) = mark_key::problem(gate) {
                let index = index.to_string();
                let path = [at, &["readiness_gates", &index]].concat();
                let help = "write the condition's type, as `example.com/warm`";
                findings.add(&path, problem, help);
            }
        }
    }
}

/// What is wrong with annotations or labels under a key of the configuration.
pub(in crate::config) fn check_marks(
    findings: &mut Findings<'_>,
    at: &[&str],
    mark: Mark,
    marks: &Marks,
) {
    let under = match mark {
        Mark::Annotation => "annotations",
        Mark::Label => "labels",
    };
    for (key, value) in marks {
        let path = [at, &[under, key]].concat();
        if let Some(problem) = mark_key::problem(key) {
            let help = "as `alb.ingress.kubernetes.io/scheme`";
            findings.add(&path, problem, help);
        } else if let Some(reason) = mark_key::reserved(key, mark) {
            findings.add(&path, reason, TAKE_OUT);
        }
        // What a template becomes is looked at when it is rendered.
        let is_plain = !value.0.contains("{{") && !value.0.contains("{%");
        if let Some(problem) = mark_key::value_problem(&value.0)
            && mark == Mark::Label
            && is_plain
        {
            findings.add(&path, problem, "write a shorter word, or an annotation");
        }
    }
}
