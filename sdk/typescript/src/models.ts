// Types of the API. Made by `cargo xtask sdk --write` from api/openapi.json; do not edit.

/** A file that differs from the image's. */
export interface Change {
  /** How it differs. */
  kind: ChangeKind;
  /** Its path in the sandbox. */
  path: string;
}

/** How a file differs from the image's. */
export type ChangeKind =
  | "added"
  | "changed"
  | "deleted";

/** What a sandbox changed in its image's files. */
export interface ChangeList {
  /** The changes, by path. */
  changes: Change[];
}

/** What a client says after `ExecStart`. */
export type ClientMessage =
  | {
      type: "stdin_end";
    }
  | {
      type: "resize";
      /** Characters in a line. */
      columns: number;
      /** Lines. */
      rows: number;
    }
  | {
      type: "signal";
      /** Such as `SIGINT`. */
      signal: string;
    };

/**
 * A new sandbox. Only `image` or `rootfs` is required; what is absent is as `monocore run -d`
 * has it.
 */
export interface CreateSandbox {
  /** The command and its arguments, instead of the image's. */
  command?: string[] | undefined;
  /** Virtual CPUs; 1 by default. */
  cpus?: TextOrNumber | undefined;
  /** Replaces the image's entrypoint; an empty list removes it. */
  entrypoint?: string[] | undefined;
  /** Variables, over the image's. */
  env?: Record<string, string> | undefined;
  /** How health is checked, instead of what the image says. */
  health?: HealthCheck | undefined;
  /** The host name in the sandbox. */
  hostname?: string | undefined;
  /** `NAME:ADDRESS`, for the sandbox's `/etc/hosts`. */
  hosts?: string[] | undefined;
  /** The sandbox is stopped when nobody has used it for this long. */
  idle_timeout?: TextOrNumber | undefined;
  /** The image: `alpine`, `ghcr.io/a/b:c`, a digest. */
  image?: string | undefined;
  /** Labels. */
  labels?: Record<string, string> | undefined;
  /** The sandbox is stopped this long after its start. */
  max_duration?: TextOrNumber | undefined;
  /** Memory: `512m`, `2g`, or MiB; 512 MiB by default. */
  memory?: TextOrNumber | undefined;
  /** The sandbox's name; one is made up when there is none. */
  name?: string | undefined;
  /** How the sandbox reaches others. */
  network?: Network | undefined;
  /** The image for another machine: `linux/amd64`. */
  platform?: string | undefined;
  /** Published ports: `8080:80`, `127.0.0.1:0:53/udp`. */
  ports?: TextOrNumber[] | undefined;
  /** Every port the image exposes is published on a free port. */
  publish_all?: boolean | undefined;
  /** When a registry is asked for the image. */
  pull?: PullPolicy | undefined;
  /** The command cannot write to the root file system. */
  read_only?: boolean | undefined;
  /** The sandbox is removed when its command ends. */
  remove_on_exit?: boolean | undefined;
  /** `no`, `on-failure[:N]`, `always` or `unless-stopped`. */
  restart?: string | undefined;
  /** Size of the disk that takes what is written to the root: `8G`. */
  root_disk?: TextOrNumber | undefined;
  /** A directory of the host as the root, instead of an image. Needs the scope admin. */
  rootfs?: string | undefined;
  /** Size of `/dev/shm`: `64m`. */
  shm_size?: TextOrNumber | undefined;
  /** The sandbox is started at once. */
  start?: boolean | undefined;
  /** The signal that asks the command to end. */
  stop_signal?: string | undefined;
  /** Grace period before SIGKILL: `10s`. */
  stop_timeout?: TextOrNumber | undefined;
  /** Each run of the command is stopped after this time (exit code 124). */
  timeout?: TextOrNumber | undefined;
  /** `TARGET[:size=…,mode=…]`. */
  tmpfs?: string[] | undefined;
  /** The command gets a terminal. */
  tty?: boolean | undefined;
  /** `NAME=SOFT[:HARD]`. */
  ulimits?: string[] | undefined;
  /** `NAME|UID[:GROUP|GID]`. */
  user?: string | undefined;
  /**
   * `SOURCE:TARGET[:ro]`. A path of the host must be absolute and needs the scope admin; a name
   * is a volume.
   */
  volumes?: string[] | undefined;
  /** The directory the command starts in. */
  workdir?: string | undefined;
}

