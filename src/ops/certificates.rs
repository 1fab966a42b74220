//! What has to be said of the certificates that listeners show.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::agent::router::tls::{CertificateError, examine};
use crate::model::ServiceName;
use crate::model::certificate::{CertificateSource, ServedCertificate, Validity};
use crate::model::facts::Facts;
use crate::model::route::Route;

/// What a person has to do something about, a line each.
pub(in crate::ops) fn notes(facts: &Facts, now: Timestamp) -> Vec<String> {
    let unopened = facts.unopened.iter();
    let unopened = unopened.map(|(service, reason)| {
        format!("nothing listens for {service} since the agent was started again: {reason}")
    });
    let shown = facts.certificates.iter();
    let shown =
        shown.flat_map(|(service, all)| all.iter().filter_map(|one| note(service, one, now)));
    unopened.chain(shown).collect()
}

fn note(service: &ServiceName, one: &ServedCertificate, now: Timestamp) -> Option<String> {
    let (certificate, source) = (&one.certificate, &one.source);
    if let Some(problem) = &one.problem {
        return Some(format!(
            "the certificate of {service} stays that for {certificate}, for the new one cannot be \
             used: {problem}"
        ));
    }
    match certificate.validity(now) {
        Validity::Valid => None,
        Validity::EndsSoon => Some(format!(
            "the certificate of {service} ends soon: {certificate}; put the next one into {source}, \
             the agent reads it by itself"
        )),
        Validity::NotYet | Validity::Expired => Some(format!(
            "clients refuse the certificate of {service}, which is for {certificate}: put another \
             one into {source}, the agent reads it by itself"
        )),
    }
}

/// The certificates that these routes ask for and that no listener shows yet, with what reads them
/// on this machine: what they say, or why they cannot be used.
pub(in crate::ops) async fn wanted<'a>(
    routes: impl Iterator<Item = &'a Route>,
    facts: &Facts,
    now: Timestamp,
) -> Vec<WantedCertificate> {
    let mut found = BTreeMap::new();
    for route in routes {
        let tls = route
            .listeners()
            .and_then(|listeners| listeners.tls.as_ref());
        let shown = facts.certificates.get(&route.service);
        let is_shown = |source: &CertificateSource| {
            let mut shown = shown.into_iter().flatten();
            shown.any(|one| one.source == *source)
        };
        let sources = tls.into_iter().flat_map(|tls| &tls.certificates);
        for source in sources.filter(|source| !is_shown(source)) {
            let key = (route.service.clone(), source.clone());
            if found.contains_key(&key) {
                continue;
            }
            found.insert(key, examine(source, now).await);
        }
    }

    let of = |((service, source), says)| WantedCertificate {
        service,
        source,
        says,
    };
    found.into_iter().map(of).collect()
}

/// A certificate that no listener shows yet.
#[derive(Debug)]
pub(in crate::ops) struct WantedCertificate {
    /// Whose listeners are to show it.
    pub service: ServiceName,
    /// Where it comes from.
    pub source: CertificateSource,
    /// What it says, or why it cannot be used. What this user may not read, the agent may.
    pub says: Result<ServedCertificate, CertificateError>,
}

impl WantedCertificate {
    /// What a plan says of it.
    pub fn note(&self, facts: &Facts, now: Timestamp) -> String {
        let Self {
            service,
            source,
            says,
        } = self;
        let next = match says {
            Ok(next) => next,
            Err(denied @ CertificateError::Denied { .. }) => {
                return format!(
                    "the certificate of {service} ({source}) is not looked at here ({denied}); the \
                     agent does, before it opens anything"
                );
            }
            Err(reason) => {
                return format!(
                    "the certificate of {service} ({source}) cannot be used, and the agent will \
                     refuse it: {reason}; look at `traffic.tls`"
                );
            }
        };
        let before = facts
            .certificates
            .get(service)
            .and_then(|shown| shown.first());
        let before = before.map(|before| format!("{} → ", before.certificate));
        let soon = match next.certificate.validity(now) {
            Validity::EndsSoon => ", which is soon",
            Validity::Valid | Validity::NotYet | Validity::Expired => "",
        };
        format!(
            "certificate of {service}: {}{}{soon} ({source})",
            before.unwrap_or_default(),
            next.certificate
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use crate::model::certificate::{Certificate, CertificateFiles, CertificateSource};

    fn shown(until: &str, problem: Option<&str>) -> Facts {
        let one = ServedCertificate {
            source: CertificateSource::Files(CertificateFiles {
                certificate: "/etc/ssl/shop.pem".into(),
                key: "/etc/ssl/shop.key".into(),
            }),
            certificate: Certificate {
                fingerprint: Digest::of(b"certificate"),
                names: vec!["shop.test".to_owned()],
                from: "2026-01-01T00:00:00Z".parse().expect("a time"),
                until: until.parse().expect("a time"),
            },
            chain: String::new(),
            problem: problem.map(str::to_owned),
        };
        Facts {
            certificates: [("web".parse().expect("a name"), vec![one])].into(),
            ..Facts::default()
        }
    }

    #[test]
    fn what_ends_soon_or_cannot_be_used_is_told_with_what_to_do() {
        let now = "2026-11-28T00:00:00Z".parse().expect("a time");
        let told = |facts: Facts| notes(&facts, now);
        assert_eq!(told(shown("2027-06-01T00:00:00Z", None)), [] as [&str; 0]);
        let all = [
            told(shown("2026-12-10T00:00:00Z", None)),
            told(shown("2026-11-01T00:00:00Z", None)),
            told(shown(
                "2027-06-01T00:00:00Z",
                Some("/etc/ssl/shop.pem: it is no PEM"),
            )),
        ];
        let renewed = "put the next one into /etc/ssl/shop.pem, the agent reads it by itself";
        let other = "put another one into /etc/ssl/shop.pem, the agent reads it by itself";
        let expected = [
            format!("the certificate of web ends soon: shop.test until 2026-12-10; {renewed}"),
            format!(
                "clients refuse the certificate of web, which is for shop.test until 2026-11-01: \
                 {other}"
            ),
            "the certificate of web stays that for shop.test until 2027-06-01, for the new one \
             cannot be used: /etc/ssl/shop.pem: it is no PEM"
                .to_owned(),
        ];
        assert_eq!(all.concat(), expected);
    }
}
