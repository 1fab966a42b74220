//! JSON Schemas, made from the types.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::json;

use crate::config::schema::Environment;

/// The schema of `shipit.yaml`.
#[must_use]
pub fn schema() -> Schema {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Environment>()
}

/// The schema of `environments/*.yaml`: the same keys, none of them needed.
#[must_use]
pub fn environment_schema() -> Schema {
    let mut schema = schema();
    schema.insert("title".to_owned(), json!("environments/NAME.yaml"));
    schema.remove("required");
    if let Some(service) = schema
        .pointer_mut("/$defs/Service")
        .and_then(serde_json::Value::as_object_mut)
    {
        service.remove("required");
    }
    if let Some(build) = schema
        .pointer_mut("/$defs/Build")
        .and_then(serde_json::Value::as_object_mut)
    {
        build.remove("required");
    }
    schema
}