/** A new volume. */
export interface CreateVolume {
  /** Labels. */
  labels?: Record<string, string> | undefined;
  /** The volume's name; one is made up when there is none. */
  name?: string | undefined;
}

/**
 * Which services are stopped and removed. Exactly one of `group` and `services`, or none for
 * all.
 */
export interface DownRequest {
  /** The members of this group. */
  group?: string | undefined;
  /** The project; the server's default project when absent. */
  project?: string | undefined;
  /** These services. */
  services?: string[] | undefined;
  /** The project's named volumes are removed as well. */
  volumes?: boolean | undefined;
}

/** The body of every answer with a status of 400 and above. */
export interface ErrorBody {
  /** What failed. */
  error: ErrorDetail;
}

/** What failed, for programs. */
export type ErrorCode =
  | "bad_request"
  | "invalid_json"
  | "invalid_value"
  | "invalid_config"
  | "unauthorized"
  | "forbidden"
  | "forbidden_host"
  | "forbidden_origin"
  | "not_found"
  | "method_not_allowed"
  | "body_too_large"
  | "request_timeout"
  | "rate_limited"
  | "too_busy"
  | "no_such_sandbox"
  | "no_such_session"
  | "session_taken"
  | "ambiguous"
  | "name_in_use"
  | "not_running"
  | "already_running"
  | "wrong_state"
  | "still_running"
  | "not_kept"
  | "no_receipts"
  | "port_unavailable"
  | "no_such_volume"
  | "volume_in_use"
  | "no_such_image"
  | "image_in_use"
  | "pull_failed"
  | "command_not_started"
  | "sandbox_not_started"
  | "no_command"
  | "copy_failed"
  | "host_cannot_run"
  | "no_such_service"
  | "service_failed"
  | "internal";

/** What failed. */
export interface ErrorDetail {
  /** For programs. A code never changes its meaning. */
  code: ErrorCode;
  /** For people: what failed, on which input, and what to do. */
  message: string;
}

/** A command whose output is sent when it has ended. */
export interface ExecRequest {
  /** The program and its arguments. */
  command: string[];
  /**
   * The command goes on when the request is over. Its output is dropped; the answer has its
   * `pid`.
   */
  detach?: boolean | undefined;
  /** Variables, over the sandbox's. */
  env?: Record<string, string> | undefined;
  /** Output beyond this many bytes of each stream is dropped; 1 MiB by default, 16 MiB at most. */
  max_output_bytes?: number | undefined;
  /** What the command reads. */
  stdin?: string | undefined;
  /** The same as base64, for what is not UTF-8. */
  stdin_base64?: string | undefined;
  /** The command is killed after this time (exit code 124): `30s`, or seconds. */
  timeout?: TextOrNumber | undefined;
  /** `NAME|UID[:GROUP|GID]`. */
  user?: string | undefined;
  /** The directory the command starts in. */
  workdir?: string | undefined;
}

/** What became of a command. */
export interface ExecResult {
  /**
   * The exit code; 128 and the signal's number where a signal ended the command, 124 where its
   * time was up. Absent for a detached command.
   */
  exit_code?: number | null;
  /** The command's process in the sandbox, for a detached command. */
  pid?: number | null;
  /** Standard error, in the same way. */
  stderr: string;
  /** Standard error where it is not UTF-8. */
  stderr_base64?: string | null;
  /**
   * Standard output; bytes that are not UTF-8 are replaced, then `stdout_base64` has all of
   * them.
   */
  stdout: string;
  /** Standard output where it is not UTF-8. */
  stdout_base64?: string | null;
  /** The time was up. */
  timed_out: boolean;
  /** Output was dropped. */
  truncated: boolean;
}

