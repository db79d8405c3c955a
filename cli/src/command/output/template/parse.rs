//! From text to [`Node`]s.

use serde_json::Value;

use super::{Node, Operand, Pipeline};

/// The deepest nesting of blocks and parentheses.
const MAX_DEPTH: usize = 64;

/// Reads a whole template.
pub(super) fn template(text: &str) -> Result<Vec<Node>, String> {
    let mut pieces = pieces(text)?.into_iter().peekable();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        End::OfText => Ok(nodes),
        End::Block => Err("unexpected {{end}}".to_owned()),
        End::Else(_) => Err("unexpected {{else}}".to_owned()),
    }
}

enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `.`, `.A.B` as its fields.
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Literal(Value),
    Pipe,
    Open,
    /// With fields of what the parentheses give.
    Close(Vec<String>),
    Comma,
    Assign,
}

fn pieces(mut text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut trims = false;
    loop {
        let open = text.find("{{").unwrap_or(text.len());
        let (mut plain, rest) = text.split_at(open);
        if trims {
            plain = plain.trim_start();
        }
        let Some(rest) = rest.strip_prefix("{{") else {
            pieces.push(Piece::Text(plain.to_owned()));
            return Ok(pieces);
        };
        let rest = match rest.strip_prefix("- ") {
            Some(rest) => {
                plain = plain.trim_end();
                rest
            }
            None => rest,
        };
        pieces.push(Piece::Text(plain.to_owned()));
        let close = closing(rest)?;
        let mut action = &rest[..close];
        text = &rest[close + 2..];
        trims = action.ends_with(" -");
        if trims {
            action = &action[..action.len() - 2];
        }
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(tokens(action)?));
        }
    }
}

/// Where the action that `text` begins with is closed; a `}}` in a string does not count.
fn closing(text: &str) -> Result<usize, String> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Ok(at),
            None => {}
        }
    }
    Err(if quote.is_some() { "unterminated quoted string" } else { "unclosed action" }.to_owned())
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(found) };
        let after = &rest[first.len_utf8()..];
        let (token, left) = match first {
            '|' => (Token::Pipe, after),
            '(' => (Token::Open, after),
            ')' => {
                let (fields, left) = fields(after);
                (Token::Close(fields), left)
            }
            ',' => (Token::Comma, after),
            ':' if after.starts_with('=') => (Token::Assign, &after[1..]),
            '.' => {
                let (fields, left) = fields(rest);
                if fields.is_empty() { (Token::Field(fields), after) } else { (Token::Field(fields), left) }
            }
            '$' => {
                let (name, left) = word(after);
                let (fields, left) = fields(left);
                (Token::Variable(name.to_owned(), fields), left)
            }
            '"' => string(after)?,
            '`' => {
                let end = after.find('`').ok_or("unterminated raw quoted string")?;
                (Token::Literal(after[..end].into()), &after[end + 1..])
            }
            '\'' => {
                let mut inner = after.chars();
                match (inner.next(), inner.next()) {
                    (Some(c), Some('\'')) => (Token::Literal(u32::from(c).into()), inner.as_str()),
                    _ => return Err("malformed character constant".to_owned()),
                }
            }
            '0'..='9' | '-' | '+' => number(rest)?,
            c if c.is_alphabetic() || c == '_' => {
                let (name, left) = word(rest);
                let token = match name {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    "nil" => Token::Literal(Value::Null),
                    name => Token::Word(name.to_owned()),
                };
                (token, left)
            }
            c => return Err(format!("unexpected {c:?} in command")),
        };
        found.push(token);
        rest = left;
    }
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

/// `.A.B` at the beginning of `text`.
fn fields(mut text: &str) -> (Vec<String>, &str) {
    let mut found = Vec::new();
    while let Some(after) = text.strip_prefix('.') {
        let (name, rest) = word(after);
        if name.is_empty() {
            break;
        }
        found.push(name.to_owned());
        text = rest;
    }
    (found, text)
}

fn string(text: &str) -> Result<(Token, &str), String> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok((Token::Literal(value.into()), chars.as_str())),
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(c @ ('"' | '\\' | '\'')) => value.push(c),
                _ => return Err("unknown escape in a quoted string".to_owned()),
            },
            c => value.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let end = text[1..].find(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(text.len(), |at| at + 1);
    let (digits, rest) = text.split_at(end);
    let bad = || format!("bad number syntax: {digits:?}");
    let value = match digits.parse::<i64>() {
        Ok(number) => number.into(),
        Err(_) => digits.parse::<f64>().map_err(|_| bad())?.into(),
    };
    Ok((Token::Literal(value), rest))
}

/// What ended a block.
enum End {
    OfText,
    Block,
    Else(Vec<Token>),
}

type Pieces = std::iter::Peekable<std::vec::IntoIter<Piece>>;

