//! The command: what the user asked for over what the image says, as Docker puts them together.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use monocore_oci::ImageConfig;
use monocore_protocol::{ByteString, Exec, ExecId, Resource, Rlimit};

use crate::Error;
use crate::spec::{EnvVar, ProcessSpec, Signal, StopSpec};

/// How many files a process may open unless told otherwise: what systemd and Docker Engine give. Linux's own hard limit of 4,096 is less
/// than servers ask for; a higher soft one is slow for programs that close every number.
const OPEN_FILES: Rlimit = Rlimit { resource: Resource::Nofile, soft: 1024, hard: 524_288 };

/// The request that runs the command. The session chooses its id and what its streams are.
///
/// # Errors
/// There is nothing to run.
pub(crate) fn exec(spec: &ProcessSpec, image: &ImageConfig) -> Result<Exec, Error> {
    let argv = argv(spec, image);
    if argv.first().is_none_or(ByteString::is_empty) {
        return Err(Error::NoCommand);
    }
    let mut exec = Exec::new(ExecId(0), argv);
    exec.env = environment(&image.env, &spec.env);
    exec.cwd = spec.workdir.clone().unwrap_or_else(|| image.working_dir.clone()).into();
    exec.user = spec.user.clone().unwrap_or_else(|| image.user.clone());
    exec.rlimits.push(OPEN_FILES);
    exec.rlimits.extend_from_slice(&spec.ulimits);
    exec.groups.clone_from(&spec.groups);
    exec.capabilities = spec.capabilities;
    exec.no_new_privileges = spec.no_new_privileges;
    exec.is_init = spec.init.map_or_else(|| is_init(&exec.argv), |init| !init);
    Ok(exec)
}

/// Programs that do an init's work, and expect to be process 1. Their own options do not matter.
const INITS: [&[u8]; 12] = [
    b"init",
    b"systemd",
    b"openrc-init",
    b"runit",
    b"runit-init",
    b"s6-svscan",
    b"s6-overlay-init",
    b"tini",
    b"tini-static",
    b"dumb-init",
    b"catatonit",
    b"docker-init",
];

/// Whether the command is an init, by its file name.
fn is_init(argv: &[ByteString]) -> bool {
    INITS.contains(&file_name(argv))
}

fn file_name(argv: &[ByteString]) -> &[u8] {
    let program = argv.first().map(ByteString::as_bytes).unwrap_or_default();
    program.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Arguments replace the image's command; so does an entrypoint of the user's, even without arguments.
pub(crate) fn argv(spec: &ProcessSpec, image: &ImageConfig) -> Vec<ByteString> {
    let from_image = |words: &[String]| words.iter().map(|word| word.as_str().into()).collect();
    let mut argv: Vec<ByteString> = match &spec.entrypoint {
        Some(words) => words.iter().map(|word| word.as_os_str().into()).collect(),
        None => from_image(&image.entrypoint),
    };
    if spec.args.is_empty() && spec.entrypoint.is_none() {
        argv.extend::<Vec<_>>(from_image(&image.cmd));
    } else {
        argv.extend(spec.args.iter().map(|word| ByteString::from(word.as_os_str())));
    }
    argv
}

/// The image's variables in their order, each with the user's value if there is one, then the user's others; of two with
/// one name the last counts.
fn environment(image: &[String], user: &[EnvVar]) -> Vec<ByteString> {
    let split = |text: &str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let from_image =
        image.iter().filter_map(|text| split(text)).map(|(name, value)| (name.into(), value.into()));
    let from_user = user.iter().map(|variable| (variable.name.clone(), variable.value.clone()));
    let mut merged: Vec<(std::ffi::OsString, std::ffi::OsString)> = Vec::new();
    for (name, value) in from_image.chain(from_user) {
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => merged.push((name, value)),
        }
    }
    merged.iter().map(|(name, value)| pair(name, value)).collect()
}

fn pair(name: &OsStr, value: &OsStr) -> ByteString {
    [name.as_bytes(), b"=", value.as_bytes()].concat().into()
}

