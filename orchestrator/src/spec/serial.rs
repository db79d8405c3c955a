//! How a description travels as JSON: text that need not be UTF-8, durations, the version.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of a [`SandboxSpec`](super::SandboxSpec), the number 1; any other is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecVersion;

impl SpecVersion {
    const NUMBER: u32 = 1;
}

impl Serialize for SpecVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(Self::NUMBER)
    }
}

impl<'de> Deserialize<'de> for SpecVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            Self::NUMBER => Ok(Self),
            other => {
                let ours = Self::NUMBER;
                Err(D::Error::custom(format!("version {other} of the description; this is {ours}")))
            }
        }
    }
}

/// A string where the text is UTF-8, else `{"bytes": [...]}`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Unicode(String),
    Raw { bytes: Vec<u8> },
}

impl Text {
    fn new(text: &OsStr) -> Self {
        match text.to_str() {
            Some(text) => Self::Unicode(text.to_owned()),
            None => Self::Raw { bytes: text.as_bytes().to_vec() },
        }
    }

    fn into_os(self) -> OsString {
        match self {
            Self::Unicode(text) => text.into(),
            Self::Raw { bytes } => OsString::from_vec(bytes),
        }
    }
}

/// For one `OsString`.
pub(super) mod text {
    use super::*;

    pub(in crate::spec) fn serialize<S: Serializer>(text: &OsStr, serializer: S) -> Result<S::Ok, S::Error> {
        Text::new(text).serialize(serializer)
    }

    pub(in crate::spec) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OsString, D::Error> {
        Text::deserialize(from).map(Text::into_os)
    }
}

/// For `Vec<OsString>`.
pub(super) mod texts {
    use super::*;

    pub(in crate::spec) fn serialize<S: Serializer>(
        texts: &[OsString],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(texts.iter().map(|text| Text::new(text)))
    }

    pub(in crate::spec) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<OsString>, D::Error> {
        Ok(Vec::<Text>::deserialize(from)?.into_iter().map(Text::into_os).collect())
    }
}

/// For `Option<Vec<OsString>>`.
pub(super) mod optional_texts {
    use super::*;

    #[expect(clippy::ref_option, reason = "serde calls it with the field as it is")]
    pub(in crate::spec) fn serialize<S: Serializer>(
        texts: &Option<Vec<OsString>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let texts: Option<Vec<Text>> =
            texts.as_ref().map(|texts| texts.iter().map(|text| Text::new(text)).collect());
        texts.serialize(serializer)
    }

    pub(in crate::spec) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<OsString>>, D::Error> {
        let texts = Option::<Vec<Text>>::deserialize(from)?;
        Ok(texts.map(|texts| texts.into_iter().map(Text::into_os).collect()))
    }
}

/// For `Duration`, as a number of milliseconds.
pub(super) mod milliseconds {
    use super::*;

    pub(in crate::spec) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        whole_milliseconds(*duration).serialize(serializer)
    }

    pub(in crate::spec) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// For `Option<Duration>`, as a number of milliseconds.
pub(super) mod optional_milliseconds {
    use super::*;

    #[expect(clippy::ref_option, reason = "serde calls it with the field as it is")]
    pub(in crate::spec) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(whole_milliseconds).serialize(serializer)
    }

    pub(in crate::spec) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

/// Longer than any life of a sandbox where a duration does not fit.
fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
