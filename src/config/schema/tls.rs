//! TLS of the agent's own router.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::schema::{EnvironmentConfig, HostTraffic, ServiceConfig};
use crate::model::Period;
use crate::model::certificate::{CertificateFiles, CertificateSource, Tls};

/// What only the agent's own router has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EmbeddedTraffic {
    /// TLS at every HTTP listener; without it they speak plain HTTP. What speaks no HTTP stays as it
    /// is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
}

/// What the router's HTTP listeners need to speak TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those that lead to its authority, a file in PEM on the agent's machine,
    /// as an absolute path. The agent reads it again when it changes.
    pub certificate: PathBuf,
    /// Its private key, a file in PEM on the agent's machine, as an absolute path.
    pub key: PathBuf,
    /// Further certificates, for other hosts. A client that names none of their hosts is shown the
    /// first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<CertificateConfig>,
    /// How long browsers are told to ask this host by HTTPS alone (`Strict-Transport-Security`).
    /// They are told nothing without it: a browser that was told cannot be told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Period>,
}

/// A further certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// The certificate, as that of all.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsConfig {
    /// The same as the router has it.
    #[must_use]
    pub fn resolve(&self) -> Tls {
        let source = |(certificate, key): (&PathBuf, &PathBuf)| {
            CertificateSource::Files(CertificateFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            })
        };
        let others = self.others.iter().map(|one| (&one.certificate, &one.key));
        let all = std::iter::once((&self.certificate, &self.key)).chain(others);
        Tls {
            certificates: all.map(source).collect(),
            hsts: self.hsts,
        }
    }

    fn check(&self, findings: &mut Findings<'_>) {
        let at = ["traffic", "tls"];
        let own = [("certificate", &self.certificate), ("key", &self.key)];
        for (key, path) in own {
            absolute(findings, &[&at[..], &[key]].concat(), path);
        }
        for (number, other) in self.others.iter().enumerate() {
            let number = number.to_string();
            for (key, path) in [("certificate", &other.certificate), ("key", &other.key)] {
                absolute(
                    findings,
                    &[&at[..], &["others", &number, key]].concat(),
                    path,
                );
            }
        }
        if self.hsts.is_some_and(|hsts| hsts.get().as_secs() == 0) {
            let help = "write a time, as `180d`, or take the key out";
            findings.add(&["traffic", "tls", "hsts"], "no time at all is none", help);
        }
    }
}

fn absolute(findings: &mut Findings<'_>, at: &[&str], path: &Path) {
    if !path.is_absolute() {
        let help = "write an absolute path: the agent has no project's folder";
        findings.add(at, "this is read on the agent's machine", help);
    }
}

impl EmbeddedTraffic {
    pub(super) fn check(&self, findings: &mut Findings<'_>) {
        if let Some(tls) = &self.tls {
            tls.check(findings);
        }
    }
}

/// A listener that sends clients on to HTTPS is one of a service that has it.
pub(in crate::config) fn check_redirects(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    traffic: &HostTraffic,
    has_tls: bool,
) {
    for (name, listeners) in &traffic.listeners {
        if listeners.redirect.is_none() {
            continue;
        }
        let at = ["traffic", "listeners", name.as_str(), "redirect"];
        let port = environment.services.get(name);
        let port = port.and_then(ServiceConfig::traffic_port);
        if !has_tls {
            let message = "it sends clients on to HTTPS, which nothing here speaks";
            let help = "write `tls: {certificate: FILE, key: FILE}` under `traffic`, with `kind: \
                        embedded`, or take the key out";
            findings.add(&at, message, help);
        } else if port.is_some_and(|(_, port)| !port.protocol.is_http()) {
            let message = format!("{name} speaks no HTTP");
            findings.add(&at, message, crate::config::findings::TAKE_OUT);
        }
    }
}
