//! Characters that no one sees, made visible: a text from outside must not move the cursor, write
//! the clipboard, forge a line, or show its letters in another order than it has them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// What else is invisible: the characters that Unicode lets every font ignore
/// (`Default_Ignorable_Code_Point`: of zero width, for direction, for variants, tags), ends of
/// lines and paragraphs, annotations, and a blank that looks like none.
const INVISIBLE: [RangeInclusive<char>; 19] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Whether it is shown as it is.
pub(super) fn is_visible(sign: char) -> bool {
    // Quick for what nearly every text is made of.
    if sign.is_ascii() {
        return !sign.is_ascii_control();
    }
    !sign.is_control() && INVISIBLE.iter().all(|range| !range.contains(&sign))
}

/// The text on one line.
#[must_use]
pub(super) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// The text on one line that may have tabs: what somebody wrote, behind a mark that it cannot
/// write.
pub(super) fn quote(text: &str) -> Cow<'_, str> {
    escaped(text, |sign| sign == '\t')
}

/// The text on as many lines as it has, for who sets each of them off.
#[must_use]
pub(super) fn block(text: &str) -> Cow<'_, str> {
    escaped(text, |sign| sign == '\n')
}

/// A JSON document that means the same: what is not visible can only be in its texts, and there has
/// another form.
pub(super) fn json(document: &str) -> Cow<'_, str> {
    let is_shown = |sign: char| is_visible(sign) || sign == '\n';
    if document.chars().all(is_shown) {
        return Cow::Borrowed(document);
    }
    let mut text = String::with_capacity(document.len());
    for sign in document.chars() {
        if is_shown(sign) {
            text.push(sign);
        } else {
            for unit in sign.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(text)
}

fn escaped(text: &str, keep: fn(char) -> bool) -> Cow<'_, str> {
    let is_shown = |sign: char| is_visible(sign) || keep(sign);
    if text.chars().all(is_shown) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for sign in text.chars() {
        match sign {
            sign if is_shown(sign) => shown.push(sign),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            sign => shown.extend(sign.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_seen_is_made_visible() {
        let cases = [
            ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
            ("\u{9b}2J\u{7f}\0", r"\u{9b}2J\u{7f}\u{0}"),
            (
                "gnp\u{202e}exe.\u{200b}\u{feff}",
                r"gnp\u{202e}exe.\u{200b}\u{feff}",
            ),
            ("one\r\ntwo\tthree", r"one\r\ntwo\tthree"),
            (
                "a\u{2028}b\u{ad}c\u{3164}\u{e0041}",
                r"a\u{2028}b\u{ad}c\u{3164}\u{e0041}",
            ),
        ];
        for (text, shown) in cases {
            assert_eq!(line(text), shown);
        }
    }

    #[test]
    fn what_is_seen_stays_as_it_is() {
        for text in [
            "plain",
            "größer → 漢字 🔑 é e\u{301}",
            "שלום नमस्ते",
            "a \\ b",
        ] {
            assert_eq!(line(text), text);
        }
        assert_eq!(quote("a\tb\n"), "a\tb\\n");
        assert_eq!(block("a\nb\t"), "a\nb\\t");
    }

    proptest! {
        #[test]
        fn nothing_that_is_not_seen_is_left(text in any::<String>()) {
            prop_assert!(line(&text).chars().all(is_visible));
            prop_assert!(block(&text).chars().all(|sign| is_visible(sign) || sign == '\n'));
        }

        #[test]
        fn a_document_means_the_same_and_has_nothing_that_is_not_seen(texts: Vec<String>) {
            let document = serde_json::to_string_pretty(&texts).expect("a document");
            let shown = json(&document);
            prop_assert!(shown.chars().all(|sign| is_visible(sign) || sign == '\n'));
            let read: Vec<String> = serde_json::from_str(&shown).expect("a document");
            prop_assert_eq!(read, texts);
        }
    }
}
