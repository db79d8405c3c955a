//! Which of a multi-platform image's manifests is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Operating system and processor architecture, in OCI's (Go's) names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system; a guest is always `linux`.
    pub os: String,
    /// Processor architecture, such as `amd64`.
    pub architecture: String,
    /// Variant of it, such as `v8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// What runs on this machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Whether an image for `other` serves a wish for this; a variant counts only where one was wished for.
    pub(crate) fn admits(&self, other: &Self) -> bool {
        let variant = |platform: &Self| match (&*platform.architecture, platform.variant.as_deref()) {
            // The only variant there is, often left out.
            ("arm64", None) => Some("v8".to_owned()),
            (_, variant) => variant.map(str::to_owned),
        };
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant.is_none() || variant(self) == variant(other))
    }
}

impl FromStr for Platform {
    type Err = &'static str;

    /// Reads `os/architecture[/variant]`, or an architecture alone.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let (first, second, variant) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if parts.next().is_some() || text.split('/').any(str::is_empty) {
            return Err("a platform is os/architecture or os/architecture/variant");
        }
        let (os, architecture) = second.map_or(("linux", first), |architecture| (first, architecture));
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self { os: os.into(), architecture: architecture.into(), variant: variant.map(str::to_owned) })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_count_only_where_wished_for() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        assert!(platform("linux/arm64").admits(&platform("linux/arm64/v8")));
        assert!(platform("linux/arm64/v8").admits(&platform("linux/arm64")));
        assert!(!platform("linux/arm/v6").admits(&platform("linux/arm/v7")));
        assert!(!platform("amd64").admits(&platform("windows/amd64")));
        assert_eq!(platform("x86_64"), platform("linux/amd64"));
        assert!("linux//v8".parse::<Platform>().is_err());
    }
}
