//! `.dockerignore` by its own rules: anchored at the context, the last pattern that matches wins,
//! and a folder's pattern goes for all below it. (docs.docker.com/build/concepts/context,
//! "dockerignore files".)

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

use crate::port::builder::BuildError;

/// The patterns, in their order.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    keep: bool,
    itself: GlobMatcher,
    below: GlobMatcher,
}

impl Ignore {
    pub fn parse(text: &str, file: &Path) -> Result<Self, BuildError> {
        let mut rules = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }

            let (keep, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let pattern = clean(pattern);
            if pattern.is_empty() {
                continue;
            }

            let invalid = |error: globset::Error| BuildError::Invalid {
                reason: format!("{}:{}: {}", file.display(), number + 1, error.kind()),
            };
            let itself = glob(&pattern).map_err(invalid)?;
            let below = glob(&format!("{pattern}/**")).map_err(invalid)?;
            rules.push(Rule {
                keep,
                itself,
                below,
            });
        }
        Ok(Self { rules })
    }

    /// Whether a path, relative to the context, is left out.
    pub fn leaves_out(&self, path: &Path) -> bool {
        let last = self
            .rules
            .iter()
            .rev()
            .find(|rule| rule.itself.is_match(path) || rule.below.is_match(path));
        last.is_some_and(|rule| !rule.keep)
    }

    /// Whether all below a folder is left out with it.
    pub fn leaves_out_all(&self, folder: &Path) -> bool {
        !self.rules.iter().any(|rule| rule.keep) && self.leaves_out(folder)
    }
}

/// Without what does not change its meaning: `./a/`, `/a` and `a` are one pattern.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // Go's patterns have no alternatives in braces.
    parts.join("/").replace('{', "[{]").replace('}', "[}]")
}

fn glob(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    let glob = GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()?;
    Ok(glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str, path: &str) -> bool {
        !Ignore::parse(text, Path::new(".dockerignore"))
            .expect("patterns")
            .leaves_out(Path::new(path))
    }

    #[test]
    fn patterns_are_anchored_and_go_for_all_below() {
        assert!(!kept("*.md", "README.md"));
        assert!(kept("*.md", "docs/README.md"), "no folder between");
        assert!(!kept("**/*.md", "docs/a/README.md"));
        assert!(
            !kept("**/*.md", "README.md"),
            "no folder at all is some folders"
        );
        assert!(!kept("/node_modules/", "node_modules/a/b.js"));
        assert!(kept("node_modules", "web/node_modules/a.js"));
        assert!(!kept("*/temp*", "a/temporary/x"));
        assert!(kept("temp?", "temp"));
        assert!(!kept("a{b", "a{b"));
    }

    #[test]
    fn the_last_pattern_that_matches_wins() {
        let text = "# all but the program\n*\n!app\n!README*.md\nREADME-secret.md\n";
        assert!(kept(text, "app/main"));
        assert!(!kept(text, "other"));
        assert!(kept(text, "README-all.md"));
        assert!(!kept(text, "README-secret.md"));
        assert!(
            !kept("!app\n*", "app"),
            "an exception that comes first is none"
        );
    }

    #[test]
    fn a_bad_pattern_is_named_with_its_line() {
        let error = Ignore::parse("a\n[z", Path::new(".dockerignore"))
            .expect_err("not closed")
            .to_string();
        assert!(error.starts_with(".dockerignore:2:"), "{error}");
    }
}
