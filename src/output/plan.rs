//! A plan as a person reads it, as Markdown, and as a document.

use std::fmt::Write as _;

use anstyle::Style;

use crate::model::check::{Check, Stage};
use crate::model::plan::{Action, Change, Intent, Plan, Step};
use crate::model::workload::Known;
use crate::model::{Address, Platform, Slot};
use crate::output::paint::{BOLD, CHANGED, DIM, GONE, MOVED, NEW, paint};

/// The plan as one JSON document; `format` says its version.
#[must_use]
pub fn json(plan: &Plan) -> String {
    serde_json::to_string_pretty(plan).unwrap_or_default()
}

/// The plan for a comment on a change request.
#[must_use]
pub fn markdown(plan: &Plan) -> String {
    let text = anstream::adapter::strip_str(&human(plan)).to_string();
    let summary = summary(plan);
    let heading = format!("### {} → {}", plan.project, plan.environment);
    format!(
        "{heading}\n\n{summary}\n\n<details><summary>The whole plan</summary>\n\n```text\n{text}```\n\n</details>\n"
    )
}

/// The plan for a person.
#[must_use]
pub fn human(plan: &Plan) -> String {
    let mut text = format!("{}\n", header(plan));
    for section in sections(plan) {
        if !section.lines.is_empty() {
            let _ = write!(
                text,
                "\n  {}\n{}",
                paint(BOLD, &section.title),
                section.lines.concat()
            );
        }
    }
    for reason in &plan.no_way_back {
        let _ = write!(text, "\n{} {reason}\n", paint(GONE, "no way back:"));
    }
    for note in &plan.notes {
        let _ = write!(text, "\n{} {note}\n", paint(CHANGED, "note:"));
    }
    let _ = write!(text, "\n{}\n", summary(plan));
    text
}

fn header(plan: &Plan) -> String {
    let mut parts = vec![format!(
        "{} → {}",
        paint(BOLD, &plan.project),
        paint(BOLD, &plan.environment)
    )];
    parts.extend(what(plan));
    let active = plan.active.as_ref().map_or_else(
        || "nothing is live yet".to_owned(),
        |active| format!("active: {}, release {}", active.slot, active.release),
    );
    parts.push(match &plan.target {
        Some(target) => {
            format!(
                "release {} into {} ({active})",
                target.release,
                paint(slot_style(), target.slot)
            )
        }
        None => active,
    });
    parts.join(" · ")
}

const fn slot_style() -> Style {
    BOLD
}

fn what(plan: &Plan) -> Option<String> {
    let commit = || {
        plan.source.commit.as_ref()?;
        let branch = plan
            .source
            .branch
            .as_ref()
            .map(|branch| format!(" ({branch})"))
            .unwrap_or_default();
        Some(format!("commit {}{branch}", plan.source.short()))
    };
    match &plan.intent {
        Intent::Apply => commit(),
        Intent::Promote(slot) => Some(format!("promote {slot}")),
        Intent::Carry(from) => Some(format!(
            "carry on {} release {}",
            from.environment, from.release
        )),
        Intent::Rollback(release) => Some(format!("roll back to release {release}")),
        Intent::Abort => Some("abort".to_owned()),
        Intent::Destroy => Some("destroy".to_owned()),
    }
}

struct Section {
    title: String,
    lines: Vec<String>,
}

fn sections(plan: &Plan) -> Vec<Section> {
    let slot_title = |slot: Slot| format!("services in {slot}");
    vec![
        section(plan, "infrastructure".to_owned(), |address| {
            matches!(address, Address::Resource(_))
        }),
        section(plan, "images".to_owned(), |address| {
            matches!(address, Address::Image(_))
        }),
        section(plan, "objects of the environment".to_owned(), |address| {
            matches!(address, Address::Object(_))
        }),
        section(plan, "listeners".to_owned(), |address| {
            matches!(address, Address::Route(_))
        }),
        section(plan, slot_title(Slot::Blue), in_slot(Slot::Blue)),
        section(plan, slot_title(Slot::Green), in_slot(Slot::Green)),
        section(plan, "traffic".to_owned(), |address| {
            *address == Address::Traffic
        }),
    ]
}

fn in_slot(slot: Slot) -> impl Fn(&Address) -> bool {
    move |address| match address {
        Address::Slot(there) | Address::Workload(there, _) => *there == slot,
        _ => false,
    }
}

