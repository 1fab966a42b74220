//! An Ingress of the AWS Load Balancer Controller. Changing its backend would send live traffic to
//! a target group that is made at that moment, and has no pod yet. So one rule has the target
//! groups of both slots, and a switch changes their weights: whoever gets live traffic has been
//! registered and found healthy before.

use serde_json::{Map, Value, json};

use crate::config::schema::{IngressController, ServiceConfig, TrafficConfig};
use crate::desired::cluster::Site;
use crate::desired::cluster::ports::Ports;
use crate::model::alb::{
    ACTIONS, CERTIFICATES, GATE, HEALTH_PATH, HEALTH_PORT, LISTENS, TARGET_TYPE,
};
use crate::model::{LiveTraffic, Manifest, ServiceName, Slot};

/// The name of a backend's port that stands for an annotation.
pub(super) const BY_ANNOTATION: &str = "use-annotation";

/// Whether the live objects are for this controller.
pub(super) fn is_meant(traffic: &TrafficConfig) -> bool {
    match traffic {
        TrafficConfig::Ingress(_, ingress) => ingress.controller == Some(IngressController::Alb),
        TrafficConfig::Embedded(..)
        | TrafficConfig::Nginx(..)
        | TrafficConfig::Service(_)
        | TrafficConfig::Gateway(..) => false,
    }
}

/// Has the controller tell of each pod of a namespace whether the load balancer reaches it.
pub(super) fn open(site: &Site<'_>, namespace: &mut Manifest) {
    if is_meant(&site.configuration.traffic) {
        namespace.label(GATE, "enabled");
    }
}

/// The annotations that shipit writes; what the user says of the first ones counts.
pub(super) fn defaults(service: &ServiceConfig) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert(TARGET_TYPE.to_owned(), "ip".into());
    if let Some(path) = &service.health.path {
        all.insert(HEALTH_PATH.to_owned(), path.clone().into());
    }
    // Without this it asks the port that gets the traffic.
    let asked = service
        .health
        .port
        .as_ref()
        .map(|name| Ports::of(service).number(Some(name)));
    let asked = asked
        .flatten()
        .filter(|number| Some(*number) != service.port_number());
    if let Some(number) = asked {
        all.insert(HEALTH_PORT.to_owned(), number.to_string().into());
    }
    all
}

/// The annotation by which traffic is switched, and its value. While no slot has traffic the load
/// balancer itself answers.
pub(super) fn action(
    name: &ServiceName,
    port: u16,
    traffic: LiveTraffic,
    slot_name: impl Fn(Slot) -> String,
) -> (String, String) {
    let key = format!("{ACTIONS}{name}");
    if traffic.is_off() {
        let answer = json!({"contentType": "text/plain", "statusCode": "503",
            "messageBody": "nothing is live"});
        let action = json!({"type": "fixed-response", "fixedResponseConfig": answer});
        return (key, action.to_string());
    }
    let groups: Vec<Value> = Slot::ALL
        .into_iter()
        .map(|of| {
            let weight = if traffic.reaches(of) { 100 } else { 0 };
            json!({"serviceName": slot_name(of), "servicePort": port, "weight": weight})
        })
        .collect();
    let action = json!({"type": "forward", "forwardConfig": {"targetGroups": groups}});
    (key, action.to_string())
}

/// Whether the annotations of an Ingress have it answer to TLS.
pub(super) fn has_tls(annotations: &Map<String, Value>) -> bool {
    let ports = annotations.get(LISTENS).and_then(Value::as_str);
    annotations.contains_key(CERTIFICATES) || ports.is_some_and(|ports| ports.contains("HTTPS"))
}
