//! `${VAR}` and its kin.
//!
//! Compose files follow Compose: `$NAME`, `${NAME}` with `:-`, `-`, `:?`, `?`, `:+`, `+`, and `$$` for a dollar sign.
//! monocore's own files replace `${…}` only, so that shell text (`$i`, `$(seq 3)`, `$$`) stays as written; `$${` is a
//! literal `${`.

use std::collections::BTreeSet;

use super::ConfigError;
use super::tree::{Node, Scalar, Value};

/// The longest text that a replacement may make, bytes.
const MAX_TEXT: usize = 1 << 20;
/// The deepest nesting of defaults within defaults.
const MAX_DEPTH: usize = 16;

/// Which dollar signs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dollars {
    /// `$NAME` as well, and `$$` is one dollar sign.
    Compose,
    /// `${…}` only.
    Braces,
}

/// Why a text could not be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no text with variables.
    Syntax(String),
    /// A variable that is required has no value.
    Unset(String),
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Syntax(problem) | Fault::Unset(problem) => problem,
        }
    }
}

impl From<&str> for Fault {
    fn from(problem: &str) -> Self {
        Self::Syntax(problem.to_owned())
    }
}

/// Replaces variables; knows which were not set.
pub(super) struct Interpolation<'a> {
    pub(super) lookup: &'a dyn Fn(&str) -> Option<String>,
    pub(super) dollars: Dollars,
    /// Variables that were used, had no value and no default.
    pub(super) unset: BTreeSet<String>,
}

impl Interpolation<'_> {
    /// Replaces in every scalar of a tree.
    pub(super) fn tree(&mut self, node: &mut Node, errors: &mut Vec<ConfigError>) {
        match &mut node.value {
            Value::Scalar(kind, text) => {
                if !text.contains('$') {
                    return;
                }
                match self.text(text) {
                    Ok(replaced) => {
                        *kind = Scalar::Text;
                        *text = replaced;
                    }
                    Err(Fault::Unset(problem)) => {
                        errors.push(node.at.error("", problem).text(text.as_str()));
                    }
                    Err(Fault::Syntax(problem)) => {
                        let error = node.at.error("", problem).text(text.as_str());
                        errors.push(match self.dollars {
                            Dollars::Compose => error.suggest("write `$$` for a dollar sign"),
                            Dollars::Braces => error.suggest("write `$${` for a literal `${`"),
                        });
                    }
                }
            }
            Value::List(list) => list.iter_mut().for_each(|node| self.tree(node, errors)),
            Value::Table(table) => table.iter_mut().for_each(|entry| self.tree(&mut entry.node, errors)),
        }
    }

    /// The text with every variable replaced.
    pub(super) fn text(&mut self, text: &str) -> Result<String, Fault> {
        self.replace(text, 0)
    }

    fn replace(&mut self, text: &str, depth: usize) -> Result<String, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::Syntax(format!("defaults within defaults, more than {MAX_DEPTH} deep")));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            rest = match (self.dollars, rest.as_bytes().first()) {
                (_, Some(b'{')) => {
                    let end = closing(rest).ok_or("`${` has no `}`")?;
                    out.push_str(&self.variable(&rest[1..end], depth)?);
                    &rest[end + 1..]
                }
                (Dollars::Compose, Some(b'$')) => {
                    out.push('$');
                    &rest[1..]
                }
                (Dollars::Braces, Some(b'$')) if rest.starts_with("${") => {
                    out.push_str("${");
                    &rest[2..]
                }
                (Dollars::Compose, _) => {
                    let (name, after) = rest.split_at(name_length(rest));
                    if name.is_empty() {
                        return Err("a `$` before no variable".into());
                    }
                    out.push_str(&self.value(name));
                    after
                }
                (Dollars::Braces, _) => {
                    out.push('$');
                    rest
                }
            };
            if out.len() > MAX_TEXT {
                return Err("the text becomes longer than 1 MiB".into());
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What stands between the braces.
    fn variable(&mut self, inner: &str, depth: usize) -> Result<String, Fault> {
        let (name, rest) = inner.split_at(name_length(inner));
        if name.is_empty() {
            return Err(Fault::Syntax(format!("`${{{inner}}}` names no variable")));
        }
        let value = (self.lookup)(name);
        let (filled, rest) = match rest.strip_prefix(':') {
            Some(rest) => (value.clone().filter(|value| !value.is_empty()), rest),
            None => (value.clone(), rest),
        };
        let mut chars = rest.chars();
        match (chars.next(), chars.as_str()) {
            (None, _) if !inner.ends_with(':') => Ok(self.value(name)),
            (Some('-'), default) => match filled {
                Some(value) => Ok(value),
                None => self.replace(default, depth + 1),
            },
            (Some('+'), other) => match filled {
                Some(_) => self.replace(other, depth + 1),
                None => Ok(String::new()),
            },
            (Some('?'), message) => match filled {
                Some(value) => Ok(value),
                None => {
                    let message = self.replace(message, depth + 1)?;
                    let message = if message.is_empty() { "it is required".to_owned() } else { message };
                    Err(Fault::Unset(format!("variable {name} is not set: {message}")))
                }
            },
            _ => {
                let problem = format!("`${{{inner}}}`: after its name a variable has :-, -, :?, ?, :+ or +");
                Err(Fault::Syntax(problem))
            }
        }
    }

    /// The value, or nothing, which is noted.
    fn value(&mut self, name: &str) -> String {
        let value = (self.lookup)(name);
        if value.is_none() {
            self.unset.insert(name.to_owned());
        }
        value.unwrap_or_default()
    }
}

/// The length of the name that `text` begins with.
fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Where the brace that `text` begins with is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if at == 0 || before == '$' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(dollars: Dollars, text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        Interpolation { lookup: &lookup, dollars, unset: BTreeSet::new() }.text(text).map_err(String::from)
    }

    #[test]
    fn compose_texts() {
        for (text, expected) in [
            ("$A ${A}", "a a"),
            ("$$A $${A}", "$A ${A}"),
            ("${X:-d} ${X-d} ${EMPTY:-d} ${EMPTY-d}", "d d d "),
            ("${A:+alt} ${X:+alt} ${EMPTY+alt}", "alt  alt"),
            ("${X:-${Y:-${A}}}", "a"),
            ("${A:?no} ${A?no}", "a a"),
            ("$Ab-$A.b", "-a.b"),
            ("${X}", ""),
            ("${X:-{}}", "{}"),
        ] {
            assert_eq!(replaced(Dollars::Compose, text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["$", "$ a", "${", "${}", "${1}", "${A", "${A:}", "${A%x}", "$(seq 3)", "${X:?needed}"] {
            assert!(replaced(Dollars::Compose, bad).is_err(), "{bad}");
        }
        let message = replaced(Dollars::Compose, "${X:?needed}").unwrap_err();
        assert_eq!(message, "variable X is not set: needed");
    }

    #[test]
    fn shell_text_of_our_own_files_stays() {
        for (text, expected) in [
            ("for i in $(seq 3); do echo $i $$ $1; done", "for i in $(seq 3); do echo $i $$ $1; done"),
            ("${A} $A $${A} ${X:-$A}", "a $A ${A} $A"),
            ("cost: 5$", "cost: 5$"),
        ] {
            assert_eq!(replaced(Dollars::Braces, text).as_deref(), Ok(expected), "{text}");
        }
        assert!(replaced(Dollars::Braces, "${i%x}").is_err());
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = format!("{}x{}", "${X:-".repeat(1000), "}".repeat(1000));
        assert!(replaced(Dollars::Compose, &deep).is_err());
    }
}
