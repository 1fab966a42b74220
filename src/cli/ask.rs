//! Asking a person at the terminal. Each answer is a line, so that no key that is pressed by chance
//! is one, and nothing of what was typed is left for the shell.

use std::io::IsTerminal as _;

/// Whether somebody can be asked.
pub(super) fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Whether a person says yes: `y` or `yes`, and nothing else.
pub(super) fn yes(question: &str) -> bool {
    let typed = line(&format!("{question} [y/N]"));
    typed.is_some_and(|typed| is_yes(&typed))
}

/// Whether a person types this name.
pub(super) fn name(question: &str, name: &str) -> bool {
    line(question).is_some_and(|typed| typed.trim() == name)
}

fn line(prompt: &str) -> Option<String> {
    dialoguer::Input::<String>::new()
        .with_prompt(prompt)
        .allow_empty(true)
        .interact_text()
        .ok()
}

fn is_yes(typed: &str) -> bool {
    let typed = typed.trim();
    typed.eq_ignore_ascii_case("y") || typed.eq_ignore_ascii_case("yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_is_yes_and_nothing_else_is() {
        for typed in ["y", "yes", "Y", "YES", " yes "] {
            assert!(is_yes(typed), "{typed}");
        }
        for typed in ["", " ", "n", "no", "yep", "yesn", "ye s", "1", "true"] {
            assert!(!is_yes(typed), "{typed}");
        }
    }
}
