//! What waits, in which order it is delivered, and when it is given up. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::NotifyName;
use crate::model::notice::{Delivery, DeliveryStatus, OutboxEntry, Receipt};
use crate::port::notifier::{DeliveryError, DeliveryFault};
use crate::port::pause;

/// For how long something is delivered: nobody acts on what is older.
const AGE: Duration = Duration::from_hours(24);
/// How many attempts there are.
const ATTEMPTS: u32 = 12;
/// How many notices are kept that nothing is left to do for: later ones of the same release are put
/// below them.
const KEPT: usize = 20;
/// The first attempts come with the next commands; later ones at these distances at the least.
const SOON: u32 = 3;
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(30);

/// How soon what has failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As seldom as it has failed often.
    Growing,
    /// At once, unless the receiver has said when: somebody has asked for it.
    AtOnce,
}

/// The oldest that one has still to be told, and may be told now. Nothing overtakes what is older:
/// while that has to wait, all of it waits.
pub(super) fn next<'a>(
    entries: &'a [OutboxEntry],
    name: &NotifyName,
    (pace, now): (Pace, Timestamp),
) -> Option<&'a OutboxEntry> {
    let is_waiting = |entry: &&OutboxEntry| {
        let delivery = entry.deliveries.get(name);
        delivery.is_some_and(|it| it.status == DeliveryStatus::Waiting)
    };
    let first = entries.iter().find(is_waiting)?;
    let delivery = &first.deliveries[name];
    let wait = match pace {
        Pace::Growing => backoff(delivery.failed),
        Pace::AtOnce => Duration::ZERO,
    };
    let own = delivery
        .tried
        .and_then(|tried| tried.checked_add(wait).ok());
    let is_over = |at: Option<Timestamp>| at.is_none_or(|at| at <= now);
    (is_over(own) && is_over(delivery.not_before)).then_some(first)
}

/// Where the thread stands that a notice goes on.
pub(super) fn thread(
    entries: &[OutboxEntry],
    name: &NotifyName,
    entry: &OutboxEntry,
) -> Option<Receipt> {
    let others = entries.iter().rev();
    let mut of_thread = others.filter(|other| other.notice.is_of_thread(&entry.notice));
    of_thread.find_map(|other| other.deliveries.get(name)?.receipt.clone())
}

/// Notes what came of an attempt.
pub(super) fn record(
    delivery: &mut Delivery,
    result: Result<Option<Receipt>, DeliveryError>,
    now: Timestamp,
) {
    let error = match result {
        Ok(receipt) => {
            delivery.status = DeliveryStatus::Sent;
            delivery.reason = None;
            delivery.not_before = None;
            delivery.receipt = receipt;
            return;
        }
        Err(error) => error,
    };
    delivery.failed += 1;
    delivery.reason = Some(error.reason);
    let told = match error.kind {
        DeliveryFault::Unavailable(told) => told,
        DeliveryFault::Refused => None,
        DeliveryFault::Gone => {
            delivery.status = DeliveryStatus::GivenUp;
            return;
        }
    };
    delivery.tried = Some(now);
    delivery.not_before = told.and_then(|wait| now.checked_add(wait).ok());
}

/// How long the next attempt waits at the least: doubled with each, and anywhere between half of it
/// and all.
fn backoff(failed: u32) -> Duration {
    let Some(over) = failed.checked_sub(SOON) else {
        return Duration::ZERO;
    };
    let full = (SHORTEST * (1 << over.min(10))).min(LONGEST);
    pause::between(full / 2, full)
}

/// Gives up what was tried often enough, is too old, or has nobody left whom it is for. Gives
/// which.
pub(super) fn give_up(
    entry: &mut OutboxEntry,
    is_told: impl Fn(&NotifyName) -> bool,
    now: Timestamp,
) -> Vec<NotifyName> {
    let age = now.duration_since(entry.notice.at);
    let too_old = Duration::try_from(age).is_ok_and(|age| age > AGE);
    let mut given_up = Vec::new();
    for (name, delivery) in &mut entry.deliveries {
        let is_over = too_old || delivery.failed >= ATTEMPTS || !is_told(name);
        if delivery.status == DeliveryStatus::Waiting && is_over {
            delivery.status = DeliveryStatus::GivenUp;
            given_up.push(name.clone());
        }
    }
    given_up
}

