//! The values of secrets that a step brings.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::execute::Run;
use crate::execute::step::outcome::StepError;
use crate::model::event::Event;
use crate::model::journal::Direction;
use crate::model::secret::SecretValue;
use crate::model::workload::Workload;
use crate::redact::{Hidden, SHORTEST};

/// An empty value is most often a slip. One of a few characters is part of too many words to be
/// taken out of everything.
pub(super) fn note_if_shown(run: &Run, name: &str, value: &SecretValue) {
    if value.expose().is_empty() {
        run.say(Event::Note {
            text: format!("the secret `{name}` is empty: look at where it comes from"),
        });
    } else if Hidden::of(value) == Hidden::TooShort {
        run.say(Event::Note {
            text: format!(
                "the secret `{name}` has less than {SHORTEST} characters: where a program writes \
                 it, it is shown"
            ),
        });
    }
}

/// The values of a workload's secrets. During the rollback the configuration may no longer say
/// where an old one is: what cannot be read then is left to the agent, which holds what it was
/// given.
pub(super) async fn of_workload(
    run: &Run,
    direction: Direction,
    workload: &Workload,
) -> Result<BTreeMap<String, SecretValue>, StepError> {
    let source = &run.job.ports.secrets;
    let asked = workload
        .secrets()
        .into_iter()
        .map(|(name, from)| async move { (name, source.read(name, from).await) });

    let mut values = BTreeMap::new();
    for (name, read) in join_all(asked).await {
        match (read, direction) {
            (Ok(read), _) => {
                note_if_shown(run, name, &read.value);
                values.insert(name.to_owned(), read.value);
            }
            (Err(error), Direction::Forward) => return Err(error.into()),
            (Err(error), Direction::Back) => run.say(Event::Note {
                text: format!("{error}: the value that was brought before is used"),
            }),
        }
    }

    Ok(values)
}
