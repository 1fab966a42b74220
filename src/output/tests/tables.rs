//! The tables of `status`, `history` and `images`.

use jiff::Timestamp;

use super::{Wanted, World, is_as_before, one_below_the_other};
use crate::model::facts::{Facts, HealthState};
use crate::model::garbage::{Collect, Collected, Unneeded};
use crate::model::outcome::ProbeReport;
use crate::model::port::{PortName, Protocol};
use crate::model::promotion::Mode;
use crate::model::release::{PromotedFrom, Release, ReleaseStatus};
use crate::model::route::{PortListeners, Route};
use crate::model::{Digest, ReleaseNumber, Role, Slot};
use crate::output::status::{self, StatusView};
use crate::output::{garbage, history};

/// Release 1 of three services is live, and release 2 of `web` alone waits.
fn two_releases() -> World {
    let mut world = World::new();
    let first = Wanted {
        services: [("api", 1), ("web", 1), ("worker", 1)].into(),
        ..Wanted::web(1)
    };
    world.carry_out(&world.apply(&first));
    let second = Wanted {
        mode: Mode::Manual,
        ..Wanted::web(2)
    };
    world.carry_out(&world.apply(&second));
    world
}

fn view(facts: Facts) -> StatusView {
    StatusView {
        project: "shop".parse().expect("a name"),
        environment: "staging".parse().expect("a name"),
        load_balancers: std::collections::BTreeMap::new(),
        live: facts.urls(Role::Active),
        preview: facts.urls(Role::Preview),
        facts,
        approvals: std::collections::BTreeMap::new(),
        schedules: Vec::new(),
        lock: None,
        notes: Vec::new(),
    }
}

/// The same with two ports of `web` besides, of which one has listeners.
fn with_ports(mut facts: Facts) -> Facts {
    let (sql, metrics): (PortName, PortName) = (
        "sql".parse().expect("a name"),
        "metrics".parse().expect("a name"),
    );
    for (at, there) in (0..).zip(facts.slots.values_mut()) {
        for instance in there
            .workloads
            .get_mut("web")
            .into_iter()
            .flat_map(|it| &mut it.instances)
        {
            instance.ports.insert(sql.clone(), 40_000 + at);
            instance.ports.insert(metrics.clone(), 41_000 + at);
        }
    }
    let route = facts.routes.get_mut("web").and_then(Route::listeners_mut);
    let at = |port: u16| ([127, 0, 0, 1], port).into();
    let listeners = PortListeners {
        protocol: Protocol::Tcp,
        live: Some(at(5432)),
        preview: Some(at(5433)),
        slots: [(Slot::Blue, at(5434))].into(),
        ..PortListeners::default()
    };
    route.expect("listeners").ports.insert(sql, listeners);
    facts
}

/// Two hours after the world began.
fn later() -> Timestamp {
    Timestamp::from_second(7200).expect("in range")
}

#[test]
fn status_shows_each_service_of_each_slot() {
    let healthy = two_releases().facts;

    let mut troubled = healthy.clone();
    let blue = troubled.slots.get_mut(&Slot::Blue).expect("there");
    let mut workloads = blue.workloads.values_mut();
    let (api, web) = (workloads.next(), workloads.next());
    api.expect("there").instances[0].health = HealthState::BackingOff;
    web.expect("there").changed_on_disk = Some("app/web differs".to_owned());
    let green = troubled.slots.get_mut(&Slot::Green).expect("there");
    green.stops_at = Some(Timestamp::from_second(7800).expect("in range"));
    let troubled = StatusView {
        lock: Some("kim@laptop (run 7) holds the lock for `apply` since 12s".to_owned()),
        ..view(troubled)
    };

    let texts = [
        ("nothing yet", view(Facts::default())),
        ("several ports", view(with_ports(healthy.clone()))),
        ("healthy", view(healthy)),
        ("troubled", troubled),
    ];
    let texts = texts.map(|(name, view)| (name, status::human(&view, later()).plain()));
    is_as_before("status", &one_below_the_other(texts));
}

#[test]
fn history_shows_how_each_release_stands() {
    let state = two_releases().state;
    let like = |number: u64, status: ReleaseStatus| Release {
        number: ReleaseNumber(number),
        status,
        ..state.releases[0].clone()
    };
    let reverted = Release {
        probe: Some(ProbeReport {
            requests: 310,
            failures: 4,
            ..ProbeReport::default()
        }),
        ..like(
            4,
            ReleaseStatus::Reverted {
                reason: "GET / expects 200 and got 502".to_owned(),
            },
        )
    };
    let promoted = Release {
        promoted_from: Some(PromotedFrom {
            environment: "develop".parse().expect("a name"),
            release: ReleaseNumber(17),
        }),
        ..like(5, ReleaseStatus::Aborted)
    };
    let failed = ReleaseStatus::Failed {
        reason: "web of green is not ready: exit code 1".to_owned(),
    };
    let rest = [like(3, failed), reverted, promoted];
    let releases: Vec<Release> = state.releases.iter().cloned().chain(rest).collect();

    let behind = "the environment has release 9 by now";
    let texts = [
        ("none yet", Vec::new(), None),
        ("some", releases.clone(), None),
        ("behind", releases, Some(behind.to_owned())),
    ];
    let texts = texts.map(|(name, releases, note)| {
        let view = history::HistoryView {
            releases,
            commands: Vec::new(),
            note,
        };
        (name, history::page(&view).plain())
    });
    is_as_before("history", &one_below_the_other(texts));
}

#[test]
fn images_shows_what_is_unused_and_what_became_of_it() {
    let image = |name: &str, tags: &[&str]| Unneeded {
        digest: Digest::of(name.as_bytes()),
        repository: Some(format!("shop/{name}")),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        created: Some("2026-01-02T03:04:05Z".parse().expect("a time")),
    };
    let source = format!("src-{}", Digest::of(b"inputs").hex());
    let found = Collected {
        images: vec![
            image("web", &[&source, "main-3f2c1ab"]),
            Unneeded {
                repository: None,
                created: None,
                ..image("api", &[])
            },
        ],
        blobs: 3,
        bytes: 5 << 19,
        refused: None,
    };
    let one = Collected {
        images: found.images[..1].to_vec(),
        blobs: 1,
        bytes: 700,
        refused: None,
    };
    let refused = Collected {
        refused: Some("r.example.com does not allow it".to_owned()),
        ..found.clone()
    };
    let texts = [
        ("none", Collected::default(), Collect::Report),
        ("one", one, Collect::Report),
        ("two", found.clone(), Collect::Report),
        ("deleted", found, Collect::Delete),
        ("refused", refused, Collect::Delete),
    ];
    let texts = texts.map(|(name, found, how)| (name, garbage::table(&found, how).plain()));
    is_as_before("images", &one_below_the_other(texts));
}
