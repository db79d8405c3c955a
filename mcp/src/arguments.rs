//! Arguments of tools: judged by the very schema that clients see, then read into their types.

use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ToolError;

/// Schemas refer to each other no deeper than this.
const MAX_DEPTH: usize = 16;

/// Reads the arguments of a tool with this schema.
///
/// # Errors
/// A value is missing, unknown, of a wrong type or out of its bounds; the error names it.
pub(crate) fn read<T: DeserializeOwned>(schema: &JsonObject, arguments: JsonObject) -> Result<T, ToolError> {
    let value = Value::Object(arguments);
    check(&Value::Object(schema.clone()), schema, &value, "", 0)?;
    serde_json::from_value(value).map_err(|error| ToolError::new(error.to_string()))
}

/// Judges the bounds of `value`. Types and names are judged when it is read.
fn check(schema: &Value, root: &JsonObject, value: &Value, at: &str, depth: usize) -> Result<(), ToolError> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    let below = |schema: &Value, value: &Value, at: &str| check(schema, root, value, at, depth + 1);
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return root.get("$defs").map_or(Ok(()), |defs| below(&defs[name], value, at));
    }
    // An optional type is a choice between it and null.
    for one in schema["anyOf"].as_array().into_iter().flatten() {
        if !value.is_null() && one["type"] != "null" {
            below(one, value, at)?;
        }
    }
    bounds(schema, value, at)?;
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| below(&schema["items"], item, &format!("{at}[{index}]"))),
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            let known = &schema["properties"][name];
            let known = if known.is_null() { &schema["additionalProperties"] } else { known };
            let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            below(known, field, &at)
        }),
        _ => Ok(()),
    }
}

fn bounds(schema: &Value, value: &Value, at: &str) -> Result<(), ToolError> {
    let limit = |name: &str| schema[name].as_f64();
    let judge = |measured: f64, what: &str, least: &str, most: &str| match (limit(least), limit(most)) {
        (Some(least), _) if measured < least => {
            Err(ToolError::value(at, format!("{measured}{what} is less than {least}")))
        }
        (_, Some(most)) if measured > most => {
            Err(ToolError::value(at, format!("{measured}{what} is more than {most}")))
        }
        _ => Ok(()),
    };
    #[allow(clippy::cast_precision_loss, reason = "lengths of a bounded message")]
    match value {
        Value::Number(number) => judge(number.as_f64().unwrap_or(0.0), "", "minimum", "maximum"),
        Value::String(text) => judge(text.chars().count() as f64, " characters", "minLength", "maxLength"),
        Value::Array(items) => judge(items.len() as f64, " items", "minItems", "maxItems"),
        Value::Object(fields) => judge(fields.len() as f64, " entries", "minProperties", "maxProperties"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read by serde")]
    struct Inner {
        #[schemars(length(min = 1))]
        text: String,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read by serde")]
    struct Arguments {
        #[schemars(range(min = 1, max = 5))]
        count: Option<u32>,
        #[serde(default)]
        #[schemars(length(max = 2), inner(length(max = 3)))]
        words: Vec<String>,
        inner: Option<Inner>,
        #[serde(default)]
        #[schemars(extend("maxProperties" = 1))]
        env: BTreeMap<String, String>,
    }

    fn judge(value: Value) -> Result<Arguments, String> {
        let schema = rmcp::handler::server::tool::schema_for_input::<Arguments>().unwrap();
        let Value::Object(arguments) = value else { panic!() };
        read(&schema, arguments).map_err(|error| error.0)
    }

    #[test]
    fn bounds_of_the_schema_are_kept() {
        assert_eq!(judge(json!({"count": 5, "words": ["a", "b"]})).unwrap().count, Some(5));
        assert!(judge(json!({"count": null})).is_ok());
        let cases = [
            (json!({"count": 6}), "count: 6 is more than 5"),
            (json!({"count": 0}), "count: 0 is less than 1"),
            (json!({"words": ["a", "b", "c"]}), "words: 3 items is more than 2"),
            (json!({"words": ["abcd"]}), "words[0]: 4 characters is more than 3"),
            (json!({"inner": {"text": ""}}), "inner.text: 0 characters is less than 1"),
            (json!({"env": {"a": "b", "c": "d"}}), "env: 2 entries is more than 1"),
            (json!({"bogus": 1}), "unknown field `bogus`, expected one of `count`, `words`, `inner`, `env`"),
            (json!({"inner": {"text": "a", "x": 1}}), "unknown field `x`, expected `text`"),
        ];
        for (value, expected) in cases {
            assert_eq!(judge(value.clone()).unwrap_err(), expected, "{value}");
        }
        assert!(judge(json!({"count": "5"})).is_err() && judge(json!({"inner": []})).is_err());
    }
}