fn block(pieces: &mut Pieces, depth: usize) -> Result<(Vec<Node>, End), String> {
    if depth > MAX_DEPTH {
        return Err("blocks are nested too deeply".to_owned());
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(action) => action,
        };
        let keyword = match action.first() {
            Some(Token::Word(word)) => word.as_str(),
            _ => "",
        };
        match keyword {
            "end" => return Ok((nodes, End::Block)),
            "else" => return Ok((nodes, End::Else(action[1..].to_vec()))),
            "if" => nodes.push(condition(pieces, &action[1..], depth)?),
            "range" => nodes.push(range(pieces, &action[1..], depth)?),
            "with" => {
                let over = pipeline(&action[1..])?;
                let (body, otherwise) = bodies(pieces, depth)?;
                nodes.push(Node::With(over, body, otherwise));
            }
            _ => nodes.push(match &action[..] {
                [Token::Variable(name, fields), Token::Assign, value @ ..] if fields.is_empty() => {
                    Node::Set(name.clone(), pipeline(value)?)
                }
                value => Node::Show(pipeline(value)?),
            }),
        }
    }
    Ok((nodes, End::OfText))
}

fn condition(pieces: &mut Pieces, first: &[Token], depth: usize) -> Result<Node, String> {
    let mut branches = Vec::new();
    let mut next = Some(pipeline(first)?);
    loop {
        let (body, end) = block(pieces, depth + 1)?;
        let was_last = next.is_none();
        branches.push((next.take(), body));
        next = match end {
            End::Block => return Ok(Node::If(branches)),
            End::OfText => return Err("unexpected EOF".to_owned()),
            End::Else(_) if was_last => return Err("unexpected {{else}}".to_owned()),
            End::Else(words) => match &words[..] {
                [] => None,
                [Token::Word(word), rest @ ..] if word == "if" => Some(pipeline(rest)?),
                _ => return Err("unexpected word after {{else".to_owned()),
            },
        };
    }
}

fn range(pieces: &mut Pieces, words: &[Token], depth: usize) -> Result<Node, String> {
    let (key, item, over) = match words {
        [Token::Variable(key, _), Token::Comma, Token::Variable(item, _), Token::Assign, over @ ..] => {
            (Some(key.clone()), Some(item.clone()), over)
        }
        [Token::Variable(item, _), Token::Assign, over @ ..] => (None, Some(item.clone()), over),
        over => (None, None, over),
    };
    let over = pipeline(over)?;
    let (body, otherwise) = bodies(pieces, depth)?;
    Ok(Node::Range { key, item, over, body, otherwise })
}

fn bodies(pieces: &mut Pieces, depth: usize) -> Result<(Vec<Node>, Vec<Node>), String> {
    let (body, end) = block(pieces, depth + 1)?;
    match end {
        End::Block => Ok((body, Vec::new())),
        End::OfText => Err("unexpected EOF".to_owned()),
        End::Else(words) if !words.is_empty() => Err("unexpected word after {{else".to_owned()),
        End::Else(_) => match block(pieces, depth + 1)? {
            (otherwise, End::Block) => Ok((body, otherwise)),
            (_, End::OfText) => Err("unexpected EOF".to_owned()),
            (_, End::Else(_)) => Err("unexpected {{else}}".to_owned()),
        },
    }
}

fn pipeline(words: &[Token]) -> Result<Pipeline, String> {
    let mut rest = words;
    let (found, fields) = calls(&mut rest, 0)?;
    match fields {
        None => Ok(found),
        Some(_) => Err("unexpected right paren".to_owned()),
    }
}

/// Calls up to the end or a closing parenthesis, whose fields are given back.
fn calls(words: &mut &[Token], depth: usize) -> Result<(Pipeline, Option<Vec<String>>), String> {
    if depth > MAX_DEPTH {
        return Err("parentheses are nested too deeply".to_owned());
    }
    let mut found = vec![Vec::new()];
    let mut end = None;
    while let Some((word, rest)) = words.split_first() {
        *words = rest;
        let operand = match word.clone() {
            Token::Pipe => {
                found.push(Vec::new());
                continue;
            }
            Token::Close(fields) => {
                end = Some(fields);
                break;
            }
            Token::Open => match calls(words, depth + 1)? {
                (inner, Some(fields)) => Operand::Inner(inner, fields),
                (_, None) => return Err("unclosed left paren".to_owned()),
            },
            Token::Word(name) => Operand::Function(name),
            Token::Field(fields) => Operand::Fields(String::new(), fields),
            Token::Variable(name, fields) => Operand::Fields(format!("${name}"), fields),
            Token::Literal(value) => Operand::Literal(value),
            Token::Comma => return Err("unexpected \",\" in operand".to_owned()),
            Token::Assign => return Err("unexpected \":=\" in operand".to_owned()),
        };
        if let Some(call) = found.last_mut() {
            call.push(operand);
        }
    }
    if found.iter().any(Vec::is_empty) {
        return Err("missing value for command".to_owned());
    }
    Ok((found, end))
}
