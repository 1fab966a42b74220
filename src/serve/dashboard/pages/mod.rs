//! The pages: each a function from what is shown to HTML, without I/O and without a clock.
//!
//! Texts are escaped by `maud`, and go through `foreign` before, where somebody else has written
//! them. No page has a script or a style of its own in it. Start with [`Frame`].

pub mod deliveries;
pub mod environments;
pub mod job;
pub mod jobs;
pub mod login;
pub mod parts;
pub mod steps;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::foreign::line;

/// Which of the sections a page is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Projects and environments.
    Environments,
    /// Jobs.
    Jobs,
    /// Deliveries.
    Deliveries,
    /// None of them.
    None,
}

/// How a page follows what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// It does not.
    No,
    /// It is fetched again every so many seconds where there is no script.
    Again {
        /// The path.
        path: String,
        /// The seconds.
        every: u32,
    },
}

/// What stands around every page of somebody who is signed in.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// Who is signed in.
    pub who: &'a str,
    /// What every form has in it.
    pub form: &'a str,
    /// Now.
    pub now: Timestamp,
}

const SECTIONS: [(Section, &str, &str); 3] = [
    (Section::Environments, "/", "Environments"),
    (Section::Jobs, "/jobs", "Jobs"),
    (Section::Deliveries, "/deliveries", "Deliveries"),
];

impl Frame<'_> {
    /// A page with its title.
    pub fn page(&self, section: Section, title: &str, follow: &Follow, main: &Markup) -> Markup {
        let navigation = html! {
            nav aria-label="Sections" {
                @for (of, path, name) in SECTIONS {
                    a href=(path) aria-current=[(of == section).then_some("page")] { (name) }
                }
            }
            form.who method="post" action="/logout" {
                (self.hidden())
                span title="signed in" { (line(self.who)) }
                button.quiet type="submit" { "Sign out" }
            }
        };
        document(title, follow, &navigation, main)
    }

    /// What a form proves with that it is from here.
    pub fn hidden(&self) -> Markup {
        html! { input type="hidden" name="form" value=(self.form); }
    }
}

/// A whole document.
fn document(title: &str, follow: &Follow, navigation: &Markup, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (line(title)) " · shipit" }
                link rel="icon" type="image/svg+xml" href=(assets::icon());
                link rel="stylesheet" href=(assets::style());
                script src=(assets::script()) defer {}
                @if let Follow::Again { path, every } = follow {
                    noscript {
                        meta http-equiv="refresh" content={ (every) ";url=" (path) };
                    }
                }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    a.brand href="/" {
                        img src=(assets::icon()) alt="" width="28" height="28";
                        "shipit"
                    }
                    (navigation)
                }
                main #main { (main) }
            }
        }
    }
}

/// A page that only says something.
pub fn message(frame: Option<&Frame<'_>>, title: &str, text: &str) -> Markup {
    let main = html! {
        section.message {
            h1 { (line(title)) }
            p { (line(text)) }
            p { a.button href="/" { "To the environments" } }
        }
    };
    match frame {
        Some(frame) => frame.page(Section::None, title, &Follow::No, &main),
        None => document(title, &Follow::No, &html! {}, &main),
    }
}
