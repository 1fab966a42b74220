//! The hooks of a plan.

use crate::model::hook::Hook;
use crate::model::plan::Plan;
use crate::model::task::OnFailure;
use crate::output::paint::{BOLD, DIM};
use crate::output::plan::row;
use crate::output::{Line, Page};

/// What is called around the stages, and what its failure means; nothing where nothing is.
pub(super) fn section(plan: &Plan) -> Page {
    let mut page = Page::default();
    if plan.hooks.is_empty() {
        return page;
    }
    page.blank();
    page.line(Line::from("  ").paint(BOLD, "hooks"));
    page.extend(plan.hooks.iter().map(line));
    page
}

fn line(hook: &Hook) -> Line {
    let fails = match hook.on_failure {
        OnFailure::Stop => "its failure stops the run",
        OnFailure::Note => "its failure is noted",
    };
    let text = format!("{}: {} ({fails})", hook.point, hook.call.title());
    row(DIM, "·", hook.name.as_str(), &text)
}
