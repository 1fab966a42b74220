//! What `hooks` and `notify` name: secrets that this process can read, and environments.

use crate::config::findings::Findings;
use crate::config::schema::EnvironmentConfig;
use crate::config::suggest::suggest;
use crate::model::EnvironmentName;

/// Whether a secret is there, and this process can read it.
pub(super) fn secret(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    at: &[&str],
    secret: &str,
) {
    match environment.secrets.get(secret) {
        None => {
            let known: Vec<&str> = environment.secrets.keys().map(String::as_str).collect();
            let message = format!("there is no secret {secret}");
            findings.add(at, message, suggest(secret, &known, "secrets"));
        }
        Some(from) if from.kubernetes.is_some() => findings.add(
            at,
            format!("{secret} is a Secret of the cluster, which shipit does not read"),
            "write another source for it, as `file`, `env` or `vault`",
        ),
        Some(_) => {}
    }
}

/// Whether the environments are there that `in` names. `names`: those that are.
pub(super) fn environments<'a>(
    findings: &mut Findings<'_>,
    at: &[&str],
    asked: impl IntoIterator<Item = &'a EnvironmentName>,
    names: &[&str],
) {
    let asked = asked.into_iter();
    for unknown in asked.filter(|asked| !names.contains(&asked.as_str())) {
        findings.add(
            at,
            format!("there is no environments/{unknown}.yaml"),
            suggest(unknown.as_str(), names, "environments"),
        );
    }
}
