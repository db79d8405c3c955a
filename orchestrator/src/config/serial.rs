//! How values of the model are written: durations as text, a list of one as its element.

use std::time::Duration;

use serde::Serializer;

/// A duration in the form that [`crate::spec::parse_duration`] reads.
pub(super) fn duration_text(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

#[expect(clippy::ref_option, reason = "serde calls it with the field as it is")]
pub(super) fn optional_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_str(&duration_text(*duration)),
        None => serializer.serialize_none(),
    }
}

/// One text, or a list of several.
pub(super) fn one_or_many<S: Serializer>(texts: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    match texts {
        [one] => serializer.serialize_str(one),
        many => serializer.collect_seq(many),
    }
}
