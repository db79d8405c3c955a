//! `WWW-Authenticate` (RFC 9110 §11.6.1).

/// What a registry wants in order to let us in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token, to be had elsewhere.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The challenges of a header that are understood, in order.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header;
    while let Some((scheme, after)) = token(rest) {
        let (parameters, after) = parameters(after);
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            challenges.push(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
        }
        rest = after;
    }
    challenges
}

/// Parameters up to the next challenge, which begins with a token that no `=` follows.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut parameters = Vec::new();
    while let Some((key, after)) = token(rest) {
        let Some(value) = after.trim_start().strip_prefix('=') else { break };
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => token(value).map_or((String::new(), ""), |(value, after)| (value.to_owned(), after)),
        };
        parameters.push((key.to_owned(), value));
        rest = after;
    }
    (parameters, rest)
}

/// A token and what follows it, leading blanks and commas skipped.
fn token(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let end = text.find([' ', '\t', ',', '=', '"']).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The rest of a quoted string, and what follows it.
fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &text[at + 1..]),
            _ => {
                escaped = false;
                value.push(character);
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_told_apart() {
        let header = r#"Negotiate, Bearer realm="https://auth.example/token?a=1,2",service="reg \"x\"", scope=pull, Basic realm="r""#;
        let bearer = Challenge::Bearer {
            realm: "https://auth.example/token?a=1,2".into(),
            service: Some("reg \"x\"".into()),
            scope: Some("pull".into()),
        };
        assert_eq!(parse(header), [bearer, Challenge::Basic]);
    }

    #[test]
    fn nonsense_ends() {
        for header in ["", "=", "\"", "Bearer realm=\"x", "Bearer =,=", ",,,", "Basic \"\"\"", "a=b=c d\"e"] {
            let _ = parse(header);
        }
        assert_eq!(parse("Bearer"), []);
    }
}
