//! A Kubernetes namespace: its workloads, and what leads to them.

mod pod;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::discover::document::{DiscoverError, entries, items, number, text_at};
use crate::discover::namespace::pod::{Lead, fill};
use crate::discover::proposal::{EngineProposal, IngressProposal, Proposal, ServiceProposal};
use crate::discover::variables::Found;
use crate::model::object::mark;

/// The most workloads of a namespace.
const MOST: usize = 300;

/// The colours of a release that is in one of two places.
const COLOURS: [&str; 2] = ["blue", "green"];

/// What was found in a namespace, in the words of its API.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// Deployments.
    pub deployments: Vec<Value>,
    /// `StatefulSet`s.
    pub sets: Vec<Value>,
    /// Services.
    pub services: Vec<Value>,
    /// Ingresses.
    pub ingresses: Vec<Value>,
    /// The kinds that could not be looked at, each with the reason.
    pub unseen: Vec<String>,
}

/// Workloads that are one service.
struct Group<'a> {
    called: String,
    members: Vec<&'a Value>,
}

/// The proposal of a namespace, which is the project's name as well.
///
/// # Errors
/// Nothing runs there that can be a service, or only what shipit runs already.
pub fn of_namespace(
    objects: &Objects,
    namespace: &str,
    context: Option<&str>,
) -> Result<Proposal, DiscoverError> {
    let from = format!("the namespace {namespace}");
    let mut proposal = Proposal::new(
        namespace,
        from.clone(),
        EngineProposal::Kubernetes {
            namespace: Some(namespace.to_owned()),
            context: context.map(str::to_owned),
            ingress: None,
            is_blue_green: false,
        },
    );
    for unseen in &objects.unseen {
        proposal.remark(format!("not looked at: {unseen}"));
    }
    let workloads = workloads(&mut proposal, objects);
    if workloads.len() > MOST {
        let reason = format!(
            "{} workloads are there, and {MOST} are the most",
            workloads.len()
        );
        return Err(DiscoverError::new(
            &from,
            reason,
            "write the configuration by hand",
        ));
    }

    let mut found = Found::default();
    for group in groups(&workloads) {
        one(&mut proposal, &mut found, objects, &group);
    }
    if proposal.services.is_empty() {
        let mut reason = "no workload is there that can be a service".to_owned();
        if !objects.unseen.is_empty() {
            reason = format!(
                "{reason}, as far as could be looked: {}",
                objects.unseen.join("; ")
            );
        }
        let help = "look at it with `kubectl get deployments,statefulsets`, and at the rights of \
                    who runs this";
        return Err(DiscoverError::new(&from, reason, help));
    }
    ingress(&mut proposal, objects);
    proposal.remark(
        "shipit makes objects of its own beside those that run, and switches traffic to them; \
         `shipit import` takes over those of the same names",
    );
    Ok(proposal)
}

fn name(object: &Value) -> String {
    object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// What can be a service. A set with claims holds data that no release may carry away.
fn workloads<'a>(proposal: &mut Proposal, objects: &'a Objects) -> Vec<&'a Value> {
    let is_own = |object: &Value| {
        let labels = object.pointer("/metadata/labels");
        labels.is_some_and(|labels| labels.get(mark::PROJECT).is_some())
    };
    let mut workloads = Vec::new();
    for object in objects.deployments.iter().chain(&objects.sets) {
        let name = name(object);
        let claims = items(object.pointer("/spec/volumeClaimTemplates"));
        if is_own(object) {
            proposal.remark(format!("left out: {name}: shipit runs it"));
        } else if claims.is_empty() {
            workloads.push(object);
        } else {
            proposal.remark(format!(
                "left out: StatefulSet {name}: it has claims with data: it stays as it is, or goes \
                 under the environment's own `manifests:`"
            ));
        }
    }
    workloads
}

/// The colour of a workload, and its name without: by its name, or by a label.
fn colour(workload: &Value) -> Option<(String, &'static str)> {
    let name = name(workload);
    let by_name = COLOURS.into_iter().find_map(|colour| {
        let base = name.strip_suffix(&format!("-{colour}"))?;
        Some((base.to_owned(), colour))
    });
    by_name.or_else(|| {
        let labels = entries(workload.pointer("/spec/template/metadata/labels"));
        let app = labels
            .iter()
            .find(|(key, _)| ["app", "app.kubernetes.io/name"].contains(&key.as_str()))?;
        let colour = COLOURS
            .into_iter()
            .find(|colour| labels.values().any(|value| value.as_str() == Some(*colour)))?;
        Some((app.1.as_str()?.to_owned(), colour))
    })
}

/// Workloads by their service: two colours of one are one.
fn groups<'a>(workloads: &[&'a Value]) -> Vec<Group<'a>> {
    let mut colours: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (base, colour) in workloads.iter().filter_map(|workload| colour(workload)) {
        colours.entry(base).or_default().push(colour);
    }
    let is_pair = |base: &String| {
        let seen = colours.get(base);
        seen.is_some_and(|seen| COLOURS.iter().all(|colour| seen.contains(colour)))
    };

    let mut groups: BTreeMap<String, Group<'a>> = BTreeMap::new();
    for workload in workloads {
        let base = colour(workload).map(|(base, _)| base).filter(is_pair);
        let called = base.unwrap_or_else(|| name(workload));
        let group = groups.entry(called.clone());
        let group = group.or_insert_with(|| Group {
            called,
            members: Vec::new(),
        });
        group.members.push(workload);
    }
    groups.into_values().collect()
}

