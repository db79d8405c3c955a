//! `cargo xtask sdk`: the Python and TypeScript SDKs, their generated types and their checks.

mod document;
mod python_types;
mod tools;
mod typescript_types;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::process::run as run_command;
use crate::project;

pub(crate) use tools::{browser, mcp_client, prepare, python};

/// What `cargo xtask sdk` is asked for.
#[derive(Args)]
pub(crate) struct SdkArgs {
    /// Make api/openapi.json and the generated types anew.
    #[arg(long)]
    write: bool,
}

/// The command of this name.
pub(crate) fn run(args: &SdkArgs) -> Result<()> {
    if args.write {
        let mut document = project::cargo();
        document.args(["test", "--quiet", "--package", "monocore-server", "--lib", "committed_document"]);
        run_command(document.env("MONOCORE_WRITE_OPENAPI", "1"))?;
        for (path, text) in generated()? {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    check_generated()?;
    check_types()
}

/// Fails where the generated types are not those of the document, or a package has another version
/// than the workspace.
pub(crate) fn check_generated() -> Result<()> {
    let root = project::root();
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml"))?.parse()?;
    let version = manifest["workspace"]["package"]["version"].as_str().context("no version")?;
    let packages = [
        ("sdk/python/pyproject.toml", format!("\nversion = \"{version}\"\n")),
        ("sdk/typescript/package.json", format!("\n  \"version\": \"{version}\",\n")),
    ];
    for (path, line) in packages {
        let is_same = fs::read_to_string(root.join(path))?.contains(&line);
        ensure!(is_same, "{path}: the version is not {version}, as in Cargo.toml");
    }
    for (path, text) in generated()? {
        let committed = fs::read_to_string(&path).unwrap_or_default();
        ensure!(committed == text, "{} is old: run `cargo xtask sdk --write`", path.display());
    }
    Ok(())
}

/// Type-checks both SDKs, with their tests and examples.
pub(crate) fn check_types() -> Result<()> {
    prepare()?;
    run_command(&mut tools::mypy())?;
    run_command(&mut tools::typescript()?)
}

/// The files that are made from the document.
fn generated() -> Result<[(PathBuf, String); 2]> {
    let models = document::read()?;
    let sdk = project::root().join("sdk");
    Ok([
        (sdk.join("python/src/monocore/models.py"), python_types::module(&models)),
        (sdk.join("typescript/src/models.ts"), typescript_types::module(&models)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r##"{"components": {"schemas": {
        "Ask": {"type": "object", "additionalProperties": false, "required": ["a"],
                "properties": {"a": {"type": "string"}, "b": {"type": ["integer", "null"]}}},
        "Kind": {"type": "string", "enum": ["x", "y"]},
        "Part": {"type": "object", "required": ["k"], "properties": {"k": {"$ref": "#/components/schemas/Kind"}}},
        "Whole": {"allOf": [{"$ref": "#/components/schemas/Part"}, {"type": "object", "properties": {
                "parts": {"type": ["array", "null"], "items": {"$ref": "#/components/schemas/Part"}}}}]},
        "Said": {"oneOf": [
            {"type": "object", "required": ["type", "code"], "properties":
                {"type": {"type": "string", "enum": ["exit"]}, "code": {"type": "integer"}}},
            {"type": "object", "required": ["type"], "properties": {"type": {"type": "string", "enum": ["end"]}}}]}
    }}}"##;

    #[test]
    fn each_kind_of_type_has_its_form() {
        let models = document::parse(DOCUMENT).unwrap();
        let python = python_types::module(&models);
        for line in [
            "class Ask(TypedDict, total=False):",
            "    a: Required[str]",
            "Kind: TypeAlias = Literal[\"x\", \"y\"]",
            "            k=value[\"k\"],",
            "            parts=None if value.get(\"parts\") is None else [Part.from_json(one) for one in value[\"parts\"]],",
            "    type: Literal[\"exit\", \"end\"]",
            "    code: int | None = None",
        ] {
            assert!(python.lines().any(|found| found == line), "{line}\n{python}");
        }
        let typescript = typescript_types::module(&models);
        for line in
            ["  b?: number | undefined;", "  k: Kind;", "  parts?: Part[] | null;", "      type: \"exit\";"]
        {
            assert!(typescript.lines().any(|found| found == line), "{line}\n{typescript}");
        }
    }

    #[test]
    fn a_type_without_a_rule_is_named() {
        let text = r#"{"components": {"schemas": {"A": {"type": "object", "properties": {"b": {"type": "number"}}}}}}"#;
        let error = format!("{:#}", document::parse(text).err().unwrap());
        assert_eq!(error, "the type A: the field b: no rule for the type number");
    }
}