/**
 * Goes on with a command that was kept: the first message of a WebSocket instead of an
 * `ExecStart`. The server sends the end of the command's output, then the session's name, and
 * then what is new. A connection that the command still has is closed.
 */
export interface ExecResume {
  /** The name that the server gave. */
  session: string;
  /** The size of the terminal now. */
  terminal: TerminalSize;
}

/** A command with streams: the first message of a WebSocket. */
export interface ExecStart {
  /** The program and its arguments. */
  command: string[];
  /** Variables, over the sandbox's. */
  env?: Record<string, string> | undefined;
  /**
   * The command goes on for this long after its connection is gone: `60s`, at most 10 minutes.
   * Needs a terminal. The server's first message then names the session.
   */
  keep?: TextOrNumber | undefined;
  /** The command reads what the client sends on channel 0; otherwise it reads end of file. */
  stdin?: boolean | undefined;
  /** The command gets a terminal of this size; its output is on channel 1. */
  terminal?: TerminalSize | undefined;
  /** `NAME|UID[:GROUP|GID]`. */
  user?: string | undefined;
  /** The directory the command starts in. */
  workdir?: string | undefined;
}

/** What a sandbox's command ended with. */
export interface ExitReport {
  /** The exit code; 128 and the signal's number where a signal ended it. */
  exit_code: number;
}

/** An entry of a directory. */
export interface FileEntry {
  /** What it is. Symbolic links are not followed. */
  kind: FileKind;
  /** Its permissions: the lowest 12 bits of its mode. */
  mode: number;
  /** When its content changed, seconds since 1970. */
  modified: number;
  /** Its name. */
  name: string;
  /** Its size, bytes. */
  size_bytes: number;
  /** Where a symbolic link leads. */
  target?: string | null;
}

/** What an entry of a directory is. */
export type FileKind =
  | "file"
  | "directory"
  | "symlink"
  | "other";

/** A directory of a sandbox. */
export interface FileList {
  /** The first of them, by name. */
  entries: FileEntry[];
  /** How many entries the directory has. */
  total: number;
}

/** What a guest uses, in its own view. */
export interface GuestStats {
  /** CPU time in the guest's kernel, milliseconds. */
  cpu_system_ms: number;
  /** CPU time in user mode, milliseconds. */
  cpu_user_ms: number;
  /** Memory of the guest, bytes. */
  memory_total_bytes: number;
  /** Memory in use, bytes. */
  memory_used_bytes: number;
  /** Processes and threads. */
  tasks: number;
  /** Since the machine's start, milliseconds. */
  uptime_ms: number;
}

/** How health is checked. At most one of `shell`, `command`, `http` and `tcp`. */
export interface HealthCheck {
  /** A program and its arguments; healthy if it ends with 0. */
  command?: string[] | undefined;
  /** Health is not checked, whatever the image says. */
  disabled?: boolean | undefined;
  /** A GET request, `PORT[/PATH]`; healthy if the status is 200 to 399. */
  http?: TextOrNumber | undefined;
  /** Time between two checks. */
  interval?: TextOrNumber | undefined;
  /** Failures in a row that make the sandbox unhealthy. */
  retries?: number | undefined;
  /** A line for the sandbox's `/bin/sh -c`; healthy if it ends with 0. */
  shell?: string | undefined;
  /** Time between two checks in the start period. */
  start_interval?: TextOrNumber | undefined;
  /** Failures this long after the start do not count. */
  start_period?: TextOrNumber | undefined;
  /** A connection to a port. */
  tcp?: TextOrNumber | undefined;
  /** A check that takes longer has failed. */
  timeout?: TextOrNumber | undefined;
}

/** One thing that was looked at. */
export interface HostCheck {
  /** What was found and, unless it is good, what to do. */
  detail: string;
  /** What was looked at. */
  name: string;
  /** How it is. */
  verdict: Verdict;
}

