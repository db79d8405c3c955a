//! Errors: one shape, with codes that stay.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every answer with a status of 400 and above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What failed.
    pub error: ErrorDetail,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// For programs. A code never changes its meaning.
    pub code: ErrorCode,
    /// For people: what failed, on which input, and what to do.
    pub message: String,
}

/// What failed, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is not one that the API describes.
    BadRequest,
    /// The body is not JSON, or not of the described shape.
    InvalidJson,
    /// A value in the request cannot be used.
    InvalidValue,
    /// A project's configuration has mistakes.
    InvalidConfig,
    /// No token, or one that is not known.
    Unauthorized,
    /// The token's scope does not allow the request.
    Forbidden,
    /// The Host header names another server.
    ForbiddenHost,
    /// The request comes from a page of another origin.
    ForbiddenOrigin,
    /// No such path.
    NotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// The body is larger than the server reads.
    BodyTooLarge,
    /// The request did not arrive in time.
    RequestTimeout,
    /// The client makes more requests a second than it may.
    RateLimited,
    /// The server does as much as it may at a time.
    TooBusy,
    /// No sandbox has the name or ID.
    NoSuchSandbox,
    /// No command is kept under this name, for this client and sandbox.
    NoSuchSession,
    /// Another connection goes on with the command.
    SessionTaken,
    /// The ID prefix fits several sandboxes.
    Ambiguous,
    /// Another sandbox has the name.
    NameInUse,
    /// The sandbox is not running.
    NotRunning,
    /// The sandbox is running already.
    AlreadyRunning,
    /// The sandbox is paused, is paused already, is not paused, or is being stopped.
    WrongState,
    /// The sandbox is running and must be stopped first.
    StillRunning,
    /// The sandbox ends with its command and has neither a disk nor a log that is kept.
    NotKept,
    /// The sandbox has no network decisions to follow.
    NoReceipts,
    /// A host port is taken or cannot be used.
    PortUnavailable,
    /// No volume has the name.
    NoSuchVolume,
    /// A sandbox uses the volume.
    VolumeInUse,
    /// No image has the name or ID.
    NoSuchImage,
    /// A sandbox needs the image.
    ImageInUse,
    /// The image could not be fetched.
    PullFailed,
    /// The command could not be started: not found, not executable, or a wrong user or directory.
    CommandNotStarted,
    /// The sandbox could not be started.
    SandboxNotStarted,
    /// The image has no command and the request names none.
    NoCommand,
    /// Files could not be copied from or to a sandbox.
    CopyFailed,
    /// This machine cannot run sandboxes.
    HostCannotRun,
    /// No project, group or service has the name.
    NoSuchService,
    /// A service of a project could not be brought up.
    ServiceFailed,
    /// Anything else. The server's log says more.
    Internal,
}

impl ErrorCode {
    /// The status of an HTTP answer with this code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::InvalidJson | Self::InvalidValue | Self::InvalidConfig => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::ForbiddenOrigin => 403,
            Self::NotFound
            | Self::NoSuchSandbox
            | Self::NoSuchSession
            | Self::NoSuchImage
            | Self::NoSuchService
            | Self::NoSuchVolume => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::Ambiguous
            | Self::NameInUse
            | Self::SessionTaken
            | Self::NotRunning
            | Self::AlreadyRunning
            | Self::StillRunning
            | Self::WrongState
            | Self::NotKept
            | Self::NoReceipts
            | Self::PortUnavailable
            | Self::VolumeInUse
            | Self::ImageInUse => 409,
            Self::BodyTooLarge => 413,
            Self::ForbiddenHost => 421,
            Self::CopyFailed
            | Self::CommandNotStarted
            | Self::SandboxNotStarted
            | Self::NoCommand
            | Self::ServiceFailed
            | Self::HostCannotRun => 422,
            Self::RateLimited => 429,
            Self::TooBusy => 503,
            Self::PullFailed => 502,
            Self::Internal => 500,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_stays() {
        let body = ErrorBody {
            error: ErrorDetail { code: ErrorCode::NoSuchSandbox, message: "no such sandbox: x".into() },
        };
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(text, r#"{"error":{"code":"no_such_sandbox","message":"no such sandbox: x"}}"#);
    }
}
