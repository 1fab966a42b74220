//! A plan as a person reads it, and as Markdown.

use anstyle::Style;

use crate::model::check::{Check, Stage};
use crate::model::plan::{Action, Change, Intent, Plan, Step};
use crate::model::workload::Known;
use crate::model::{Address, LiveTraffic, Platform, Slot};
use crate::output::changes::fields;
use crate::output::paint::{BOLD, CHANGED, DIM, GONE, MOVED, NEW};
use crate::output::{Line, Page, hooks, task};

/// The plan for a comment on a change request. What comes from outside is in a fence, where nothing
/// of it is markup.
#[must_use]
pub fn markdown(plan: &Plan) -> Page {
    let mut page = Page::of(format!("### {} → {}", plan.project, plan.environment));
    page.blank();
    page.line(summary(plan));
    page.blank();
    let lost = plan.losses.iter().filter(|loss| loss.is_loss()).count();
    if lost > 0 {
        page.line(format!(
            "**Destroys** data or a live address in {}: see `destroys` in the plan.",
            steps(lost)
        ));
        page.blank();
    }

    page.line("<details><summary>The whole plan</summary>");
    page.blank();
    page.extend(human(plan).fenced());
    page.blank();
    page.line("</details>");
    page
}

/// The plan for a person.
#[must_use]
pub fn human(plan: &Plan) -> Page {
    let mut page = Page::of(header(plan));
    for section in sections(plan) {
        if !section.lines.is_empty() {
            page.blank();
            page.line(Line::from("  ").paint(BOLD, &section.title));
            page.extend(section.lines);
        }
    }

    let lost = destroys(plan);
    if !lost.is_empty() {
        page.blank();
        page.line(Line::from("  ").paint(GONE, "destroys"));
        page.extend(lost);
    }

    page.extend(hooks::section(plan));
    for reason in &plan.rollback_blockers {
        page.blank();
        page.line(
            Line::new()
                .paint(GONE, "no rollback:")
                .text(" ")
                .text(reason),
        );
    }

    for note in &plan.notes {
        page.blank();
        page.line(Line::new().paint(CHANGED, "note:").text(" ").text(note));
    }

    page.blank();
    page.line(summary(plan));
    page
}

fn steps(count: usize) -> String {
    match count {
        1 => "1 step".to_owned(),
        _ => format!("{count} steps"),
    }
}

/// What goes for good: what, how much, whose, and how a person lets it go.
fn destroys(plan: &Plan) -> Vec<Line> {
    let mut lines = Vec::new();
    for loss in plan.losses.iter().filter(|loss| loss.is_loss()) {
        for (number, holding) in loss.holds.iter().enumerate() {
            let (sign, name) = if number == 0 {
                ("!", loss.name.as_str())
            } else {
                (" ", "")
            };
            lines.push(row(GONE, sign, name, &holding.to_string()));
        }
        let consent = format!("only with --allow-data-loss {}", loss.name);
        lines.push(Line::from("      ").paint(DIM, consent));
    }
    lines
}

fn header(plan: &Plan) -> Line {
    let active = plan.active.as_ref().map_or_else(
        || "nothing is live yet".to_owned(),
        |active| format!("active: {}, release {}", active.slot, active.release),
    );
    let line = Line::new()
        .paint(BOLD, &plan.project)
        .text(" → ")
        .paint(BOLD, &plan.environment);
    let line = match what(plan) {
        Some(what) => line.text(" · ").text(what),
        None => line,
    };

    match &plan.target {
        Some(target) => line
            .text(format!(" · release {} into ", target.release))
            .paint(BOLD, target.slot)
            .text(format!(" ({active})")),
        None => line.text(" · ").text(active),
    }
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
        Intent::PromoteFrom(from) => Some(format!(
            "promote {} release {}",
            from.environment, from.release
        )),
        Intent::Rollback(release) => Some(format!("roll back to release {release}")),
        Intent::Abort => Some("abort".to_owned()),
        Intent::Destroy => Some("destroy".to_owned()),
        Intent::DestroyInfrastructure => Some("destroy, with the infrastructure".to_owned()),
        Intent::Task(name) => Some(format!("task {name}")),
        Intent::Settle => Some("settle".to_owned()),
    }
}

