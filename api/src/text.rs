//! Texts that may be numbers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A text in the form the command line takes (`512m`, `30s`, `8080:80`), or a plain number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum TextOrNumber {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl TextOrNumber {
    /// The text that the command line would be given.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl From<&str> for TextOrNumber {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
