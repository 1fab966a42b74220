//! What `shipit rehearse` shows.

use super::is_as_before;
use crate::model::outcome::Ending;
use crate::model::plan::StepId;
use crate::model::rehearsal::{
    Compared, EndState, FaultKind, Leftover, Live, NextRun, RehearsalReport, RehearsedFault,
    RehearsedStep,
};
use crate::model::{Address, ReleaseNumber, Slot};
use crate::output::rehearsal;

fn end(ending: Option<Ending>, slot: Slot, release: u64, left: &[(&str, Compared)]) -> EndState {
    let left = left.iter().map(|(address, is)| Leftover {
        address: address.parse().expect("an address"),
        is: *is,
    });
    EndState {
        ending,
        live: Some(Live {
            slot,
            release: ReleaseNumber(release),
        }),
        left: left.collect(),
        broken: Vec::new(),
    }
}

fn failed() -> Ending {
    Ending::Failed {
        reason: "it fails, in this rehearsal".to_owned(),
    }
}

fn done() -> EndState {
    end(Some(Ending::Done), Slot::Green, 2, &[])
}

/// One fault of each kind of end, and a rule that is broken.
fn report() -> RehearsalReport {
    let web = ("workload.green/web", Compared::Added);
    let fault = |kind, end, steps| RehearsedFault {
        kind,
        end,
        next: Some(NextRun { steps, end: done() }),
    };
    let step = |number, address: Address, action: &str, faults| RehearsedStep {
        step: StepId(number),
        address,
        action: action.to_owned(),
        faults,
    };
    let error = fault(FaultKind::Error, end(Some(failed()), Slot::Blue, 1, &[]), 5);
    let kill = fault(FaultKind::Kill, end(None, Slot::Blue, 1, &[web]), 1);
    let killed = fault(
        FaultKind::Kill,
        end(
            None,
            Slot::Green,
            2,
            &[web, ("route.web", Compared::Changed)],
        ),
        0,
    );
    let slow = RehearsedFault {
        kind: FaultKind::Slow,
        end: done(),
        next: None,
    };
    let back = Ending::RollbackFailed {
        reason: "it fails".to_owned(),
        back: "it fails".to_owned(),
    };
    let mut lost = fault(
        FaultKind::LostReply,
        end(Some(back), Slot::Green, 2, &[web]),
        3,
    );
    lost.end
        .broken
        .push("switch of traffic: green got live traffic and was not ready".to_owned());

    let workload = "workload.green/web".parse().expect("an address");
    RehearsalReport {
        project: "shop".parse().expect("a name"),
        environment: "staging".parse().expect("a name"),
        command: "apply".to_owned(),
        undisturbed: done(),
        steps: vec![
            step(2, workload, "deploy", vec![error, kill]),
            step(
                4,
                Address::Traffic,
                "switch blue → green",
                vec![killed, slow, lost],
            ),
        ],
        notes: vec!["builds and checks were taken to do what they should".to_owned()],
    }
}

#[test]
fn a_rehearsal_shows_what_each_fault_comes_to() {
    let report = report();
    is_as_before("rehearsal", &rehearsal::human(&report).plain());
    is_as_before("rehearsal_markdown", &rehearsal::markdown(&report).plain());
}
