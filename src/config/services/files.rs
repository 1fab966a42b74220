//! The files of a service's instances, and its files of variables.

use std::path::{Component, Path};

use crate::config::findings::Findings;
use crate::config::schema::{DetailedFile, EnvironmentConfig, ServiceConfig};
use crate::config::suggest::suggest;

/// What the kernel or the engine has there, which no file of a service may take the place of.
const TAKEN: [&str; 3] = ["/proc", "/sys", "/dev"];

pub(super) fn check(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    service: &ServiceConfig,
) {
    for (index, file) in service.env_file.0.iter().enumerate() {
        if file.as_os_str().is_empty() || file.is_absolute() {
            let at = ["services", name, "env_file", &index.to_string()];
            let at = if service.env_file.0.len() > 1 {
                &at[..]
            } else {
                &at[..3]
            };
            findings.add(
                at,
                "a path in the project's folder is needed",
                "write `env_file: web.env`",
            );
        }
    }

    for (inside, file) in &service.files {
        let (shown, detailed) = (inside.to_string_lossy(), file.detailed());
        let at = ["services", name, "files", &shown];
        if let Some(reason) = misplaced(service, inside) {
            let help = "write where an instance finds it: `/etc/app/config.toml: config/app.toml`";
            findings.add(&at, reason, help);
        }
        content(findings, environment, &at, &detailed);
        variable(findings, &at, service, &detailed);
    }
}

/// Why no file can be at a path; none when one can.
fn misplaced(service: &ServiceConfig, inside: &Path) -> Option<String> {
    let mut parts = inside.components();
    let is_plain = parts.next() == Some(Component::RootDir)
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)));
    let text = inside.to_string_lossy();
    let has_odd_sign = text.contains([':', ',', '\\']) || text.chars().any(char::is_control);
    if !is_plain || has_odd_sign || text.ends_with('/') || text.len() > 1024 {
        return Some("this is no path of a file".to_owned());
    }

    if TAKEN.iter().any(|taken| inside.starts_with(taken)) {
        return Some("the kernel's own files are there".to_owned());
    }
    let volume = service
        .volumes
        .keys()
        .find(|volume| volume.starts_with(inside));
    if let Some(volume) = volume {
        return Some(format!("the volume {} is there", volume.display()));
    }
    let beneath = service
        .files
        .keys()
        .find(|other| other.as_path() != inside && other.starts_with(inside));
    beneath.map(|other| {
        format!(
            "{} is beneath it: it cannot be a file, too",
            other.display()
        )
    })
}

fn content(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    at: &[&str],
    file: &DetailedFile,
) {
    match (&file.file, &file.secret) {
        (Some(path), None) => {
            if path.as_os_str().is_empty() || path.is_absolute() {
                findings.add(
                    at,
                    "a path in the project's folder is needed",
                    "write `config/app.toml`",
                );
            }
        }
        (None, Some(secret)) => {
            let known: Vec<&str> = environment.secrets.keys().map(String::as_str).collect();
            if !known.contains(&secret.as_str()) {
                let message = format!("there is no secret `{secret}` in this environment");
                findings.add(at, message, suggest(secret, &known, "secrets"));
            }
            if file.template {
                let help = "take `template` out, or name a `file`";
                findings.add(at, "a secret is no template", help);
            }
        }
        (None, None) | (Some(_), Some(_)) => findings.add(
            at,
            "exactly one of `file` and `secret` says what is in it",
            "write `{file: config/app.toml}` or `{secret: NAME}`",
        ),
    }
}

fn variable(
    findings: &mut Findings<'_>,
    at: &[&str],
    service: &ServiceConfig,
    file: &DetailedFile,
) {
    let Some(variable) = &file.variable else {
        return;
    };
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let begins_well = variable.starts_with(|letter: char| !letter.is_ascii_digit());
    let at = [at, &["variable"]].concat();
    if !begins_well || !variable.chars().all(is_of_name) {
        findings.add(
            &at,
            "this is no name of a variable",
            "use letters, digits and _ only",
        );
    } else if service.env.contains_key(variable) {
        let help = "keep one of them";
        findings.add(&at, format!("`env` has {variable}, too"), help);
    }
    let mut others = service
        .files
        .values()
        .map(|other| other.detailed().variable);
    if others
        .by_ref()
        .filter(|other| other.as_ref() == Some(variable))
        .count()
        > 1
    {
        let help = "give each file a variable of its own";
        findings.add(&at, format!("two files have the variable {variable}"), help);
    }
}
