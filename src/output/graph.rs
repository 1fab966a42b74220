//! The steps of a plan as a graph: in the DOT language, and as a document.

use serde_json::{Value, json};

use crate::model::plan::Plan;
use crate::output::{Page, visible};

/// The steps, each with those that it waits for.
#[must_use]
pub fn document(plan: &Plan) -> Value {
    let steps = plan.steps.iter().map(|step| {
        json!({
            "id": step.id,
            "address": step.address.to_string(),
            "title": step.action.title(),
            "needs": step.needs,
        })
    });
    json!({"steps": steps.collect::<Vec<_>>()})
}

/// The plan's steps as a graph in the DOT language, for `shipit graph`.
#[must_use]
pub fn dot(plan: &Plan) -> Page {
    let mut page = Page::of("digraph plan {");
    page.line("  rankdir=LR;");
    page.line("  node [shape=box];");
    for step in &plan.steps {
        let (address, title) = (step.address.to_string(), step.action.title());
        let label = format!("{}\\n{}", quoted(&address), quoted(&title));
        page.line(format!("  {} [label=\"{label}\"];", step.id));
        for need in &step.needs {
            page.line(format!("  {need} -> {};", step.id));
        }
    }
    page.line("}");
    page
}

/// A text between quotes of the DOT language, where a backslash and a quote mean something.
fn quoted(text: &str) -> String {
    visible::line(text)
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
}
