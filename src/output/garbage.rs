//! The unused images, as a table.

use crate::model::garbage::{Collect, Collected, Unneeded};
use crate::output::{Line, Page};

/// What a collection found and did.
#[must_use]
pub fn table(collected: &Collected, how: Collect) -> Page {
    let count = match collected.images.len() {
        0 if collected.blobs == 0 => return nothing(collected),
        1 => "1 unused image".to_owned(),
        count => format!("{count} unused images"),
    };

    let blobs = match collected.blobs {
        1 => "1 blob".to_owned(),
        blobs => format!("{blobs} blobs"),
    };
    let what = format!("{count}: {blobs}, {}", size(collected.bytes));
    let end = match (&collected.refused, how) {
        (Some(reason), Collect::Report) => format!("{what}. None is deleted: {reason}."),
        (Some(reason), Collect::Delete) => format!("{what}. Nothing more was deleted: {reason}."),
        (None, Collect::Report) => format!("{what}. `shipit images --collect` deletes them."),
        (None, Collect::Delete) => format!("{what}. They were deleted."),
    };

    let mut page = Page::new();
    if !collected.images.is_empty() {
        page.extend(images(&collected.images));
        page.blank();
    }

    page.line(end);
    page
}

fn nothing(collected: &Collected) -> Page {
    let mut page = Page::of("No unused images.");
    if let Some(reason) = &collected.refused {
        page.blank();
        page.line(Line::note(reason));
    }
    page
}

fn images(images: &[Unneeded]) -> Page {
    let row = |image: &Unneeded| {
        [
            image.repository.clone().unwrap_or_default(),
            image.digest.short().to_owned(),
            image
                .created
                .map(|created| format!("{created:.0}"))
                .unwrap_or_default(),
            tags(image),
        ]
    };
    let header = ["REPOSITORY", "IMAGE", "CREATED", "TAGS"];
    Page::table(header, images.iter().map(row).collect())
}

/// The tags that say something to a person.
fn tags(image: &Unneeded) -> String {
    let said = image
        .tags
        .iter()
        .map(String::as_str)
        .filter(|tag| !tag.starts_with("src-"));
    said.collect::<Vec<_>>().join(", ")
}

#[allow(clippy::cast_precision_loss)] // one digit is shown
fn size(bytes: u64) -> String {
    let (unit, factor) = if bytes < 1 << 20 {
        ("KiB", 1 << 10)
    } else {
        ("MiB", 1 << 20)
    };
    format!("{:.1} {unit}", bytes as f64 / f64::from(factor))
}
