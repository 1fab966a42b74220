//! What the server has to ask before it answers, and does not reach: a webhook, or the server of
//! an API that is not its own. The server itself is well, and says at once what it would say in a
//! minute.

use std::fmt;

/// What does not answer behind the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver) enum Behind {
    /// A webhook that has a say in every write of a kind.
    Admission(Webhook),
    /// A webhook that brings objects of a kind from one version into another.
    Conversion(Webhook),
    /// The server of an API group, by the name of its `APIService`.
    Api(String),
}

/// A webhook, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver) struct Webhook {
    /// The webhook's name in its configuration; of a conversion the kind that it is for.
    name: String,
    /// Name and namespace of the Service behind it; none when it is elsewhere, or was not said.
    service: Option<(String, String)>,
}

impl Behind {
    /// What a failure of the server is about, if it is about something behind it. `path` is what
    /// was asked for.
    pub(super) fn of(code: u16, message: &str, path: &str) -> Option<Self> {
        if code == 503 && is_of_aggregator(message) {
            return Some(Self::Api(api_service(path)?));
        }
        if code != 500 {
            return None;
        }

        if let Some((_, rest)) = message.split_once("failed calling webhook \"") {
            let (name, said) = rest.split_once('"')?;
            return Some(Self::Admission(Webhook::of(name, said)));
        }
        let (_, rest) = message.split_once("conversion webhook for ")?;
        let (kind, said) = rest.split_once(" failed: ")?;
        Some(Self::Conversion(Webhook::of(kind, said)))
    }

    /// What to do about it.
    pub(super) fn help(&self) -> String {
        match self {
            Self::Admission(webhook) => format!(
                "nothing was changed by that; {}it has to answer again, or its configuration has \
                 to leave this out: `kubectl get \
                 validatingwebhookconfigurations,mutatingwebhookconfigurations` shows it",
                webhook.look()
            ),
            Self::Conversion(webhook) => format!(
                "nothing was changed by that; {}it has to answer again: `spec.conversion` of the \
                 kind's CustomResourceDefinition names it",
                webhook.look()
            ),
            Self::Api(name) => format!(
                "nothing was changed by that; `kubectl get apiservice {name}` says which Service \
                 has to answer, and why it does not"
            ),
        }
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admission(webhook) => write!(to, "the cluster cannot ask the webhook {webhook}"),
            Self::Conversion(webhook) => {
                write!(
                    to,
                    "the cluster cannot ask the conversion webhook of {webhook}"
                )
            }
            Self::Api(name) => write!(to, "the cluster cannot ask the server of the API {name}"),
        }
    }
}

impl Webhook {
    fn of(name: &str, said: &str) -> Self {
        Self {
            name: name.to_owned(),
            service: service(said),
        }
    }

    /// How to see whether it runs.
    fn look(&self) -> String {
        let Some((service, namespace)) = &self.service else {
            return String::new();
        };
        format!(
            "`kubectl get endpointslices -n {namespace} -l kubernetes.io/service-name={service}` \
                 shows whether it runs; "
        )
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}", self.name)?;
        match &self.service {
            Some((service, namespace)) => write!(to, " (Service/{service} in {namespace})"),
            None => Ok(()),
        }
    }
}

/// The Service that a URL in these words names: `https://NAME.NAMESPACE.svc:443/PATH`.
fn service(said: &str) -> Option<(String, String)> {
    let (_, rest) = said.split_once("://")?;
    let host = rest.split([':', '/', '?', '"']).next()?;
    let mut parts = host.split('.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    (parts.next() == Some("svc")).then(|| (name.to_owned(), namespace.to_owned()))
}

/// Whether an answer is the one that is given in the place of another server's.
fn is_of_aggregator(message: &str) -> bool {
    message == "service unavailable" || message.starts_with("error trying to reach service")
}

/// The `APIService` that a path belongs to: `v1.example.com`.
fn api_service(path: &str) -> Option<String> {
    let mut parts = path.strip_prefix("/apis/")?.split(['/', '?']);
    let (group, version) = (parts.next()?, parts.next()?);
    Some(format!("{version}.{group}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16, message: &str) -> Option<String> {
        Behind::of(code, message, "/apis/metrics.k8s.io/v1beta1/pods").map(|it| it.to_string())
    }

    #[test]
    fn a_webhook_is_named_with_its_service() {
        let called = "Internal error occurred: failed calling webhook \"a.example.com\": failed to \
            call webhook: Post \"https://guard.policy.svc:443/v?timeout=10s\": dial tcp \
            10.0.0.1:443: connect: connection refused";
        let found = Behind::of(500, called, "/api/v1/namespaces/a/configmaps").expect("found");
        assert_eq!(
            found.to_string(),
            "the cluster cannot ask the webhook a.example.com (Service/guard in policy)"
        );
        assert!(
            found
                .help()
                .contains("-n policy -l kubernetes.io/service-name=guard")
        );
        assert!(found.help().contains("validatingwebhookconfigurations"));

        let elsewhere = "failed calling webhook \"a\": failed to call webhook: Post \
            \"https://127.0.0.1:1/x?timeout=10s\": dial tcp 127.0.0.1:1: connect: connection refused";
        let elsewhere = said(500, elsewhere);
        assert_eq!(
            elsewhere.as_deref(),
            Some("the cluster cannot ask the webhook a")
        );
        let converted = "conversion webhook for example.com/v1, Kind=Widget failed: Post \
            \"https://w.ops.svc:443/convert?timeout=30s\": service \"w\" not found";
        let converted = said(500, converted);
        assert_eq!(
            converted.as_deref(),
            Some(
                "the cluster cannot ask the conversion webhook of example.com/v1, Kind=Widget \
                 (Service/w in ops)"
            )
        );
    }

    #[test]
    fn what_the_server_says_itself_is_not_behind_it() {
        assert_eq!(
            said(503, "service unavailable").as_deref(),
            Some("the cluster cannot ask the server of the API v1beta1.metrics.k8s.io")
        );
        assert_eq!(Behind::of(503, "service unavailable", "/api/v1/pods"), None);
        for (code, message) in [
            (400, "admission webhook \"a\" denied the request: no"),
            (500, "etcdserver: request timed out"),
            (500, "failed calling webhook"),
            (503, "apiserver is shutting down"),
        ] {
            assert_eq!(said(code, message), None, "{message}");
        }
    }
}
