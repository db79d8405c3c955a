"""Types of the API. Made by `cargo xtask sdk --write` from api/openapi.json; do not edit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Required, TypeAlias, TypedDict

__all__ = [
    "Change",
    "ChangeKind",
    "ChangeList",
    "ClientMessage",
    "CreateSandbox",
    "CreateVolume",
    "DownRequest",
    "ErrorBody",
    "ErrorCode",
    "ErrorDetail",
    "ExecRequest",
    "ExecResult",
    "ExecResume",
    "ExecStart",
    "ExitReport",
    "FileEntry",
    "FileKind",
    "FileList",
    "GuestStats",
    "HealthCheck",
    "HostCheck",
    "HostReport",
    "Image",
    "ImageDetails",
    "ImageLayer",
    "ImageList",
    "ImageProcess",
    "KillRequest",
    "LogLine",
    "LogStreamName",
    "MachineStats",
    "Network",
    "ProcessInfo",
    "ProcessList",
    "ProjectConfig",
    "ProjectStep",
    "ProjectSteps",
    "PublishedPort",
    "PullEvent",
    "PullPolicy",
    "PullRequest",
    "Readiness",
    "RemoveRequest",
    "RemovedImage",
    "Sandbox",
    "SandboxDetails",
    "SandboxEvent",
    "SandboxList",
    "SandboxMount",
    "SandboxSettings",
    "SandboxStats",
    "SandboxStatus",
    "ServerMessage",
    "ServiceStatus",
    "StatusReport",
    "StopRequest",
    "TerminalSize",
    "TextOrNumber",
    "UpdateSandbox",
    "Verdict",
    "VersionInfo",
    "VolumeInfo",
    "VolumeList",
]

ChangeKind: TypeAlias = Literal["added", "changed", "deleted"]
"""How a file differs from the image's."""

ErrorCode: TypeAlias = Literal[
    "bad_request",
    "invalid_json",
    "invalid_value",
    "invalid_config",
    "unauthorized",
    "forbidden",
    "forbidden_host",
    "forbidden_origin",
    "not_found",
    "method_not_allowed",
    "body_too_large",
    "request_timeout",
    "rate_limited",
    "too_busy",
    "no_such_sandbox",
    "no_such_session",
    "session_taken",
    "ambiguous",
    "name_in_use",
    "not_running",
    "already_running",
    "wrong_state",
    "still_running",
    "not_kept",
    "no_receipts",
    "port_unavailable",
    "no_such_volume",
    "volume_in_use",
    "no_such_image",
    "image_in_use",
    "pull_failed",
    "command_not_started",
    "sandbox_not_started",
    "no_command",
    "copy_failed",
    "host_cannot_run",
    "no_such_service",
    "service_failed",
    "internal",
]
"""What failed, for programs."""

FileKind: TypeAlias = Literal["file", "directory", "symlink", "other"]
"""What an entry of a directory is."""

LogStreamName: TypeAlias = Literal["stdout", "stderr"]
"""Which of the command's streams was written to."""

ProjectConfig: TypeAlias = dict[str, Any]
"""A project's configuration, with the keys of `monocore.toml`: `name`, `service`, `group`,
`volume`, `secret`.
"""

PullPolicy: TypeAlias = Literal["missing", "always", "never"]
"""When a registry is asked for an image."""

SandboxStatus: TypeAlias = Literal["created", "running", "exited", "paused", "restarting"]
"""What a sandbox does."""

TextOrNumber: TypeAlias = int | str
"""A text in the form the command line takes (`512m`, `30s`, `8080:80`), or a plain number."""

