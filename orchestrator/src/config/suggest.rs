//! "did you mean …".

/// A suggestion when one of the known words is close to what was written.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(word, known).map(|known| format!("did you mean `{known}`?"))
}

/// The known word closest to `word`, if it is close at all: a third of it may differ, one letter of a short one.
pub(super) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), known))
        .filter(|(distance, known)| *distance <= known.len() / if known.len() > 3 { 3 } else { 2 })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_close_words_are_suggested() {
        let known = ["depends_on", "command", "ports", "ram"];
        assert_eq!(did_you_mean("dependson", known).as_deref(), Some("did you mean `depends_on`?"));
        assert_eq!(closest("depends-on", known), Some("depends_on"));
        assert_eq!(closest("comand", known), Some("command"));
        assert_eq!(closest("prots", known), Some("ports"));
        assert_eq!(closest("volumes", known), None);
        assert_eq!(closest("bd", ["db"]), Some("db"));
        assert_eq!(closest("c", ["a"]), None);
    }
}
