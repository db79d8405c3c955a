//! Code and commands: in a throw-away sandbox, and in one that runs.

use std::collections::BTreeMap;
use std::time::Duration;

use monocore_orchestrator::images::open_store;
use monocore_orchestrator::session::{Outcome, Signals};
use monocore_orchestrator::spec::SandboxSpec;
use monocore_orchestrator::{ControlClient, Ended, ExecCall, Front, RootFiles};
use monocore_protocol::ByteString;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

use super::create::{NetworkWish, Wish, check_variables};
use super::{Kind, McpTool};
use crate::context::Context;
use crate::error::ToolError;
use crate::images;
use crate::output::Collectors;
use crate::work::{Call, Interrupt};

/// The longest code, bytes: Linux takes 128 KiB in one argument.
const MAX_CODE: usize = 120_000;
/// How long a program may take to end whose time is up.
const RUN_GRACE: Duration = Duration::from_secs(2);
/// From the end of a program's time to that of its machine.
const RUN_MARGIN: Duration = Duration::from_secs(20);

pub(super) fn tools() -> Vec<McpTool> {
    vec![
        McpTool::new(
            "run_code",
            "Run code in a throw-away sandbox",
            Kind::Runs,
            "Runs a piece of code in a fresh sandbox that is removed afterwards, and returns exit code, stdout and stderr. \
             Nothing is kept from one call to the next: to install packages, keep files or run several commands, use \
             create_sandbox and exec.",
            run_code,
        ),
        McpTool::new(
            "exec",
            "Run a command in a sandbox",
            Kind::Runs,
            "Runs a command in a running sandbox and returns exit code, stdout and stderr. Give either `script`, which sh \
             runs, or `command`, a program with its arguments and no shell. The command is killed when its time is up or \
             the call is cancelled; start servers with `script` as `nohup server >/tmp/log 2>&1 &`. Output beyond \
             max_output_bytes is left out in the middle.",
            exec,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunCode {
    /// The code, at most 120000 bytes
    #[schemars(length(min = 1, max = 120_000))]
    code: String,
    /// Its language
    language: Language,
    /// Image instead of the language's official one; it must have the language's interpreter
    #[schemars(length(min = 1, max = 512))]
    image: Option<String>,
    /// What the program reads from standard input
    #[schemars(length(max = 262_144))]
    stdin: Option<String>,
    /// Environment variables
    #[serde(default)]
    #[schemars(extend("maxProperties" = 256))]
    env: BTreeMap<String, String>,
    /// Kill the program after so many seconds
    #[schemars(range(min = 1, max = 86_400))]
    timeout_seconds: Option<u64>,
    /// Bytes shown of each of stdout and stderr
    #[schemars(range(min = 1, max = 16_777_216))]
    max_output_bytes: Option<usize>,
    /// Memory in MiB
    #[schemars(range(min = 64, max = 1_048_576))]
    memory_mib: Option<u32>,
    /// CPUs
    #[schemars(range(min = 1, max = 64))]
    cpus: Option<u8>,
    /// What the program can reach
    network: Option<NetworkWish>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Language {
    Python,
    Javascript,
    Shell,
    Bash,
    Ruby,
    Perl,
}

impl Language {
    /// The official image, and the program that takes code as its last argument.
    fn interpreter(self) -> (&'static str, [&'static str; 2]) {
        match self {
            Self::Python => ("python:3-slim", ["python3", "-c"]),
            Self::Javascript => ("node:22-slim", ["node", "-e"]),
            Self::Shell => ("alpine:latest", ["sh", "-c"]),
            Self::Bash => ("debian:stable-slim", ["bash", "-c"]),
            Self::Ruby => ("ruby:3-slim", ["ruby", "-e"]),
            Self::Perl => ("perl:5-slim", ["perl", "-e"]),
        }
    }
}

async fn run_code(call: Call, wanted: RunCode) -> Result<String, ToolError> {
    if wanted.code.len() > MAX_CODE {
        let problem =
            format!("{} bytes are more than {MAX_CODE}: write files with write_file", wanted.code.len());
        return Err(ToolError::value("code", problem));
    }
    let time = call.time(wanted.timeout_seconds)?;
    let most = call.output(wanted.max_output_bytes)?;
    let (image, [program, flag]) = wanted.language.interpreter();
    let image = wanted.image.unwrap_or_else(|| image.to_owned());
    let wish = Wish {
        command: Some(vec![program.to_owned(), flag.to_owned(), wanted.code]),
        env: wanted.env,
        memory_mib: wanted.memory_mib,
        cpus: wanted.cpus,
        network: wanted.network,
        ..Wish::of(image.clone())
    };
    let mut spec = wish.spec(&call.context.policy)?;
    spec.process.stdin = wanted.stdin.is_some();
    spec.stop.timeout = Some(time);
    spec.stop.grace = RUN_GRACE;
    images::ensure(&call, &image).await?;
    let (told, seen) = watch::channel(0);
    let output = Collectors::new(most, &told);
    let _told = call.tell(seen, |bytes| format!("{bytes} bytes of output"));
    let streams = output.streams(wanted.stdin);
    let work = move |context: &Context, interrupt: &Interrupt| {
        let RunFiles { image, root } = RunFiles::open(context, &image)?;
        let launched = {
            let _room = context.room_for_one()?;
            let root = RootFiles::Image(&image.config, root);
            context.host.launcher.start(&spec, image_name(&spec), &root, streams)?
        };
        let signals = interrupt.signals()?;
        Ok(launched.run(Front::Foreground { signals: &signals, terminal: None }, |_| ())?)
    };
    let ended = call.blocking(Some(time + RUN_MARGIN), work).await?;
    if call.is_cancelled() {
        return Err(ToolError::cancelled());
    }
    let rest = "Nothing more of it is kept: write it to a file in a sandbox of create_sandbox, and read that with read_file.";
    match ended {
        Ended::NotStarted(code, message) => Err(ToolError::new(format!(
            "the program could not be started (exit code {code}): {message}. Choose an image that has it"
        ))),
        Ended::TimedOut | Ended::Killed => Err(ToolError::new(output.report(&timed_out(time), rest))),
        ended => Ok(output.report(&format!("exit code {}", ended.code()), rest)),
    }
}

/// What a throw-away sandbox runs from.
struct RunFiles {
    image: monocore_oci::Image,
    root: monocore_oci::RootImage,
}

impl RunFiles {
    fn open(context: &Context, image: &str) -> Result<Self, ToolError> {
        let image = open_store(context.home())?.find(image)?;
        let root = image.root()?;
        Ok(Self { image, root })
    }
}

fn image_name(spec: &SandboxSpec) -> &str {
    match &spec.root.source {
        monocore_orchestrator::spec::RootSource::Image(image) => &image.reference,
        monocore_orchestrator::spec::RootSource::Directory(_) => "",
    }
}

fn timed_out(time: Duration) -> String {
    format!("timed out after {} s and was killed; its output until then:", time.as_secs())
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExecArgs {
    /// Name, ID, or unique ID prefix
    #[schemars(length(min = 1, max = 128))]
    sandbox: String,
    /// Script for sh -c
    #[schemars(length(min = 1, max = 120_000))]
    script: Option<String>,
    /// Program and arguments, without a shell
    #[schemars(length(min = 1, max = 256), inner(length(max = 65_536)))]
    command: Option<Vec<String>>,
    /// What the command reads from standard input
    #[schemars(length(max = 262_144))]
    stdin: Option<String>,
    /// Environment variables, over those of the sandbox
    #[serde(default)]
    #[schemars(extend("maxProperties" = 256))]
    env: BTreeMap<String, String>,
    /// Working directory, instead of the sandbox's
    #[schemars(length(min = 1, max = 4096))]
    workdir: Option<String>,
    /// User, instead of the sandbox's: name or uid, with :group if wanted
    #[schemars(length(min = 1, max = 256))]
    user: Option<String>,
    /// Kill the command after so many seconds
    #[schemars(range(min = 1, max = 86_400))]
    timeout_seconds: Option<u64>,
    /// Bytes shown of each of stdout and stderr
    #[schemars(range(min = 1, max = 16_777_216))]
    max_output_bytes: Option<usize>,
}

async fn exec(call: Call, wanted: ExecArgs) -> Result<String, ToolError> {
    let time = call.time(wanted.timeout_seconds)?;
    let most = call.output(wanted.max_output_bytes)?;
    let exec = exec_call(&wanted)?;
    let (told, seen) = watch::channel(0);
    let output = Collectors::new(most, &told);
    let _told = call.tell(seen, |bytes| format!("{bytes} bytes of output"));
    let streams = output.streams(wanted.stdin);
    let name = wanted.sandbox;
    let work = move |context: &Context, interrupt: &Interrupt| {
        let entry = context.find(&name)?;
        let record = entry.running.ok_or(monocore_orchestrator::Error::NotRunning(entry.name))?;
        let client = ControlClient::connect(context.home(), &record)?;
        let signals: Signals = interrupt.signals()?;
        Ok(client.exec(exec, streams)?.run_to_end(&signals, None, None)?)
    };
    let outcome = call.blocking(Some(time), work).await?;
    if call.is_cancelled() {
        return Err(ToolError::cancelled());
    }
    let rest =
        "To get all of it, run the command again with its output in a file, and read that with read_file.";
    match outcome {
        Outcome::Exited(status) => Ok(output.report(&format!("exit code {}", status.code()), rest)),
        _ => Err(ToolError::new(output.report(&timed_out(time), rest))),
    }
}

fn exec_call(wanted: &ExecArgs) -> Result<ExecCall, ToolError> {
    let command = match (&wanted.script, &wanted.command) {
        (Some(script), None) => vec!["sh".to_owned(), "-c".to_owned(), script.clone()],
        (None, Some(command)) if !command[0].is_empty() => command.clone(),
        (None, Some(_)) => return Err(ToolError::value("command", "name a program")),
        _ => return Err(ToolError::value("command", "give either script or command")),
    };
    let words = command.iter().chain(&wanted.workdir).chain(&wanted.user);
    if words.into_iter().any(|word| word.contains('\0')) {
        return Err(ToolError::value("command", "a word has a NUL character"));
    }
    check_variables(&wanted.env)?;
    let bytes = |text: String| ByteString::from(text.into_bytes());
    Ok(ExecCall {
        env: wanted.env.iter().map(|(name, value)| bytes(format!("{name}={value}"))).collect(),
        workdir: wanted.workdir.clone().map(bytes),
        user: wanted.user.clone(),
        ..ExecCall::new(command.into_iter().map(bytes).collect())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_is_a_script_or_words() {
        let read = |value: serde_json::Value| {
            let wanted: ExecArgs = serde_json::from_value(value).unwrap();
            exec_call(&wanted).map_err(|error| error.0)
        };
        assert!(read(json!({"sandbox": "a", "script": "echo hi"})).is_ok());
        assert!(read(json!({"sandbox": "a", "command": ["echo", "hi"]})).is_ok());
        for bad in [
            json!({"sandbox": "a"}),
            json!({"sandbox": "a", "script": "x", "command": ["y"]}),
            json!({"sandbox": "a", "command": [""]}),
            json!({"sandbox": "a", "script": "a\0"}),
            json!({"sandbox": "a", "script": "a", "env": {"": "x"}}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
