//! How much a plan changes, as GitLab's `artifacts:reports:terraform` reads it.

use serde_json::json;

use crate::model::plan::Action;
use crate::output::reports::Report;

pub(super) fn text(report: &Report) -> String {
    let (mut create, mut update, mut delete) = (0, 0, 0);
    for step in report.plan.iter().flat_map(|plan| &plan.steps) {
        match &step.action {
            Action::Build { .. } | Action::Fetch { .. } => create += 1,
            Action::Apply { replace: true, .. } | Action::Ensure { replace: true, .. } => {
                create += 1;
                delete += 1;
            }
            Action::Apply { .. } | Action::Ensure { .. } | Action::Listen { .. }
                if step.expects.is_none() =>
            {
                create += 1;
            }
            Action::Apply { .. }
            | Action::Ensure { .. }
            | Action::Listen { .. }
            | Action::Deploy { .. }
            | Action::Stop
            | Action::Switch { .. } => update += 1,
            Action::Delete | Action::StopListening | Action::Undeploy | Action::Clear => {
                delete += 1;
            }
            Action::Forget
            | Action::Task(_)
            | Action::WaitUntilReady { .. }
            | Action::Check { .. }
            | Action::Retain { .. }
            | Action::RetainUntil { .. } => {}
        }
    }
    json!({"create": create, "update": update, "delete": delete}).to_string() + "\n"
}
