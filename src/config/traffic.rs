//! What the keys of a cluster's traffic must hold together: a key that would have no effect is
//! refused.

use crate::config::findings::{Findings, TAKE_OUT};
use crate::config::schema::{
    EnvironmentConfig, IngressController, IngressTraffic, Marks, RoutedTraffic, ServiceReach,
    ServiceTraffic, check_marks,
};
use crate::model::alb::{ACTIONS, TARGET_TYPE};
use crate::model::mark_key::Mark;

impl ServiceTraffic {
    pub(super) fn check(&self, findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        marks(findings, &["traffic"], &self.annotations, &self.labels);
        for (name, entry) in &self.entries {
            let at = ["traffic", "entries", name.as_str()];
            marks(findings, &at, &entry.annotations, &entry.labels);
        }

        if self.reach != ServiceReach::LoadBalancer {
            let message = "only `type: load_balancer` has this";
            findings.refuse(&["traffic"], &["load_balancer_class"], message);
        } else if let Some(class) = &self.load_balancer_class
            && let Some(problem) = crate::model::mark_key::problem(class)
        {
            let help = "write the class that its controller names, as `service.k8s.aws/nlb`";
            findings.add(&["traffic", "load_balancer_class"], problem, help);
        }

        if is_apart(environment) && self.reach != ServiceReach::ClusterIp {
            findings.add(
                &["traffic", "type"],
                "where slots have namespaces of their own the live Service is a name for another \
                 one",
                "take `slots` out, or write `traffic: {kind: ingress}` or `{kind: gateway}`",
            );
        }
    }
}

impl RoutedTraffic {
    pub(super) fn check(&self, findings: &mut Findings<'_>) {
        marks(findings, &["traffic"], &self.annotations, &self.labels);
        for (name, entry) in &self.entries {
            let at = ["traffic", "entries", name.as_str()];
            marks(findings, &at, &entry.annotations, &entry.labels);
        }
    }
}

impl IngressTraffic {
    pub(super) fn check(
        &self,
        findings: &mut Findings<'_>,
        environment: &EnvironmentConfig,
        routed: &RoutedTraffic,
    ) {
        match self.controller {
            None => {}
            Some(IngressController::Alb) => self.check_alb(findings, environment, routed),
        }
    }

    fn check_alb(
        &self,
        findings: &mut Findings<'_>,
        environment: &EnvironmentConfig,
        routed: &RoutedTraffic,
    ) {
        if is_apart(environment) {
            findings.add(
                &["traffic", "controller"],
                "a load balancer's target groups are of pods in the Ingress's own namespace, and \
                 slots have others",
                "take `slots` out: both slots are then in `cluster.namespace`",
            );
        }
        if self.tls_secret.is_some() {
            findings.add(
                &["traffic", "tls_secret"],
                "this load balancer takes no certificate from a Secret",
                "write its ARN under `annotations`: `alb.ingress.kubernetes.io/certificate-arn`",
            );
        }

        alb_annotations(findings, &["traffic"], &routed.annotations);
        for (name, entry) in &routed.entries {
            let at = ["traffic", "entries", name.as_str()];
            alb_annotations(findings, &at, &entry.annotations);
        }
    }
}

/// Annotations of the controller's that would break a switch.
fn alb_annotations(findings: &mut Findings<'_>, at: &[&str], annotations: &Marks) {
    for (key, value) in annotations {
        let path = [at, &["annotations", key]].concat();
        if key.starts_with(ACTIONS) {
            findings.add(&path, "shipit switches traffic by it", TAKE_OUT);
        }
        if key == TARGET_TYPE && value.0 != "ip" {
            findings.add(
                &path,
                "the slots' Services have no ports of nodes",
                "take the key out: shipit writes `ip`",
            );
        }
    }
}

fn marks(findings: &mut Findings<'_>, at: &[&str], annotations: &Marks, labels: &Marks) {
    check_marks(findings, at, Mark::Annotation, annotations);
    check_marks(findings, at, Mark::Label, labels);
}

/// Whether slots have namespaces of their own.
fn is_apart(environment: &EnvironmentConfig) -> bool {
    let mut slots = environment.slots.values();
    slots.any(|slot| slot.namespace.is_some())
}
