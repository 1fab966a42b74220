//! Rules of a project's own, in CEL: one expression, one yes or no. The only place that knows the
//! crate; what expressions mean is held fast by the corpus in `tests.rs`, so that another version
//! of it cannot change a rule unseen.
//!
//! An expression is read with the configuration ([`compile`]) and asked with what is known then
//! ([`ask`]). It is short, its lists nest three deep at the most, and both have a time limit: CEL
//! always comes to an end, but not always soon. What cannot be asked is refused.

mod names;
#[cfg(test)]
mod tests;
mod value;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use cel::{Context, Program, Value};

use crate::model::own_rule::{Ask, OwnRule};
use crate::model::verdict::Verdict;

/// The longest expression, in bytes.
pub const LONGEST: usize = 4096;

/// How long an expression may be read, and how long asked.
const LIMIT: Duration = Duration::from_secs(2);

/// The stack of the thread that reads or asks one: expressions are trees.
const STACK: usize = 64 << 20;

/// The names that expressions see.
pub const NAMES: [&str; 7] = [
    "plan",
    "source",
    "change",
    "environment",
    "actor",
    "now",
    "live",
];

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionFault {
    /// Counted from 1, in the expression's own text.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl ExpressionFault {
    fn whole(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            line: 1,
            column: 1,
            message: message.into(),
            help: help.into(),
        }
    }
}

/// Whether a text is an expression that can be asked.
///
/// # Errors
/// What is wrong with it, with its place.
pub fn compile(text: &str) -> Result<(), ExpressionFault> {
    if text.len() > LONGEST {
        return Err(ExpressionFault::whole(
            format!(
                "the expression has {} bytes, of {LONGEST} at the most",
                text.len()
            ),
            "make several rules of it, or a program that `run` names",
        ));
    }
    let text = text.to_owned();
    let read = within(move || read(&text).map(drop));
    read.unwrap_or_else(|why| {
        Err(ExpressionFault::whole(
            format!("the expression cannot be read: {why}"),
            "make it simpler",
        ))
    })
}

/// Reads an expression on this thread.
fn read(text: &str) -> Result<Program, ExpressionFault> {
    let program = Program::compile(text).map_err(|errors| {
        let first = errors.errors.first();
        let place = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
        let (line, column) = first.map_or((1, 1), |error| (place(error.pos.0), place(error.pos.1)));
        let message = first.map_or_else(|| errors.to_string(), |error| error.msg.clone());
        ExpressionFault {
            line,
            column,
            message: format!("this is no expression: {}", one_line(&message)),
            help: "see `policy` in the guide; the language is CEL".to_owned(),
        }
    })?;
    names::check(&program, text)?;
    Ok(program)
}

/// What the expressions among the rules say. `facts` is an object with [`NAMES`].
#[must_use]
pub fn ask(rule: &OwnRule, facts: &serde_json::Value) -> Option<Verdict> {
    let Ask::Expression { when, must, help } = &rule.ask else {
        return None;
    };
    let key = |part: &str| format!("{}.{part}", rule.key);
    let name = &rule.name;
    if let Some(when) = when {
        match holds(when, facts) {
            Ok(true) => {}
            Ok(false) => {
                let reason = format!("{name}: does not apply here");
                return Some(Verdict::passed(&rule.key, reason));
            }
            Err(why) => return Some(unasked(&key("when"), name, &why)),
        }
    }
    Some(match holds(must, facts) {
        Ok(true) => Verdict::passed(&rule.key, name),
        Ok(false) => {
            let help = help
                .clone()
                .unwrap_or_else(|| format!("it must hold that {}", one_line(must)));
            Verdict::refused(&rule.key, format!("{name}: does not hold"), help)
        }
        Err(why) => unasked(&key("must"), name, &why),
    })
}

/// That a rule could not be asked: it never passes so.
fn unasked(key: &str, name: &str, why: &str) -> Verdict {
    let help = "what may not be there is asked for with `has(…)` first; `shipit plan --output \
                json` shows what is there";
    Verdict::refused(key, format!("{name}: cannot be asked: {why}"), help)
}

/// Whether an expression holds.
fn holds(text: &str, facts: &serde_json::Value) -> Result<bool, String> {
    let (text, facts) = (text.to_owned(), facts.clone());
    within(move || evaluate(&text, &facts)).unwrap_or_else(Err)
}

fn evaluate(text: &str, facts: &serde_json::Value) -> Result<bool, String> {
    let program = read(text).map_err(|fault| fault.message)?;
    let mut context = Context::default();
    for name in NAMES {
        let fact = &facts[name];
        let value = match name {
            "now" => value::time(fact)?,
            _ => value::of(fact),
        };
        context.add_variable_from_value(name, value);
    }
    match program.execute(&context) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(other) => Err(format!(
            "it gives {}, and neither true nor false",
            other.type_of()
        )),
        Err(error) => Err(short(&one_line(&error.to_string()))),
    }
}

/// Runs something on a thread of its own, for so long. A thread that takes longer is left alone: it
/// ends with the command, which is refused.
fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            // Whoever waits may have gone.
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
        });
    thread.map_err(|error| format!("no thread can be started: {error}"))?;
    match wait.recv_timeout(LIMIT) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) => Err("it ends in a fault of the library".to_owned()),
        Err(_) => Err(format!("it is not done within {} s", LIMIT.as_secs())),
    }
}

/// A message of the library in one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The beginning of what may have a whole plan in it.
fn short(text: &str) -> String {
    const MOST: usize = 300;
    let begin: String = text.chars().take(MOST).collect();
    if begin.len() < text.len() {
        begin + "…"
    } else {
        begin
    }
}
