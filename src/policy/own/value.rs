//! Documents as values of the language.

use std::collections::HashMap;

use cel::{Context, Program, Value};
use serde_json::Value as Json;

/// A document as it is. A whole number is an `int`, so that it compares with those that are written
/// in expressions.
pub(super) fn of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number.as_i64().map_or_else(
            || Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            Value::Int,
        ),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::List(items.iter().map(of).collect::<Vec<_>>().into()),
        Json::Object(fields) => {
            let fields: HashMap<String, Value> = fields
                .iter()
                .map(|(name, value)| (name.clone(), of(value)))
                .collect();
            fields.into()
        }
    }
}

/// A moment.
pub(super) fn time(json: &Json) -> Result<Value, String> {
    let text = json.as_str().unwrap_or_default();
    let wrong = || format!("`now` is no time: {text}");
    let digits = |c: char| c.is_ascii_alphanumeric() || ['-', ':', '.', '+'].contains(&c);
    if !text.chars().all(digits) {
        return Err(wrong());
    }
    let program = Program::compile(&format!("timestamp('{text}')")).map_err(|_| wrong())?;
    program.execute(&Context::default()).map_err(|_| wrong())
}
