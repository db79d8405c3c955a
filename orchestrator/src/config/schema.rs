//! The JSON schema of `monocore.toml`, for editors and for other programs.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Monocore;

/// Keys of a service that take one text as well as a list.
const ONE_OR_MANY: [&str; 17] = [
    "group",
    "args",
    "entrypoint",
    "ports",
    "volumes",
    "mounts",
    "tmpfs",
    "envs",
    "group_envs",
    "profiles",
    "extra_hosts",
    "dns",
    "dns_search",
    "aliases",
    "links",
    "ulimits",
    "env_file",
];
/// Durations: a text with units, or seconds.
const DURATIONS: [&str; 4] = ["stop_grace_period", "timeout", "idle_timeout", "max_duration"];

/// The schema (JSON Schema 2020-12) of the keys that TOML, YAML and JSON share.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Monocore>().to_value();
    schema["title"] = json!("monocore.toml");
    schema["properties"]["include"] = json!({
        "description": "Other project files whose services become a part of this project.",
        "$ref": "#/$defs/texts",
    });
    schema["$defs"]["texts"] = json!({
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
    });
    schema["$defs"]["ports"] = json!({
        "anyOf": [
            { "type": ["string", "integer"] },
            { "type": "array", "items": { "type": ["string", "integer"] } },
        ],
    });
    schema["$defs"]["duration"] = json!({
        "description": "A duration such as 30s, 1m30s or 500ms; a number is seconds.",
        "type": ["string", "integer"],
    });
    schema["$defs"]["table"] = json!({
        "anyOf": [
            { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } },
            { "type": "array", "items": { "type": "string" } },
        ],
    });
    service(&mut schema["$defs"]["Service"]);
    for key in ["interval", "timeout", "start_period", "start_interval"] {
        replace(&mut schema["$defs"]["Healthcheck"]["properties"], key, "#/$defs/duration");
    }
    replace(&mut schema["$defs"]["Healthcheck"]["properties"], "test", "#/$defs/texts");
    schema["$defs"]["Healthcheck"]["properties"]["disable"] = json!({ "type": "boolean" });
    for key in ["allow", "deny"] {
        replace(&mut schema["$defs"]["NetworkConfig"]["properties"], key, "#/$defs/texts");
    }
    for key in ["ignore", "include"] {
        replace(&mut schema["$defs"]["WatchRule"]["properties"], key, "#/$defs/texts");
    }
    schema["$defs"]["WatchRule"]["required"] = json!(["path"]);
    schema["$defs"]["Service"]["required"] = json!(["name"]);
    for (name, required) in [
        ("Group", json!(["name"])),
        ("GroupVolume", json!(["name", "path"])),
        ("GroupEnv", json!(["name"])),
        ("NamedVolume", json!(["name"])),
        ("Secret", json!(["name", "file"])),
    ] {
        schema["$defs"][name]["required"] = required;
    }
    close(&mut schema);
    if let Some(Value::Object(all)) = schema.get_mut("$defs") {
        for (_, each) in all.iter_mut().filter(|(_, each)| each.get("properties").is_some()) {
            close(each);
        }
    }
    schema
}

/// What a service takes besides the shape in which the model is written.
fn service(schema: &mut Value) {
    let properties = &mut schema["properties"];
    for key in ONE_OR_MANY {
        replace(properties, key, "#/$defs/texts");
    }
    for key in DURATIONS {
        replace(properties, key, "#/$defs/duration");
    }
    for key in ["labels", "scripts"] {
        replace(properties, key, "#/$defs/table");
    }
    properties["port"] = properties["ports"].clone();
    properties["ports"]["$ref"] = json!("#/$defs/ports");
    properties["port"]["$ref"] = json!("#/$defs/ports");
    properties["cpus"]["type"] = json!(["integer", "number", "string"]);
    properties["ram"]["type"] = json!(["integer", "string"]);
    let any = |description: &Value, shapes: Value| json!({ "description": description, "anyOf": shapes });
    let texts = json!({ "$ref": "#/$defs/texts" });
    let table = json!({ "$ref": "#/$defs/table" });
    properties["envs"] = any(&properties["envs"]["description"].clone(), json!([texts, table]));
    properties["env_file"] = any(
        &properties["env_file"]["description"].clone(),
        json!([texts, { "type": "array", "items": { "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/EnvFile" }] } }]),
    );
    properties["depends_on"] = any(
        &properties["depends_on"]["description"].clone(),
        json!([texts, { "type": "object", "additionalProperties": {
            "anyOf": [{ "enum": ["started", "healthy", "completed"] }, { "$ref": "#/$defs/DependsOn" }],
        } }]),
    );
    properties["network"] = any(
        &properties["network"]["description"].clone(),
        json!([{ "type": "string" }, { "$ref": "#/$defs/NetworkConfig" }]),
    );
    properties["secrets"] = any(
        &properties["secrets"]["description"].clone(),
        json!([{ "type": "array", "items": { "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/SecretMount" }] } }]),
    );
    properties["extends"] = json!({
        "description": "Another service, of this file or a second one, that this one begins with.",
        "anyOf": [{ "type": "string" }, {
            "type": "object",
            "properties": { "service": { "type": "string" }, "file": { "type": "string" } },
            "required": ["service"],
        }],
    });
}

/// Another shape under the same description.
fn replace(properties: &mut Value, key: &str, shape: &str) {
    let mut property = Map::new();
    if let Some(description) = properties[key].get("description") {
        property.insert("description".into(), description.clone());
    }
    property.insert("$ref".into(), shape.into());
    properties[key] = Value::Object(property);
}

/// Nothing but its keys, and the user's own.
fn close(schema: &mut Value) {
    schema["additionalProperties"] = json!(false);
    schema["patternProperties"] = json!({ "^x-": true });
}
