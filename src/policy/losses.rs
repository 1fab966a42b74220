//! What may be destroyed: only data, only what a person named, and nothing that is protected.

use std::collections::BTreeSet;

use crate::model::loss::{Consents, Holding, Loss, unconsented};
use crate::model::object::mark;
use crate::model::plan::Plan;
use crate::policy::Refusal;

/// Whether an environment may lose anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// What a person consents to.
    Off,
    /// Nothing, whoever consents.
    On,
}

/// Refuses a plan that would destroy what must never go by the way, or what is protected: no
/// consent helps there.
///
/// # Errors
/// What it would destroy, and whose it is.
pub fn may_lose(plan: &Plan, protection: Protection) -> Result<(), Refusal> {
    if let Some((loss, holding)) = forbidden(&plan.losses) {
        return Err(Refusal {
            what: format!(
                "{} is not deleted and not replaced: it holds {holding}",
                loss.name
            ),
            help: help(holding).to_owned(),
        });
    }
    if let Some(loss) = plan.losses.iter().find(|loss| loss.is_protected) {
        return Err(protected(&loss.name));
    }

    let environment = &plan.environment;
    let help = || format!("take `protected` out of environments/{environment}.yaml, if it may go");
    match (protection, plan.losses.iter().find(|loss| loss.is_loss())) {
        (Protection::On, _) if plan.intent.ends_environment() => Err(Refusal {
            what: format!("{environment} is protected, and is not deleted"),
            help: help(),
        }),
        (Protection::On, Some(loss)) => Err(Refusal {
            what: format!(
                "{environment} is protected, and this would destroy {}: {}",
                loss.name,
                words(&loss.holds)
            ),
            help: help(),
        }),
        _ => Ok(()),
    }
}

/// The refusal to delete or to replace what says of itself that it must never be.
#[must_use]
pub fn protected(name: &str) -> Refusal {
    Refusal {
        what: format!(
            "{name} is protected (`{}`), and this would delete or replace it",
            mark::PROTECTED
        ),
        help: "take the annotation off with an apply of its own, if it may go".to_owned(),
    }
}

fn forbidden(losses: &[Loss]) -> Option<(&Loss, &Holding)> {
    losses.iter().find_map(|loss| {
        let holding = loss.holds.iter().find(|holding| !holding.may_go())?;
        Some((loss, holding))
    })
}

const fn help(holding: &Holding) -> &'static str {
    match holding {
        Holding::Unseen { .. } => {
            "give whoever runs this the right to look there: `shipit doctor` names it"
        }
        Holding::LiveTraffic { .. } => {
            "make another one beside it under another name, bring a release there, and then take \
             this one out"
        }
        Holding::State { .. } => "leave it as it is; `shipit destroy` ends an environment",
        Holding::Others { .. }
        | Holding::Own { .. }
        | Holding::Data { .. }
        | Holding::Unknown { .. }
        | Holding::Entry { .. } => {
            "write it as it is, or make another one beside it under another name"
        }
    }
}

/// Refuses a plan that destroys what nobody let go by name.
///
/// # Errors
/// What would be destroyed, and what to type if it may.
pub fn consented(plan: &Plan, consents: &Consents) -> Result<(), Refusal> {
    let missing = unconsented(&plan.losses, consents);
    if missing.is_empty() {
        return Ok(());
    }

    let what: Vec<String> = missing
        .iter()
        .map(|loss| format!("{} ({})", loss.name, words(&loss.holds)))
        .collect();
    let names: BTreeSet<&str> = missing.iter().map(|loss| loss.name.as_str()).collect();
    let flags: Vec<String> = names
        .iter()
        .map(|name| format!("--allow-data-loss {name}"))
        .collect();
    let is_known = |name: &String| plan.losses.iter().any(|loss| loss.name == *name);
    let unknown: Vec<&str> = consents
        .iter()
        .filter(|name| !is_known(name))
        .map(String::as_str)
        .collect();
    let unknown = if unknown.is_empty() {
        String::new()
    } else {
        format!(
            "; nothing that this plan destroys is called {}",
            unknown.join(", ")
        )
    };

    Err(Refusal {
        what: format!("this would destroy {}", what.join("; ")),
        help: format!("if it may go, say so by name: {}{unknown}", flags.join(" ")),
    })
}

