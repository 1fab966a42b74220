//! What an expression may name, and how deep its lists may nest.

use cel::Program;
use cel::common::ast::{EntryExpr, Expr, IdedExpr};

use crate::policy::own::{ExpressionFault, NAMES};

/// How deep macros over lists may nest: each goes through its list for every item of the one around
/// it.
const DEEPEST: usize = 3;

/// Names that the language itself has: the types.
const TYPES: [&str; 12] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "dyn",
    "google",
];

/// That an expression names nothing unknown, and nests not too deep.
pub(super) fn check(program: &Program, text: &str) -> Result<(), ExpressionFault> {
    let mut walk = Walk {
        text,
        program,
        bound: Vec::new(),
        deep: 0,
    };
    walk.expression(program.expression())
}

struct Walk<'a> {
    text: &'a str,
    program: &'a Program,
    /// The names that macros around this bind.
    bound: Vec<&'a str>,
    deep: usize,
}

impl<'a> Walk<'a> {
    fn all(&mut self, expressions: &'a [IdedExpr]) -> Result<(), ExpressionFault> {
        expressions.iter().try_for_each(|one| self.expression(one))
    }

    fn expression(&mut self, node: &'a IdedExpr) -> Result<(), ExpressionFault> {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(node, name),
            Expr::Call(call) => {
                if let Some(target) = &call.target {
                    self.expression(target)?;
                }
                self.all(&call.args)
            }
            Expr::List(list) => self.all(&list.elements),
            Expr::Select(select) => self.expression(&select.operand),
            Expr::Map(map) => map
                .entries
                .iter()
                .try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(made) => made
                .entries
                .iter()
                .try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Comprehension(over) => {
                self.expression(&over.iter_range)?;
                self.expression(&over.accu_init)?;
                if self.deep == DEEPEST {
                    let message = format!("lists nest more than {DEEPEST} deep here");
                    return Err(self.fault(node, message, "make several rules of it"));
                }
                let before = self.bound.len();
                self.deep += 1;
                self.bound.push(&over.iter_var);
                self.bound.push(&over.accu_var);
                self.bound.extend(over.iter_var2.as_deref());
                self.expression(&over.loop_cond)?;
                self.expression(&over.loop_step)?;
                self.expression(&over.result)?;
                self.bound.truncate(before);
                self.deep -= 1;
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: &'a EntryExpr) -> Result<(), ExpressionFault> {
        match entry {
            EntryExpr::StructField(field) => self.expression(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.expression(&entry.key)?;
                self.expression(&entry.value)
            }
        }
    }

    fn name(&self, node: &IdedExpr, name: &str) -> Result<(), ExpressionFault> {
        let is_known = NAMES.contains(&name) || TYPES.contains(&name) || self.bound.contains(&name);
        if is_known {
            return Ok(());
        }
        let near = NAMES
            .iter()
            .find(|known| strsim::jaro_winkler(known, name) > 0.8);
        let help = near.map_or_else(
            || format!("an expression sees {}", NAMES.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Err(self.fault(
            node,
            format!("there is nothing called `{name}` here"),
            &help,
        ))
    }

    fn fault(&self, node: &IdedExpr, message: String, help: &str) -> ExpressionFault {
        let start = self.program.source_info().offset_for(node.id);
        let start = start.map_or(0, |(start, _)| start as usize);
        let before: Vec<char> = self.text.chars().take(start).collect();
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
        ExpressionFault {
            line,
            column,
            message,
            help: help.to_owned(),
        }
    }
}
