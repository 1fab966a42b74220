//! JSON Schemas, made from the types.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::config::kinds;
use crate::config::project_keys::OF_THE_PROJECT;
use crate::config::schema::EnvironmentConfig;

/// The schema of `shipit.yaml`.
#[must_use]
pub fn schema() -> Schema {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<EnvironmentConfig>()
}

/// The schema of `environments/*.yaml`: the same keys but the project's own, none of them needed,
/// for the project may have them.
#[must_use]
pub fn environment_schema() -> Schema {
    let mut schema = schema();
    schema.insert("title".to_owned(), json!("environments/NAME.yaml"));
    schema.remove("required");
    let properties = schema.pointer_mut("/properties");
    if let Some(properties) = properties.and_then(Value::as_object_mut) {
        properties.retain(|key, _| !OF_THE_PROJECT.contains(&key.as_str()));
    }

    let definitions = schema.pointer_mut("/$defs").and_then(Value::as_object_mut);
    for (name, definition) in definitions.into_iter().flatten() {
        if let Some(service) = definition
            .as_object_mut()
            .filter(|_| name == "ServiceConfig")
        {
            service.remove("required");
        }
        kinds::lay_over(definition);
    }
    schema
}
