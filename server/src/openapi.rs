//! The OpenAPI document, made of the handlers and types.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// What no handler says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "monocore",
        description = "Sandboxes, images and projects of one machine. On loopback and the Unix socket no token is needed.",
        license(name = "Apache-2.0")
    ),
    modifiers(&Token),
    security((), ("token" = [])),
    components(schemas(
        monocore_api::ErrorBody,
        monocore_api::ClientMessage,
        monocore_api::ExecResume,
        monocore_api::ExecStart,
        monocore_api::LogLine,
        monocore_api::PullEvent,
        monocore_api::ServerMessage,
    )),
    tags(
        (name = "sandboxes", description = "Sandboxes and commands in them"),
        (name = "images", description = "The image store"),
        (name = "volumes", description = "Named volumes"),
        (name = "projects", description = "Several sandboxes, described together"),
        (name = "server", description = "The server and its machine"),
    )
)]
pub(crate) struct Document;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document as JSON.
#[must_use]
pub fn document() -> String {
    // Plain data with text keys.
    crate::routes::api().into_openapi().to_pretty_json().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The committed copy is what the SDKs' types are made of; `cargo xtask sdk --write` sets the
    /// variable.
    #[test]
    fn the_committed_document_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/openapi.json");
        let document = super::document() + "\n";
        if std::env::var_os("MONOCORE_WRITE_OPENAPI").is_some() {
            std::fs::write(&path, &document).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == document, "api/openapi.json is old: run `cargo xtask sdk --write`");
    }
}