struct Section {
    title: String,
    lines: Vec<Line>,
}

fn sections(plan: &Plan) -> Vec<Section> {
    let slot_title = |slot: Slot| format!("services in {slot}");
    let mut sections = vec![
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
    ];
    // Infrastructure is made first, and goes last.
    if plan.intent.ends_environment() {
        sections.rotate_left(1);
    }
    sections
}

fn in_slot(slot: Slot) -> impl Fn(&Address) -> bool {
    move |address| match address {
        Address::Slot(there) | Address::Workload(there, _) | Address::Task(there, _) => {
            *there == slot
        }
        _ => false,
    }
}

fn section(plan: &Plan, title: String, belongs: impl Fn(&Address) -> bool) -> Section {
    let mut lines: Vec<Line> = plan
        .steps
        .iter()
        .filter(|step| belongs(&step.address))
        .flat_map(|step| rows(plan, step))
        .collect();
    let same: Vec<_> = plan
        .unchanged
        .iter()
        .filter(|same| belongs(&same.address))
        .collect();
    match same[..] {
        [] => {}
        [one] => lines.push(row(DIM, "=", &name(plan, &one.address), &one.reason)),
        ref many => {
            lines.push(Line::from("  ").paint(DIM, format!("= {} unchanged", many.len())));
        }
    }

    Section { title, lines }
}

pub(super) fn row(style: Style, sign: &str, name: &str, text: &str) -> Line {
    let line = Line::from("  ").paint(style, sign);
    line.text(format!(" {name:<24} {text}"))
}

