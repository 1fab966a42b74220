//! What checks find to be wrong, each at the place of the key that it is about.

use crate::config::node::{Node, Value};
use crate::config::problem::Problem;

/// What to do about a key that has no effect where it is.
pub(super) const TAKE_OUT: &str = "take the key out";

/// Collects problems of one tree.
pub(super) struct Findings<'a> {
    tree: &'a Node,
    problems: Vec<Problem>,
}

impl<'a> Findings<'a> {
    pub(super) const fn of(tree: &'a Node) -> Self {
        Self {
            tree,
            problems: Vec::new(),
        }
    }

    pub(super) fn done(self) -> Vec<Problem> {
        self.problems
    }

    /// Refuses keys that have no effect where they are, whatever their values.
    pub(super) fn refuse(&mut self, at: &[&str], keys: &[&str], message: &str) {
        for key in keys {
            let path = [at, &[key]].concat();
            if self.is_given(&path) {
                self.add(&path, message, TAKE_OUT);
            }
        }
    }

    /// Whether a key is written, and not removed by `null`.
    fn is_given(&self, path: &[&str]) -> bool {
        let mut node = self.tree;
        for name in path {
            match node.get(name) {
                Some((_, inner)) if inner.value != Value::Null => node = inner,
                _ => return false,
            }
        }
        true
    }

    /// The same for a place in a text that stands there: a line and a column, counted from 1.
    pub(super) fn add_inside(
        &mut self,
        path: &[&str],
        inside: (usize, usize),
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(path, message, help);
        if let Some(last) = self.problems.last_mut() {
            last.inside = Some(inside);
        }
    }

    /// The same for a text that nobody should see: it is not in the lines that are shown either.
    pub(super) fn add_hiding(
        &mut self,
        path: &[&str],
        text: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(path, message, help);
        if let Some(last) = self.problems.last_mut() {
            last.hidden = Some(text.to_owned());
        }
    }

    pub(super) fn add(
        &mut self,
        path: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
        let at = self.tree.find(&path);
        let problem =
            Problem::new(at, format!("{}: {}", path.join("."), message.into())).help(help);
        self.problems.push(Problem { path, ..problem });
    }
}
