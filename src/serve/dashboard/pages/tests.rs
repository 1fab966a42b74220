//! The pages as a browser gets them, and what texts of others do to them.

use std::time::Duration;

use jiff::Timestamp;
use maud::Markup;
use proptest::prelude::*;
use regex::Regex;

use super::environments::{self, LanePage};
use super::job::{self, JobPage};
use super::login::{self, Said};
use super::{Frame, deliveries, jobs, message};
use crate::model::delivery::{Delivery, DeliveryNumber, RecordedDelivery, Verdict};
use crate::model::job::{
    Job, JobEnding, JobKind, JobNumber, JobRequest, JobState, Lane, Requester, Via,
};
use crate::model::job_report::{JobCommit, JobMark, JobReport, Standing};
use crate::model::{ReleaseNumber, Slot};
use crate::ops::doors::jobs::JobView;
use crate::ops::doors::lanes::{Deployed, LaneView};
use crate::ops::doors::lists::{DeliveriesPage, JobsPage, LogTail};

/// A noon of which minutes are counted.
fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + minute * 60).expect("a time")
}

fn frame() -> Frame<'static> {
    Frame {
        who: "kim",
        form: "FORM",
        now: at(60),
    }
}

fn lane(environment: &str) -> Lane {
    Lane {
        project: "shop".parse().expect("a name"),
        environment: environment.parse().expect("a name"),
    }
}

/// A job of which others have written this text wherever they can.
fn job_of(number: u64, text: &str, state: JobState) -> Job {
    Job {
        number: JobNumber(number),
        request: JobRequest {
            lane: lane("staging"),
            kind: JobKind::Apply,
            reference: format!("refs/heads/{text}"),
            commit: Some(format!("3f2c1ab9{text}")),
            by: Requester {
                name: text.to_owned(),
                via: Via::Webhook {
                    receiver: "gitea".to_owned(),
                },
            },
            retry_of: None,
        },
        created: at(1),
        attempt: 1,
        fence: 1,
        checked_out: None,
        state,
    }
}

fn running() -> JobState {
    JobState::Running {
        since: at(58),
        cancelled_by: None,
    }
}

fn ended(ending: JobEnding) -> JobState {
    JobState::Ended { at: at(55), ending }
}

fn view(job: Job, waits_for: Option<&str>) -> JobView {
    JobView {
        job,
        waits_for: waits_for.map(str::to_owned),
    }
}

fn report(text: &str) -> JobReport {
    let mut report = JobReport::of([
        JobMark::CheckedOut(JobCommit {
            commit: format!("3f2c1ab9{text}"),
            title: text.to_owned(),
            author: text.to_owned(),
        }),
        JobMark::began("a", "check out", at(50)),
        JobMark::done("a", text, at(51)),
        JobMark::began("b", text, at(51)),
        JobMark::failed("b", text, at(52)),
        JobMark::began("c", text, at(59)),
    ]);
    report.standing = Some(Standing {
        release: Some(ReleaseNumber(42)),
        live: Some(Slot::Blue),
        waiting: Some(ReleaseNumber(43)),
        urls: vec![(text.to_owned(), format!("https://shop.example.com/{text}"))],
    });
    report
}

fn job_page(text: &str, state: JobState) -> JobPage {
    JobPage {
        view: view(job_of(41, text, state), None),
        report: report(text),
        tail: LogTail {
            text: format!("job 41, attempt 1\n\t{text}\nchecked out\n"),
            left_out: 2 << 20,
            next: 2_097_200,
        },
        may_cancel: true,
        may_retry: true,
    }
}

fn lane_view(text: &str) -> LaneView {
    let failed = ended(JobEnding::Failed {
        reason: text.to_owned(),
    });
    LaneView {
        lane: lane("staging"),
        on: vec![format!("branch {text}"), "tags v*".to_owned()],
        then: JobKind::Apply,
        branch: Some(text.to_owned()),
        latest: Some(view(job_of(42, text, failed), None)),
        deployed: Some(Deployed {
            job: job_of(40, text, ended(JobEnding::Succeeded)),
            at: at(-3_000),
            report: report(text),
        }),
    }
}

fn jobs_page(text: &str) -> JobsPage {
    let waiting = JobState::Waiting {
        not_before: at(0),
        reason: None,
    };
    let reverted = JobEnding::Reverted {
        reason: text.to_owned(),
    };
    JobsPage {
        jobs: vec![
            view(job_of(44, text, waiting), Some("behind job 43")),
            view(job_of(43, text, running()), None),
            view(job_of(42, text, ended(reverted)), None),
            view(job_of(41, text, ended(JobEnding::Succeeded)), None),
        ],
        older: Some(JobNumber(41)),
    }
}

