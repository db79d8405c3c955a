//! A reader of a guide: a shell with the program, a directory, and the servers it started.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use monocore_tests::world::{World, binary};
use rustix::process::{Pid, Signal, kill_process};

use crate::guide::GuideCommand;

/// Programs that are not ours. They check what they are asked for as far as it concerns ours.
const OTHERS: [(&str, &str); 3] = [
    // Starts the server for an agent, as the agent would.
    ("claude", "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done; shift\nexec \"$@\" </dev/null\n"),
    ("systemctl", "#!/bin/sh\ntest -e \"$HOME/.config/systemd/user/$4.service\"\n"),
    ("ssh", "#!/bin/sh\ntest \"$1\" = -L && curl http://${2#*:}/healthz\n"),
];
/// A certificate of our own is as good; a status of 400 and above is a failure. The guide's host has an address that is
/// not of loopback: whoever comes by that may not call the server by another name.
const CURL: &str = "fail\nsilent\nshow-error\ninsecure\nconnect-to = example.com:3456:192.0.2.1:3456\n";
/// Gives this network namespace, which is the test program's own, that address (RFC 5737).
const ADDRESS: &str = "ip address replace 192.0.2.1/32 dev lo";
/// What goes on until its reader has seen enough.
const ENDLESS: [&str; 2] = ["follow=true", "/v1/leases"];

pub(crate) struct Shell {
    dir: PathBuf,
    token: String,
    server: Option<Child>,
}

impl Shell {
    pub(crate) fn new(name: &str) -> Self {
        let dir = World::get().path(&format!("guide-{name}"));
        for part in ["bin", "home/project"] {
            std::fs::create_dir_all(dir.join(part)).unwrap();
        }
        symlink(binary(), dir.join("bin/monocore")).unwrap();
        for (name, script) in OTHERS {
            let path = dir.join("bin").join(name);
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        std::fs::write(dir.join("home/.curlrc"), CURL).unwrap();
        let shell = Self { dir, token: String::new(), server: None };
        let made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=example.com \
                    -keyout key.pem -out cert.pem 2>&1 && monocore mcp --print-policy >policy.toml";
        let made = shell.sh(&format!("{ADDRESS} && {made}")).output().unwrap();
        assert!(made.status.success(), "{}", text(&made));
        shell
    }

    /// The line in the reader's surroundings.
    fn sh(&self, line: &str) -> Command {
        let path = format!("{}:{}", self.dir.join("bin").display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(&self.dir).stdin(Stdio::null());
        shell.env("PATH", path).env("HOME", self.dir.join("home")).env("MONOCORE_HOME", World::get().home());
        shell.env("TOKEN", &self.token);
        shell
    }

    #[track_caller]
    pub(crate) fn run(&mut self, command: &GuideCommand) {
        eprintln!("$ {}", command.line);
        let is_other = ["--print", "--install"].iter().any(|flag| command.line.contains(flag));
        let is_server = command.line.starts_with("monocore serve") || command.line.contains(" --http ");
        if is_server && !is_other {
            return self.serve(&command.line);
        }
        // The guide names a token that its reader does not have.
        let id = self.token.split('_').nth(1).unwrap_or_default();
        let line = command.line.replace("1a2b3c4d", id);
        let line = match ENDLESS.iter().any(|endless| line.contains(endless)) {
            // Without its comment, behind which nothing would count.
            true => {
                let line = line.split(" # ").next().unwrap();
                format!("timeout 20 {line} >said; test $? = 124 && test -s said")
            }
            false => line,
        };
        let ran = self.sh(&line).output().unwrap();
        assert!(ran.status.success(), "{line}: {}", text(&ran));
        let said = String::from_utf8_lossy(&ran.stdout);
        if !command.output.is_empty() {
            assert_eq!(said.trim_end(), command.output.trim_end(), "{line}");
        }
        if line.starts_with("monocore token create") {
            self.token = said.trim().to_owned();
        }
    }

    /// Starts a server instead of the one before, and waits until it listens.
    #[track_caller]
    fn serve(&mut self, line: &str) {
        self.stop();
        let line = line.split('#').next().unwrap();
        // The signal that ends the server must not stop at the shell.
        let mut server = self.sh(&format!("exec {line}")).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains(':'), "{line}: {said:?}");
        self.server = Some(server);
    }

    /// Starts what an agent's settings say; it ends with its input.
    #[track_caller]
    pub(crate) fn serve_agent(&self, arguments: &[String]) {
        let arguments: Vec<_> = arguments.iter().map(|word| self.own(word)).collect();
        let ran = self.sh("exec monocore \"$@\"").arg("sh").args(&arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", text(&ran));
    }

    /// Starts a server with a policy; it ends with its input.
    #[track_caller]
    pub(crate) fn use_policy(&self, policy: &str) {
        std::fs::create_dir_all(self.dir.join("home/data")).unwrap();
        std::fs::write(self.dir.join("guide.toml"), self.own(policy)).unwrap();
        let ran = self.sh("monocore mcp --policy guide.toml").output().unwrap();
        assert!(ran.status.success(), "{policy}: {}", text(&ran));
    }

    /// The reader's own directory instead of the guide's.
    fn own(&self, text: &str) -> String {
        let home = self.dir.join("home").display().to_string();
        text.replace("/home/me", &home).replace("${workspaceFolder}", &home)
    }

    fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
        assert!(server.wait().unwrap().success());
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn text(ran: &Output) -> String {
    format!("{} {}{}", ran.status, String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}
