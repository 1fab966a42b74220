//! Where traffic arrives from outside, as the status of an object says.

use serde_json::Value;

/// An address, and its type where one is said (`IPAddress`, `Hostname`, a controller's own).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address<'a> {
    pub kind: Option<&'a str>,
    pub text: &'a str,
}

/// The addresses of a Gateway, or those that a load balancer has given to a Service or an Ingress.
pub(super) fn addresses(live: &Value) -> impl Iterator<Item = Address<'_>> {
    let lists = ["/status/addresses", "/status/loadBalancer/ingress"];
    let list = lists.iter().find_map(|at| live.pointer(at)?.as_array());
    list.into_iter().flatten().filter_map(|one| {
        let mut texts = ["value", "hostname", "ip"].iter();
        let text = texts.find_map(|name| one[*name].as_str().filter(|text| !text.is_empty()))?;
        let kind = one["type"].as_str();
        Some(Address { kind, text })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_found_wherever_a_status_has_it() {
        let texts = |live: &Value| -> Vec<String> {
            addresses(live).map(|it| it.text.to_owned()).collect()
        };
        let balanced = json!({"status": {"loadBalancer": {"ingress": [
            {"hostname": "", "ip": "192.0.2.1"}, {}, {"hostname": "a.example.com"},
        ]}}});
        assert_eq!(texts(&balanced), ["192.0.2.1", "a.example.com"]);
        let gateway = json!({"status": {"addresses": [{"type": "x/y", "value": "z"}]}});
        assert_eq!(
            addresses(&gateway).next(),
            Some(Address {
                kind: Some("x/y"),
                text: "z"
            })
        );
        assert_eq!(texts(&json!({})), Vec::<String>::new());
    }
}
