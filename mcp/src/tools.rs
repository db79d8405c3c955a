//! The tools: names, descriptions and schemas as agents read them, and what they do.

mod commands;
mod create;
mod files;
mod host_files;
mod images;
mod life;
mod projects;
mod show;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use rmcp::handler::server::tool::schema_for_input;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::arguments;
use crate::error::ToolError;
use crate::work::Call;

/// The most tools: each of them costs every conversation its description.
#[cfg(test)]
const MOST: usize = 20;

type Answer = Pin<Box<dyn Future<Output = Result<String, ToolError>> + Send>>;

/// One tool.
pub(crate) struct McpTool {
    pub(crate) name: &'static str,
    title: &'static str,
    description: &'static str,
    kind: Kind,
    pub(crate) schema: Arc<JsonObject>,
    read: Box<dyn Fn(&JsonObject, JsonObject) -> Result<Prepared, ToolError> + Send + Sync>,
}

/// A call whose arguments are read; what is left of them is bounded by the schema.
pub(crate) type Prepared = Box<dyn FnOnce(Call) -> Answer + Send>;

/// What a tool does to the world, as hints for clients.
#[derive(Clone, Copy)]
enum Kind {
    /// Only looks.
    Reads,
    /// Adds or changes something that can be made again.
    Changes,
    /// May lose something.
    Destroys,
    /// Runs code, which may reach the network.
    Runs,
}

impl McpTool {
    fn new<A, F>(
        name: &'static str,
        title: &'static str,
        kind: Kind,
        description: &'static str,
        run: fn(Call, A) -> F,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Future<Output = Result<String, ToolError>> + Send + 'static,
    {
        let schema = schema_for_input::<A>().unwrap_or_else(|problem| panic!("{name}: {problem}"));
        Self {
            name,
            title,
            description,
            kind,
            schema,
            read: Box::new(move |schema, arguments| {
                let arguments = arguments::read::<A>(schema, arguments)?;
                Ok(Box::new(move |call| Box::pin(run(call, arguments))))
            }),
        }
    }

    /// The tool as clients see it.
    pub(crate) fn describe(&self) -> Tool {
        let hints = ToolAnnotations::with_title(self.title);
        let hints = match self.kind {
            Kind::Reads => hints.read_only(true).idempotent(true).open_world(false),
            Kind::Changes => hints.read_only(false).destructive(false).open_world(false),
            Kind::Destroys => hints.read_only(false).destructive(true).open_world(false),
            Kind::Runs => hints.read_only(false).destructive(false).open_world(true),
        };
        Tool::new(self.name, self.description, Arc::clone(&self.schema))
            .with_title(self.title)
            .with_annotations(hints)
    }

    /// Reads the arguments of a call.
    ///
    /// # Errors
    /// One of them is missing, unknown or out of its bounds.
    pub(crate) fn prepare(&self, arguments: JsonObject) -> Result<Prepared, ToolError> {
        (self.read)(&self.schema, arguments)
    }
}

static ALL: LazyLock<Vec<McpTool>> = LazyLock::new(|| {
    let mut tools = commands::tools();
    tools.extend(create::tools());
    tools.extend(files::tools());
    tools.extend(host_files::tools());
    tools.extend(life::tools());
    tools.extend(show::tools());
    tools.extend(images::tools());
    tools.extend(projects::tools());
    tools
});

/// All tools.
pub(crate) fn all() -> &'static [McpTool] {
    &ALL
}

/// The text as JSON on one line for each member of a list, which models read well and cheaply.
fn lines<T: serde::Serialize>(items: &[T], nothing: &str) -> Result<String, ToolError> {
    if items.is_empty() {
        return Ok(nothing.to_owned());
    }
    let texts = items.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    texts.map(|texts| texts.join("\n")).map_err(|error| ToolError::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Every object of a schema.
    fn objects<'a>(schema: &'a Value, found: &mut Vec<&'a Value>) {
        match schema {
            Value::Object(fields) => {
                if schema["type"] == "object" {
                    found.push(schema);
                }
                fields.values().for_each(|field| objects(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| objects(item, found)),
            _ => {}
        }
    }

    #[test]
    fn tools_are_few_and_described() {
        let names: BTreeSet<_> = all().iter().map(|tool| tool.name).collect();
        assert_eq!(names.len(), all().len());
        assert!(all().len() <= MOST, "{}", all().len());
        for tool in all() {
            let length = tool.description.len();
            assert!((40..900).contains(&length), "{}: {length} bytes", tool.name);
        }
    }

    #[test]
    fn schemas_are_tight() {
        for tool in all() {
            let schema = Value::Object((*tool.schema).clone());
            let mut found = Vec::new();
            objects(&schema, &mut found);
            for object in found {
                let is_map = object["additionalProperties"].is_object();
                assert!(is_map || object["additionalProperties"] == false, "{}: {object}", tool.name);
                for (name, field) in object["properties"].as_object().into_iter().flatten() {
                    let text = field.to_string();
                    assert!(text.contains("\"description\""), "{}.{name} is not described", tool.name);
                    let is_text = field["type"] == "string" || text.contains("[\"string\",\"null\"]");
                    assert!(!is_text || text.contains("maxLength"), "{}.{name} has no bound", tool.name);
                    let is_list = field["type"] == "array" || text.contains("[\"array\",\"null\"]");
                    assert!(!is_list || text.contains("maxItems"), "{}.{name} has no bound", tool.name);
                    let is_number = text.contains("\"integer\"");
                    assert!(!is_number || text.contains("maximum"), "{}.{name} has no bound", tool.name);
                }
            }
        }
    }
}