/** Whether the machine can run sandboxes. */
export interface HostReport {
  /** Nothing keeps sandboxes from running. */
  can_run: boolean;
  /** What was looked at. */
  checks: HostCheck[];
}

/** An image in the store. */
export interface Image {
  /** When it was made (RFC 3339), as the image says. */
  created?: string | null;
  /** The digest of its manifest. */
  digest: string;
  /** The digest of its configuration. */
  id: string;
  /** `os/arch[/variant]`. */
  platform: string;
  /** The name it was pulled by; absent once another image has that name. */
  reference?: string | null;
  /** Compressed size, bytes. */
  size_bytes: number;
}

/** Everything about an image. */
export interface ImageDetails {
  /** When it was made (RFC 3339), as the image says. */
  created?: string | null;
  /** The digest of its manifest. */
  digest: string;
  /** The digest of its configuration. */
  id: string;
  /** Its layers, the lowest first. */
  layers: ImageLayer[];
  /** `os/arch[/variant]`. */
  platform: string;
  /** What it says about its command. */
  process: ImageProcess;
  /** The name it was pulled by; absent once another image has that name. */
  reference?: string | null;
  /** Compressed size, bytes. */
  size_bytes: number;
  /** What was left out when it was converted, and why. */
  warnings: string[];
}

/** A layer of an image. */
export interface ImageLayer {
  /** Its digest. */
  digest: string;
  /** Compressed size, bytes. */
  size_bytes: number;
}

/** The images in the store, by name. */
export interface ImageList {
  /** The images. */
  images: Image[];
}

/** What an image says about its command. */
export interface ImageProcess {
  /** The default command. */
  command: string[];
  /** Put before the command. */
  entrypoint: string[];
  /** `NAME=value`. */
  env: string[];
  /** `PORT/PROTOCOL`. */
  exposed_ports: string[];
  /** The signal that asks it to end. */
  stop_signal: string;
  /** Who runs it. */
  user: string;
  /** Directories that are volumes. */
  volumes: string[];
  /** The directory the command starts in. */
  workdir: string;
}

/** Which signal is sent to a sandbox's command. */
export interface KillRequest {
  /** Such as `SIGTERM`, `HUP` or `9`; SIGKILL by default, which ends the machine as well. */
  signal?: TextOrNumber | undefined;
}

/** A line of output, or a part of one. */
export interface LogLine {
  /** The bytes as base64, where they are not UTF-8. */
  bytes?: string | null;
  /** The text, with its newline unless more of the line follows. Absent if it is not UTF-8. */
  log?: string | null;
  /** Where it was written to. */
  stream: LogStreamName;
  /** When it arrived (RFC 3339). */
  time: string;
}

/** Which of the command's streams was written to. */
export type LogStreamName =
  | "stdout"
  | "stderr";

/** What a machine's process uses and carries, on the host. */
export interface MachineStats {
  /** Bytes read from disks and shares. */
  block_read_bytes: number;
  /** Bytes written to disks and shares. */
  block_written_bytes: number;
  /** CPU time of the machine's process, the guest's included, milliseconds. */
  cpu_ms: number;
  /** Bytes that the guest received from the network. */
  net_received_bytes: number;
  /** Bytes that the guest sent to the network. */
  net_sent_bytes: number;
}

/** How a sandbox reaches others. */
export interface Network {
  /** The host's own services may be reached, as `host.monocore.internal`. Needs the scope admin. */
  allow_host?: boolean | undefined;
  /** Name servers instead of the host's. */
  dns?: string[] | undefined;
  /** Domains to look names up in. */
  dns_search?: string[] | undefined;
  /** `[PROJECT/]GROUP[,alias=NAME][,ip=ADDRESS]`: groups whose members reach each other by name. */
  groups?: string[] | undefined;
  /** `nat` (the default), `tsi`, `none`; `tap:INTERFACE` and `passt:SOCKET` need the scope admin. */
  mode?: string | undefined;
  /**
   * What may be reached where no rule says otherwise: `public` (the default), `none`, `group` or
   * `any`.
   */
  reach?: string | undefined;
  /**
   * `allow:TARGET` or `deny:TARGET`, then `,port=N[-M]`, `,proto=tcp|udp|icmp`, `,in`. The first
   * that fits decides.
   */
  rules?: string[] | undefined;
}

