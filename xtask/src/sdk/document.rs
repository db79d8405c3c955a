//! The API's types, read from `api/openapi.json`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::project;

/// Where the document lies in the checkout.
pub(super) const DOCUMENT: &str = "api/openapi.json";

/// A named type.
pub(super) struct Model {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) shape: Shape,
}

/// What a named type is.
pub(super) enum Shape {
    /// One of these words.
    Words(Vec<String>),
    /// Another name for a type.
    Alias(Type),
    /// What a client sends: unknown fields are refused, absent ones have defaults.
    Request(Vec<Field>),
    /// What the server sends: new fields may come.
    Answer(Vec<Field>),
    /// One of several objects, told apart by the word in the field `tag`.
    Tagged { tag: String, variants: Vec<Variant>, is_request: bool },
}

/// A field of an object.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) of: Type,
    pub(super) is_required: bool,
}

/// One of the objects of a tagged type.
pub(super) struct Variant {
    pub(super) word: String,
    pub(super) fields: Vec<Field>,
}

/// A type in a field.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Integer,
    Boolean,
    Anything,
    TextOrInteger,
    List(Box<Type>),
    /// Keys are texts.
    Table(Box<Type>),
    Named(String),
    Words(Vec<String>),
}

/// The types of the committed document, by name.
pub(super) fn read() -> Result<Vec<Model>> {
    let path = project::root().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text)
}

pub(super) fn parse(text: &str) -> Result<Vec<Model>> {
    let document: Value = serde_json::from_str(text).context("the document is not JSON")?;
    let schemas = document["components"]["schemas"].as_object().context("the document has no schemas")?;
    schemas.iter().map(|(name, schema)| model(name, schema, schemas)).collect()
}

fn model(name: &str, schema: &Value, all: &Map<String, Value>) -> Result<Model> {
    let shape = shape(schema, all).with_context(|| format!("the type {name}"))?;
    Ok(Model { name: name.to_owned(), doc: doc(schema), shape })
}

fn shape(schema: &Value, all: &Map<String, Value>) -> Result<Shape> {
    if let Some(words) = words(schema) {
        return Ok(Shape::Words(words));
    }
    let is_request = schema["additionalProperties"] == Value::Bool(false);
    if schema.get("properties").is_some() || schema.get("allOf").is_some() {
        let fields = fields(schema, all)?;
        return Ok(if is_request { Shape::Request(fields) } else { Shape::Answer(fields) });
    }
    if let Some(variants) = schema["oneOf"].as_array()
        && let Some(tag) = variants.first().and_then(|first| tag_of(first, all))
    {
        let read = |one: &Value| variant(one, &tag, all);
        let variants = variants.iter().map(read).collect::<Result<Vec<_>>>()?;
        // What a client says is named so.
        let is_request = schema["description"].as_str().is_some_and(|text| text.starts_with("What a client"));
        return Ok(Shape::Tagged { tag, variants, is_request });
    }
    Ok(Shape::Alias(of(schema)?))
}

/// The name of the field that has exactly one word.
fn tag_of(variant: &Value, all: &Map<String, Value>) -> Option<String> {
    let fields = fields(variant, all).ok()?;
    let tag = fields.into_iter().find(|field| matches!(&field.of, Type::Words(words) if words.len() == 1));
    tag.map(|field| field.name)
}

fn variant(schema: &Value, tag: &str, all: &Map<String, Value>) -> Result<Variant> {
    let (tags, fields): (Vec<_>, Vec<_>) =
        fields(schema, all)?.into_iter().partition(|field| field.name == tag);
    match tags.as_slice() {
        [Field { of: Type::Words(words), .. }] if words.len() == 1 => {
            Ok(Variant { word: words[0].clone(), fields })
        }
        _ => bail!("a variant has no {tag}"),
    }
}

/// All fields, those of the parts included.
fn fields(schema: &Value, all: &Map<String, Value>) -> Result<Vec<Field>> {
    let mut found = BTreeMap::new();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let part = match part["$ref"].as_str() {
            Some(reference) => all.get(named(reference)).context("a part that is not there")?,
            None => part,
        };
        found.extend(fields(part, all)?.into_iter().map(|field| (field.name.clone(), field)));
    }
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, value) in schema["properties"].as_object().into_iter().flatten() {
        let of = of(value).with_context(|| format!("the field {name}"))?;
        let is_required = required.contains(&name.as_str());
        found.insert(name.clone(), Field { name: name.clone(), doc: doc(value), of, is_required });
    }
    Ok(found.into_values().collect())
}

fn of(schema: &Value) -> Result<Type> {
    if let Some(reference) = schema["$ref"].as_str() {
        return Ok(Type::Named(named(reference).to_owned()));
    }
    if let Some(words) = words(schema) {
        return Ok(Type::Words(words));
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let types = choices.iter().filter(|one| one["type"] != "null").map(of).collect::<Result<Vec<_>>>()?;
        return match types.as_slice() {
            [one] => Ok(one.clone()),
            [Type::Integer, Type::Text] => Ok(Type::TextOrInteger),
            _ => bail!("a choice between types that no rule covers"),
        };
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        kind => kind.as_str(),
    };
    match kind {
        Some("string") => Ok(Type::Text),
        Some("integer") => Ok(Type::Integer),
        Some("boolean") => Ok(Type::Boolean),
        Some("array") => Ok(Type::List(Box::new(of(&schema["items"])?))),
        Some("object") => match &schema["additionalProperties"] {
            Value::Null => Ok(Type::Table(Box::new(Type::Anything))),
            values => Ok(Type::Table(Box::new(of(values)?))),
        },
        None => Ok(Type::Anything),
        Some(other) => bail!("no rule for the type {other}"),
    }
}

fn words(schema: &Value) -> Option<Vec<String>> {
    let words = schema["enum"].as_array()?;
    Some(words.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn named(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}

/// The description, where a choice has it at one of its parts.
fn doc(schema: &Value) -> String {
    let own = schema["description"].as_str();
    let of_part = || schema["oneOf"].as_array()?.iter().find_map(|one| one["description"].as_str());
    own.or_else(of_part).unwrap_or_default().replace('\n', " ").replace("[`", "`").replace("`]", "`")
}

/// A text in lines of at most `width` characters.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
