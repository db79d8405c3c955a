//! Failures of the server, and the answers that failures of a request become.

use std::io;
use std::path::PathBuf;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use monocore_api::{ErrorBody, ErrorCode, ErrorDetail};
use monocore_orchestrator::session::SessionError;

/// The server cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address or path cannot be listened on.
    #[error("cannot listen on {place}: {source}")]
    Listen {
        /// The address or path.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another server is there.
    #[error("a server listens on {} already; choose another --socket", .0.display())]
    InUse(PathBuf),
    /// An address other than loopback without TLS.
    #[error("{0} is not a loopback address: give --tls-cert and --tls-key")]
    NeedsTls(std::net::SocketAddr),
    /// An address other than loopback, and nobody has a token.
    #[error("{0} is not a loopback address, and there is no token: make one with `monocore token create`")]
    NeedsToken(std::net::SocketAddr),
    /// A certificate or key cannot be used.
    #[error("{}: {problem}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file with the tokens is damaged.
    #[error("{}: {problem}", path.display())]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No token has this ID.
    #[error("no such token: {0}")]
    NoToken(String),
    /// The threads for connections cannot be started.
    #[error("cannot start the server's threads: {0}")]
    Runtime(#[source] io::Error),
    /// The state directory.
    #[error(transparent)]
    Home(#[from] monocore_orchestrator::Error),
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

/// A request that fails.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A value of the request that cannot be used; `field` is where it stands.
    pub(crate) fn value(field: &str, problem: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidValue, format!("{field}: {problem}"))
    }

    /// Something that a request cannot help. The text is for the log.
    pub(crate) fn internal(problem: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Internal, problem.to_string())
    }

    pub(crate) fn into_body(self) -> ErrorBody {
        ErrorBody { error: ErrorDetail { code: self.code, message: self.message } }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.code == ErrorCode::Internal {
            tracing::error!(error = %self.message, "a request failed");
        }
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let code = self.code;
        let mut response = crate::body::Json(self.into_body()).into_response();
        *response.status_mut() = status;
        if code == ErrorCode::Unauthorized {
            let scheme = HeaderValue::from_static("Bearer realm=\"monocore\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if code == ErrorCode::RateLimited {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<monocore_orchestrator::Error> for ApiError {
    fn from(error: monocore_orchestrator::Error) -> Self {
        use monocore_orchestrator::Error as E;
        let code = match &error {
            E::Spec(_) => ErrorCode::InvalidValue,
            E::NoSandbox(_) => ErrorCode::NoSuchSandbox,
            E::NotRunning(_) => ErrorCode::NotRunning,
            E::AlreadyRunning(_) => ErrorCode::AlreadyRunning,
            E::Paused { .. } | E::AlreadyPaused(_) | E::NotPaused(_) | E::Stopping(_) => {
                ErrorCode::WrongState
            }
            E::StillRunning(_) => ErrorCode::StillRunning,
            E::Ambiguous(_) => ErrorCode::Ambiguous,
            E::NameInUse { .. } => ErrorCode::NameInUse,
            E::NoReceipts(_) => ErrorCode::NoReceipts,
            E::Publish { .. } | E::ManyPorts { .. } => ErrorCode::PortUnavailable,
            E::NotStarted { code: 126 | 127, .. } => ErrorCode::CommandNotStarted,
            E::NotStarted { .. } => ErrorCode::SandboxNotStarted,
            E::Mount { .. } | E::NoDirectory(_) | E::Platform { .. } | E::OtherPlatform { .. } => {
                ErrorCode::InvalidValue
            }
            E::ProjectName(_) | E::RemovedAndRestarted | E::Secret { .. } | E::Secrets(_) => {
                ErrorCode::InvalidValue
            }
            E::NoGroup(_) | E::NoExternalGroup(_) => ErrorCode::NoSuchService,
            E::NoVolume(_) => ErrorCode::NoSuchVolume,
            E::VolumeInUse { .. } => ErrorCode::VolumeInUse,
            E::NotStored(_) => ErrorCode::NoSuchImage,
            E::ImageTooLarge(_) => ErrorCode::PullFailed,
            E::Image(error) => return Self::new(image_code(error), error.to_string()),
            E::NotFetched { source, .. } => match &**source {
                E::Image(error) => image_code(error),
                _ => ErrorCode::HostCannotRun,
            },
            E::Session(error) => return error.clone().into(),
            E::Host(_) => ErrorCode::HostCannotRun,
            E::Service { .. } | E::NeededService { .. } => ErrorCode::ServiceFailed,
            E::Copy(_) => ErrorCode::CopyFailed,
            E::Config(_) => ErrorCode::InvalidConfig,
            E::NoService { .. } => ErrorCode::NoSuchService,
            E::NoCommand => ErrorCode::NoCommand,
            _ => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let code = match &error {
            SessionError::Exec { .. } => ErrorCode::CommandNotStarted,
            SessionError::Lost => ErrorCode::NotRunning,
            SessionError::Refused(_) | SessionError::TooLong(_) => ErrorCode::InvalidValue,
            _ => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<monocore_oci::Error> for ApiError {
    fn from(error: monocore_oci::Error) -> Self {
        Self::new(image_code(&error), error.to_string())
    }
}

fn image_code(error: &monocore_oci::Error) -> ErrorCode {
    use monocore_oci::Error as E;
    match error {
        E::Reference { .. } => ErrorCode::InvalidValue,
        E::NoSuchImage(_) | E::NotFound { .. } => ErrorCode::NoSuchImage,
        E::Connection { .. } | E::Denied { .. } | E::Registry { .. } | E::Verification { .. } => {
            ErrorCode::PullFailed
        }
        E::Document { .. } | E::Platform { .. } | E::Layer { .. } => ErrorCode::PullFailed,
        _ => ErrorCode::Internal,
    }
}