/// Whether a Service leads to the pods of a workload.
fn leads_to(service: &Value, workload: &Value) -> bool {
    let selector = entries(service.pointer("/spec/selector"));
    let labels = entries(workload.pointer("/spec/template/metadata/labels"));
    !selector.is_empty()
        && selector
            .iter()
            .all(|(key, value)| labels.get(*key) == Some(value))
}

fn one(proposal: &mut Proposal, found: &mut Found, objects: &Objects, group: &Group<'_>) {
    let is_live = |workload: &&&Value| objects.services.iter().any(|it| leads_to(it, workload));
    let live = group.members.iter().find(is_live);
    let Some(workload) = live.or_else(|| group.members.first()) else {
        return;
    };
    let mut service = ServiceProposal::default();
    if let [_, _, ..] = group.members[..] {
        let names: Vec<String> = group.members.iter().map(|it| name(it)).collect();
        service.remark(format!(
            "{} are its two colours: a release goes into one of two slots here, and this is {}",
            names.join(" and "),
            name(workload)
        ));
        if let EngineProposal::Kubernetes { is_blue_green, .. } = &mut proposal.engine {
            *is_blue_green = true;
        }
    }
    if workload.get("kind").and_then(Value::as_str) == Some("StatefulSet") {
        service.remark("it was a StatefulSet without claims, and becomes a Deployment");
    }

    let replicas = workload.pointer("/spec/replicas").and_then(number);
    match replicas.map(u16::try_from) {
        Some(Ok(0)) => service.remark("it was scaled to 0: here it has one instance at the least"),
        Some(Ok(count)) => service.replicas = Some(count),
        Some(Err(_)) | None => {}
    }
    let strategy = workload.pointer("/spec/strategy/type");
    service.is_exclusive = strategy.and_then(Value::as_str) == Some("Recreate");

    let leads: Vec<&Value> = objects
        .services
        .iter()
        .filter(|it| leads_to(it, workload))
        .collect();
    let leads: Vec<Lead> = leads
        .into_iter()
        .flat_map(|service| {
            let ports = items(service.pointer("/spec/ports")).iter();
            ports.map(|port| Lead {
                target: port.get("targetPort").or_else(|| port.get("port")).cloned(),
                kind: text_at(&service["spec"], "type").unwrap_or_default(),
            })
        })
        .collect();
    let template = workload.pointer("/spec/template").unwrap_or(&Value::Null);
    fill(
        (proposal, found),
        (&group.called, &mut service),
        template,
        &leads,
    );
    host(&mut service, objects, workload);
    proposal.add(&group.called, service);
}

/// The host at which an Ingress leads to a workload.
fn host(service: &mut ServiceProposal, objects: &Objects, workload: &Value) {
    let names: Vec<String> = objects
        .services
        .iter()
        .filter(|it| leads_to(it, workload))
        .map(name)
        .collect();
    let mut hosts = Vec::new();
    for rule in objects
        .ingresses
        .iter()
        .flat_map(|ingress| items(ingress.pointer("/spec/rules")))
    {
        for path in items(rule.pointer("/http/paths")) {
            let backend = path.pointer("/backend/service/name");
            let backend = backend.and_then(Value::as_str).unwrap_or_default();
            if !names.iter().any(|name| name == backend) {
                continue;
            }
            hosts.extend(text_at(rule, "host"));
            if let Some(path) = text_at(path, "path").filter(|path| path != "/") {
                let key = format!("the Ingress's path {path}");
                service.left_out(&key, "`traffic.entries.NAME.path` says it");
            }
        }
    }
    hosts.dedup();
    if hosts.len() > 1 {
        service.left_out(
            &hosts[1..].join(", "),
            "one host of a service is carried over",
        );
    }
    let first = hosts.into_iter().next();
    service.host = first.filter(|host| super::copilot::is_host(host));
}

fn ingress(proposal: &mut Proposal, objects: &Objects) {
    let has_entry = proposal.services.values().any(|it| it.host.is_some());
    let Some(first) = objects.ingresses.first().filter(|_| has_entry) else {
        return;
    };
    let secret = first.pointer("/spec/tls/0/secretName");
    let entry = IngressProposal {
        class: text_at(&first["spec"], "ingressClassName"),
        tls_secret: secret.and_then(Value::as_str).map(str::to_owned),
    };
    if let EngineProposal::Kubernetes { ingress, .. } = &mut proposal.engine {
        *ingress = Some(entry);
    }
    if objects.ingresses.len() > 1 {
        let names: Vec<String> = objects.ingresses.iter().skip(1).map(name).collect();
        proposal.remark(format!(
            "left out: the Ingresses {}: their class and their certificates, for the first one's \
             hold for all",
            names.join(", ")
        ));
    }
    if !entries(first.pointer("/metadata/annotations")).is_empty() {
        proposal.remark(
            "left out: the Ingress's annotations: those that its controller reads go under \
             `traffic.annotations`",
        );
    }
}
