//! A Service: one of type `LoadBalancer` has an address; any other is ready at once.

use serde_json::Value;

use super::Ready;
use crate::driver::kubernetes::engine::addresses::addresses;

pub(super) fn ready(object: &Value) -> Ready {
    let kind = object.pointer("/spec/type").and_then(Value::as_str);
    if kind == Some("LoadBalancer") && addresses(object).next().is_none() {
        return Ready::Not("it has no address yet".to_owned());
    }
    Ready::Yes
}
