//! Texts of others on a page. That a text is no HTML, the templates see to; here is what else it may
//! not do: hide, turn its letters around, or forge a line.

use crate::output::Line;

/// A text on one line, with what nobody would see of it made visible.
pub(super) fn line(text: &str) -> String {
    Line::from(text).plain()
}

/// A log: its lines and tabs stay, and colours of a terminal are left out.
pub(super) fn log(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        Line::new().quote(without_colours(line)).plain()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Without the sequences that only choose a colour (`ESC [ … m`). What else a terminal would do
/// stays, to be seen.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_parameter = |c: char| c.is_ascii_digit() || c == ';' || c == ':';
        let behind = part.trim_start_matches(is_parameter);
        if let Some(rest) = behind.strip_prefix('m') {
            text.push_str(rest);
        } else {
            text.push_str("\u{1b}[");
            text.push_str(part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_its_lines_and_shows_what_would_hide() {
        let text = "one\r\n\ttwo\u{1b}[1;32mgreen\u{1b}[0m\n\u{1b}[2J\u{1b}]0;title\u{7}\u{202e}x";
        assert_eq!(
            log(text),
            "one\n\ttwogreen\n\\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{202e}x"
        );
        assert_eq!(log("a\n"), "a\n");
        assert_eq!(line("a\nb\u{200b}"), "a\\nb\\u{200b}");
        assert_eq!(without_colours("\u{1b}[\u{1b}[m"), "\u{1b}[");
    }
}
