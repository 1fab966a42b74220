//! A Service: one of type `LoadBalancer` has an address; any other is ready at once.

use serde_json::Value;

use super::Ready;

pub(super) fn ready(object: &Value) -> Ready {
    let kind = object.pointer("/spec/type").and_then(Value::as_str);
    let addresses = object
        .pointer("/status/loadBalancer/ingress")
        .and_then(Value::as_array);
    if kind == Some("LoadBalancer") && addresses.is_none_or(Vec::is_empty) {
        return Ready::Not("it has no address yet".to_owned());
    }
    Ready::Yes
}
