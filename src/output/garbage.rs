//! The images that nobody needs, as a table.

use crate::model::garbage::{Collect, Collected, Unneeded};
use crate::output::Page;

/// What a collection found and did.
#[must_use]
pub fn table(collected: &Collected, how: Collect) -> Page {
    let count = match collected.images.len() {
        0 if collected.blobs == 0 => return Page::of("No image but those that are needed."),
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    };
    let what = format!(
        "{count} that nobody needs: {} blobs, {}",
        collected.blobs,
        size(collected.bytes)
    );
    let end = match (&collected.refused, how) {
        (Some(reason), _) => format!("{what}. Nothing more was deleted: {reason}."),
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
    let header = ["REPOSITORY", "IMAGE", "MADE", "TAGS"];
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    fn found() -> Collected {
        let image = Unneeded {
            digest: Digest::of(b"x"),
            repository: Some("shop/web".to_owned()),
            tags: vec![
                format!("src-{}", Digest::of(b"i").hex()),
                "main-3f2c1ab".to_owned(),
            ],
            created: Some("2026-01-02T03:04:05Z".parse().expect("a time")),
        };
        Collected {
            images: vec![image],
            blobs: 3,
            bytes: 5 << 19,
            refused: None,
        }
    }

    #[test]
    fn it_says_what_nobody_needs_and_what_was_done() {
        assert_eq!(
            table(&Collected::default(), Collect::Report).plain(),
            "No image but those that are needed.\n"
        );
        let told = table(&found(), Collect::Report).plain();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines,
            [
                " REPOSITORY  IMAGE         MADE                  TAGS",
                " shop/web    2d711642b726  2026-01-02T03:04:05Z  main-3f2c1ab",
                "",
                "1 image that nobody needs: 3 blobs, 2.5 MiB. `shipit images --collect` deletes them.",
            ],
            "{told}"
        );
        let little = table(
            &Collected {
                bytes: 700,
                ..found()
            },
            Collect::Report,
        )
        .plain();
        assert!(little.contains("3 blobs, 0.7 KiB."), "{little}");
        let taken = table(&found(), Collect::Delete).plain();
        assert!(
            taken.ends_with("1 image that nobody needs: 3 blobs, 2.5 MiB. They were deleted.\n"),
            "{taken}"
        );
        let refused = Collected {
            refused: Some("r.example.com lets nobody".to_owned()),
            ..found()
        };
        let refused = table(&refused, Collect::Delete).plain();
        assert!(
            refused.ends_with("Nothing more was deleted: r.example.com lets nobody.\n"),
            "{refused}"
        );
    }
}
