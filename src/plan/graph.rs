//! The order of steps.

use std::collections::BTreeSet;

use petgraph::Direction;
use petgraph::graphmap::DiGraphMap;

use crate::model::plan::{Step, StepId};

/// The steps in waves: all of a wave may run side by side once the waves before it are done.
///
/// # Errors
/// The ids of steps that wait for each other, or for a step that is not there.
pub fn waves(steps: &[Step]) -> Result<Vec<Vec<StepId>>, Vec<StepId>> {
    let mut graph: DiGraphMap<u32, ()> = DiGraphMap::new();
    for step in steps {
        graph.add_node(step.id.0);
        for need in &step.needs {
            graph.add_edge(need.0, step.id.0, ());
        }
    }

    let known: BTreeSet<u32> = steps.iter().map(|step| step.id.0).collect();
    let missing: Vec<StepId> = graph
        .nodes()
        .filter(|id| !known.contains(id))
        .map(StepId)
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }

    let mut waves = Vec::new();
    while graph.node_count() > 0 {
        let free = |id: &u32| {
            graph
                .neighbors_directed(*id, Direction::Incoming)
                .next()
                .is_none()
        };
        let mut wave: Vec<u32> = graph.nodes().filter(free).collect();
        if wave.is_empty() {
            return Err(graph.nodes().map(StepId).collect());
        }
        wave.sort_unstable();
        for id in &wave {
            graph.remove_node(*id);
        }
        waves.push(wave.into_iter().map(StepId).collect());
    }
    Ok(waves)
}