fn name(plan: &Plan, address: &Address) -> String {
    match address {
        Address::Image(service) | Address::Route(service) | Address::Workload(_, service) => {
            service.to_string()
        }
        Address::Task(_, task) => task.to_string(),
        Address::Slot(slot) => slot.to_string(),
        Address::Object(key) => key.named_in(&plan.namespaces),
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

/// What a step does: a line, and one below it for each field that differs.
fn rows(plan: &Plan, step: &Step) -> Vec<Line> {
    let name = name(plan, &step.address);
    let one = |style, sign, text: &str| vec![row(style, sign, &name, text)];
    let with_fields = |style, sign| {
        let first = row(style, sign, &name, &step.reason);
        std::iter::once(first)
            .chain(fields(&step.changes))
            .collect()
    };

    match &step.action {
        Action::Build { spec, .. } => {
            let text = format!("build{}: {}", platforms(spec.platforms()), step.reason);
            one(NEW, "+", &text)
        }
        Action::Fetch { .. } => one(NEW, "+", &format!("image {}", step.reason)),
        Action::Apply { .. } if step.expects.is_none() => one(NEW, "+", &step.reason),
        Action::Listen { .. } if !step.changes.is_empty() => {
            changed(&name, &step.changes, &step.reason)
        }
        Action::Listen { route, .. } if step.expects.is_some() => {
            one(CHANGED, "~", &route.to_string())
        }
        Action::Listen { route, .. } => one(NEW, "+", &route.to_string()),
        Action::Ensure { .. } if step.expects.is_none() => with_fields(NEW, "+"),
        Action::Apply { replace: true, .. } | Action::Ensure { replace: true, .. } => {
            with_fields(GONE, "±")
        }
        Action::StopListening | Action::Undeploy | Action::Clear | Action::Delete => {
            one(GONE, "-", &step.reason)
        }
        Action::Forget => one(DIM, "·", &step.reason),
        Action::Stop => one(MOVED, "■", &step.reason),
        Action::Deploy { running: true, .. } if is_deployed_before(plan, step) => {
            one(MOVED, "▶", &step.reason)
        }
        Action::Deploy { .. } if step.changes.is_empty() => one(NEW, "+", &step.reason),
        Action::Deploy { .. } | Action::Apply { .. } | Action::Ensure { .. } => {
            changed(&name, &step.changes, &step.reason)
        }
        Action::Switch { from, to } => {
            let text = switch(plan, *from, *to);
            let first = row(MOVED, "⇄", &services(plan), &text);
            std::iter::once(first)
                .chain(fields(&step.changes))
                .collect()
        }
        Action::Check {
            stage: Stage::After,
            checks,
        } if !plan.switches() => {
            let text = format!("verified{}", list(checks));
            vec![row(MOVED, "?", &services(plan), &text)]
        }
        Action::Retain { keep } => {
            let text = format!("retained for {keep}: {}", step.reason);
            one(DIM, "·", &text)
        }
        Action::RetainUntil { until } => {
            let text = format!("retained until {until:.0}: {}", step.reason);
            one(DIM, "·", &text)
        }
        Action::Task(of) => one(MOVED, "▷", &task::words(of, &step.reason)),
        Action::WaitUntilReady { .. } | Action::Check { .. } => Vec::new(),
    }
}

/// Whether the plan itself has put there what a step starts.
fn is_deployed_before(plan: &Plan, step: &Step) -> bool {
    let mut before = plan.steps.iter().take_while(|one| one.id != step.id);
    before.any(|one| matches!(one.action, Action::Deploy { .. }) && one.address == step.address)
}

fn changed(name: &str, changes: &[Change], reason: &str) -> Vec<Line> {
    let count = if changes.len() == 1 {
        "1 field".to_owned()
    } else {
        format!("{} fields", changes.len())
    };
    let first = row(CHANGED, "~", name, &format!("{count} ({reason})"));
    std::iter::once(first).chain(fields(changes)).collect()
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

fn switch(plan: &Plan, from: LiveTraffic, to: LiveTraffic) -> String {
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
        (_, LiveTraffic::Off) => "; the rollback switches it off".to_owned(),
        _ if plan.reverse.len() == 1 => "; the rollback is 1 switch".to_owned(),
        _ => format!(
            "; the rollback is 1 switch, {} steps in all",
            plan.reverse.len()
        ),
    };
    format!("{from} → {to}{before}{after}{back}")
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
pub fn summary(plan: &Plan) -> Line {
    if plan.is_empty() {
        let same = plan.unchanged.len();
        return match same {
            1 => "No changes: 1 resource is as it should be.".into(),
            _ => format!("No changes: {same} resources are as they should be.").into(),
        };
    }

    let count = |matches: fn(&Step) -> bool| plan.steps.iter().filter(|step| matches(step)).count();
    let new = plan.steps.iter();
    let new = new.filter(|step| is_new(step) && !is_deployed_before(plan, step));
    let new = new.count();
    let counts = [
        (
            count(|step| matches!(step.action, Action::Build { .. })),
            "build",
            "builds",
        ),
        (
            count(|step| matches!(step.action, Action::Fetch { .. })),
            "fetch",
            "fetches",
        ),
        (new, "new", "new"),
        (count(is_change), "change", "changes"),
        (
            count(|step| {
                matches!(
                    step.action,
                    Action::StopListening | Action::Undeploy | Action::Clear | Action::Delete
                )
            }),
            "removal",
            "removals",
        ),
        (count(|step| step.action == Action::Stop), "stop", "stops"),
        (
            count(|step| matches!(step.action, Action::Task(_))),
            "task",
            "tasks",
        ),
        (
            count(|step| step.action == Action::Forget),
            "forgotten",
            "forgotten",
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
    let line = Line::new().paint(BOLD, "Plan:");
    line.text(format!(" {}.", words.join(", ")))
}

fn is_new(step: &Step) -> bool {
    match &step.action {
        Action::Deploy { .. } => step.changes.is_empty(),
        Action::Listen { .. } | Action::Apply { .. } | Action::Ensure { .. } => {
            step.expects.is_none()
        }
        _ => false,
    }
}

fn is_change(step: &Step) -> bool {
    match &step.action {
        Action::Deploy { .. } => !step.changes.is_empty(),
        Action::Listen { .. } | Action::Apply { .. } | Action::Ensure { .. } => {
            step.expects.is_some()
        }
        _ => false,
    }
}

/// Whether a workload's image is still to be built, for a reader.
#[must_use]
pub fn image(image: &Known<crate::model::Digest>) -> String {
    image.value().map_or_else(
        || "(known after build)".to_owned(),
        |digest| digest.short().to_owned(),
    )
}
