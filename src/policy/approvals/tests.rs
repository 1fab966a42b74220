use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA512, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::model::ContentHash;
use crate::model::sshsig::SshKey;
use crate::model::verdict::Ruling;

fn field(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
    to.extend(bytes);
}

/// Somebody with a key.
struct Person {
    name: &'static str,
    pair: Ed25519KeyPair,
    groups: &'static [&'static str],
}

impl Person {
    fn new(name: &'static str, groups: &'static [&'static str]) -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        Self { name, pair, groups }
    }

    fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        field(&mut blob, b"ssh-ed25519");
        field(&mut blob, self.pair.public_key().as_ref());
        blob
    }

    fn key(&self) -> SshKey {
        let line = format!("ssh-ed25519 {}", STANDARD.encode(self.blob()));
        line.try_into().expect("a key")
    }

    fn approver(&self) -> Approver {
        Approver {
            name: self.name.to_owned(),
            keys: vec![self.key()],
            emails: [format!("{}@x.org", self.name)].into(),
            groups: self
                .groups
                .iter()
                .map(|group| (*group).to_owned())
                .collect(),
        }
    }

    fn signs(&self, namespace: &str, of: &Statement) -> PlanApproval {
        let mut signed = b"SSHSIG".to_vec();
        let hashed = digest(&SHA512, &of.message());
        for part in [namespace.as_bytes(), b"", b"sha512", hashed.as_ref()] {
            field(&mut signed, part);
        }
        let mut signature = Vec::new();
        field(&mut signature, b"ssh-ed25519");
        field(&mut signature, self.pair.sign(&signed).as_ref());

        let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
        for part in [
            &self.blob(),
            namespace.as_bytes(),
            b"",
            b"sha512",
            &signature,
        ] {
            field(&mut blob, part);
        }
        let base64 = STANDARD.encode(&blob);
        PlanApproval {
            at: of.at,
            signature: format!(
                "-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----\n"
            ),
        }
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn now() -> Timestamp {
    time("2026-11-27T12:00:00Z")
}

fn statement(plan: &[u8], at: Timestamp) -> Statement {
    let (project, environment) = ("shop".parse(), "production".parse());
    let names = (&project.expect("a name"), &environment.expect("a name"));
    Statement::new(names, ContentHash::of(plan), ContentHash::of(b"made"), at)
}

fn rule(count: usize, by: &[&str]) -> ApprovalRule {
    ApprovalRule {
        count,
        by: by.iter().map(|name| (*name).to_owned()).collect(),
        not_author: false,
        within: None,
    }
}

/// Kim and lee lead, max does not, and nobody knows eve.
struct Team(BTreeMap<&'static str, Person>);

impl Team {
    fn new() -> Self {
        let people = [
            Person::new("kim", &["leads"]),
            Person::new("lee", &["leads"]),
            Person::new("max", &[]),
            Person::new("eve", &[]),
        ];
        Self(
            people
                .into_iter()
                .map(|person| (person.name, person))
                .collect(),
        )
    }

    fn signs(&self, name: &str, at: Timestamp) -> PlanApproval {
        self.0[name].signs(NAMESPACE, &statement(b"plan", at))
    }

    fn judged(
        &self,
        rule: &ApprovalRule,
        approvals: &[PlanApproval],
        authors: &Authors,
    ) -> (Ruling, String, Vec<String>) {
        let known = self.0.values().filter(|person| person.name != "eve");
        let approvers: Vec<Approver> = known.map(Person::approver).collect();
        let of = statement(b"plan", now());
        let given = Given {
            approvals,
            of: &of,
            authors,
            now: now(),
        };
        let (verdict, by) = approved(rule, &approvers, given);
        let names = by.into_iter().map(|by| by.name).collect();
        (verdict.ruling, verdict.reason, names)
    }
}

#[test]
fn as_many_people_as_are_wanted_are_enough_and_fewer_are_not() {
    let team = Team::new();
    let (kim, lee) = (team.signs("kim", now()), team.signs("lee", now()));
    let judged = |rule: &ApprovalRule, given: &[PlanApproval]| {
        let (ruling, reason, _) = team.judged(rule, given, &Authors::NotAsked);
        (ruling, reason)
    };
    let two = rule(2, &["leads"]);
    for (rule, given, ruling, reason) in [
        (&two, vec![], Ruling::Refused, "0 of 2 approvals of leads"),
        (
            &two,
            vec![kim.clone()],
            Ruling::Refused,
            "1 of 2 approvals of leads: kim",
        ),
        // People are counted, and not their signatures.
        (
            &two,
            vec![kim.clone(), kim.clone()],
            Ruling::Refused,
            "1 of 2 approvals of leads: kim",
        ),
        (
            &two,
            vec![lee, kim.clone()],
            Ruling::Passed,
            "2 of 2 approvals of leads: kim, lee",
        ),
        (
            &rule(1, &[]),
            vec![kim],
            Ruling::Passed,
            "1 of 1 approval: kim",
        ),
    ] {
        assert_eq!(judged(rule, &given), (ruling, reason.to_owned()));
    }
}

#[test]
fn what_does_not_count_is_named_with_its_reason_and_spoils_nothing() {
    let team = Team::new();
    let leads = rule(1, &["leads"]);
    let eve = team.0["eve"].key().fingerprint();
    let kim = team.signs("kim", now());
    let another = team.0["lee"].signs(NAMESPACE, &statement(b"another", now()));
    let of_git = team.0["lee"].signs("git", &statement(b"plan", now()));
    let garbage = PlanApproval {
        at: now(),
        signature: "?".to_owned(),
    };
    let dated_anew = PlanApproval {
        at: time("2026-11-27T11:59:59Z"),
        ..team.signs("lee", now())
    };
    for (other, why) in [
        (
            team.signs("eve", now()),
            format!("a key that is nobody's under approvers: {eve}"),
        ),
        (team.signs("max", now()), "max (none of leads)".to_owned()),
        (another, "lee (made for another plan)".to_owned()),
        (of_git, "lee (made for the namespace git)".to_owned()),
        (dated_anew, "lee (made for another plan)".to_owned()),
        (
            garbage,
            "one that cannot be read (it does not go from".to_owned(),
        ),
    ] {
        let alone = team.judged(&leads, std::slice::from_ref(&other), &Authors::NotAsked);
        assert_eq!((alone.0, alone.2), (Ruling::Refused, vec![]), "{why}");
        let says = format!("0 of 1 approval of leads; not counted: {why}");
        assert!(alone.1.starts_with(&says), "{}", alone.1);

        let beside = team.judged(&leads, &[other, kim.clone()], &Authors::NotAsked);
        assert_eq!(beside.0, Ruling::Passed, "{why}");
        assert_eq!(beside.2, ["kim"]);
        assert!(
            beside.1.contains(&format!("kim; not counted: {why}")),
            "{}",
            beside.1
        );
    }
}

#[test]
fn an_approval_has_its_time_and_both_bounds_count() {
    let team = Team::new();
    let within = ApprovalRule {
        within: Some("24h".parse().expect("a period")),
        ..rule(1, &[])
    };
    for (at, why) in [
        ("2026-11-27T12:00:00Z", None),
        ("2026-11-26T12:00:00Z", None),
        (
            "2026-11-26T11:59:59Z",
            Some("kim (24h ago, 24h at the most)"),
        ),
        (
            "2026-11-26T10:00:00Z",
            Some("kim (26h ago, 24h at the most)"),
        ),
        ("2026-11-27T12:05:00Z", None),
        (
            "2026-11-27T12:05:01Z",
            Some("kim (in the future by 5m: look at the clocks)"),
        ),
        (
            "2026-11-27T12:09:30Z",
            Some("kim (in the future by 9m: look at the clocks)"),
        ),
    ] {
        let given = [team.signs("kim", time(at))];
        let (ruling, reason, _) = team.judged(&within, &given, &Authors::NotAsked);
        match why {
            None => assert_eq!(ruling, Ruling::Passed, "{at}"),
            Some(why) => {
                assert_eq!(ruling, Ruling::Refused, "{at}");
                assert!(reason.ends_with(&format!("not counted: {why}")), "{reason}");
            }
        }
    }
    // Without the key any age counts.
    let old = [team.signs("kim", time("2020-01-01T00:00:00Z"))];
    let judged = team.judged(&rule(1, &[]), &old, &Authors::NotAsked);
    assert_eq!(judged.0, Ruling::Passed);
    // A newer one takes the place of one that is too old.
    let both = [
        team.signs("kim", time("2020-01-01T00:00:00Z")),
        team.signs("kim", now()),
    ];
    let (_, reason, _) = team.judged(&within, &both, &Authors::NotAsked);
    assert_eq!(reason, "1 of 1 approval: kim");
}

#[test]
fn whoever_wrote_it_does_not_count_where_that_is_asked() {
    let team = Team::new();
    let other = ApprovalRule {
        not_author: true,
        ..rule(1, &[])
    };
    let wrote = Authors::Known(["kim@x.org".to_owned(), "t@x.org".to_owned()].into());
    let given = [team.signs("kim", now())];
    let (ruling, reason, _) = team.judged(&other, &given, &wrote);
    assert_eq!(ruling, Ruling::Refused);
    assert_eq!(
        reason,
        "0 of 1 approval; not counted: kim (wrote a commit of it)"
    );
    assert_eq!(team.judged(&rule(1, &[]), &given, &wrote).0, Ruling::Passed);

    let both = [team.signs("kim", now()), team.signs("lee", now())];
    assert_eq!(team.judged(&other, &both, &wrote).2, ["lee"]);

    let unknown = Authors::Unknown {
        reason: "the history here is cut off".to_owned(),
        help: "--fetch".to_owned(),
    };
    let (ruling, reason, _) = team.judged(&other, &both, &unknown);
    assert_eq!(ruling, Ruling::Undecided);
    assert!(reason.contains("the history here is cut off"), "{reason}");
    // What nothing could mend is refused, and not only undecided.
    assert_eq!(team.judged(&other, &[], &unknown).0, Ruling::Refused);
}

#[test]
fn only_what_leads_back_wants_no_approval() {
    use crate::model::release::{PromotedFrom, ReleaseNumber};
    let from = PromotedFrom {
        environment: "staging".parse().expect("a name"),
        release: ReleaseNumber(1),
    };
    for (intent, wants) in [
        (Intent::Apply, true),
        (Intent::Promote(crate::model::Slot::Blue), true),
        (Intent::PromoteFrom(from), true),
        (Intent::Destroy, true),
        (Intent::DestroyInfrastructure, true),
        (Intent::Rollback(ReleaseNumber(1)), false),
        (Intent::Abort, false),
    ] {
        assert_eq!(wants_approvals(&intent), wants, "{intent:?}");
    }
}