/** A process in a sandbox, as the guest tells it. */
export interface ProcessInfo {
  /** Since its start, milliseconds. */
  age_ms: number;
  /** The command line. */
  command: string;
  /** CPU time, milliseconds. */
  cpu_ms: number;
  /** Name of its group, or the number. */
  group: string;
  /** The program. */
  name: string;
  /** Its parent's ID. */
  parent_pid: number;
  /** Its ID in the sandbox. */
  pid: number;
  /** Memory in use, bytes. */
  resident_bytes: number;
  /** `R` running, `S` sleeping, `D` waiting for a device, `T` stopped, `Z` ended. */
  state: string;
  /** Its terminal, if it has one. */
  terminal?: string | null;
  /** Name of its user, or the number. */
  user: string;
  /** Address space, bytes. */
  virtual_bytes: number;
}

/** The processes of a sandbox. */
export interface ProcessList {
  /** The processes, by ID. */
  processes: ProcessInfo[];
}

/**
 * A project's configuration, with the keys of `monocore.toml`: `name`, `service`, `group`,
 * `volume`, `secret`.
 */
export type ProjectConfig = Record<string, unknown>;

/** A step of a sandbox of a project. */
export interface ProjectStep {
  /** Why it failed, or what it waits for. */
  detail?: string | null;
  /** The sandbox. */
  sandbox: string;
  /** The service. */
  service: string;
  /**
   * `kept`, `creating`, `created`, `starting`, `started`, `healthy`, `completed`, `stopping`,
   * `stopped`, `removed`, `waiting` or `failed`.
   */
  step: string;
}

/** What was done, in the order it happened. */
export interface ProjectSteps {
  /** The project. */
  project: string;
  /** The project's sandboxes afterwards. */
  services: ServiceStatus[];
  /** The steps. */
  steps: ProjectStep[];
}

/** A port of the host that leads to a sandbox. */
export interface PublishedPort {
  /** The address on the host. */
  address: string;
  /** The port in the sandbox. */
  guest_port: number;
  /** The port on the host. */
  host_port: number;
  /** `tcp` or `udp`. */
  protocol: string;
}

/** What happens while an image is fetched. The last event is `done` or `failed`. */
export type PullEvent =
  | {
      event: "progress";
      /** Bytes so far. */
      done_bytes: number;
      /** The layer's digest. */
      layer: string;
      /** The layer's size, bytes. */
      total_bytes: number;
    }
  | {
      event: "layer_done";
      /** The layer's digest. */
      layer: string;
    }
  | {
      event: "done";
      /** The image. */
      image: Image;
    }
  | {
      event: "failed";
      /** For programs. */
      code: ErrorCode;
      /** For people. */
      message: string;
    };

/** When a registry is asked for an image. */
export type PullPolicy =
  | "missing"
  | "always"
  | "never";

/** Which image is fetched. */
export interface PullRequest {
  /** The image: `alpine`, `ghcr.io/a/b:c`. */
  image: string;
  /** The image for another machine: `linux/amd64`. */
  platform?: string | undefined;
}

/** Whether the server can serve. */
export interface Readiness {
  /** `ok`, or why not. */
  status: string;
}

/** Which services are removed. Exactly one of `group` and `services`. */
export interface RemoveRequest {
  /** The members of this group. */
  group?: string | undefined;
  /** The project; the server's default project when absent. */
  project?: string | undefined;
  /** These services. */
  services?: string[] | undefined;
}

/** What was freed by removing an image. */
export interface RemovedImage {
  /** Freed on disk, bytes. */
  bytes: number;
  /** References that went. */
  references: number;
}