fn deliveries_page(text: &str) -> DeliveriesPage {
    let of = |number, jobs, verdict| RecordedDelivery {
        number: DeliveryNumber(number),
        delivery: Delivery {
            door: "shop/gitea".to_owned(),
            key: text.to_owned(),
            received: at(59),
            event: text.to_owned(),
            size: 7_702,
            sha256: "aa".to_owned(),
            verdict,
        },
        jobs,
    };
    let ignored = Verdict::Ignored {
        reason: format!("no environment is deployed on refs/heads/{text}"),
    };
    DeliveriesPage {
        deliveries: vec![
            of(8, Vec::new(), ignored),
            of(7, vec![JobNumber(41), JobNumber(42)], Verdict::Accepted),
        ],
        older: Some(DeliveryNumber(7)),
    }
}

/// Every page there is, with this text wherever others can have written one.
fn all(text: &str) -> Vec<(&'static str, Markup)> {
    let frame = frame();
    let failed = ended(JobEnding::Failed {
        reason: text.to_owned(),
    });
    let page = LanePage {
        view: lane_view(text),
        jobs: jobs_page(text),
        may_deploy: true,
    };
    let lanes = [lane_view(text)];
    vec![
        (
            "overview",
            environments::overview(&frame, &lanes, &jobs_page(text), "STAMP"),
        ),
        ("environment", environments::lane(&frame, &page, "STAMP")),
        ("jobs", jobs::page(&frame, None, &jobs_page(text), "STAMP")),
        ("job_running", job::page(&frame, &job_page(text, running()))),
        ("job_failed", job::page(&frame, &job_page(text, failed))),
        (
            "deliveries",
            deliveries::page(&frame, &deliveries_page(text)),
        ),
        ("message", message(Some(&frame), text, text)),
        ("login", login::page("FORM", "/jobs/41", Said::NoToken)),
    ]
}

#[test]
fn pages_are_as_they_were() {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"-[0-9a-f]{12}\.", "-HASH.");
    settings.bind(|| {
        for (name, page) in all("staging") {
            let text = page.into_string().replace("><", ">\n<");
            insta::assert_snapshot!(name, text);
        }
    });
}

