//! Waiting until a slot is ready.

use std::sync::Arc;

use crate::agent::engine::Agent;
use crate::agent::engine::environment::without_log;
use crate::model::{Period, Slot};
use crate::port::Progress;
use crate::port::engine::{EngineError, Scope};

/// Waits until all of a slot can take traffic, or will not.
pub(super) async fn ready(
    agent: &Agent,
    scope: &Scope,
    slot: Slot,
    within: Period,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let state = Arc::clone(&agent.environment(scope).state);
    let mut said = String::new();
    let wait = state.wait(|facts| {
        let there = facts.slots.get(&slot)?;
        if there.is_up() {
            return Some(Ok(()));
        }
        if let Some(hopeless) = agent.hopeless(scope, slot, facts) {
            return Some(Err(hopeless));
        }
        let words: Vec<String> = there
            .workloads
            .iter()
            .map(|(name, w)| format!("{name} {}", w.health().word()))
            .collect();
        let words = words.join(", ");
        if words != said {
            progress(&words);
            said = words;
        }
        None
    });

    if !state.facts().slots.contains_key(&slot) {
        let not_ready = without_log("it is empty");
        return Err(EngineError::NotReady { slot, not_ready });
    }

    match tokio::time::timeout(within.get(), wait).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(not_ready)) => Err(EngineError::NotReady { slot, not_ready }),
        Err(_) => {
            let mut not_ready = agent.not_ready(scope, slot, &state.facts());
            not_ready.reason = format!("not within {within}: {}", not_ready.reason);
            Err(EngineError::NotReady { slot, not_ready })
        }
    }
}
