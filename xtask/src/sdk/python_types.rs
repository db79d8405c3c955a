//! The API's types in Python: what is sent as `TypedDict`, what is received as data classes.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::document::{Field, Model, Shape, Type, wrapped};

const HEAD: &str = r#""""Types of the API. Made by `cargo xtask sdk --write` from api/openapi.json; do not edit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Required, TypeAlias, TypedDict
"#;

/// Names of the types that have `from_json`.
type Classes = BTreeSet<String>;

/// The module's text.
pub(super) fn module(models: &[Model]) -> String {
    let is_answer = |model: &&Model| match &model.shape {
        Shape::Answer(_) => true,
        Shape::Tagged { is_request, .. } => !is_request,
        _ => false,
    };
    let classes: Classes = models.iter().filter(is_answer).map(|model| model.name.clone()).collect();
    let mut out = HEAD.to_owned();
    let names: Vec<String> = models.iter().map(|model| format!("    \"{}\",\n", model.name)).collect();
    let _ = write!(out, "\n__all__ = [\n{}]\n", names.concat());
    // Aliases are evaluated when the module is loaded.
    let (aliases, objects): (Vec<_>, Vec<_>) =
        models.iter().partition(|model| matches!(model.shape, Shape::Words(_) | Shape::Alias(_)));
    for model in aliases.into_iter().chain(objects) {
        out.push('\n');
        put(&mut out, model, &classes);
    }
    out
}

fn put(out: &mut String, model: &Model, classes: &Classes) {
    match &model.shape {
        Shape::Words(words) => alias(out, model, &literal(words)),
        Shape::Alias(of) => alias(out, model, &name(of)),
        Shape::Request(fields) => request(out, model, fields),
        Shape::Answer(fields) => answer(out, model, fields, classes),
        Shape::Tagged { tag, variants, is_request } => {
            let words = variants.iter().map(|variant| variant.word.clone()).collect();
            let kind = Field {
                name: tag.clone(),
                doc: "Tells which of the other fields are there.".to_owned(),
                of: Type::Words(words),
                is_required: true,
            };
            let mut fields = vec![kind];
            for field in variants.iter().flat_map(|variant| &variant.fields) {
                if fields.iter().all(|known| known.name != field.name) {
                    fields.push(Field { is_required: false, ..field.clone() });
                }
            }
            if *is_request { request(out, model, &fields) } else { answer(out, model, &fields, classes) }
        }
    }
}

fn alias(out: &mut String, model: &Model, value: &str) {
    let line = format!("{}: TypeAlias = {value}", model.name);
    if line.len() <= 100 {
        let _ = writeln!(out, "{line}");
    } else {
        let inner = value.trim_start_matches("Literal[").trim_end_matches(']');
        let lines: Vec<String> = inner.split(", ").map(|word| format!("    {word},\n")).collect();
        let _ = writeln!(out, "{}: TypeAlias = Literal[\n{}]", model.name, lines.concat());
    }
    docstring(out, &model.doc, "");
}

fn request(out: &mut String, model: &Model, fields: &[Field]) {
    let _ = writeln!(out, "\nclass {}(TypedDict, total=False):", model.name);
    docstring(out, &model.doc, "    ");
    for field in fields {
        let of = name(&field.of);
        let of = if field.is_required { format!("Required[{of}]") } else { of };
        let _ = writeln!(out, "\n    {}: {of}", field.name);
        docstring(out, &field.doc, "    ");
    }
    out.push('\n');
}

fn answer(out: &mut String, model: &Model, fields: &[Field], classes: &Classes) {
    let _ = writeln!(out, "\n@dataclass(frozen=True, kw_only=True, slots=True)\nclass {}:", model.name);
    docstring(out, &model.doc, "    ");
    for field in fields {
        let of = name(&field.of);
        let of = if field.is_required { of } else { format!("{of} | None = None") };
        let _ = writeln!(out, "\n    {}: {of}", field.name);
        docstring(out, &field.doc, "    ");
    }
    let _ = writeln!(out, "\n    @classmethod\n    def from_json(cls, value: Any) -> {}:", model.name);
    let _ = writeln!(out, "        \"\"\"Reads an answer of the server.\"\"\"\n        return cls(");
    for field in fields {
        let _ = writeln!(out, "            {}={},", field.name, read(field, classes));
    }
    out.push_str("        )\n\n");
}

fn read(field: &Field, classes: &Classes) -> String {
    let key = format!("value[\"{}\"]", field.name);
    if field.is_required {
        return convert(&field.of, &key, classes);
    }
    let got = format!("value.get(\"{}\")", field.name);
    match convert(&field.of, &key, classes) {
        plain if plain == key => got,
        made => format!("None if {got} is None else {made}"),
    }
}

fn convert(of: &Type, value: &str, classes: &Classes) -> String {
    match of {
        Type::Named(name) if classes.contains(name) => format!("{name}.from_json({value})"),
        Type::List(of) => match convert(of, "one", classes) {
            plain if plain == "one" => value.to_owned(),
            made => format!("[{made} for one in {value}]"),
        },
        _ => value.to_owned(),
    }
}

fn name(of: &Type) -> String {
    match of {
        Type::Text => "str".to_owned(),
        Type::Integer => "int".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::Anything => "Any".to_owned(),
        Type::TextOrInteger => "int | str".to_owned(),
        Type::List(of) => format!("list[{}]", name(of)),
        Type::Table(of) => format!("dict[str, {}]", name(of)),
        Type::Named(name) => name.clone(),
        Type::Words(words) => literal(words),
    }
}

fn literal(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("Literal[{}]", words.join(", "))
}

fn docstring(out: &mut String, text: &str, indent: &str) {
    if text.is_empty() {
        return;
    }
    let text = text.replace('\\', "\\\\").replace('"', "'");
    let lines = wrapped(&text, 94 - indent.len());
    let _ = match lines.as_slice() {
        [line] => writeln!(out, "{indent}\"\"\"{line}\"\"\""),
        lines => writeln!(out, "{indent}\"\"\"{}\n{indent}\"\"\"", lines.join(&format!("\n{indent}"))),
    };
}