fn section(plan: &Plan, title: String, belongs: impl Fn(&Address) -> bool) -> Section {
    let mut lines: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| belongs(&step.address))
        .filter_map(|step| line(plan, step))
        .collect();
    let same: Vec<_> = plan
        .unchanged
        .iter()
        .filter(|same| belongs(&same.address))
        .collect();
    match same[..] {
        [] => {}
        [one] => lines.push(row(DIM, "=", &name(&one.address), &one.reason)),
        ref many => lines.push(format!(
            "  {}\n",
            paint(DIM, format!("= {} unchanged", many.len()))
        )),
    }
    Section { title, lines }
}

fn row(style: Style, sign: &str, name: &str, text: &str) -> String {
    format!("  {} {name:<24} {text}\n", paint(style, sign))
}

fn name(address: &Address) -> String {
    match address {
        Address::Image(service) | Address::Route(service) | Address::Workload(_, service) => {
            service.to_string()
        }
        Address::Slot(slot) => slot.to_string(),
        Address::Object(key) => key.short(),
        Address::Resource(key) => key.to_string(),
        Address::Traffic => "all services".to_owned(),
    }
}

/// What a build is for, where that is said.
fn platforms(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" for {}", names.join(", "))
    }
}

fn line(plan: &Plan, step: &Step) -> Option<String> {
    let name = name(&step.address);
    Some(match &step.action {
        Action::Build { spec, .. } => row(
            NEW,
            "+",
            &name,
            &format!("build{}: {}", platforms(spec.platforms()), step.reason),
        ),
        Action::Apply { .. } if step.expects.is_none() => row(NEW, "+", &name, &step.reason),
        Action::Apply { replace: true, .. } => row(GONE, "±", &name, &step.reason),
        Action::Route { .. } if !step.changes.is_empty() => {
            changed(&name, &step.changes, &step.reason)
        }
        Action::Route { route } => {
            let sign = if step.expects.is_some() {
                (CHANGED, "~")
            } else {
                (NEW, "+")
            };
            row(sign.0, sign.1, &name, &route.to_string())
        }
        Action::Provision { .. } if step.expects.is_none() => {
            format!(
                "{}{}",
                row(NEW, "+", &name, &step.reason),
                fields(&step.changes)
            )
        }
        Action::Provision { replace: true, .. } => {
            format!(
                "{}{}",
                row(GONE, "±", &name, &step.reason),
                fields(&step.changes)
            )
        }
        Action::Unroute | Action::Withdraw | Action::Remove | Action::Empty | Action::Delete => {
            row(GONE, "-", &name, &step.reason)
        }
        Action::Place { .. } if step.changes.is_empty() => row(NEW, "+", &name, &step.reason),
        Action::Place { .. } | Action::Apply { .. } | Action::Provision { .. } => {
            changed(&name, &step.changes, &step.reason)
        }
        Action::Switch { from, to } => row(MOVED, "⇄", &services(plan), &switch(plan, *from, *to)),
        Action::Check {
            stage: Stage::After,
            checks,
        } if !plan.switches() => row(
            MOVED,
            "?",
            &services(plan),
            &format!("verified{}", list(checks)),
        ),
        Action::Keep { keep } => row(
            DIM,
            "·",
            &name,
            &format!("stays warm for {keep}: {}", step.reason),
        ),
        Action::Ready { .. } | Action::Check { .. } => return None,
    })
}

fn changed(name: &str, changes: &[Change], reason: &str) -> String {
    let count = if changes.len() == 1 {
        "1 field".to_owned()
    } else {
        format!("{} fields", changes.len())
    };
    format!(
        "{}{}",
        row(CHANGED, "~", name, &format!("{count} ({reason})")),
        fields(changes)
    )
}

fn fields(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let origin = change
            .origin
            .as_ref()
            .map(|origin| format!("  ({origin})"))
            .unwrap_or_default();
        let _ = writeln!(text, "      {}{}", change.field, paint(DIM, origin));
        if let Some(before) = &change.before {
            let _ = writeln!(text, "        {}", paint(GONE, format!("- {before}")));
        }
        if let Some(after) = &change.after {
            let _ = writeln!(text, "        {}", paint(NEW, format!("+ {after}")));
        }
    }
    text
}

