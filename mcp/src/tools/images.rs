//! Images: listed, fetched.

use monocore_oci::Reference;
use monocore_orchestrator::images::open_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, McpTool, lines};
use crate::context::Context;
use crate::error::ToolError;
use crate::images;
use crate::work::{Call, Interrupt};

pub(super) fn tools() -> Vec<McpTool> {
    vec![
        McpTool::new(
            "list_images",
            "List images",
            Kind::Reads,
            "Lists the OCI images in the local store, which start without a download, one JSON object a line. \
             create_sandbox and run_code fetch others by themselves.",
            list,
        ),
        McpTool::new(
            "pull_image",
            "Fetch an image",
            Kind::Changes,
            "Fetches an OCI image from its registry into the local store, or its newest version if the store has it. Rarely \
             needed: create_sandbox and run_code fetch what is missing.",
            pull,
        ),
    ]
}

#[derive(Debug, Serialize)]
struct Listed {
    image: String,
    id: String,
    platform: String,
    size_mib: u64,
}

impl Listed {
    fn new(image: &monocore_oci::Image) -> Self {
        let name = image.reference.as_deref().unwrap_or("<none>");
        let familiar = name.parse::<Reference>().map_or_else(|_| name.to_owned(), |name| name.familiar());
        Self {
            image: familiar,
            id: image.id.to_string(),
            platform: image.platform.to_string(),
            size_mib: image.size() >> 20,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// Only images whose name contains this
    #[schemars(length(min = 1, max = 512))]
    name: Option<String>,
}

async fn list(call: Call, wanted: List) -> Result<String, ToolError> {
    let work = move |context: &Context, _: &Interrupt| {
        let images = open_store(context.home())?.list()?;
        let policy = &context.policy.images;
        let is_usable = |image: &&monocore_oci::Image| {
            let name = image.reference.as_deref().and_then(|name| name.parse::<Reference>().ok());
            policy.stored || name.is_some_and(|name| policy.allow.matches(&name))
        };
        let mut listed: Vec<_> = images.iter().filter(is_usable).map(Listed::new).collect();
        listed.retain(|image| wanted.name.as_ref().is_none_or(|name| image.image.contains(name.as_str())));
        listed.sort_by(|a, b| a.image.cmp(&b.image));
        lines(&listed, "no images; create_sandbox and run_code fetch what they need")
    };
    call.blocking(None, work).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pull {
    /// OCI image, such as python:3.13-slim or ghcr.io/org/image:tag
    #[schemars(length(min = 1, max = 512))]
    image: String,
}

async fn pull(call: Call, wanted: Pull) -> Result<String, ToolError> {
    let reference: Reference = wanted.image.parse().map_err(|error| ToolError::value("image", error))?;
    images::check_pull(&call.context.policy, &reference)?;
    let (image, warnings) = images::pull(&call, reference).await?;
    let mut text = lines(&[Listed::new(&image)], "")?;
    for warning in warnings {
        text.push_str("\nwarning: ");
        text.push_str(&warning);
    }
    Ok(text)
}
