//! Health checks of other tools.

use serde_json::Value;

use crate::discover::compose::COMMAND;
use crate::discover::document::{number, text_at, texts};
use crate::discover::durations::period;
use crate::discover::proposal::{HealthProposal, ServiceProposal};
use crate::discover::secret::is_in_command;
use crate::model::Period;

/// How often is asked, and how often in vain, where a check of Docker's does not say.
const INTERVAL: Period = Period::from_secs(30);
const RETRIES: u64 = 3;

/// A check in the form of Compose, Copilot and Docker: a command, and how often it is run.
pub(super) fn of_command(service: &mut ServiceProposal, check: &Value, key: &str) {
    if check.get("disable").and_then(Value::as_bool) == Some(true) {
        return;
    }
    let command = check.get(key).map(command).unwrap_or_default();
    let asked = command.iter().find_map(|word| path_asked(word));
    let is_tool = command
        .first()
        .is_some_and(|word| ["curl", "wget", "sh"].contains(&last_part(word)));
    if command.is_empty() {
        return;
    }

    if let (Some((port, path)), Some(own)) = (asked, service.port)
        && is_tool
        && port == own
    {
        service.health.path = Some(path);
    } else if is_in_command(&command) {
        return service.left_out("healthcheck", COMMAND);
    } else {
        service.health.run = command;
    }
    times(&mut service.health, check);
    if check.get("start_interval").is_some() {
        let why = "`health.interval` is how often is asked, from the start on";
        service.left_out("healthcheck.start_interval", why);
    }
}

fn last_part(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or_default()
}

/// A command in its three forms: a text for a shell, `[CMD, …]` and `[CMD-SHELL, …]`.
fn command(test: &Value) -> Vec<String> {
    let shell = |line: &str| vec!["sh".to_owned(), "-c".to_owned(), line.to_owned()];
    if let Value::String(line) = test {
        return if line == "NONE" {
            Vec::new()
        } else {
            shell(line)
        };
    }
    let words = texts(test);
    match words.split_first() {
        Some((first, _)) if first == "NONE" => Vec::new(),
        Some((first, rest)) if first == "CMD" => rest.to_vec(),
        Some((first, rest)) if first == "CMD-SHELL" => shell(&rest.join(" ")),
        Some(_) => words,
        None => Vec::new(),
    }
}

/// The port and the path of an address on the machine itself that stands in a text.
fn path_asked(text: &str) -> Option<(u16, String)> {
    let (_, address) = text.split_once("http://")?;
    let end = address.find(|sign: char| sign.is_whitespace() || "'\"|;&)".contains(sign));
    let address = &address[..end.unwrap_or(address.len())];
    let (authority, path) = address.split_once('/').unwrap_or((address, ""));
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    let is_itself = ["localhost", "127.0.0.1", "0.0.0.0"].contains(&host);
    let path = format!("/{path}");
    (is_itself && is_asked(&path)).then_some(())?;
    Some((port.parse().ok()?, path))
}

/// Whether a request can have this path.
pub(super) fn is_asked(path: &str) -> bool {
    let is_odd = |sign: char| sign.is_whitespace() || sign.is_control();
    path.starts_with('/') && !path.contains(is_odd)
}

/// How often is asked, and how long a start may take: the grace at the start, and as many failures
/// behind it as count.
pub(super) fn times(health: &mut HealthProposal, check: &Value) {
    let time = |key: &str| text_at(check, key).and_then(|text| period(&text));
    health.interval = time("interval");
    health.timeout = time("timeout");
    let retries = check.get("retries").and_then(number);
    let retries = retries.filter(|count| (1..=1000).contains(count));
    health.failures = retries.and_then(|count| u32::try_from(count).ok());
    if let Some(grace) = time("start_period") {
        let interval = health.interval.unwrap_or(INTERVAL).as_millis();
        let behind = interval.saturating_mul(retries.unwrap_or(RETRIES));
        let whole = grace.as_millis().saturating_add(behind).min(86_400_000);
        health.start_within = Some(Period::from_millis(whole));
    }
}
