//! YAML to a tree: anchors, aliases and merge keys resolved, within bounds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::ConfigError;
use super::tree::{Entry, Joins, Node, Place, Scalar, Table, Value};

/// The most values of a file, with those that aliases repeat.
const MAX_NODES: usize = 100_000;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;

/// The tree of a file, or the syntax error that stopped it and the problems before.
pub(super) fn parse(file: &Arc<Path>, text: &str) -> Result<Node, Vec<ConfigError>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        file,
        events: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        nodes: 0,
        problems: Vec::new(),
    };
    let root = builder.document();
    match root {
        Ok(root) if builder.problems.is_empty() => Ok(root),
        Ok(_) => Err(builder.problems),
        Err(error) => {
            builder.problems.push(*error);
            Err(builder.problems)
        }
    }
}

struct Builder<'a> {
    file: &'a Arc<Path>,
    events: Parser<'a, StrInput<'a>>,
    /// A value and how many values it has.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    problems: Vec<ConfigError>,
}

type Built<T> = Result<T, Box<ConfigError>>;

impl<'a> Builder<'a> {
    fn place(&self, span: Span) -> Place {
        Place { file: self.file.clone(), line: span.start.line().max(1), column: span.start.col() + 1 }
    }

    fn next(&mut self) -> Built<(Event<'a>, Span)> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.syntax(&error).into()),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn syntax(&self, error: &ScanError) -> ConfigError {
        self.place(Span::empty(*error.marker())).error("", error.info())
    }

    /// The one document of a file; an empty file is an empty table.
    fn document(&mut self) -> Built<Node> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                _ if root.is_some() => {
                    return Err(self.place(span).error("", "a second document; a file has one").into());
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        Ok(root.unwrap_or_else(|| Node::table(&Place::file(self.file), Table::default())))
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Built<Node> {
        let at = self.place(span);
        if depth > MAX_DEPTH {
            return Err(at.error("", format!("nested more than {MAX_DEPTH} deep")).into());
        }
        self.count(&at, 1)?;
        let before = self.nodes;
        let (anchor, mut node) = match event {
            Event::Alias(id) => return self.alias(id, &at),
            Event::Scalar(text, style, anchor, tag) => {
                let joins = self.joins(&at, tag.as_deref());
                let kind = kind(&text, style, tag.as_deref());
                let node = Node::new(at, Value::Scalar(kind, text.into_owned()));
                (anchor, Node { joins, ..node })
            }
            Event::SequenceStart(anchor, tag) => {
                let joins = self.joins(&at, tag.as_deref());
                (anchor, Node { joins, ..Node::list(&at, self.list(depth)?) })
            }
            Event::MappingStart(anchor, tag) => {
                let joins = self.joins(&at, tag.as_deref());
                (anchor, Node { joins, ..Node::table(&at, self.mapping(depth)?) })
            }
            _ => return Err(at.error("", "expected a value").into()),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), 1 + self.nodes - before));
        }
        if node.joins == Joins::Removes {
            node.value = Value::Scalar(Scalar::Null, String::new());
        }
        Ok(node)
    }

    /// The values of a file and of its aliases stay few, so that aliases of aliases cannot fill the memory.
    fn count(&mut self, at: &Place, more: usize) -> Built<()> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > MAX_NODES {
            let problem = format!("more than {MAX_NODES} values, with those that aliases repeat");
            return Err(at.error("", problem).into());
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, at: &Place) -> Built<Node> {
        let Some((_, size)) = self.anchors.get(&id) else {
            return Err(at.error("", "the alias stands inside of its own anchor").into());
        };
        self.count(at, *size)?;
        // The place stays the anchor's: that is where the text is.
        Ok(self.anchors[&id].0.clone())
    }

    fn list(&mut self, depth: usize) -> Built<Vec<Node>> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(list),
                (event, span) => list.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Built<Table> {
        let mut table = Table::default();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let plain = matches!(&event, Event::Scalar(_, ScalarStyle::Plain, ..));
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let Some(name) = key.as_text() else {
                self.problems.push(key.expected("", "a text as a key"));
                continue;
            };
            if name == "<<" && plain {
                merged.push(value);
            } else if table.get(name).is_some() {
                let problem = key.at.error(name, "this key stands twice").text(name);
                self.problems.push(problem);
            } else {
                table.set(name, key.at.clone(), value);
            }
        }
        for value in merged {
            self.merge(&mut table, value);
        }
        Ok(table)
    }

    /// `<<`: what a mapping, or the first of several, has and this one lacks.
    fn merge(&mut self, table: &mut Table, value: Node) {
        match value.value {
            Value::Table(other) => {
                for Entry { key, at, node } in other {
                    if table.get(&key).is_none() {
                        table.set(key, at, node);
                    }
                }
            }
            Value::List(list) if list.iter().all(|node| node.as_table().is_some()) => {
                for node in list {
                    self.merge(table, node);
                }
            }
            _ => self.problems.push(value.expected("<<", "a table, or a list of tables")),
        }
    }

    fn joins(&mut self, at: &Place, tag: Option<&Tag>) -> Joins {
        match tag {
            None => Joins::Merged,
            Some(tag) if tag.is_yaml_core_schema() => Joins::Merged,
            Some(tag) if tag.handle == "!" && tag.suffix == "reset" => Joins::Removes,
            Some(tag) if tag.handle == "!" && tag.suffix == "override" => Joins::Replaces,
            Some(tag) => {
                let problem = at.error("", "unknown tag").text(tag.to_string());
                self.problems.push(problem.suggest("there are !reset and !override"));
                Joins::Merged
            }
        }
    }
}

/// What a scalar is in the core schema of YAML 1.2 (section 10.3).
fn kind(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Scalar {
    let said = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    match said {
        Some("str") => return Scalar::Text,
        Some("null") => return Scalar::Null,
        _ if style != ScalarStyle::Plain => return Scalar::Text,
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Scalar::Bool,
        _ if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => Scalar::Int,
        _ if number && text.parse::<f64>().is_ok() => Scalar::Float,
        _ => Scalar::Text,
    }
}
