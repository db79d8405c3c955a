//! From [`Node`]s and a value to text.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

use super::{Node, Operand, Pipeline};

type Variables = BTreeMap<String, Value>;

pub(super) fn render(nodes: &[Node], value: &Value) -> Result<String, String> {
    let mut out = String::new();
    let mut variables = Variables::from([("$".to_owned(), value.clone())]);
    show(nodes, value, &mut variables, &mut out)?;
    Ok(out)
}

fn show(nodes: &[Node], dot: &Value, variables: &mut Variables, out: &mut String) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Show(pipeline) => out.push_str(&text(&evaluate(pipeline, dot, variables)?)),
            Node::Set(name, pipeline) => {
                let value = evaluate(pipeline, dot, variables)?;
                variables.insert(format!("${name}"), value);
            }
            Node::If(branches) => {
                for (condition, body) in branches {
                    let holds = match condition {
                        Some(pipeline) => is_true(&evaluate(pipeline, dot, variables)?),
                        None => true,
                    };
                    if holds {
                        show(body, dot, &mut variables.clone(), out)?;
                        break;
                    }
                }
            }
            Node::With(pipeline, body, otherwise) => {
                let value = evaluate(pipeline, dot, variables)?;
                let (body, dot) = if is_true(&value) { (body, &value) } else { (otherwise, dot) };
                show(body, dot, &mut variables.clone(), out)?;
            }
            Node::Range { key, item, over, body, otherwise } => {
                let items = items(evaluate(over, dot, variables)?)?;
                if items.is_empty() {
                    show(otherwise, dot, &mut variables.clone(), out)?;
                }
                for (name, value) in items {
                    let mut inner = variables.clone();
                    if let Some(key) = key {
                        inner.insert(format!("${key}"), name);
                    }
                    if let Some(item) = item {
                        inner.insert(format!("${item}"), value.clone());
                    }
                    show(body, &value, &mut inner, out)?;
                }
            }
        }
    }
    Ok(())
}

fn items(value: Value) -> Result<Vec<(Value, Value)>, String> {
    match value {
        Value::Array(items) => Ok((0_u64..).map(Value::from).zip(items).collect()),
        Value::Object(items) => Ok(items.into_iter().map(|(key, item)| (key.into(), item)).collect()),
        Value::Null => Ok(Vec::new()),
        other => Err(format!("range can't iterate over {}", text(&other))),
    }
}

fn evaluate(pipeline: &Pipeline, dot: &Value, variables: &Variables) -> Result<Value, String> {
    let mut result = None;
    for call in pipeline {
        let Some((first, rest)) = call.split_first() else { continue };
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(match operand {
                Operand::Function(name) => function(name, &[])?,
                other => self::operand(other, dot, variables)?,
            });
        }
        arguments.extend(result.take());
        result = Some(match first {
            Operand::Function(name) => function(name, &arguments)?,
            // `.Label "key"`: the one method with an argument that listings have.
            Operand::Fields(of, fields)
                if fields.last().is_some_and(|last| last == "Label") && arguments.len() == 1 =>
            {
                let (_, above) = fields.split_last().unwrap_or((&fields[0], &[]));
                let labels = [above, &["Labels".to_owned()]].concat();
                label(
                    &self::operand(&Operand::Fields(of.clone(), labels), dot, variables)?,
                    &text(&arguments[0]),
                )
            }
            other if arguments.is_empty() => operand(other, dot, variables)?,
            _ => return Err("can't give argument to non-function".to_owned()),
        });
    }
    result.ok_or_else(|| "missing value for command".to_owned())
}

/// A label's value: labels are a map, or text as listings show them.
fn label(labels: &Value, name: &str) -> Value {
    match labels {
        Value::Object(map) => map.get(name).cloned().unwrap_or_else(|| "".into()),
        Value::String(text) => {
            let found = text.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_default().into()
        }
        _ => "".into(),
    }
}

fn operand(operand: &Operand, dot: &Value, variables: &Variables) -> Result<Value, String> {
    match operand {
        Operand::Literal(value) => Ok(value.clone()),
        Operand::Function(name) => function(name, &[]),
        Operand::Fields(variable, fields) if variable.is_empty() => field(dot, fields),
        Operand::Fields(variable, fields) => {
            let value = variables.get(variable).ok_or_else(|| format!("undefined variable {variable:?}"))?;
            field(value, fields)
        }
        Operand::Inner(pipeline, fields) => field(&evaluate(pipeline, dot, variables)?, fields),
    }
}

fn field(value: &Value, fields: &[String]) -> Result<Value, String> {
    let mut value = value;
    for name in fields {
        value = match value {
            Value::Object(map) => map.get(name),
            _ => None,
        }
        .ok_or_else(|| format!("at <.{}>: can't evaluate field {name}", fields.join(".")))?;
    }
    Ok(value.clone())
}

