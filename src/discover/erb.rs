//! ERB in a YAML file: Kamal fills `<% %>` in before it reads the file.

/// Whether a text has any.
pub(super) fn is_in(text: &str) -> bool {
    text.contains("<%")
}

/// The text without what stands alone in its lines and gives no value, such as
/// `<% require "dotenv" %>`. The other lines keep their numbers.
pub(super) fn without_code(text: &str) -> String {
    let mut kept = String::new();
    let mut is_code = false;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let begins = trimmed.starts_with("<%") && !trimmed.starts_with("<%=");
        let stays = !is_code && !begins;
        is_code = (is_code || begins) && !trimmed.contains("%>");
        if stays {
            kept.push_str(line);
        } else if line.ends_with('\n') {
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_code_go_and_values_stay() {
        let text = "<% require \"dotenv\"; x %>\nservice: a\n<%\n  y = 1\n-%>\nimage: <%= y %>\n";
        let kept = without_code(text);
        assert_eq!(kept, "\nservice: a\n\n\n\nimage: <%= y %>\n");
        assert_eq!(without_code("a: b"), "a: b");
        // What stands behind its end ends it all the same.
        let text = "<% x %> # y\nservice: a\n<%# note %> z\nimage: b\n";
        assert_eq!(without_code(text), "\nservice: a\n\nimage: b\n");
        assert_eq!(
            without_code("a: <%= 1 %>\n<%= b %>"),
            "a: <%= 1 %>\n<%= b %>"
        );
    }
}
