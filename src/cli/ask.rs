//! Asking a person at the terminal. Each answer is a line, so that no key that is pressed by chance
//! is one, and nothing of what was typed is left for the shell.

use std::io::IsTerminal as _;

use dialoguer::console::{Key, Term, measure_text_width};

/// What Ctrl-D sends.
const END: char = '\u{4}';

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

/// A line; none when the person ends the input (Ctrl-D), interrupts, or is gone.
pub(super) fn line(prompt: &str) -> Option<String> {
    let term = Term::stderr();
    term.write_str(&format!("{prompt} ")).ok()?;
    let typed = typed(&term);
    // Whatever is said next begins its own line.
    let _ = term.write_line("");
    typed
}

/// Says something to whoever is asked.
pub(super) fn say(text: &str) {
    let _ = Term::stderr().write_line(text);
}

fn typed(term: &Term) -> Option<String> {
    let mut typed = String::new();
    loop {
        match term.read_key().ok()? {
            Key::Enter => return Some(typed),
            Key::Char(END) if typed.is_empty() => return None,
            Key::CtrlC => return None,
            Key::Backspace => {
                if let Some(last) = typed.pop() {
                    let width = measure_text_width(&last.to_string());
                    term.clear_chars(width).ok()?;
                }
            }
            Key::Char(sign) if !sign.is_control() => {
                typed.push(sign);
                term.write_str(&sign.to_string()).ok()?;
            }
            _ => {}
        }
    }
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
