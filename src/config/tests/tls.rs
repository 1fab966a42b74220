//! TLS of the agent's own router: what may be written, and where what may not be stands.

use super::{GOOD, faults, project};
use crate::model::certificate::{CertificateFiles, CertificateSource, Tls};

#[test]
fn what_cannot_be_meant_is_refused_where_it_stands() {
    let pair = "certificate: /c.pem, key: /c.key";
    for (traffic, expected) in [
        (
            format!("{{kind: nginx, tls: {{{pair}}}}}"),
            "traffic.tls: `tls` belongs to `kind: embedded`",
        ),
        (
            "{tls: {certificate: /c.pem}}".to_owned(),
            "environments/staging.yaml:1:",
        ),
        (
            "{tls: {certificate: certs/c.pem, key: /c.key}}".to_owned(),
            "traffic.tls.certificate: this is read on the agent's machine",
        ),
        (
            "{tls: {certificate: /c.pem, key: c.key}}".to_owned(),
            "traffic.tls.key: this is read on the agent's machine",
        ),
        (
            format!("{{tls: {{{pair}, others: [{{certificate: d.pem, key: /d.key}}]}}}}"),
            "others.0.certificate: this is read on the agent's machine",
        ),
        (
            format!("{{tls: {{{pair}, hsts: 0s}}}}"),
            "traffic.tls.hsts: no time at all",
        ),
        (format!("{{tls: {{{pair}, keys: x}}}}"), "traffic.tls"),
        (
            "{listeners: {web: {live: 8080, redirect: 80}}}".to_owned(),
            "traffic.listeners.web.redirect: it sends clients on to HTTPS, which nothing here",
        ),
        (
            format!("{{tls: {{{pair}}}, listeners: {{web: {{live: 8080, redirect: 8080}}}}}}"),
            "8080",
        ),
        (
            format!("{{tls: {{{pair}}}, listeners: {{web: {{live: 8080, redirect: 0}}}}}}"),
            "traffic.listeners.web.redirect: 0 is not a port",
        ),
    ] {
        let said = faults(GOOD, &format!("traffic: {traffic}")).join("\n");
        assert!(said.contains(expected), "{traffic}: {said}");
    }
}

#[test]
fn a_router_has_the_certificates_in_the_order_in_which_they_are_written() {
    let staging = "traffic: {listeners: {web: {live: 443, redirect: 80}}, tls: {certificate: \
                   /c.pem, key: /c.key, hsts: 1h, others: [{certificate: /d.pem, key: /d.key}]}}";
    let project = project(GOOD, staging).expect("it is right");
    let environment = &project.environments["staging"];
    let (name, service) = environment.services.first_key_value().expect("a service");
    let listeners = environment.listeners(name, service).expect("listeners");

    let source = |certificate: &str, key: &str| {
        CertificateSource::Files(CertificateFiles {
            certificate: certificate.into(),
            key: key.into(),
        })
    };
    let wanted = Tls {
        certificates: vec![source("/c.pem", "/c.key"), source("/d.pem", "/d.key")],
        hsts: Some("1h".parse().expect("a time")),
    };
    assert_eq!(listeners.tls, Some(wanted));
    assert_eq!(listeners.redirect, Some(([127, 0, 0, 1], 80).into()));
}
