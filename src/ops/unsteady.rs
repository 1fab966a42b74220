//! Charts that render another value each time, from a random number or the time of day: whatever is
//! applied, the next plan has changes again.

use std::collections::BTreeMap;

use crate::desired::cluster::{Tool, objects, tools};
use crate::model::ObjectKey;
use crate::model::desired::Desired;
use crate::model::fields::{Fields, flatten};
use crate::ops::{Error, Session};

/// How many fields a note names.
const NAMED: usize = 5;

/// The fields that are not the same when the environment's charts are rendered once more; none
/// where it has no chart.
pub(super) async fn note(session: &Session) -> Result<Option<String>, Error> {
    let (project, environment) = (&session.project, &session.environment);
    let tools = tools(
        project,
        environment,
        session.configuration()?,
        &session.source,
    )?;
    if !tools
        .iter()
        .any(|(_, tool)| matches!(tool, Tool::Helm { .. }))
    {
        return Ok(None);
    }

    let (first, again) = session.rendered_twice().await?;
    let (first, again) = (fields(&first), fields(&again));
    let mut unsteady: Vec<String> = Vec::new();
    for (key, fields) in &first {
        let Some(other) = again.get(key) else {
            unsteady.push(key.short());
            continue;
        };
        let differs = |name: &&String| other.get(*name) != fields.get(*name);
        let names = fields.keys().filter(differs);
        unsteady.extend(names.map(|name| format!("{}{name}", key.short())));
    }
    if unsteady.is_empty() {
        return Ok(None);
    }

    let more = match unsteady.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    unsteady.truncate(NAMED);
    Ok(Some(format!(
        "the chart renders another value each time, and every plan has changes: {}{more}; give it \
         the value with `values:`",
        unsteady.join(", ")
    )))
}

/// What each object says, field by field.
fn fields(desired: &Desired) -> BTreeMap<ObjectKey, Fields> {
    let each = objects(desired).map(|object| {
        let mut fields = Fields::new();
        flatten("", object.body(), &mut fields);
        (object.key(), fields)
    });
    each.collect()
}
