//! The types of monocore's REST API, version 1.
//!
//! What travels is described here and nowhere else: no domain type of monocore's is on the wire, so
//! that the API changes only when somebody means it to. Every type has a JSON schema; the server
//! makes its OpenAPI document of them. Fields may be added to answers at any time; fields of
//! requests that nobody knows are refused.
//!
//! Design: `docs/design/server.md`.

mod create;
mod edits;
mod error;
mod exec;
mod host;
mod image;
mod logs;
mod project;
mod sandbox;
mod text;

pub use create::{CreateSandbox, CreatedSandbox, HealthCheck, Network, PullPolicy};
pub use edits::{
    Change, ChangeKind, ChangeList, CreateVolume, FileEntry, FileKind, FileList, ListFilesQuery, ProcessInfo,
    ProcessList, UpdateSandbox,
};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use exec::{
    Channel, ClientMessage, ExecRequest, ExecResult, ExecResume, ExecStart, ServerMessage, StreamFrame,
    TerminalSize,
};
pub use host::{HostCheck, HostReport, Readiness, Verdict, VersionInfo};
pub use image::{
    Image, ImageDetails, ImageLayer, ImageList, ImageProcess, PullEvent, PullRequest, RemovedImage,
    VolumeInfo, VolumeList,
};
pub use logs::{LogLine, LogQuery, LogStreamName};
pub use project::{
    DownRequest, ProjectConfig, ProjectQuery, ProjectStep, ProjectSteps, RemoveRequest, ServiceStatus,
    StatusReport,
};
pub use sandbox::{
    EventQuery, ExitReport, FilesQuery, GuestStats, KillRequest, ListQuery, MachineStats, PublishedPort,
    RemoveQuery, Sandbox, SandboxDetails, SandboxEvent, SandboxList, SandboxMount, SandboxSettings,
    SandboxStats, SandboxStatus, StopRequest,
};
pub use text::TextOrNumber;