/// What asks the command to end: the user's signal, else the image's, else the one that asks systemd for an orderly
/// end if it is that, else SIGTERM.
pub(crate) fn stop_signal(spec: &StopSpec, image: &ImageConfig, exec: &Exec) -> Signal {
    let systemd = || {
        let name = file_name(&exec.argv);
        Signal::parse("RTMIN+3").ok().filter(|_| exec.is_init && (name == b"init" || name == b"systemd"))
    };
    let asked = spec.signal.or_else(|| Signal::parse(&image.stop_signal).ok());
    asked.or_else(systemd).unwrap_or(Signal::TERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/entry".into()],
            cmd: vec!["default".into()],
            env: vec!["PATH=/bin".into(), "A=1".into()],
            working_dir: "/app".into(),
            user: "app".into(),
            stop_signal: "SIGINT".into(),
            ..ImageConfig::default()
        }
    }

    fn argv_of(entrypoint: Option<&[&str]>, args: &[&str]) -> Vec<String> {
        let spec = ProcessSpec {
            entrypoint: entrypoint.map(|words| words.iter().map(Into::into).collect()),
            args: args.iter().map(Into::into).collect(),
            ..ProcessSpec::default()
        };
        argv(&spec, &image()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn entrypoint_and_command_combine_as_docker_has_it() {
        assert_eq!(argv_of(None, &[]), ["/entry", "default"]);
        assert_eq!(argv_of(None, &["x"]), ["/entry", "x"]);
        assert_eq!(argv_of(Some(&["/mine"]), &[]), ["/mine"]);
        assert_eq!(argv_of(Some(&["/mine"]), &["x"]), ["/mine", "x"]);
        assert_eq!(argv_of(Some(&[]), &["x"]), ["x"]);
        assert!(argv_of(Some(&[]), &[]).is_empty());
    }

    #[test]
    fn the_users_wishes_go_before_the_images() {
        let mine = Rlimit { resource: Resource::Nofile, soft: 10, hard: 1_000_000 };
        let spec = ProcessSpec {
            env: vec![
                EnvVar { name: "A".into(), value: "2".into() },
                EnvVar { name: "B".into(), value: "3".into() },
            ],
            user: Some("0:0".into()),
            ulimits: vec![mine],
            ..ProcessSpec::default()
        };
        let exec = exec(&spec, &image()).unwrap();
        let env: Vec<_> = exec.env.iter().map(ToString::to_string).collect();
        assert_eq!(env, ["PATH=/bin", "A=2", "B=3"]);
        assert_eq!(exec.rlimits, [OPEN_FILES, mine], "the last one set counts");
        assert_eq!((exec.user.as_str(), exec.cwd.to_string().as_str()), ("0:0", "/app"));
    }

    #[test]
    fn an_init_is_process_1_unless_the_user_says_otherwise() {
        let is_init = |program: &str, init: Option<bool>| {
            let spec = ProcessSpec { args: vec![program.into()], init, ..ProcessSpec::default() };
            exec(&spec, &ImageConfig::default()).unwrap().is_init
        };
        assert!(
            is_init("/sbin/init", None) && is_init("/lib/systemd/systemd", None) && is_init("tini", None)
        );
        assert!(!is_init("sh", None) && !is_init("/init/sh", None));
        assert!(is_init("sh", Some(false)) && !is_init("/sbin/init", Some(true)));
    }

    #[test]
    fn nothing_to_run_is_an_error() {
        assert!(matches!(exec(&ProcessSpec::default(), &ImageConfig::default()), Err(Error::NoCommand)));
        let empty = ProcessSpec { args: vec!["".into()], ..ProcessSpec::default() };
        assert!(matches!(exec(&empty, &ImageConfig::default()), Err(Error::NoCommand)));
    }

    #[test]
    fn the_stop_signal_is_the_images_unless_the_user_names_one() {
        let mut stop = StopSpec::default();
        let plain = Exec::new(ExecId(0), ["sh"]);
        let systemd = Exec { is_init: true, ..Exec::new(ExecId(0), ["/sbin/init"]) };
        assert_eq!(stop_signal(&stop, &ImageConfig::default(), &systemd).number(), 37);
        assert_eq!(stop_signal(&stop, &image(), &systemd).number(), 2);
        assert_eq!(stop_signal(&stop, &image(), &plain).number(), 2);
        assert_eq!(stop_signal(&stop, &ImageConfig::default(), &plain), Signal::TERM);
        stop.signal = Some(Signal::KILL);
        assert_eq!(stop_signal(&stop, &image(), &plain), Signal::KILL);
    }
}
