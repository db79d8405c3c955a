//! The two operations whose answers do not end, by the served document: each property of a request
//! has each odd value once, and whatever is sent fits the schema of its answer.

use std::io::{BufRead, BufReader, Read, Write};

use serde_json::{Value, json};

use crate::made;
use crate::support::Server;

/// Values in the place of a property.
fn odd() -> Vec<Value> {
    let mut odd = vec![json!(null), json!(true), json!(-1), json!(0), json!(u64::MAX), json!(1e300)];
    odd.extend([json!(""), json!("\0"), json!("../.."), json!("é".repeat(2000)), json!("1h"), json!("x")]);
    odd.extend([json!([]), json!([""]), json!([["x"]]), json!({}), json!({"": ""}), json!({"x": null})]);
    odd
}

/// What `value` has that `schema` does not allow.
fn misfit(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    let wrong = |what: &str| Some(format!("{what}: {value} does not fit {schema}"));
    if let Some(path) = schema["$ref"].as_str() {
        return misfit(document, document.pointer(&path[1..]).unwrap(), value);
    }
    if let Some(all) = schema["allOf"].as_array()
        && let Some(found) = all.iter().find_map(|one| misfit(document, one, value))
    {
        return Some(found);
    }
    if let Some(one) = schema["oneOf"].as_array()
        && one.iter().filter(|one| misfit(document, one, value).is_none()).count() != 1
    {
        return wrong("oneOf");
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_kind = |name: &Value| name == kind || (name == "number" && kind == "integer");
    let kinds = &schema["type"];
    if !kinds.is_null() && !kinds.as_array().map_or_else(|| is_kind(kinds), |all| all.iter().any(is_kind)) {
        return wrong("type");
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return wrong("enum");
    }
    if schema["minimum"].as_f64().zip(value.as_f64()).is_some_and(|(least, found)| found < least) {
        return wrong("minimum");
    }
    let required = schema["required"].as_array().into_iter().flatten();
    if required.filter_map(Value::as_str).any(|name| value.get(name).is_none()) {
        return wrong("required");
    }
    let items = value.as_array().into_iter().flatten().map(|item| (item, &schema["items"]));
    let fields = value.as_object().into_iter().flatten().map(|(name, field)| {
        let own = &schema["properties"][name];
        (field, if own.is_null() { &schema["additionalProperties"] } else { own })
    });
    items.chain(fields).find_map(|(part, schema)| misfit(document, schema, part))
}

/// What came first: the status, and the error or the stream's first value; null for a stream of
/// which nothing is awaited.
fn first(server: &Server, method: &str, target: &str, body: &str, waits: bool) -> (u16, Value) {
    let mut stream = server.connect();
    let length = body.len();
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let status = line().split(' ').nth(1).unwrap().parse().unwrap();
    let (mut length, mut kind) = (None, String::new());
    loop {
        let header = line().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        length = header.strip_prefix("content-length: ").map(|text| text.parse().unwrap()).or(length);
        kind = header.strip_prefix("content-type: ").map_or(kind, str::to_owned);
    }
    let Some(length) = length else {
        assert_eq!(kind, "application/x-ndjson");
        // The size of the chunk, then the value.
        if !waits {
            return (status, Value::Null);
        }
        line();
        return (status, serde_json::from_str(&line()).unwrap());
    };
    assert_eq!(kind, "application/json");
    let mut text = vec![0; length];
    answer.read_exact(&mut text).unwrap();
    (status, serde_json::from_slice(&text).unwrap())
}

/// Fails unless the answer is one of those that the document has.
fn checked(document: &Value, (method, path): (&str, &str), (status, value): (u16, &Value), case: &str) {
    let operation = &document["paths"][path][method.to_ascii_lowercase()];
    let (good, kind) = match status {
        200 | 201 => (status.to_string(), "application/x-ndjson"),
        400..=499 => ("default".to_owned(), "application/json"),
        _ => panic!("{case}: {status} {value}"),
    };
    let schema = &operation["responses"][&good]["content"][kind]["schema"];
    assert!(schema.is_object(), "{case}: the document has no answer {status}");
    if let Some(found) = misfit(document, schema, value) {
        panic!("{case}: {found}");
    }
}

#[test]
fn leases_answer_odd_requests_as_the_document_says() {
    let server = Server::start();
    let document = server.get("/openapi.json").json();
    let properties = document["components"]["schemas"]["CreateSandbox"]["properties"].as_object().unwrap();
    assert!(properties.len() > 20, "{}", properties.len());
    let usual = json!({
        "rootfs": server.dir.path(), "command": ["/bin/true"], "start": false, "network": {"mode": "none"}
    });
    let mut bodies: Vec<String> =
        ["", "{", "[]", "null", "\"x\"", "{\"nope\": 1}"].map(String::from).to_vec();
    bodies.push(usual.to_string());
    for (name, value) in properties.keys().flat_map(|name| odd().into_iter().map(move |odd| (name, odd))) {
        let mut body = usual.clone();
        body[name] = value;
        bodies.push(body.to_string());
    }
    let (mut good, mut bad) = (0, 0);
    for body in &bodies {
        let (status, value) = first(&server, "POST", "/v1/leases", body, true);
        checked(&document, ("POST", "/v1/leases"), (status, &value), body);
        if status == 201 { good += 1 } else { bad += 1 }
    }
    eprintln!("{good} leases, {bad} refusals");
    assert!(good > 20 && bad > 200, "{good} leases, {bad} refusals");
}

#[test]
fn events_answer_odd_requests_as_the_document_says() {
    let server = Server::start();
    let document = server.get("/openapi.json").json();
    made(&server, "seen");
    let texts = [
        "1h",
        "1h30m",
        "0s",
        "-1h",
        "1x",
        "",
        "9999999999999999999d",
        "1970-01-01T00:00:00Z",
        "2026-13-40T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "%00",
        "%ff",
        "%F0%9F%90%84",
        "seen",
        "..%2F..",
        "1;2",
    ];
    let mut queries: Vec<String> =
        ["?bogus=1", "?since=1h&since=2h", "?=", "?&&", "?since"].map(String::from).to_vec();
    queries.extend(texts.iter().flat_map(|text| [format!("?since={text}"), format!("?sandbox={text}")]));
    queries.extend(texts.iter().map(|text| format!("?since={text}&sandbox=seen")));
    let (mut good, mut bad) = (0, 0);
    for query in &queries {
        let has_past =
            ["?since=1h", "?since=1970-01-01T00:00:00Z", "?since=1h&sandbox=seen"].contains(&query.as_str());
        let (status, value) = first(&server, "GET", &format!("/v1/events{query}"), "", has_past);
        if status >= 400 || has_past {
            checked(&document, ("GET", "/v1/events"), (status, &value), query);
        }
        if status == 200 { good += 1 } else { bad += 1 }
    }
    eprintln!("{good} streams, {bad} refusals");
    assert!(good > 20 && bad > 10, "{good} streams, {bad} refusals");
}

#[test]
fn the_check_finds_what_does_not_fit() {
    let document = json!({"components": {"schemas": {"A": {
        "type": "object", "required": ["a"], "properties": {"a": {"type": ["string", "null"]}}
    }}}});
    let schema = json!({"oneOf": [{"$ref": "#/components/schemas/A"}, {"type": "integer", "minimum": 1}]});
    for good in [json!({"a": "x"}), json!({"a": null, "b": 1}), json!(1)] {
        assert_eq!(misfit(&document, &schema, &good), None);
    }
    for bad in [json!({}), json!({"a": 1}), json!(0), json!(null), json!("x")] {
        assert!(misfit(&document, &schema, &bad).is_some(), "{bad}");
    }
}