/** A sandbox as listings show it. */
export interface Sandbox {
  /** The command line. */
  command: string[];
  /** Milliseconds since 1970. */
  created_ms: number;
  /** Why it could not be started or came to a sudden end. */
  error?: string | null;
  /** The exit code of its last run. */
  exit_code?: number | null;
  /** When it ended the last time, milliseconds since 1970. */
  finished_ms?: number | null;
  /** The groups of that service. */
  groups: string[];
  /** `starting`, `healthy` or `unhealthy`; absent if its health is not checked. */
  health?: string | null;
  /** Twelve hexadecimal digits. */
  id: string;
  /** The image as the user wrote it, or the root directory. */
  image: string;
  /** The user's labels. */
  labels: Record<string, string>;
  /** The name. */
  name: string;
  /** Ports of the host that lead to it; empty unless it runs. */
  ports: PublishedPort[];
  /** The project it belongs to. */
  project?: string | null;
  /** How often its restart policy has started it again. */
  restart_count: number;
  /** The service of that project. */
  service?: string | null;
  /** When it was started the last time, milliseconds since 1970. */
  started_ms?: number | null;
  /** What the sandbox does. */
  status: SandboxStatus;
}

/** Everything about a sandbox. */
export interface SandboxDetails {
  /** The command line. */
  command: string[];
  /** Milliseconds since 1970. */
  created_ms: number;
  /** Why it could not be started or came to a sudden end. */
  error?: string | null;
  /** The exit code of its last run. */
  exit_code?: number | null;
  /** When it ended the last time, milliseconds since 1970. */
  finished_ms?: number | null;
  /** The groups of that service. */
  groups: string[];
  /** `starting`, `healthy` or `unhealthy`; absent if its health is not checked. */
  health?: string | null;
  /** Twelve hexadecimal digits. */
  id: string;
  /** The image as the user wrote it, or the root directory. */
  image: string;
  /** The user's labels. */
  labels: Record<string, string>;
  /** The name. */
  name: string;
  /** Ports of the host that lead to it; empty unless it runs. */
  ports: PublishedPort[];
  /** The project it belongs to. */
  project?: string | null;
  /** How often its restart policy has started it again. */
  restart_count: number;
  /** The service of that project. */
  service?: string | null;
  /** How it was made; absent for a foreground `run`, which leaves no description. */
  settings?: SandboxSettings | null;
  /** When it was started the last time, milliseconds since 1970. */
  started_ms?: number | null;
  /** What the sandbox does. */
  status: SandboxStatus;
}

/** Something that happened to a sandbox. */
export interface SandboxEvent {
  /** What belongs to the event: the command, the health. */
  detail?: string | null;
  /** `create`, `start`, `die`, `destroy`, `exec_create`, `health_status`, …. */
  event: string;
  /** The exit code, where a command ended. */
  exit_code?: number | null;
  /** The sandbox. */
  id: string;
  /** Its image. */
  image: string;
  /** Its name. */
  name?: string | null;
  /** When, milliseconds since 1970. */
  time_ms: number;
}

/** Sandboxes, the newest first. */
export interface SandboxList {
  /** The sandboxes. */
  sandboxes: Sandbox[];
}

/** A mount of a sandbox. */
export interface SandboxMount {
  /** `bind`, `volume`, `anonymous`, `tmpfs` or `socket`. */
  kind: string;
  /** The sandbox cannot write to it. */
  read_only: boolean;
  /** The host's path or the volume's name. */
  source?: string | null;
  /** Where it is in the sandbox. */
  target: string;
}