Verdict: TypeAlias = Literal["good", "warning", "bad"]
"""How a check came out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A file that differs from the image's."""

    kind: ChangeKind
    """How it differs."""

    path: str
    """Its path in the sandbox."""

    @classmethod
    def from_json(cls, value: Any) -> Change:
        """Reads an answer of the server."""
        return cls(
            kind=value["kind"],
            path=value["path"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeList:
    """What a sandbox changed in its image's files."""

    changes: list[Change]
    """The changes, by path."""

    @classmethod
    def from_json(cls, value: Any) -> ChangeList:
        """Reads an answer of the server."""
        return cls(
            changes=[Change.from_json(one) for one in value["changes"]],
        )



class ClientMessage(TypedDict, total=False):
    """What a client says after `ExecStart`."""

    type: Required[Literal["stdin_end", "resize", "signal"]]
    """Tells which of the other fields are there."""

    columns: int
    """Characters in a line."""

    rows: int
    """Lines."""

    signal: str
    """Such as `SIGINT`."""



class CreateSandbox(TypedDict, total=False):
    """A new sandbox. Only `image` or `rootfs` is required; what is absent is as `monocore run
    -d` has it.
    """

    command: list[str]
    """The command and its arguments, instead of the image's."""

    cpus: TextOrNumber
    """Virtual CPUs; 1 by default."""

    entrypoint: list[str]
    """Replaces the image's entrypoint; an empty list removes it."""

    env: dict[str, str]
    """Variables, over the image's."""

    health: HealthCheck
    """How health is checked, instead of what the image says."""

    hostname: str
    """The host name in the sandbox."""

    hosts: list[str]
    """`NAME:ADDRESS`, for the sandbox's `/etc/hosts`."""

    idle_timeout: TextOrNumber
    """The sandbox is stopped when nobody has used it for this long."""

    image: str
    """The image: `alpine`, `ghcr.io/a/b:c`, a digest."""

    labels: dict[str, str]
    """Labels."""

    max_duration: TextOrNumber
    """The sandbox is stopped this long after its start."""

    memory: TextOrNumber
    """Memory: `512m`, `2g`, or MiB; 512 MiB by default."""

    name: str
    """The sandbox's name; one is made up when there is none."""

    network: Network
    """How the sandbox reaches others."""

    platform: str
    """The image for another machine: `linux/amd64`."""

    ports: list[TextOrNumber]
    """Published ports: `8080:80`, `127.0.0.1:0:53/udp`."""

    publish_all: bool
    """Every port the image exposes is published on a free port."""

    pull: PullPolicy
    """When a registry is asked for the image."""

    read_only: bool
    """The command cannot write to the root file system."""

    remove_on_exit: bool
    """The sandbox is removed when its command ends."""

    restart: str
    """`no`, `on-failure[:N]`, `always` or `unless-stopped`."""

    root_disk: TextOrNumber
    """Size of the disk that takes what is written to the root: `8G`."""

    rootfs: str
    """A directory of the host as the root, instead of an image. Needs the scope admin."""

    shm_size: TextOrNumber
    """Size of `/dev/shm`: `64m`."""

    start: bool
    """The sandbox is started at once."""

    stop_signal: str
    """The signal that asks the command to end."""

    stop_timeout: TextOrNumber
    """Grace period before SIGKILL: `10s`."""

    timeout: TextOrNumber
    """Each run of the command is stopped after this time (exit code 124)."""

    tmpfs: list[str]
    """`TARGET[:size=…,mode=…]`."""

    tty: bool
    """The command gets a terminal."""

    ulimits: list[str]
    """`NAME=SOFT[:HARD]`."""

    user: str
    """`NAME|UID[:GROUP|GID]`."""

    volumes: list[str]
    """`SOURCE:TARGET[:ro]`. A path of the host must be absolute and needs the scope admin; a
    name is a volume.
    """

    workdir: str
    """The directory the command starts in."""



class CreateVolume(TypedDict, total=False):
    """A new volume."""

    labels: dict[str, str]
    """Labels."""

    name: str
    """The volume's name; one is made up when there is none."""



class DownRequest(TypedDict, total=False):
    """Which services are stopped and removed. Exactly one of `group` and `services`, or none for
    all.
    """

    group: str
    """The members of this group."""

    project: str
    """The project; the server's default project when absent."""

    services: list[str]
    """These services."""

    volumes: bool
    """The project's named volumes are removed as well."""



@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorBody:
    """The body of every answer with a status of 400 and above."""

    error: ErrorDetail
    """What failed."""

    @classmethod
    def from_json(cls, value: Any) -> ErrorBody:
        """Reads an answer of the server."""
        return cls(
            error=ErrorDetail.from_json(value["error"]),
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorDetail:
    """What failed."""

    code: ErrorCode
    """For programs. A code never changes its meaning."""

    message: str
    """For people: what failed, on which input, and what to do."""

    @classmethod
    def from_json(cls, value: Any) -> ErrorDetail:
        """Reads an answer of the server."""
        return cls(
            code=value["code"],
            message=value["message"],
        )



class ExecRequest(TypedDict, total=False):
    """A command whose output is sent when it has ended."""

    command: Required[list[str]]
    """The program and its arguments."""

    detach: bool
    """The command goes on when the request is over. Its output is dropped; the answer has its
    `pid`.
    """

    env: dict[str, str]
    """Variables, over the sandbox's."""

    max_output_bytes: int
    """Output beyond this many bytes of each stream is dropped; 1 MiB by default, 16 MiB at most."""

    stdin: str
    """What the command reads."""

    stdin_base64: str
    """The same as base64, for what is not UTF-8."""

    timeout: TextOrNumber
    """The command is killed after this time (exit code 124): `30s`, or seconds."""

    user: str
    """`NAME|UID[:GROUP|GID]`."""

    workdir: str
    """The directory the command starts in."""



@dataclass(frozen=True, kw_only=True, slots=True)
class ExecResult:
    """What became of a command."""

    exit_code: int | None = None
    """The exit code; 128 and the signal's number where a signal ended the command, 124 where its
    time was up. Absent for a detached command.
    """

    pid: int | None = None
    """The command's process in the sandbox, for a detached command."""

    stderr: str
    """Standard error, in the same way."""

    stderr_base64: str | None = None
    """Standard error where it is not UTF-8."""

    stdout: str
    """Standard output; bytes that are not UTF-8 are replaced, then `stdout_base64` has all of
    them.
    """

    stdout_base64: str | None = None
    """Standard output where it is not UTF-8."""

    timed_out: bool
    """The time was up."""

    truncated: bool
    """Output was dropped."""

    @classmethod
    def from_json(cls, value: Any) -> ExecResult:
        """Reads an answer of the server."""
        return cls(
            exit_code=value.get("exit_code"),
            pid=value.get("pid"),
            stderr=value["stderr"],
            stderr_base64=value.get("stderr_base64"),
            stdout=value["stdout"],
            stdout_base64=value.get("stdout_base64"),
            timed_out=value["timed_out"],
            truncated=value["truncated"],
        )



class ExecResume(TypedDict, total=False):
    """Goes on with a command that was kept: the first message of a WebSocket instead of an
    `ExecStart`. The server sends the end of the command's output, then the session's name,
    and then what is new. A connection that the command still has is closed.
    """

    session: Required[str]
    """The name that the server gave."""

    terminal: Required[TerminalSize]
    """The size of the terminal now."""



class ExecStart(TypedDict, total=False):
    """A command with streams: the first message of a WebSocket."""

    command: Required[list[str]]
    """The program and its arguments."""

    env: dict[str, str]
    """Variables, over the sandbox's."""

    keep: TextOrNumber
    """The command goes on for this long after its connection is gone: `60s`, at most 10 minutes.
    Needs a terminal. The server's first message then names the session.
    """

    stdin: bool
    """The command reads what the client sends on channel 0; otherwise it reads end of file."""

    terminal: TerminalSize
    """The command gets a terminal of this size; its output is on channel 1."""

    user: str
    """`NAME|UID[:GROUP|GID]`."""

    workdir: str
    """The directory the command starts in."""



@dataclass(frozen=True, kw_only=True, slots=True)
class ExitReport:
    """What a sandbox's command ended with."""

    exit_code: int
    """The exit code; 128 and the signal's number where a signal ended it."""

    @classmethod
    def from_json(cls, value: Any) -> ExitReport:
        """Reads an answer of the server."""
        return cls(
            exit_code=value["exit_code"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """An entry of a directory."""

    kind: FileKind
    """What it is. Symbolic links are not followed."""

    mode: int
    """Its permissions: the lowest 12 bits of its mode."""

    modified: int
    """When its content changed, seconds since 1970."""

    name: str
    """Its name."""

    size_bytes: int
    """Its size, bytes."""

    target: str | None = None
    """Where a symbolic link leads."""

    @classmethod
    def from_json(cls, value: Any) -> FileEntry:
        """Reads an answer of the server."""
        return cls(
            kind=value["kind"],
            mode=value["mode"],
            modified=value["modified"],
            name=value["name"],
            size_bytes=value["size_bytes"],
            target=value.get("target"),
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class FileList:
    """A directory of a sandbox."""

    entries: list[FileEntry]
    """The first of them, by name."""

    total: int
    """How many entries the directory has."""

    @classmethod
    def from_json(cls, value: Any) -> FileList:
        """Reads an answer of the server."""
        return cls(
            entries=[FileEntry.from_json(one) for one in value["entries"]],
            total=value["total"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class GuestStats:
    """What a guest uses, in its own view."""

    cpu_system_ms: int
    """CPU time in the guest's kernel, milliseconds."""

    cpu_user_ms: int
    """CPU time in user mode, milliseconds."""

    memory_total_bytes: int
    """Memory of the guest, bytes."""

    memory_used_bytes: int
    """Memory in use, bytes."""

    tasks: int
    """Processes and threads."""

    uptime_ms: int
    """Since the machine's start, milliseconds."""

    @classmethod
    def from_json(cls, value: Any) -> GuestStats:
        """Reads an answer of the server."""
        return cls(
            cpu_system_ms=value["cpu_system_ms"],
            cpu_user_ms=value["cpu_user_ms"],
            memory_total_bytes=value["memory_total_bytes"],
            memory_used_bytes=value["memory_used_bytes"],
            tasks=value["tasks"],
            uptime_ms=value["uptime_ms"],
        )



class HealthCheck(TypedDict, total=False):
    """How health is checked. At most one of `shell`, `command`, `http` and `tcp`."""

    command: list[str]
    """A program and its arguments; healthy if it ends with 0."""

    disabled: bool
    """Health is not checked, whatever the image says."""

    http: TextOrNumber
    """A GET request, `PORT[/PATH]`; healthy if the status is 200 to 399."""

    interval: TextOrNumber
    """Time between two checks."""

    retries: int
    """Failures in a row that make the sandbox unhealthy."""

    shell: str
    """A line for the sandbox's `/bin/sh -c`; healthy if it ends with 0."""

    start_interval: TextOrNumber
    """Time between two checks in the start period."""

    start_period: TextOrNumber
    """Failures this long after the start do not count."""

    tcp: TextOrNumber
    """A connection to a port."""

    timeout: TextOrNumber
    """A check that takes longer has failed."""



@dataclass(frozen=True, kw_only=True, slots=True)
class HostCheck:
    """One thing that was looked at."""

    detail: str
    """What was found and, unless it is good, what to do."""

    name: str
    """What was looked at."""

    verdict: Verdict
    """How it is."""

    @classmethod
    def from_json(cls, value: Any) -> HostCheck:
        """Reads an answer of the server."""
        return cls(
            detail=value["detail"],
            name=value["name"],
            verdict=value["verdict"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class HostReport:
    """Whether the machine can run sandboxes."""

    can_run: bool
    """Nothing keeps sandboxes from running."""

    checks: list[HostCheck]
    """What was looked at."""

    @classmethod
    def from_json(cls, value: Any) -> HostReport:
        """Reads an answer of the server."""
        return cls(
            can_run=value["can_run"],
            checks=[HostCheck.from_json(one) for one in value["checks"]],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image in the store."""

    created: str | None = None
    """When it was made (RFC 3339), as the image says."""

    digest: str
    """The digest of its manifest."""

    id: str
    """The digest of its configuration."""

    platform: str
    """`os/arch[/variant]`."""

    reference: str | None = None
    """The name it was pulled by; absent once another image has that name."""

    size_bytes: int
    """Compressed size, bytes."""

    @classmethod
    def from_json(cls, value: Any) -> Image:
        """Reads an answer of the server."""
        return cls(
            created=value.get("created"),
            digest=value["digest"],
            id=value["id"],
            platform=value["platform"],
            reference=value.get("reference"),
            size_bytes=value["size_bytes"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ImageDetails:
    """Everything about an image."""

    created: str | None = None
    """When it was made (RFC 3339), as the image says."""

    digest: str
    """The digest of its manifest."""

    id: str
    """The digest of its configuration."""

    layers: list[ImageLayer]
    """Its layers, the lowest first."""

    platform: str
    """`os/arch[/variant]`."""

    process: ImageProcess
    """What it says about its command."""

    reference: str | None = None
    """The name it was pulled by; absent once another image has that name."""

    size_bytes: int
    """Compressed size, bytes."""

    warnings: list[str]
    """What was left out when it was converted, and why."""

    @classmethod
    def from_json(cls, value: Any) -> ImageDetails:
        """Reads an answer of the server."""
        return cls(
            created=value.get("created"),
            digest=value["digest"],
            id=value["id"],
            layers=[ImageLayer.from_json(one) for one in value["layers"]],
            platform=value["platform"],
            process=ImageProcess.from_json(value["process"]),
            reference=value.get("reference"),
            size_bytes=value["size_bytes"],
            warnings=value["warnings"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLayer:
    """A layer of an image."""

    digest: str
    """Its digest."""

    size_bytes: int
    """Compressed size, bytes."""

    @classmethod
    def from_json(cls, value: Any) -> ImageLayer:
        """Reads an answer of the server."""
        return cls(
            digest=value["digest"],
            size_bytes=value["size_bytes"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ImageList:
    """The images in the store, by name."""

    images: list[Image]
    """The images."""

    @classmethod
    def from_json(cls, value: Any) -> ImageList:
        """Reads an answer of the server."""
        return cls(
            images=[Image.from_json(one) for one in value["images"]],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ImageProcess:
    """What an image says about its command."""

    command: list[str]
    """The default command."""

    entrypoint: list[str]
    """Put before the command."""

    env: list[str]
    """`NAME=value`."""

    exposed_ports: list[str]
    """`PORT/PROTOCOL`."""

    stop_signal: str
    """The signal that asks it to end."""

    user: str
    """Who runs it."""

    volumes: list[str]
    """Directories that are volumes."""

    workdir: str
    """The directory the command starts in."""

    @classmethod
    def from_json(cls, value: Any) -> ImageProcess:
        """Reads an answer of the server."""
        return cls(
            command=value["command"],
            entrypoint=value["entrypoint"],
            env=value["env"],
            exposed_ports=value["exposed_ports"],
            stop_signal=value["stop_signal"],
            user=value["user"],
            volumes=value["volumes"],
            workdir=value["workdir"],
        )



class KillRequest(TypedDict, total=False):
    """Which signal is sent to a sandbox's command."""

    signal: TextOrNumber
    """Such as `SIGTERM`, `HUP` or `9`; SIGKILL by default, which ends the machine as well."""



@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """A line of output, or a part of one."""

    bytes: str | None = None
    """The bytes as base64, where they are not UTF-8."""

    log: str | None = None
    """The text, with its newline unless more of the line follows. Absent if it is not UTF-8."""

    stream: LogStreamName
    """Where it was written to."""

    time: str
    """When it arrived (RFC 3339)."""

    @classmethod
    def from_json(cls, value: Any) -> LogLine:
        """Reads an answer of the server."""
        return cls(
            bytes=value.get("bytes"),
            log=value.get("log"),
            stream=value["stream"],
            time=value["time"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class MachineStats:
    """What a machine's process uses and carries, on the host."""

    block_read_bytes: int
    """Bytes read from disks and shares."""

    block_written_bytes: int
    """Bytes written to disks and shares."""

    cpu_ms: int
    """CPU time of the machine's process, the guest's included, milliseconds."""

    net_received_bytes: int
    """Bytes that the guest received from the network."""

    net_sent_bytes: int
    """Bytes that the guest sent to the network."""

    @classmethod
    def from_json(cls, value: Any) -> MachineStats:
        """Reads an answer of the server."""
        return cls(
            block_read_bytes=value["block_read_bytes"],
            block_written_bytes=value["block_written_bytes"],
            cpu_ms=value["cpu_ms"],
            net_received_bytes=value["net_received_bytes"],
            net_sent_bytes=value["net_sent_bytes"],
        )



class Network(TypedDict, total=False):
    """How a sandbox reaches others."""

    allow_host: bool
    """The host's own services may be reached, as `host.monocore.internal`. Needs the scope
    admin.
    """

    dns: list[str]
    """Name servers instead of the host's."""

    dns_search: list[str]
    """Domains to look names up in."""

    groups: list[str]
    """`[PROJECT/]GROUP[,alias=NAME][,ip=ADDRESS]`: groups whose members reach each other by
    name.
    """

    mode: str
    """`nat` (the default), `tsi`, `none`; `tap:INTERFACE` and `passt:SOCKET` need the scope
    admin.
    """

    reach: str
    """What may be reached where no rule says otherwise: `public` (the default), `none`, `group`
    or `any`.
    """

    rules: list[str]
    """`allow:TARGET` or `deny:TARGET`, then `,port=N[-M]`, `,proto=tcp|udp|icmp`, `,in`. The
    first that fits decides.
    """



@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessInfo:
    """A process in a sandbox, as the guest tells it."""

    age_ms: int
    """Since its start, milliseconds."""

    command: str
    """The command line."""

    cpu_ms: int
    """CPU time, milliseconds."""

    group: str
    """Name of its group, or the number."""

    name: str
    """The program."""

    parent_pid: int
    """Its parent's ID."""

    pid: int
    """Its ID in the sandbox."""

    resident_bytes: int
    """Memory in use, bytes."""

    state: str
    """`R` running, `S` sleeping, `D` waiting for a device, `T` stopped, `Z` ended."""

    terminal: str | None = None
    """Its terminal, if it has one."""

    user: str
    """Name of its user, or the number."""

    virtual_bytes: int
    """Address space, bytes."""

    @classmethod
    def from_json(cls, value: Any) -> ProcessInfo:
        """Reads an answer of the server."""
        return cls(
            age_ms=value["age_ms"],
            command=value["command"],
            cpu_ms=value["cpu_ms"],
            group=value["group"],
            name=value["name"],
            parent_pid=value["parent_pid"],
            pid=value["pid"],
            resident_bytes=value["resident_bytes"],
            state=value["state"],
            terminal=value.get("terminal"),
            user=value["user"],
            virtual_bytes=value["virtual_bytes"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessList:
    """The processes of a sandbox."""

    processes: list[ProcessInfo]
    """The processes, by ID."""

    @classmethod
    def from_json(cls, value: Any) -> ProcessList:
        """Reads an answer of the server."""
        return cls(
            processes=[ProcessInfo.from_json(one) for one in value["processes"]],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectStep:
    """A step of a sandbox of a project."""

    detail: str | None = None
    """Why it failed, or what it waits for."""

    sandbox: str
    """The sandbox."""

    service: str
    """The service."""

    step: str
    """`kept`, `creating`, `created`, `starting`, `started`, `healthy`, `completed`, `stopping`,
    `stopped`, `removed`, `waiting` or `failed`.
    """

    @classmethod
    def from_json(cls, value: Any) -> ProjectStep:
        """Reads an answer of the server."""
        return cls(
            detail=value.get("detail"),
            sandbox=value["sandbox"],
            service=value["service"],
            step=value["step"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectSteps:
    """What was done, in the order it happened."""

    project: str
    """The project."""

    services: list[ServiceStatus]
    """The project's sandboxes afterwards."""

    steps: list[ProjectStep]
    """The steps."""

    @classmethod
    def from_json(cls, value: Any) -> ProjectSteps:
        """Reads an answer of the server."""
        return cls(
            project=value["project"],
            services=[ServiceStatus.from_json(one) for one in value["services"]],
            steps=[ProjectStep.from_json(one) for one in value["steps"]],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedPort:
    """A port of the host that leads to a sandbox."""

    address: str
    """The address on the host."""

    guest_port: int
    """The port in the sandbox."""

    host_port: int
    """The port on the host."""

    protocol: str
    """`tcp` or `udp`."""

    @classmethod
    def from_json(cls, value: Any) -> PublishedPort:
        """Reads an answer of the server."""
        return cls(
            address=value["address"],
            guest_port=value["guest_port"],
            host_port=value["host_port"],
            protocol=value["protocol"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class PullEvent:
    """What happens while an image is fetched. The last event is `done` or `failed`."""

    event: Literal["progress", "layer_done", "done", "failed"]
    """Tells which of the other fields are there."""

    done_bytes: int | None = None
    """Bytes so far."""

    layer: str | None = None
    """The layer's digest."""

    total_bytes: int | None = None
    """The layer's size, bytes."""

    image: Image | None = None
    """The image."""

    code: ErrorCode | None = None
    """For programs."""

    message: str | None = None
    """For people."""

    @classmethod
    def from_json(cls, value: Any) -> PullEvent:
        """Reads an answer of the server."""
        return cls(
            event=value["event"],
            done_bytes=value.get("done_bytes"),
            layer=value.get("layer"),
            total_bytes=value.get("total_bytes"),
            image=None if value.get("image") is None else Image.from_json(value["image"]),
            code=value.get("code"),
            message=value.get("message"),
        )



class PullRequest(TypedDict, total=False):
    """Which image is fetched."""

    image: Required[str]
    """The image: `alpine`, `ghcr.io/a/b:c`."""

    platform: str
    """The image for another machine: `linux/amd64`."""



@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    """Whether the server can serve."""

    status: str
    """`ok`, or why not."""

    @classmethod
    def from_json(cls, value: Any) -> Readiness:
        """Reads an answer of the server."""
        return cls(
            status=value["status"],
        )



class RemoveRequest(TypedDict, total=False):
    """Which services are removed. Exactly one of `group` and `services`."""

    group: str
    """The members of this group."""

    project: str
    """The project; the server's default project when absent."""

    services: list[str]
    """These services."""



@dataclass(frozen=True, kw_only=True, slots=True)
class RemovedImage:
    """What was freed by removing an image."""

    bytes: int
    """Freed on disk, bytes."""

    references: int
    """References that went."""

    @classmethod
    def from_json(cls, value: Any) -> RemovedImage:
        """Reads an answer of the server."""
        return cls(
            bytes=value["bytes"],
            references=value["references"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """A sandbox as listings show it."""

    command: list[str]
    """The command line."""

    created_ms: int
    """Milliseconds since 1970."""

    error: str | None = None
    """Why it could not be started or came to a sudden end."""

    exit_code: int | None = None
    """The exit code of its last run."""

    finished_ms: int | None = None
    """When it ended the last time, milliseconds since 1970."""

    groups: list[str]
    """The groups of that service."""

    health: str | None = None
    """`starting`, `healthy` or `unhealthy`; absent if its health is not checked."""

    id: str
    """Twelve hexadecimal digits."""

    image: str
    """The image as the user wrote it, or the root directory."""

    labels: dict[str, str]
    """The user's labels."""

    name: str
    """The name."""

    ports: list[PublishedPort]
    """Ports of the host that lead to it; empty unless it runs."""

    project: str | None = None
    """The project it belongs to."""

    restart_count: int
    """How often its restart policy has started it again."""

    service: str | None = None
    """The service of that project."""

    started_ms: int | None = None
    """When it was started the last time, milliseconds since 1970."""

    status: SandboxStatus
    """What the sandbox does."""

    @classmethod
    def from_json(cls, value: Any) -> Sandbox:
        """Reads an answer of the server."""
        return cls(
            command=value["command"],
            created_ms=value["created_ms"],
            error=value.get("error"),
            exit_code=value.get("exit_code"),
            finished_ms=value.get("finished_ms"),
            groups=value["groups"],
            health=value.get("health"),
            id=value["id"],
            image=value["image"],
            labels=value["labels"],
            name=value["name"],
            ports=[PublishedPort.from_json(one) for one in value["ports"]],
            project=value.get("project"),
            restart_count=value["restart_count"],
            service=value.get("service"),
            started_ms=value.get("started_ms"),
            status=value["status"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxDetails:
    """Everything about a sandbox."""

    command: list[str]
    """The command line."""

    created_ms: int
    """Milliseconds since 1970."""

    error: str | None = None
    """Why it could not be started or came to a sudden end."""

    exit_code: int | None = None
    """The exit code of its last run."""

    finished_ms: int | None = None
    """When it ended the last time, milliseconds since 1970."""

    groups: list[str]
    """The groups of that service."""

    health: str | None = None
    """`starting`, `healthy` or `unhealthy`; absent if its health is not checked."""

    id: str
    """Twelve hexadecimal digits."""

    image: str
    """The image as the user wrote it, or the root directory."""

    labels: dict[str, str]
    """The user's labels."""

    name: str
    """The name."""

    ports: list[PublishedPort]
    """Ports of the host that lead to it; empty unless it runs."""

    project: str | None = None
    """The project it belongs to."""

    restart_count: int
    """How often its restart policy has started it again."""

    service: str | None = None
    """The service of that project."""

    settings: SandboxSettings | None = None
    """How it was made; absent for a foreground `run`, which leaves no description."""

    started_ms: int | None = None
    """When it was started the last time, milliseconds since 1970."""

    status: SandboxStatus
    """What the sandbox does."""

    @classmethod
    def from_json(cls, value: Any) -> SandboxDetails:
        """Reads an answer of the server."""
        return cls(
            command=value["command"],
            created_ms=value["created_ms"],
            error=value.get("error"),
            exit_code=value.get("exit_code"),
            finished_ms=value.get("finished_ms"),
            groups=value["groups"],
            health=value.get("health"),
            id=value["id"],
            image=value["image"],
            labels=value["labels"],
            name=value["name"],
            ports=[PublishedPort.from_json(one) for one in value["ports"]],
            project=value.get("project"),
            restart_count=value["restart_count"],
            service=value.get("service"),
            settings=None if value.get("settings") is None else SandboxSettings.from_json(value["settings"]),
            started_ms=value.get("started_ms"),
            status=value["status"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxEvent:
    """Something that happened to a sandbox."""

    detail: str | None = None
    """What belongs to the event: the command, the health."""

    event: str
    """`create`, `start`, `die`, `destroy`, `exec_create`, `health_status`, …."""

    exit_code: int | None = None
    """The exit code, where a command ended."""

    id: str
    """The sandbox."""

    image: str
    """Its image."""

    name: str | None = None
    """Its name."""

    time_ms: int
    """When, milliseconds since 1970."""

    @classmethod
    def from_json(cls, value: Any) -> SandboxEvent:
        """Reads an answer of the server."""
        return cls(
            detail=value.get("detail"),
            event=value["event"],
            exit_code=value.get("exit_code"),
            id=value["id"],
            image=value["image"],
            name=value.get("name"),
            time_ms=value["time_ms"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxList:
    """Sandboxes, the newest first."""

    sandboxes: list[Sandbox]
    """The sandboxes."""

    @classmethod
    def from_json(cls, value: Any) -> SandboxList:
        """Reads an answer of the server."""
        return cls(
            sandboxes=[Sandbox.from_json(one) for one in value["sandboxes"]],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxMount:
    """A mount of a sandbox."""

    kind: str
    """`bind`, `volume`, `anonymous`, `tmpfs` or `socket`."""

    read_only: bool
    """The sandbox cannot write to it."""

    source: str | None = None
    """The host's path or the volume's name."""

    target: str
    """Where it is in the sandbox."""

    @classmethod
    def from_json(cls, value: Any) -> SandboxMount:
        """Reads an answer of the server."""
        return cls(
            kind=value["kind"],
            read_only=value["read_only"],
            source=value.get("source"),
            target=value["target"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSettings:
    """How a sandbox was made."""

    cpus: int
    """Virtual CPUs."""

    env: dict[str, str]
    """Variables set over the image's."""

    image_id: str | None = None
    """The digest of the image's configuration."""

    memory_mib: int
    """Memory, MiB."""

    mounts: list[SandboxMount]
    """Mounts, in the order they were asked for."""

    network: str
    """`none`, `nat`, `tsi`, `tap` or `passt`."""

    reach: str
    """What the sandbox reaches where no rule says otherwise: `none`, `group`, `public` or `any`."""

    read_only: bool
    """The root file system cannot be written to."""

    remove_on_exit: bool
    """The sandbox is removed when its command ends."""

    restart: str
    """When it is started again: `no`, `on-failure[:N]`, `always` or `unless-stopped`."""

    stop_timeout_ms: int
    """From the stop signal to SIGKILL, milliseconds."""

    tty: bool
    """The command has a terminal."""

    user: str | None = None
    """Who runs the command, where it is not the image's user."""

    workdir: str | None = None
    """The directory the command starts in, where it is not the image's."""

    @classmethod
    def from_json(cls, value: Any) -> SandboxSettings:
        """Reads an answer of the server."""
        return cls(
            cpus=value["cpus"],
            env=value["env"],
            image_id=value.get("image_id"),
            memory_mib=value["memory_mib"],
            mounts=[SandboxMount.from_json(one) for one in value["mounts"]],
            network=value["network"],
            reach=value["reach"],
            read_only=value["read_only"],
            remove_on_exit=value["remove_on_exit"],
            restart=value["restart"],
            stop_timeout_ms=value["stop_timeout_ms"],
            tty=value["tty"],
            user=value.get("user"),
            workdir=value.get("workdir"),
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxStats:
    """What a running sandbox uses."""

    guest: GuestStats | None = None
    """By the guest's agent; absent while the guest does not answer."""

    id: str
    """The sandbox."""

    machine: MachineStats | None = None
    """By the machine's process; absent while that does not answer."""

    name: str
    """Its name."""

    @classmethod
    def from_json(cls, value: Any) -> SandboxStats:
        """Reads an answer of the server."""
        return cls(
            guest=None if value.get("guest") is None else GuestStats.from_json(value["guest"]),
            id=value["id"],
            machine=None if value.get("machine") is None else MachineStats.from_json(value["machine"]),
            name=value["name"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ServerMessage:
    """What the server says. The last message is `exit` or `error`."""

    type: Literal["session", "exit", "error"]
    """Tells which of the other fields are there."""

    id: str | None = None
    """For an `ExecResume`. Whoever knows it may type to the command."""

    exit_code: int | None = None
    """The exit code."""

    code: ErrorCode | None = None
    """For programs."""

    message: str | None = None
    """For people."""

    @classmethod
    def from_json(cls, value: Any) -> ServerMessage:
        """Reads an answer of the server."""
        return cls(
            type=value["type"],
            id=value.get("id"),
            exit_code=value.get("exit_code"),
            code=value.get("code"),
            message=value.get("message"),
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceStatus:
    """A sandbox of a project."""

    number: int
    """The number of the replica, from 1."""

    project: str
    """The project."""

    sandbox: Sandbox
    """The sandbox."""

    service: str
    """The service."""

    @classmethod
    def from_json(cls, value: Any) -> ServiceStatus:
        """Reads an answer of the server."""
        return cls(
            number=value["number"],
            project=value["project"],
            sandbox=Sandbox.from_json(value["sandbox"]),
            service=value["service"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class StatusReport:
    """The sandboxes of all projects, or of one."""

    services: list[ServiceStatus]
    """By project, service and number."""

    @classmethod
    def from_json(cls, value: Any) -> StatusReport:
        """Reads an answer of the server."""
        return cls(
            services=[ServiceStatus.from_json(one) for one in value["services"]],
        )



class StopRequest(TypedDict, total=False):
    """How a sandbox is stopped or restarted."""

    signal: str
    """The signal instead of the sandbox's own, such as `SIGINT`."""

    timeout: TextOrNumber
    """Grace period before SIGKILL: `10s`, or seconds."""



class TerminalSize(TypedDict, total=False):
    """The size of a terminal."""

    columns: Required[int]
    """Characters in a line."""

    rows: Required[int]
    """Lines."""



class UpdateSandbox(TypedDict, total=False):
    """What is changed of a sandbox; what is absent stays."""

    cpus: TextOrNumber
    """Virtual CPUs."""

    memory: TextOrNumber
    """Memory: `512m`, `2g`, or MiB."""

    name: str
    """Another name."""

    restart: str
    """`no`, `on-failure[:N]`, `always` or `unless-stopped`."""



@dataclass(frozen=True, kw_only=True, slots=True)
class VersionInfo:
    """Versions of the program and of the guest inside it."""

    api: str
    """The API: `v1`."""

    init: str | None = None
    """The same of the guest's init."""

    kernel: str | None = None
    """The first digits of the guest kernel's hash; absent if none was built in."""

    monocore: str
    """The program."""

    platform: str
    """`os/arch`."""

    @classmethod
    def from_json(cls, value: Any) -> VersionInfo:
        """Reads an answer of the server."""
        return cls(
            api=value["api"],
            init=value.get("init"),
            kernel=value.get("kernel"),
            monocore=value["monocore"],
            platform=value["platform"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeInfo:
    """A named volume."""

    created_ms: int
    """When it was made, milliseconds since 1970."""

    labels: dict[str, str]
    """Labels."""

    name: str
    """The name."""

    used_by: list[str]
    """IDs of the sandboxes that use it, whether or not they run."""

    @classmethod
    def from_json(cls, value: Any) -> VolumeInfo:
        """Reads an answer of the server."""
        return cls(
            created_ms=value["created_ms"],
            labels=value["labels"],
            name=value["name"],
            used_by=value["used_by"],
        )



@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeList:
    """The named volumes."""

    volumes: list[VolumeInfo]
    """The volumes, by name."""

    @classmethod
    def from_json(cls, value: Any) -> VolumeList:
        """Reads an answer of the server."""
        return cls(
            volumes=[VolumeInfo.from_json(one) for one in value["volumes"]],
        )

