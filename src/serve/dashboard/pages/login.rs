//! The page where somebody signs in, and the one that leads back to a page from elsewhere.

use maud::{DOCTYPE, Markup, html};

use super::super::assets;
use super::super::foreign::line;
use super::{Follow, document};

/// What is said above the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// The token is none.
    NoToken,
    /// There were too many tries.
    TooOften,
    /// The form was not from here, or was too old.
    OldForm,
}

impl Said {
    const fn text(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::NoToken => Some("This is no token of this server, or it is not valid any more."),
            Self::TooOften => Some("There were too many tries. Wait a minute, and try again."),
            Self::OldForm => Some("The form was too old, or not from this page. Try again."),
        }
    }
}

/// The page where somebody signs in, to be led to a path then.
pub fn page(form: &str, next: &str, said: Said) -> Markup {
    let main = html! {
        section.login.card aria-labelledby="login" {
            h1 #login { "Sign in" }
            @if let Some(text) = said.text() { p.banner.bad role="alert" { (text) } }
            form method="post" action="/login" {
                input type="hidden" name="form" value=(form);
                input type="hidden" name="next" value=(line(next));
                label for="token" { "Token" }
                input #token name="token" type="password" autocomplete="current-password"
                    required autofocus maxlength="200" spellcheck="false" placeholder="shipit_…";
                button.primary type="submit" { "Sign in" }
            }
            p.note { "Whoever runs this server issues one: " br;
                code { "shipit token issue NAME --in 'PROJECT/*'" } }
        }
    };
    document("Sign in", &Follow::No, &html! {}, &main)
}

/// A page that leads to another of the server. Who comes from another site is not known before: the
/// browser keeps the cookie for itself until a page of the server's own asks.
pub fn bounce(path: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content={ "0;url=" (path) };
                title { "shipit" }
                link rel="stylesheet" href=(assets::style());
            }
            body { main { p { a href=(path) { "Go on" } } } }
        }
    }
}
