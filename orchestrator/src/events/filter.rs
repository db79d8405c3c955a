//! Which events a reader wants: Docker's `--filter`.

use super::SandboxEvent;
use crate::spec::ParseError;

/// One `--filter KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventFilter {
    /// The sandbox: name, id, or the beginning of the id.
    Container(String),
    /// The image.
    Image(String),
    /// The action, with or without what follows a colon.
    Event(String),
    /// A label, and its value.
    Label(String, Option<String>),
    /// The type; all events are of the type `container`.
    Type(String),
}

/// Reads `container=…`, `image=…`, `event=…`, `label=KEY[=VALUE]` or `type=…`.
///
/// # Errors
/// Another text.
pub fn parse_event_filter(text: &str) -> Result<EventFilter, ParseError> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key {
        _ if value.is_empty() => {}
        "container" => return Ok(EventFilter::Container(value.to_owned())),
        "image" => return Ok(EventFilter::Image(value.to_owned())),
        "event" => return Ok(EventFilter::Event(value.to_owned())),
        "type" => return Ok(EventFilter::Type(value.to_owned())),
        "label" => {
            let (name, value) =
                value.split_once('=').map_or((value, None), |(name, value)| (name, Some(value)));
            return Ok(EventFilter::Label(name.to_owned(), value.map(str::to_owned)));
        }
        _ => {}
    }
    let problem = "give container=NAME, image=NAME, event=ACTION, label=KEY[=VALUE] or type=container";
    Err(ParseError::new(text, problem))
}

impl EventFilter {
    /// Whether `event` passes all of `filters`: of several with one key, one must fit; every label must.
    #[must_use]
    pub fn all_take(filters: &[Self], event: &SandboxEvent) -> bool {
        filters.iter().all(|filter| match filter {
            Self::Label(..) => filter.takes(event),
            _ => {
                let same = |other: &&Self| std::mem::discriminant(*other) == std::mem::discriminant(filter);
                filters.iter().filter(same).any(|filter| filter.takes(event))
            }
        })
    }

    fn takes(&self, event: &SandboxEvent) -> bool {
        let attribute = |key: &str| event.actor.attributes.get(key);
        match self {
            Self::Container(name) => attribute("name") == Some(name) || event.actor.id.starts_with(name),
            Self::Image(image) => attribute("image")
                .is_some_and(|own| own == image || own.split_once(':').is_some_and(|(own, _)| own == image)),
            Self::Event(action) => action == event.name() || *action == event.action,
            Self::Label(key, value) => {
                attribute(key).is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
            }
            Self::Type(kind) => *kind == event.kind,
        }
    }
}
