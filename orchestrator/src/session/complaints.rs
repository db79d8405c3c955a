//! Texts of the guest's agent that a user will read.
//!
//! Whoever controls the guest controls them. They are cut, they do not control a terminal, and there are few of them.

/// Most bytes of one message.
pub(super) const MESSAGE_BYTES: usize = 1024;
/// Most warnings of one session.
const WARNINGS: u32 = 20;

/// The warnings of one session.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    seen: u32,
}

impl Complaints {
    /// Logs a warning, as long as there have not been too many.
    pub(super) fn warn(&mut self, message: &str) {
        if let Some(line) = self.line(message) {
            tracing::warn!("{line}");
        }
    }

    fn line(&mut self, message: &str) -> Option<String> {
        self.seen = self.seen.saturating_add(1);
        match self.seen {
            ..=WARNINGS => Some(format!("the guest's agent says: {}", printable(message, MESSAGE_BYTES))),
            seen if seen == WARNINGS + 1 => {
                Some("the guest's agent says more, which is not shown".to_owned())
            }
            _ => None,
        }
    }
}

/// A text of at most `most` bytes, with an ellipsis if it was longer, and without characters that control a terminal.
pub(crate) fn printable(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    let shown = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    let mut printable: String = text[..end].chars().map(shown).collect();
    if end < text.len() {
        printable.push('…');
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_few_and_short() {
        let mut complaints = Complaints::default();
        let flood = "x".repeat(1 << 20);
        let lines: Vec<String> = (0..100_000).filter_map(|_| complaints.line(&flood)).collect();
        assert_eq!(lines.len(), 21);
        assert!(lines.iter().map(String::len).sum::<usize>() < 24 << 10);
        assert!(lines[20].contains("not shown"), "{}", lines[20]);
    }

    #[test]
    fn a_text_controls_no_terminal() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}b\r\nc", 99), "a\u{fffd}[2J\u{fffd}b\u{fffd}\nc");
        assert_eq!(printable("plain text, é", 99), "plain text, é");
        assert_eq!(printable(&"é".repeat(600), 1023).chars().count(), 512);
    }
}