fn function(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let number =
        |value: &Value| value.as_f64().ok_or_else(|| format!("{name}: not a number: {}", text(value)));
    let count = |value: &Value| {
        value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| format!("{name}: not a count"))
    };
    Ok(match (name, arguments) {
        ("json", [value]) => serde_json::to_string(value).map_err(|error| error.to_string())?.into(),
        ("join", [Value::Array(items), separator]) => {
            items.iter().map(text).collect::<Vec<_>>().join(&text(separator)).into()
        }
        ("join", [Value::Null, _]) => "".into(),
        ("split", [whole, separator]) => {
            text(whole).split(&text(separator)).map(Value::from).collect::<Vec<_>>().into()
        }
        ("upper", [value]) => text(value).to_uppercase().into(),
        ("lower", [value]) => text(value).to_lowercase().into(),
        ("title", [value]) => title(&text(value)).into(),
        ("println", values) => {
            let words: Vec<_> = values.iter().map(text).collect();
            format!("{}\n", words.join(" ")).into()
        }
        ("print", values) => values.iter().map(text).collect::<String>().into(),
        ("printf", [format, values @ ..]) => printf(&text(format), values).into(),
        ("len", [value]) => length(value)?.into(),
        ("truncate", [value, most]) => text(value).chars().take(count(most)?).collect::<String>().into(),
        ("pad", [value, left, right]) => {
            let blanks = |n: &Value| count(n).map(|n| " ".repeat(n.min(4096)));
            format!("{}{}{}", blanks(left)?, text(value), blanks(right)?).into()
        }
        ("index", [value, keys @ ..]) => index(value, keys)?,
        ("not", [value]) => (!is_true(value)).into(),
        ("and", [first, rest @ ..]) => {
            rest.iter().fold(first, |held, next| if is_true(held) { next } else { held }).clone()
        }
        ("or", [first, rest @ ..]) => {
            rest.iter().fold(first, |held, next| if is_true(held) { held } else { next }).clone()
        }
        ("eq", [first, rest @ ..]) if !rest.is_empty() => rest.iter().any(|other| same(first, other)).into(),
        ("ne", [a, b]) => (!same(a, b)).into(),
        ("lt" | "le" | "gt" | "ge", [a, b]) => {
            let order = match (a, b) {
                (Value::String(a), Value::String(b)) => a.cmp(b),
                _ => number(a)?.partial_cmp(&number(b)?).unwrap_or(Ordering::Equal),
            };
            match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }
            .into()
        }
        (
            "json" | "join" | "split" | "upper" | "lower" | "title" | "printf" | "len" | "truncate" | "pad"
            | "index" | "not" | "and" | "or" | "eq" | "ne" | "lt" | "le" | "gt" | "ge",
            given,
        ) => return Err(format!("wrong number of args for {name}, or of a wrong kind: {}", given.len())),
        _ => return Err(format!("function {name:?} not defined")),
    })
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            // A key that a map lacks has the empty value.
            (Value::Object(map), Value::String(key)) => map.get(key).cloned().unwrap_or_else(|| "".into()),
            (Value::Array(items), key) => {
                let at = key.as_u64().and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| items.get(at))
                    .cloned()
                    .ok_or_else(|| format!("index out of range: {}", text(key)))?
            }
            (other, _) => return Err(format!("can't index item of {}", text(other))),
        };
    }
    Ok(value)
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(items) => Ok(items.len()),
        other => Err(format!("len of {}", text(other))),
    }
}

fn title(text: &str) -> String {
    let mut begins = true;
    text.chars()
        .map(|c| {
            let c = if begins { c.to_ascii_uppercase() } else { c };
            begins = c.is_whitespace();
            c
        })
        .collect()
}

fn printf(format: &str, values: &[Value]) -> String {
    let mut values = values.iter();
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match (c, c == '%') {
            (_, false) => out.push(c),
            _ => match chars.next() {
                Some('%') => out.push('%'),
                Some(verb) => match values.next() {
                    Some(value) if verb == 'q' => out.push_str(&format!("{:?}", text(value))),
                    Some(value) => out.push_str(&text(value)),
                    None => out.push_str(&format!("%!{verb}(MISSING)")),
                },
                None => out.push_str("%!(NOVERB)"),
            },
        }
    }
    out
}

/// Go's notion of truth: not the empty value of its kind.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(items) => !items.is_empty(),
    }
}

/// A value as Go prints it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(items) => {
            let pairs: Vec<_> = items.iter().map(|(key, item)| format!("{key}:{}", text(item))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}
