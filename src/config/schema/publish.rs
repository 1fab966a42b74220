//! A key of etcd that names the slot with live traffic.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;

/// A key of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The members of etcd: `http://127.0.0.1:2379`.
    pub etcd: Vec<String>,
    /// The key, a template; its value is `blue`, `green` or `off`.
    #[serde(default = "live_key")]
    pub key: String,
    /// Who writes the key, where etcd asks for a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with the user's password, on the machine of the agent, as an absolute path. It is
    /// read at each switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The authority that signed the certificates of etcd, a file in PEM on the machine of the
    /// agent, as an absolute path; the machine's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

fn live_key() -> String {
    "/{{ project }}/{{ environment }}/live".to_owned()
}

impl Publish {
    /// A name goes with a password, and a password through TLS or no further than this machine.
    pub(super) fn check(&self, findings: &mut Findings<'_>) {
        let path = |key: &'static str| ["traffic", "publish", key];
        match (&self.user, &self.password_file) {
            (Some(_), None) => {
                let help = "write `password_file: /etc/shipit/etcd-password`";
                findings.add(&path("user"), "a user of etcd has a password", help);
            }
            (None, Some(_)) => {
                findings.add(
                    &path("password_file"),
                    "nothing says whose it is",
                    "write `user: NAME`",
                );
            }
            _ => {}
        }

        for (key, file) in [("password_file", &self.password_file), ("ca", &self.ca)] {
            if file.as_ref().is_some_and(|file| !file.is_absolute()) {
                let help = "write an absolute path: the agent has no project's folder";
                findings.add(&path(key), "this is read on the agent's machine", help);
            }
        }

        let in_clear = |endpoint: &&String| {
            let authority = endpoint
                .strip_prefix("http://")
                .map(|rest| rest.trim_end_matches('/'));
            authority.is_some_and(|authority| !crate::model::is_loopback(authority))
        };
        if self.user.is_some()
            && let Some(endpoint) = self.etcd.iter().find(in_clear)
        {
            let message = format!("the password would go in clear to {endpoint}");
            findings.add(
                &path("etcd"),
                message,
                "write `https://`, and `ca` for an authority of your own",
            );
        }
    }
}
