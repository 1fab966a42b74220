//! The files that pages refer to. Their names have a hash of their content in them, so that a
//! browser keeps each for as long as it likes.

use std::sync::LazyLock;

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use crate::model::ContentHash;
use crate::serve::answer::{self, Answer};

/// A file.
struct Asset {
    path: String,
    form: &'static str,
    text: &'static str,
}

impl Asset {
    fn of(name: &str, ending: &str, form: &'static str, text: &'static str) -> Self {
        let hash = ContentHash::of(text.as_bytes());
        let path = format!("/assets/{name}-{}.{ending}", &hash.hex()[..12]);
        Self { path, form, text }
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let form = "text/css; charset=utf-8";
    Asset::of("style", "css", form, include_str!("style.css"))
});

static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let form = "text/javascript; charset=utf-8";
    Asset::of("live", "js", form, include_str!("live.js"))
});

static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::of("icon", "svg", "image/svg+xml", include_str!("icon.svg")));

/// Where the style is.
pub(super) fn style() -> &'static str {
    &STYLE.path
}

/// Where the script is.
pub(super) fn script() -> &'static str {
    &SCRIPT.path
}

/// Where the icon is.
pub(super) fn icon() -> &'static str {
    &ICON.path
}

/// A file; none of another name or version.
pub(super) fn find(path: &str) -> Option<Answer> {
    let all: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let asset = all.into_iter().find(|asset| asset.path == path)?;
    let mut answer = answer::with_type(StatusCode::OK, asset.form, asset.text);
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    answer.headers_mut().insert(CACHE_CONTROL, kept);
    Some(answer)
}
