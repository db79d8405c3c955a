//! The API's types in TypeScript: interfaces with the names of the wire.

use std::fmt::Write;

use super::document::{Field, Model, Shape, Type, wrapped};

const HEAD: &str =
    "// Types of the API. Made by `cargo xtask sdk --write` from api/openapi.json; do not edit.\n";

/// The module's text.
pub(super) fn module(models: &[Model]) -> String {
    let mut out = HEAD.to_owned();
    for model in models {
        out.push('\n');
        comment(&mut out, &model.doc, "");
        put(&mut out, model);
    }
    out
}

fn put(out: &mut String, model: &Model) {
    let name = &model.name;
    match &model.shape {
        Shape::Words(words) => {
            let _ = writeln!(out, "export type {name} =\n  | {};", literals(words).join("\n  | "));
        }
        Shape::Alias(of) => {
            let _ = writeln!(out, "export type {name} = {};", type_name(of));
        }
        Shape::Request(fields) => interface(out, name, fields, false),
        Shape::Answer(fields) => interface(out, name, fields, true),
        Shape::Tagged { tag, variants, is_request } => {
            let _ = write!(out, "export type {name} =");
            for variant in variants {
                let _ = writeln!(out, "\n  | {{\n      {tag}: \"{}\";", variant.word);
                for field in &variant.fields {
                    put_field(out, field, !is_request, "      ");
                }
                out.push_str("    }");
            }
            out.push_str(";\n");
        }
    }
}

fn interface(out: &mut String, name: &str, fields: &[Field], is_answer: bool) {
    let _ = writeln!(out, "export interface {name} {{");
    for field in fields {
        put_field(out, field, is_answer, "  ");
    }
    out.push_str("}\n");
}

fn put_field(out: &mut String, field: &Field, is_answer: bool, indent: &str) {
    comment(out, &field.doc, indent);
    let of = type_name(&field.of);
    let _ = match (field.is_required, is_answer) {
        (true, _) => writeln!(out, "{indent}{}: {of};", field.name),
        (false, true) => writeln!(out, "{indent}{}?: {of} | null;", field.name),
        // `undefined` counts as absent also under exactOptionalPropertyTypes.
        (false, false) => writeln!(out, "{indent}{}?: {of} | undefined;", field.name),
    };
}

fn type_name(of: &Type) -> String {
    match of {
        Type::Text => "string".to_owned(),
        Type::Integer => "number".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Anything => "unknown".to_owned(),
        Type::TextOrInteger => "number | string".to_owned(),
        Type::List(of) => match type_name(of) {
            choice if choice.contains(' ') => format!("({choice})[]"),
            one => format!("{one}[]"),
        },
        Type::Table(of) => format!("Record<string, {}>", type_name(of)),
        Type::Named(name) => name.clone(),
        Type::Words(words) => literals(words).join(" | "),
    }
}

fn literals(words: &[String]) -> Vec<String> {
    words.iter().map(|word| format!("\"{word}\"")).collect()
}

fn comment(out: &mut String, text: &str, indent: &str) {
    if text.is_empty() {
        return;
    }
    let text = text.replace("*/", "* /");
    let lines = wrapped(&text, 94 - indent.len());
    let _ = match lines.as_slice() {
        [line] => writeln!(out, "{indent}/** {line} */"),
        lines => {
            let between = format!("\n{indent} * ");
            writeln!(out, "{indent}/**{between}{}\n{indent} */", lines.join(&between))
        }
    };
}
