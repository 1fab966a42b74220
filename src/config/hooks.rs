//! What the keys of `hooks` must hold together.

use crate::config::findings::{Findings, TAKE_OUT};
use crate::config::named;
use crate::config::notify::address;
use crate::config::schema::{EnvironmentConfig, HookConfig};
use crate::model::Period;
use crate::model::hook::HookStage;
use crate::model::task::OnFailure;

/// Checks all hooks of an environment.
pub(super) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
    for (name, hook) in &environment.hooks {
        let name = name.as_str();
        point(findings, name, hook);
        call(findings, name, hook);
        variables(findings, name, hook);
        secrets(findings, environment, name, hook);
        failure(findings, name, hook);
        if hook.timeout == Period::ZERO {
            let at = ["hooks", name, "timeout"];
            findings.add(&at, "no time at all", "write how long, as `1m`");
        }
    }
}

/// Whether the environments are there that are named.
pub(super) fn environments(findings: &mut Findings<'_>, base: &EnvironmentConfig, names: &[&str]) {
    for (name, hook) in &base.hooks {
        let asked = hook.environments.iter().flatten();
        named::environments(findings, &["hooks", name.as_str(), "in"], asked, names);
    }
}

fn point(findings: &mut Findings<'_>, name: &str, hook: &HookConfig) {
    match (hook.before, hook.after) {
        (Some(_), Some(_)) => {
            let message = "`before` and `after` are both given";
            findings.add(&["hooks", name, "after"], message, "write two hooks");
        }
        (None, None) => findings.add(
            &["hooks", name],
            "nothing says when it is called",
            "add `before: switch`, for one; there are plan, build, deploy, switch and rollback",
        ),
        _ => {}
    }
}

fn call(findings: &mut Findings<'_>, name: &str, hook: &HookConfig) {
    match (&hook.run, &hook.http) {
        (Some(_), Some(_)) => {
            let message = "`run` and `http` are both given";
            findings.add(&["hooks", name, "http"], message, "keep one of them");
        }
        (None, None) => findings.add(
            &["hooks", name],
            "nothing says what it calls",
            "add `run: [bin/hook]`, or `http` with `url` and `secret`",
        ),
        (Some(words), None) if words.0.first().is_none_or(String::is_empty) => {
            let at = ["hooks", name, "run"];
            findings.add(&at, "there is no command", "write `run: [bin/hook]`");
        }
        (None, Some(http)) => {
            address(findings, &["hooks", name, "http", "url"], &http.url);
            let message = "a server has no variables";
            findings.refuse(&["hooks", name], &["env", "pass"], message);
        }
        (Some(_), None) => {}
    }
}

/// A variable has a name that is one, and not one of those that every hook has.
fn variables(findings: &mut Findings<'_>, name: &str, hook: &HookConfig) {
    let of_env = hook.env.keys().map(|variable| ("env", variable));
    let passed = hook.pass.iter().map(|variable| ("pass", variable));
    for (key, variable) in of_env.chain(passed) {
        let at = ["hooks", name, key];
        if variable.is_empty() || variable.contains(['=', '\0', '$', '*', ' ']) {
            let message = format!("`{variable}` is no name of a variable");
            findings.add(&at, message, "write the name alone, as `REGION`");
        }
        if variable.starts_with("SHIPIT_") {
            let message = format!("`{variable}` is one that shipit sets");
            findings.add(&at, message, "give it another name");
        }
    }
}

fn secrets(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    hook: &HookConfig,
) {
    for (key, secret) in hook.secrets() {
        let at = [&["hooks", name][..], &key].concat();
        named::secret(findings, environment, &at, secret);
    }
}

/// A rollback is never held up.
fn failure(findings: &mut Findings<'_>, name: &str, hook: &HookConfig) {
    let stages = [hook.before, hook.after];
    let is_of_rollback = stages.contains(&Some(HookStage::Rollback));
    if is_of_rollback && hook.on_failure == Some(OnFailure::Stop) {
        findings.add(
            &["hooks", name, "on_failure"],
            "a rollback is never held up",
            TAKE_OUT,
        );
    }
}