/// The notices that are not needed any more, by their ids.
pub(super) fn surplus(entries: &[OutboxEntry]) -> Vec<String> {
    let settled = entries.iter().rev().filter(|entry| entry.is_settled());
    let old = settled.skip(KEPT);
    old.map(|entry| entry.notice.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::notice::{Notice, NoticeEvent};
    use crate::model::{NotifyName, ReleaseNumber};

    fn name(text: &str) -> NotifyName {
        text.parse().expect("a name")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn entry(number: i64, release: u64) -> OutboxEntry {
        let notice = Notice {
            id: format!("{number:03}"),
            at: at(number),
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
            event: NoticeEvent::Done,
            command: "apply".to_owned(),
            summary: "release 7 is live".to_owned(),
            release: Some(ReleaseNumber(release)),
            commit: None,
            branch: None,
            actor: "kim@laptop".to_owned(),
            run: number.to_string(),
            page: None,
            reason: None,
            notes: Vec::new(),
        };
        OutboxEntry::new(notice, [name("chat"), name("mail")])
    }

    fn unavailable(told: Option<u64>) -> DeliveryError {
        DeliveryError {
            reason: "busy".to_owned(),
            help: String::new(),
            kind: DeliveryFault::Unavailable(told.map(Duration::from_secs)),
        }
    }

    fn of<'a>(entry: &'a mut OutboxEntry, who: &str) -> &'a mut Delivery {
        entry.deliveries.get_mut(&name(who)).expect("it is told")
    }

    #[test]
    fn the_oldest_comes_first_and_nothing_overtakes_what_has_to_wait() {
        let mut entries = vec![entry(1, 7), entry(2, 7)];
        let id = |entries: &[OutboxEntry], who: &str, now: i64| {
            next(entries, &name(who), (Pace::Growing, at(now))).map(|entry| entry.notice.id.clone())
        };
        assert_eq!(id(&entries, "chat", 10).as_deref(), Some("001"));
        record(
            of(&mut entries[0], "chat"),
            Err(unavailable(Some(60))),
            at(10),
        );
        assert_eq!(id(&entries, "chat", 11), None, "the first has to wait");
        assert_eq!(
            id(&entries, "mail", 11).as_deref(),
            Some("001"),
            "others go on"
        );
        assert_eq!(id(&entries, "chat", 70).as_deref(), Some("001"));
        record(of(&mut entries[0], "chat"), Ok(None), at(70));
        assert_eq!(id(&entries, "chat", 70).as_deref(), Some("002"));
    }

    #[test]
    fn the_next_commands_try_at_once_and_later_ones_at_growing_distances() {
        let mut entries = vec![entry(1, 7)];
        let may = |entries: &[OutboxEntry], pace, now| {
            next(entries, &name("chat"), (pace, at(now))).is_some()
        };
        for _ in 1..SOON {
            record(of(&mut entries[0], "chat"), Err(unavailable(None)), at(0));
            assert!(may(&entries, Pace::Growing, 0));
        }
        for _ in SOON..ATTEMPTS {
            record(of(&mut entries[0], "chat"), Err(unavailable(None)), at(0));
            assert!(!may(&entries, Pace::Growing, 14));
            assert!(may(&entries, Pace::AtOnce, 0), "somebody asks for it");
            assert!(may(&entries, Pace::Growing, 1800));
        }
        assert!(!may(&entries, Pace::Growing, 899));
        record(
            of(&mut entries[0], "chat"),
            Err(unavailable(Some(60))),
            at(0),
        );
        assert!(
            !may(&entries, Pace::AtOnce, 59),
            "the receiver has said when"
        );
    }

    #[test]
    fn what_is_old_was_tried_often_or_is_for_nobody_is_given_up() {
        let all = |_: &NotifyName| true;
        let mut one = entry(1, 7);
        assert!(give_up(&mut one, all, at(100)).is_empty());
        of(&mut one, "chat").failed = ATTEMPTS;
        assert_eq!(give_up(&mut one, all, at(100)), [name("chat")]);
        assert!(!one.is_settled());
        assert_eq!(give_up(&mut one, |_| false, at(100)), [name("mail")]);
        assert!(one.is_settled());

        let mut old = entry(1, 7);
        let day = 24 * 3600;
        assert_eq!(give_up(&mut old, all, at(1 + day)).len(), 0);
        assert_eq!(give_up(&mut old, all, at(2 + day)).len(), 2);
        let mut gone = entry(1, 7);
        let error = DeliveryError {
            kind: DeliveryFault::Gone,
            ..unavailable(None)
        };
        record(of(&mut gone, "chat"), Err(error), at(1));
        assert_eq!(of(&mut gone, "chat").status, DeliveryStatus::GivenUp);
    }

    #[test]
    fn a_release_has_one_thread_and_what_waits_is_never_pruned() {
        let mut entries: Vec<OutboxEntry> = (1..=40).map(|number| entry(number, 7)).collect();
        let receipt = Receipt {
            channel: "C1".to_owned(),
            message: "17.1".to_owned(),
        };
        record(
            of(&mut entries[0], "chat"),
            Ok(Some(receipt.clone())),
            at(1),
        );
        assert_eq!(thread(&entries, &name("chat"), &entries[5]), Some(receipt));
        assert_eq!(thread(&entries, &name("mail"), &entries[5]), None);
        assert_eq!(thread(&entries, &name("chat"), &entry(50, 8)), None);

        assert_eq!(surplus(&entries), Vec::<String>::new(), "all of them wait");
        for entry in &mut entries[..30] {
            for delivery in entry.deliveries.values_mut() {
                record(delivery, Ok(None), at(1));
            }
        }
        let surplus = surplus(&entries);
        assert_eq!(surplus.len(), 30 - KEPT);
        assert!(surplus.contains(&"001".to_owned()) && !surplus.contains(&"011".to_owned()));
    }
}
