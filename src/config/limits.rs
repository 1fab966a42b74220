//! What an API server would refuse of the names and amounts that a configuration leads to: said
//! before anything is built.

use crate::config::findings::Findings;
use crate::config::schema::{EnvironmentConfig, ServiceConfig, Text};
use crate::model::quantity::Quantity;
use crate::model::{EnvironmentName, ServiceName};

/// The longest name of a Service or a namespace, and the longest value of a label (RFC 1123).
const LONGEST: usize = 63;

/// What shipit puts behind a service's name for each slot.
const SLOT_ENDING: usize = "-green".len();

/// The names and amounts of an environment on a cluster.
pub(super) fn check(
    findings: &mut Findings<'_>,
    name: &EnvironmentName,
    environment: &EnvironmentConfig,
) {
    if environment.cluster.kubernetes().is_none() {
        return;
    }
    environment_name(findings, environment, name);
    for (name, service) in &environment.services {
        service_name(findings, environment, name);
        amounts(findings, name.as_str(), service);
    }
}

/// Project and environment together are a label of every object, and the name of the namespace.
fn environment_name(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &EnvironmentName,
) {
    let project = environment.project.as_str();
    let length = project.len() + 1 + name.as_str().len();
    if length > LONGEST {
        findings.add(
            &["project"],
            format!(
                "`{project}-{name}` has {length} characters, and a namespace and a label have \
                     {LONGEST} at most"
            ),
            format!("shorten one of the names by {}", length - LONGEST),
        );
    }
}

fn service_name(findings: &mut Findings<'_>, environment: &EnvironmentConfig, name: &ServiceName) {
    // Slots apart keep the names as they are.
    let ending = if environment.slots.is_empty() {
        SLOT_ENDING
    } else {
        0
    };
    let length = name.as_str().len() + ending;
    if length > LONGEST {
        findings.add(
            &["services", name.as_str()],
            format!(
                "`{name}-green` has {length} characters, and the name of a Service has \
                     {LONGEST} at most"
            ),
            format!("a service's name has {} here", LONGEST - ending),
        );
    }
}

fn amounts(findings: &mut Findings<'_>, name: &str, service: &ServiceConfig) {
    let resources = &service.resources;
    let cpu = amount(findings, name, "cpu", Some(&resources.cpu));
    let memory = amount(findings, name, "memory", Some(&resources.memory));
    let cpu_limit = amount(findings, name, "cpu_limit", resources.cpu_limit.as_ref());
    let memory_limit = amount(
        findings,
        name,
        "memory_limit",
        resources.memory_limit.as_ref(),
    );
    for (key, sure, most) in [
        ("cpu_limit", cpu, cpu_limit),
        ("memory_limit", memory, memory_limit),
    ] {
        if let (Some(sure), Some(most)) = (sure, most)
            && most < sure
        {
            findings.add(
                &["services", name, "resources", key],
                "the limit is below what a pod is sure to get",
                "raise the limit, or lower the other one",
            );
        }
    }

    if let Some(autoscale) = &service.autoscale
        && autoscale.cpu == 0
    {
        findings.add(
            &["services", name, "autoscale", "cpu"],
            "a load of 0 percent is no aim",
            "write a percentage of `resources.cpu`, as 80",
        );
    }
}

fn amount(
    findings: &mut Findings<'_>,
    name: &str,
    key: &str,
    text: Option<&Text>,
) -> Option<Quantity> {
    let text = text?;
    let path = ["services", name, "resources", key];
    let quantity: Quantity = match text.0.parse() {
        Ok(quantity) => quantity,
        Err(error) => {
            findings.add(
                &path,
                format!("{error}"),
                "see resource.Quantity of Kubernetes",
            );
            return None;
        }
    };

    let is_memory = key.starts_with("memory");
    let fault = if quantity.is_negative() {
        Some((
            "an amount is not below zero".to_owned(),
            "write what it needs".to_owned(),
        ))
    } else if is_memory {
        memory_fault(&text.0, quantity)
    } else {
        cpu_fault(&text.0, quantity)
    };
    match fault {
        None => Some(quantity),
        Some((message, help)) => {
            findings.add(&path, message, help);
            None
        }
    }
}

/// The digits of an amount, without what is behind them.
fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    &text[..end.unwrap_or(text.len())]
}

/// What is wrong with an amount of memory: no program runs in less than the least.
fn memory_fault(text: &str, quantity: Quantity) -> Option<(String, String)> {
    if quantity.is_below_one() && !quantity.is_zero() && text.ends_with('m') {
        let help = format!("`m` is a thousandth: write `{}i`", text.replace('m', "M"));
        return Some(("this is less than one byte".to_owned(), help));
    }
    if quantity >= Quantity::LEAST_MEMORY {
        return None;
    }
    let message = format!("`{text}` is too little memory: without a suffix it is bytes");
    let help = format!("write `{}Mi`, or what it needs", digits(text));
    Some((message, help))
}

/// What is wrong with an amount of processor time: the API keeps no less than a thousandth of a
/// core, and no machine has so many.
fn cpu_fault(text: &str, quantity: Quantity) -> Option<(String, String)> {
    if quantity > Quantity::MOST_CORES {
        let message = format!("`{text}` is more cores than a machine has");
        let help = format!("a thousandth of a core is `m`: write `{}m`", digits(text));
        return Some((message, help));
    }
    if quantity < Quantity::LEAST_CORE && !quantity.is_zero() {
        let message = format!("`{text}` is less than a thousandth of a core");
        return Some((message, "the least is `1m`".to_owned()));
    }
    None
}