/// The services that a switch concerns: those with listeners.
fn services(plan: &Plan) -> String {
    let Some(target) = &plan.target else {
        return "all services".to_owned();
    };
    let names: Vec<_> = target
        .workloads
        .values()
        .filter(|w| w.port.is_some())
        .map(|w| w.service.to_string())
        .collect();
    match names.len() {
        0 => "no listeners".to_owned(),
        1..=3 => names.join(", "),
        count => format!("{count} services"),
    }
}

fn switch(plan: &Plan, from: Option<Slot>, to: Option<Slot>) -> String {
    let side = |slot: Option<Slot>| slot.map_or("off", Slot::as_str);
    let checks = |stage: Stage| -> &[Check] {
        let found = plan.steps.iter().find_map(|step| match &step.action {
            Action::Check {
                stage: there,
                checks,
            } if *there == stage => Some(checks.as_slice()),
            _ => None,
        });
        found.unwrap_or_default()
    };
    let before = match checks(Stage::Before) {
        [] => String::new(),
        checks => format!(", after{}", list(checks)),
    };
    let after = match checks(Stage::After) {
        [] => String::new(),
        checks => format!(", then{}", list(checks)),
    };
    let back = plan
        .reverse
        .iter()
        .filter(|step| matches!(step.action, Action::Switch { .. }))
        .count();
    let back = match (back, from) {
        (0, _) => String::new(),
        (_, None) => "; the way back is off".to_owned(),
        _ if plan.reverse.len() == 1 => "; the way back is 1 switch".to_owned(),
        _ => format!(
            "; the way back is 1 switch, {} steps in all",
            plan.reverse.len()
        ),
    };
    format!("{} → {}{before}{after}{back}", side(from), side(to))
}

fn list(checks: &[Check]) -> String {
    let words: Vec<String> = checks.iter().map(ToString::to_string).collect();
    if words.is_empty() {
        String::new()
    } else {
        format!(" {}", words.join(", "))
    }
}

/// The last line: how much there is to do.
#[must_use]
pub fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!(
            "No changes: {} resources are as they should be.",
            plan.unchanged.len()
        );
    }
    let count = |matches: fn(&Step) -> bool| plan.steps.iter().filter(|step| matches(step)).count();
    let counts = [
        (
            count(|step| matches!(step.action, Action::Build { .. })),
            "build",
            "builds",
        ),
        (count(is_new), "new", "new"),
        (count(is_change), "change", "changes"),
        (
            count(|step| {
                matches!(
                    step.action,
                    Action::Unroute
                        | Action::Remove
                        | Action::Empty
                        | Action::Delete
                        | Action::Withdraw
                )
            }),
            "removal",
            "removals",
        ),
        (plan.unchanged.len(), "unchanged", "unchanged"),
        (
            count(|step| matches!(step.action, Action::Switch { .. })),
            "switch",
            "switches",
        ),
    ];
    let words: Vec<String> = counts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    format!("{} {}.", paint(BOLD, "Plan:"), words.join(", "))
}

fn is_new(step: &Step) -> bool {
    match &step.action {
        Action::Place { .. } => step.changes.is_empty(),
        Action::Route { .. } | Action::Apply { .. } | Action::Provision { .. } => {
            step.expects.is_none()
        }
        _ => false,
    }
}

fn is_change(step: &Step) -> bool {
    match &step.action {
        Action::Place { .. } => !step.changes.is_empty(),
        Action::Route { .. } | Action::Apply { .. } | Action::Provision { .. } => {
            step.expects.is_some()
        }
        _ => false,
    }
}

/// The plan's steps as a graph in the DOT language, for `shipit graph`.
#[must_use]
pub fn dot(plan: &Plan) -> String {
    let mut text = "digraph plan {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for step in &plan.steps {
        let label = format!("{}\\n{}", step.address, step.action.title());
        let _ = writeln!(text, "  {} [label=\"{label}\"];", step.id);
        for need in &step.needs {
            let _ = writeln!(text, "  {need} -> {};", step.id);
        }
    }
    text.push_str("}\n");
    text
}

/// Whether a workload's image is still to be built, for a reader.
#[must_use]
pub fn image(image: &Known<crate::model::Digest>) -> String {
    image.value().map_or_else(
        || "(known after build)".to_owned(),
        |digest| digest.short().to_owned(),
    )
}