/// The tags of a page with the names of their attributes: what is not text.
fn skeleton(page: &str) -> String {
    let values = Regex::new(r#"="[^"]*""#).expect("a pattern");
    let texts = Regex::new(r">[^<]*<").expect("a pattern");
    texts
        .replace_all(&values.replace_all(page, ""), "><")
        .into_owned()
}

/// What strangers write so that it becomes something else.
const PAYLOADS: [&str; 20] = [
    "<script>alert(1)</script>",
    "</code></pre><img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "' onfocus='alert(1)' autofocus='",
    "\" autofocus onfocus=\"alert(1)",
    "</title><script>alert(1)</script>",
    "</noscript><script>alert(1)</script>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "<a href=javascript:alert(1)>x</a>",
    "</form><form action=https://evil.example.com>",
    "<base href=https://evil.example.com>",
    "<meta http-equiv=refresh content=0;url=https://evil.example.com>",
    "\u{202e}txt.exe\u{200b}\u{1b}[2J\u{0}",
];

#[test]
fn what_strangers_write_stays_a_text() {
    let plain = all("x");
    for payload in PAYLOADS {
        for ((name, page), (_, expected)) in all(payload).into_iter().zip(&plain) {
            let (page, expected) = (page.into_string(), &expected.0);
            // An address that has what nobody would see in it is no link.
            let is_link = !payload.contains(|c: char| c.is_control());
            if is_link {
                assert_eq!(skeleton(&page), skeleton(expected), "{name}: {payload}");
            }
            let hides = |c: char| c.is_control() && c != '\n' && c != '\t';
            assert!(!page.contains(hides), "{name}: {payload:?}");
            assert!(!page.contains('\u{202e}'), "{name}: {payload:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_stays_a_text(text in "[ -~]{1,40}|\\PC{1,40}") {
        let page = |text: &str| job::page(&frame(), &job_page(text, running())).into_string();
        let is_seen = super::line(&text) == text;
        prop_assume!(is_seen);
        prop_assert_eq!(skeleton(&page(&text)), skeleton(&page("x")));
    }
}

#[test]
fn a_service_s_address_is_a_link_only_where_it_is_one() {
    for url in [
        "javascript:alert(1)",
        "data:text/html,x",
        "https://a\u{202e}b",
    ] {
        let mut page = job_page("x", running());
        let standing = page.report.standing.as_mut().expect("one");
        standing.urls = vec![("web".to_owned(), url.to_owned())];
        let text = job::page(&frame(), &page).into_string();
        assert!(!text.contains(&format!("href=\"{url}")), "{text}");
    }
}

#[test]
fn there_is_a_button_for_what_may_be_done_and_for_nothing_else() {
    let has = |page: &JobPage| {
        let text = job::page(&frame(), page).into_string();
        (
            text.contains("/jobs/41/cancel"),
            text.contains("/jobs/41/retry"),
        )
    };
    let over = job_page("x", ended(JobEnding::Succeeded));
    let under_way = job_page("x", running());
    assert_eq!(
        (has(&under_way), has(&over)),
        ((true, false), (false, true))
    );

    let stopping = JobState::Running {
        since: at(1),
        cancelled_by: Some("kim".to_owned()),
    };
    assert_eq!(has(&job_page("x", stopping)), (false, false));
    for page in [over, under_way] {
        let page = JobPage {
            may_cancel: false,
            may_retry: false,
            ..page
        };
        assert_eq!(has(&page), (false, false));
    }
}

#[test]
fn every_form_says_where_it_is_from_and_no_page_has_a_script_of_its_own() {
    for (name, page) in all("x") {
        let page = page.into_string();
        let forms = page.matches("<form").count();
        let words = page.matches(r#"<input type="hidden" name="form" value="FORM">"#);
        assert_eq!(words.count(), forms, "{name}");
        assert_eq!(
            page.matches("<form").count(),
            page.matches("method=\"post\"").count()
        );
        for refused in ["<script>", " style=", " onclick", " onload", "javascript:"] {
            assert!(!page.contains(refused), "{name} has {refused}");
        }
        // One of each, for who hears a page instead of seeing it.
        for once in ["<h1", "<main", "<title>", "lang=\"en\""] {
            assert_eq!(page.matches(once).count(), 1, "{name}: {once}");
        }
    }
}

#[test]
fn times_are_said_as_people_say_them() {
    let shown = |seconds: u64| {
        let then = at(0) - Duration::from_secs(seconds);
        super::parts::ago(then, at(0)).into_string()
    };
    for (seconds, words) in [
        (3, "just now"),
        (42, "42 s ago"),
        (300, "5 min ago"),
        (7_200, "2 h ago"),
        (90_000, "yesterday"),
        (5 * 86_400, "5 days ago"),
        (60 * 86_400, ">2026-"),
    ] {
        assert!(shown(seconds).contains(words), "{}", shown(seconds));
    }
    assert_eq!(super::parts::length(at(0), at(61)), "1 h 1 min");
    assert_eq!(super::parts::length(at(1), at(0)), "0 ms");
}

/// The colours of a scheme: `--name: #rrggbb`.
fn colours(style: &str) -> std::collections::BTreeMap<String, [f64; 3]> {
    let pattern = Regex::new(r"--([a-z-]+): #([0-9a-f]{6});").expect("a pattern");
    let found = pattern.captures_iter(style).map(|found| {
        let part = |from: usize| {
            let text = &found[2][from..from + 2];
            f64::from(u8::from_str_radix(text, 16).expect("digits")) / 255.0
        };
        (found[1].to_owned(), [part(0), part(2), part(4)])
    });
    found.collect()
}

/// By WCAG 2.2, "contrast ratio".
fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let luminance = |colour: [f64; 3]| {
        let part = |value: f64| {
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(colour[0]) + 0.7152 * part(colour[1]) + 0.0722 * part(colour[2])
    };
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    (one / other).max(other / one)
}

#[test]
fn every_text_can_be_read_in_both_schemes() {
    let style = include_str!("../style.css");
    let (light, dark) = style
        .split_once("prefers-color-scheme: dark")
        .expect("both schemes");
    let dark = dark.split_once("--mono").map_or(dark, |(dark, _)| dark);
    let mut pairs = vec![("on-accent", "accent"), ("on-log", "log")];
    for ground in ["ground", "card", "sunk"] {
        pairs.extend(["text", "soft", "accent", "bad"].map(|text| (text, ground)));
    }
    let tones = ["good", "bad", "warn", "busy", "idle", "blue", "green"];
    let grounds = tones.map(|tone| format!("{tone}-ground"));
    pairs.extend(tones.into_iter().zip(grounds.iter().map(String::as_str)));

    for scheme in [light, dark] {
        let colours = colours(scheme);
        for (text, ground) in &pairs {
            let ratio = contrast(colours[*text], colours[*ground]);
            assert!(ratio >= 4.5, "{text} on {ground}: {ratio:.2}");
        }
    }
}