/** How a sandbox was made. */
export interface SandboxSettings {
  /** Virtual CPUs. */
  cpus: number;
  /** Variables set over the image's. */
  env: Record<string, string>;
  /** The digest of the image's configuration. */
  image_id?: string | null;
  /** Memory, MiB. */
  memory_mib: number;
  /** Mounts, in the order they were asked for. */
  mounts: SandboxMount[];
  /** `none`, `nat`, `tsi`, `tap` or `passt`. */
  network: string;
  /** What the sandbox reaches where no rule says otherwise: `none`, `group`, `public` or `any`. */
  reach: string;
  /** The root file system cannot be written to. */
  read_only: boolean;
  /** The sandbox is removed when its command ends. */
  remove_on_exit: boolean;
  /** When it is started again: `no`, `on-failure[:N]`, `always` or `unless-stopped`. */
  restart: string;
  /** From the stop signal to SIGKILL, milliseconds. */
  stop_timeout_ms: number;
  /** The command has a terminal. */
  tty: boolean;
  /** Who runs the command, where it is not the image's user. */
  user?: string | null;
  /** The directory the command starts in, where it is not the image's. */
  workdir?: string | null;
}

/** What a running sandbox uses. */
export interface SandboxStats {
  /** By the guest's agent; absent while the guest does not answer. */
  guest?: GuestStats | null;
  /** The sandbox. */
  id: string;
  /** By the machine's process; absent while that does not answer. */
  machine?: MachineStats | null;
  /** Its name. */
  name: string;
}

/** What a sandbox does. */
export type SandboxStatus =
  | "created"
  | "running"
  | "exited"
  | "paused"
  | "restarting";

/** What the server says. The last message is `exit` or `error`. */
export type ServerMessage =
  | {
      type: "session";
      /** For an `ExecResume`. Whoever knows it may type to the command. */
      id: string;
    }
  | {
      type: "exit";
      /** The exit code. */
      exit_code: number;
    }
  | {
      type: "error";
      /** For programs. */
      code: ErrorCode;
      /** For people. */
      message: string;
    };

/** A sandbox of a project. */
export interface ServiceStatus {
  /** The number of the replica, from 1. */
  number: number;
  /** The project. */
  project: string;
  /** The sandbox. */
  sandbox: Sandbox;
  /** The service. */
  service: string;
}

/** The sandboxes of all projects, or of one. */
export interface StatusReport {
  /** By project, service and number. */
  services: ServiceStatus[];
}

/** How a sandbox is stopped or restarted. */
export interface StopRequest {
  /** The signal instead of the sandbox's own, such as `SIGINT`. */
  signal?: string | undefined;
  /** Grace period before SIGKILL: `10s`, or seconds. */
  timeout?: TextOrNumber | undefined;
}

/** The size of a terminal. */
export interface TerminalSize {
  /** Characters in a line. */
  columns: number;
  /** Lines. */
  rows: number;
}

/** A text in the form the command line takes (`512m`, `30s`, `8080:80`), or a plain number. */
export type TextOrNumber = number | string;

/** What is changed of a sandbox; what is absent stays. */
export interface UpdateSandbox {
  /** Virtual CPUs. */
  cpus?: TextOrNumber | undefined;
  /** Memory: `512m`, `2g`, or MiB. */
  memory?: TextOrNumber | undefined;
  /** Another name. */
  name?: string | undefined;
  /** `no`, `on-failure[:N]`, `always` or `unless-stopped`. */
  restart?: string | undefined;
}

/** How a check came out. */
export type Verdict =
  | "good"
  | "warning"
  | "bad";

/** Versions of the program and of the guest inside it. */
export interface VersionInfo {
  /** The API: `v1`. */
  api: string;
  /** The same of the guest's init. */
  init?: string | null;
  /** The first digits of the guest kernel's hash; absent if none was built in. */
  kernel?: string | null;
  /** The program. */
  monocore: string;
  /** `os/arch`. */
  platform: string;
}

/** A named volume. */
export interface VolumeInfo {
  /** When it was made, milliseconds since 1970. */
  created_ms: number;
  /** Labels. */
  labels: Record<string, string>;
  /** The name. */
  name: string;
  /** IDs of the sandboxes that use it, whether or not they run. */
  used_by: string[];
}

/** The named volumes. */
export interface VolumeList {
  /** The volumes, by name. */
  volumes: VolumeInfo[];
}