fn words(holds: &[Holding]) -> String {
    let words: Vec<String> = holds.iter().map(ToString::to_string).collect();
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::{Intent, StepId};

    fn loss(name: &str, holds: &[Holding]) -> Loss {
        Loss {
            step: StepId(1),
            name: name.to_owned(),
            holds: holds.to_vec(),
            is_protected: false,
        }
    }

    fn claim() -> Holding {
        Holding::Data {
            what: "claim data in shop".to_owned(),
            size: Some("1Gi".to_owned()),
            policy: None,
        }
    }

    fn plan(intent: &Intent, losses: &[Loss]) -> Plan {
        let value = serde_json::json!({"format": 2, "intent": intent, "project": "shop",
            "environment": "prod", "source": crate::model::source::Source::default(),
            "state": {"lineage": null, "serial": 1}, "strategy": "blue_green", "mode": "auto",
            "probe": crate::model::promotion::Probe::default(), "active": null, "target": null,
            "steps": [], "reverse": [], "unchanged": [], "notes": [], "losses": losses});
        serde_json::from_value(value).expect("a plan")
    }

    #[test]
    fn only_its_own_name_lets_data_go() {
        let plan = plan(
            &Intent::Apply,
            &[loss("StatefulSet/db", &[claim()]), loss("Delta/one", &[])],
        );
        may_lose(&plan, Protection::Off).expect("a person may consent");
        for wrong in ["", "all", "*", "StatefulSet", "db", "StatefulSet/other"] {
            let refused = consented(&plan, &[wrong.to_owned()].into()).expect_err(wrong);
            assert_eq!(
                refused.help,
                format!(
                    "if it may go, say so by name: --allow-data-loss StatefulSet/db; \
                     nothing that this plan destroys is called {wrong}"
                )
            );
            assert!(
                refused.what.contains("claim data in shop, 1Gi"),
                "{refused}"
            );
        }
        consented(&plan, &["StatefulSet/db".to_owned()].into()).expect("named");
    }

    #[test]
    fn what_is_not_ours_live_or_unknown_goes_with_no_consent_at_all() {
        let text = |text: &str| text.to_owned();
        let others = [
            Holding::Others {
                what: text("Delta/theirs"),
                owner: text("team"),
            },
            Holding::LiveTraffic {
                what: text("2 pods of web"),
            },
            Holding::State {
                what: text("the record of shop/prod"),
            },
            Holding::Unseen {
                what: text("the claims in shop"),
                why: text("forbidden"),
            },
            Holding::Own {
                what: text("Delta/own"),
            },
        ];
        for holding in others {
            let plan = plan(
                &Intent::Destroy,
                &[loss("It/is", &[claim(), holding.clone()])],
            );
            let refused = may_lose(&plan, Protection::Off).expect_err("refused");
            assert!(refused.what.contains(&holding.to_string()), "{refused}");
        }
    }

    #[test]
    fn what_is_protected_is_not_destroyed_whoever_consents() {
        let lossy = plan(&Intent::Apply, &[loss("StatefulSet/db", &[claim()])]);
        let refused = may_lose(&lossy, Protection::On).expect_err("protected");
        assert!(refused.what.contains("prod is protected"), "{refused}");
        let destroy = plan(&Intent::Destroy, &[]);
        may_lose(&destroy, Protection::On).expect_err("not even when nothing is in it");
        let harmless = plan(&Intent::Apply, &[loss("StatefulSet/db", &[])]);
        may_lose(&harmless, Protection::On).expect("nothing goes");
        let mut own = loss("ConfigMap/keep", &[]);
        own.is_protected = true;
        let refused = may_lose(&plan(&Intent::Apply, &[own]), Protection::Off);
        assert!(
            refused
                .expect_err("protected")
                .what
                .contains("ConfigMap/keep")
        );
    }
}
