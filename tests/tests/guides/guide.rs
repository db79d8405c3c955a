//! What a guide tells its reader to do.

use std::path::Path;

use serde_json::Value;

/// A line after `$ `, and what the guide shows as its output.
#[derive(Debug)]
pub(crate) struct GuideCommand {
    pub(crate) line: String,
    pub(crate) output: String,
}

/// A guide.
#[derive(Debug)]
pub(crate) struct Guide {
    pub(crate) commands: Vec<GuideCommand>,
    /// The arguments of `monocore` in each of the agents' settings.
    pub(crate) agents: Vec<Vec<String>>,
    /// Policies for agents.
    pub(crate) policies: Vec<String>,
}

impl Guide {
    pub(crate) fn read(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(format!("docs/guide/{name}.md"));
        let text = std::fs::read_to_string(path).unwrap();
        let mut guide = Self { commands: Vec::new(), agents: Vec::new(), policies: Vec::new() };
        for block in text.split("\n```").skip(1).step_by(2) {
            let (kind, block) = block.split_once('\n').unwrap_or((block, ""));
            match kind {
                "console" => guide.commands.extend(commands(block)),
                "json" => find_arguments(&serde_json::from_str(block).unwrap(), &mut guide.agents),
                "toml" if block.contains("[images]") => guide.policies.push(block.to_owned()),
                _ => {}
            }
        }
        guide
    }
}

fn commands(block: &str) -> Vec<GuideCommand> {
    let mut found: Vec<GuideCommand> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(line), _) => found.push(GuideCommand { line: line.to_owned(), output: String::new() }),
            (None, Some(command)) => command.output.extend([line, "\n"]),
            (None, None) => panic!("output without a command: {line}"),
        }
    }
    found
}

fn find_arguments(value: &Value, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(object) if object.get("command") == Some(&Value::from("monocore")) => {
            found.push(serde_json::from_value(object["args"].clone()).unwrap());
        }
        Value::Object(object) => object.values().for_each(|value| find_arguments(value, found)),
        _ => {}
    }
}
