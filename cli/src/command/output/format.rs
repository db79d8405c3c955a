//! `--format`: a table, JSON, or a template for each item, as in Docker.

use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

use super::Template;

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::command) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// What a template makes of each item.
    Template(&'static str),
    /// A table with the columns of a template.
    Columns(&'static str),
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table => f.write_str("table"),
            Self::Json => f.write_str("json"),
            Self::Template(text) => f.write_str(text),
            Self::Columns(text) => write!(f, "table {text}"),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (columns, template) = match text.strip_prefix("table ") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        match text {
            "table" => return Ok(Self::Table),
            "json" => return Ok(Self::Json),
            _ if !text.contains("{{") => {
                return Err("give table, json, or a Go template such as '{{.ID}}'".to_owned());
            }
            _ => {}
        }
        Template::parse(template).map_err(|problem| format!("template parsing error: {problem}"))?;
        // One for each run of the program: it may live as long as that.
        let template: &'static str = String::leak(template.to_owned());
        Ok(if columns { Self::Columns(template) } else { Self::Template(template) })
    }
}

/// Each of `items` by a template, a line each.
pub(super) fn lines(text: &str, items: &[Value], escapes: bool) -> anyhow::Result<String> {
    let template = read(text, escapes)?;
    let mut out = String::new();
    for item in items {
        out.push_str(&template.render(item).map_err(problem)?);
        out.push('\n');
    }
    Ok(out)
}

/// A table of `items` whose columns a template names, each headed by `headings` or its field's own name.
pub(super) fn columns(text: &str, items: &[Value], headings: &[(&str, &str)]) -> anyhow::Result<String> {
    let template = read(text, true)?;
    let named = |field: &str| {
        let known = headings.iter().find(|(name, _)| *name == field);
        known.map_or_else(|| field.to_uppercase(), |(_, heading)| (*heading).to_owned())
    };
    let example = items.first().cloned().unwrap_or(Value::Null);
    let mut heading = serde_json::Map::new();
    for (name, _) in headings {
        heading.insert((*name).to_owned(), named(name).into());
    }
    if let Value::Object(fields) = example {
        for name in fields.keys() {
            heading.insert(name.clone(), named(name).into());
        }
    }
    let mut rows = vec![template.render(&Value::Object(heading)).map_err(problem)?];
    for item in items {
        rows.push(template.render(item).map_err(problem)?);
    }
    let rows: Vec<Vec<&str>> = rows.iter().map(|row| row.split('\t').collect()).collect();
    Ok(aligned(&rows))
}

/// Docker's columns: at least ten wide, three blanks between them.
fn aligned(rows: &[Vec<&str>]) -> String {
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if at + 1 < row.len() {
                let widest =
                    rows.iter().filter(|row| at + 1 < row.len()).map(|row| row[at].chars().count()).max();
                let width = (widest.unwrap_or(0) + 3).max(10);
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn read(text: &str, escapes: bool) -> anyhow::Result<Template> {
    // As a shell's single quotes leave them.
    let text = if escapes { text.replace("\\t", "\t").replace("\\n", "\n") } else { text.to_owned() };
    Template::parse(&text).map_err(problem)
}

fn problem(problem: String) -> anyhow::Error {
    anyhow::anyhow!("template: {problem}")
}

/// The items of a listing with the names of fields that Docker's templates have: `image_id` is `ImageID`.
pub(super) fn items<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<Vec<Value>> {
    let items = match serde_json::to_value(value)? {
        Value::Array(items) => items,
        other => vec![other],
    };
    Ok(items.into_iter().map(renamed).collect())
}

fn renamed(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (pascal(&name), renamed(value)));
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.into_iter().map(renamed).collect(),
        other => other,
    }
}

fn pascal(name: &str) -> String {
    let word = |word: &str| match word {
        "id" | "cpu" | "ip" | "url" => word.to_uppercase(),
        _ => {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        }
    };
    name.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_read() {
        assert_eq!("table".parse(), Ok(Format::Table));
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("{{.ID}}".parse(), Ok(Format::Template("{{.ID}}")));
        assert_eq!("table {{.ID}}".parse(), Ok(Format::Columns("{{.ID}}")));
        for bad in ["", "yaml", "{{.ID", "table {{"] {
            assert!(bad.parse::<Format>().is_err(), "{bad}");
        }
    }

    #[test]
    fn items_are_lines_or_rows() {
        let items = [json!({ "ID": "1", "Names": "web" }), json!({ "ID": "23456789012", "Names": "db" })];
        assert_eq!(lines("{{.ID}}\\t{{.Names}}", &items, true).unwrap(), "1\tweb\n23456789012\tdb\n");
        assert_eq!(
            columns("{{.ID}}\\t{{.Names}}", &items, &[("ID", "SANDBOX ID")]).unwrap(),
            "SANDBOX ID    NAMES\n1             web\n23456789012   db\n"
        );
        assert!(lines("{{.Nope}}", &items, true).unwrap_err().to_string().contains("Nope"));
    }

    #[test]
    fn fields_are_named_as_dockers_are() {
        let shown = items(&json!([{ "image_id": 1, "state": { "exit_code": 2 } }])).unwrap();
        assert_eq!(shown, [json!({ "ImageID": 1, "State": { "ExitCode": 2 } })]);
    }
}
