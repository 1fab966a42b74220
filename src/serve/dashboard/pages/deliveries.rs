//! The list of deliveries: what came, and why nothing happened on it.

use maud::{Markup, html};

use super::super::foreign::line;
use super::parts::{DOT, Tone, ago, chip, older};
use super::{Follow, Frame, Section};
use crate::model::delivery::{RecordedDelivery, Verdict};
use crate::ops::doors::lists::DeliveriesPage;

/// The page of deliveries.
pub fn page(frame: &Frame<'_>, shown: &DeliveriesPage) -> Markup {
    let next = shown
        .older
        .map(|number| format!("/deliveries?before={number}"));
    let main = html! {
        div.head {
            h1 { "Deliveries" }
            p.lead { "What webhooks, pushes, commands and looks at repositories brought. What is \
                not authentic is refused, and not kept." }
        }
        @if shown.deliveries.is_empty() { p.empty { "Nothing has come yet." } }
        @else {
            ul.rows { @for one in &shown.deliveries { li.row id={ "d" (one.number) } {
                (row(frame, one))
            } } }
        }
        (older(next.as_deref()))
    };
    frame.page(Section::Deliveries, "Deliveries", &Follow::No, &main)
}

fn row(frame: &Frame<'_>, one: &RecordedDelivery) -> Markup {
    let delivery = &one.delivery;
    let (tone, word, reason) = match &delivery.verdict {
        Verdict::Accepted => (Tone::Good, "accepted", None),
        Verdict::Ignored { reason } => (Tone::Idle, "ignored", Some(reason)),
    };
    html! {
        span.title {
            span.number { "#" (one.number) } " "
            strong { (line(&delivery.event)) } " from " (line(&delivery.door))
        }
        (chip(tone, word))
        span.facts {
            @for (index, job) in one.jobs.iter().enumerate() {
                @if index > 0 { ", " }
                a href={ "/jobs/" (job) } { "job #" (job) }
            }
            @if !one.jobs.is_empty() { (DOT) }
            (ago(delivery.received, frame.now)) (DOT) (delivery.size) " bytes" (DOT)
            span.key title="what tells it apart from others" { (line(&delivery.key)) }
        }
        @if let Some(reason) = reason { span.reason { (line(reason)) } }
    }
}
