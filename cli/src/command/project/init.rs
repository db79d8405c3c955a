//! `init` and `add`: a project file, and services in it.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::args::{AddArgs, InitArgs};
use super::{ProjectArgs, load};
use crate::command::output;

const FILE: &str = "monocore.toml";

/// A kind of project, told by a file in its directory.
struct Detected {
    marker: &'static str,
    image: &'static str,
    command: &'static [&'static str],
}

/// The first one whose marker is there counts.
const KINDS: [Detected; 6] = [
    Detected { marker: "package.json", image: "node:lts-alpine", command: &["npm", "start"] },
    Detected { marker: "pyproject.toml", image: "python:3-slim", command: &["python", "main.py"] },
    Detected { marker: "requirements.txt", image: "python:3-slim", command: &["python", "main.py"] },
    Detected { marker: "Cargo.toml", image: "rust:slim", command: &["cargo", "run"] },
    Detected { marker: "go.mod", image: "golang:alpine", command: &["go", "run", "."] },
    Detected { marker: "Gemfile", image: "ruby:slim", command: &["ruby", "main.rb"] },
];

const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// The answers that make the first service.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    name: String,
    image: String,
    command: Vec<String>,
    /// The project's directory is mounted and the command starts in it.
    mounted: bool,
}

pub(in crate::command) fn init(args: &InitArgs) -> anyhow::Result<()> {
    let dir = args.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let path = dir.join(FILE);
    if let Some(compose) = COMPOSE.iter().find(|name| dir.join(name).exists()) {
        bail!("{}: `monocore up` reads this file as it is", dir.join(compose).display());
    }
    let mut answers = detect(&dir);
    if let Some(name) = &args.name {
        answers.name.clone_from(name);
    }
    if let Some(image) = &args.image {
        answers.image.clone_from(image);
    }
    if !args.yes && io::stdin().is_terminal() {
        answers = ask(answers)?;
    }
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(&path).with_context(|| {
            format!("{}: it is there already; `monocore add` adds a service", path.display())
        })?;
    file.write_all(render(&answers).as_bytes()).with_context(|| path.display().to_string())?;
    output::print(&format!("{}\nStart it with: monocore up\n", path.display()))
}

/// What the directory's files tell; else a service that waits.
fn detect(dir: &Path) -> Answers {
    let name = std::path::absolute(dir).ok().and_then(|dir| Some(dir.file_name()?.to_str()?.to_lowercase()));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name: String = name.unwrap_or_default().chars().filter(|c| is_plain(*c)).collect();
    let name = if name.starts_with(|c: char| c.is_ascii_alphanumeric()) { name } else { "app".to_owned() };
    match KINDS.iter().find(|kind| dir.join(kind.marker).exists()) {
        Some(kind) => Answers {
            name,
            image: kind.image.to_owned(),
            command: kind.command.iter().map(|&word| word.to_owned()).collect(),
            mounted: true,
        },
        None => Answers {
            name,
            image: "alpine:latest".to_owned(),
            command: ["sleep", "infinity"].map(str::to_owned).to_vec(),
            mounted: false,
        },
    }
}

fn ask(mut answers: Answers) -> anyhow::Result<Answers> {
    answers.name = question("Service name", &answers.name)?;
    answers.image = question("Image", &answers.image)?;
    let command = question("Command", &answers.command.join(" "))?;
    answers.command = command.split_whitespace().map(str::to_owned).collect();
    Ok(answers)
}

fn question(what: &str, default: &str) -> anyhow::Result<String> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{what} [{default}]: ").and_then(|()| stderr.flush()).context("asking")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("reading the answer")?;
    let answer = line.trim();
    Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
}

fn render(answers: &Answers) -> String {
    let mut text = service(&answers.name, &answers.image, &answers.command);
    if answers.mounted {
        text.push_str("workdir = \"/app\"\nvolumes = [\".:/app\"]\n");
    }
    text
}

/// A `[[service]]`.
fn service(name: &str, image: &str, command: &[String]) -> String {
    let mut text = format!("[[service]]\nname = {}\nbase = {}\n", quoted(name), quoted(image));
    if let Some((program, args)) = command.split_first() {
        let _ = writeln!(text, "command = {}", quoted(program));
        if !args.is_empty() {
            let _ = writeln!(text, "args = {}", list(args));
        }
    }
    text
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A basic string of TOML. (Its escapes are those of JSON and a few more.)
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(in crate::command) fn add(args: &AddArgs) -> anyhow::Result<()> {
    let project = load(&args.project)?;
    let path = project.files.first().context("the project has no file")?.clone();
    if path.extension().is_none_or(|extension| extension != "toml") {
        bail!("{}: `add` writes to a monocore.toml only", path.display());
    }
    let mut text = format!("\n{}", service(&args.name, &args.image, &args.command));
    for (key, values) in [
        ("ports", &args.publish),
        ("volumes", &args.volume),
        ("envs", &args.env),
        ("depends_on", &args.depends_on),
    ] {
        if !values.is_empty() {
            let _ = writeln!(text, "{key} = {}", list(values));
        }
    }
    if let Some(group) = &args.group {
        let _ = writeln!(text, "group = {}", quoted(group));
    }
    let before = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    // The file is replaced whole, and only by one that can be read.
    let new = path.with_file_name(".monocore-new.toml");
    std::fs::write(&new, format!("{}\n{text}", before.trim_end()))
        .with_context(|| new.display().to_string())?;
    let again = ProjectArgs { file: vec![new.clone()], ..args.project.clone() };
    let replaced =
        load(&again).and_then(|_| std::fs::rename(&new, &path).with_context(|| path.display().to_string()));
    if replaced.is_err() {
        // The error that matters is the other one.
        let _ = std::fs::remove_file(&new);
    }
    replaced?;
    output::print(&format!("{}: service {} added\n", path.display(), args.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_tells_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("My Shop");
        std::fs::create_dir(&root).unwrap();
        assert_eq!((detect(&root).name.as_str(), detect(&root).mounted), ("myshop", false));
        std::fs::write(root.join("package.json"), "{}").unwrap();
        let found = detect(&root);
        assert_eq!((found.image.as_str(), found.mounted), ("node:lts-alpine", true));
    }

    #[test]
    fn strings_are_quoted() {
        let command = ["sh", "-c", "echo \"a\\b\"\n"].map(str::to_owned);
        let text = service("web", "alpine", &command);
        assert!(text.ends_with("args = [\"-c\", \"echo \\\"a\\\\b\\\"\\n\"]\n"), "{text}");
    }
}
