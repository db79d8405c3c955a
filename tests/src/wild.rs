//! Compose files of the wild as projects that run here: names, keys and structure stay, images are replaced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use monocore_test_images::image::Layer;
use serde_json::json;

use crate::image;
use crate::world::{Ran, World};

/// The examples of docker/awesome-compose (CC0), in the form of the configuration's tests.
const EXAMPLES: &str = include_str!("../../orchestrator/src/config/tests/wild.txt");
/// What monocore does not run: a network mode, a key, and two with programs for WebAssembly.
const REFUSED: [&str; 4] = ["plex", "wireguard", "wasmedge-kafka-mysql", "wasmedge-mysql-nginx"];
/// The image in place of every other one. It takes any arguments, and ends at once when it is told to.
const ANY: &str = "test/any:latest";
/// Memory of each service that says nothing of its own.
const MEMORY: &str = "96m";
/// How long one command may take, in seconds.
const LONGEST: &str = "300";
/// The exit code of a command that took longer.
pub const TOO_LONG: i32 = 124;
/// Programs that health checks call.
const PROBES: [&str; 4] = ["bin/curl", "bin/mysqladmin", "bin/pg_isready", "opt/mssql-tools/bin/sqlcmd"];
/// What the image runs.
const ENTRY: &[u8] = b"#!/bin/sh\ntrap 'exit 0' TERM INT\necho \"$@\"\nsleep 1000000 &\nwait\n";

/// One example, written into a directory.
#[derive(Debug)]
pub struct WildProject {
    /// Its name, as its authors call it.
    pub title: String,
    /// How many services its file has.
    pub services: usize,
    dir: PathBuf,
}

impl WildProject {
    /// All examples that monocore takes, below a directory of this world with the given name.
    ///
    /// # Panics
    /// A file cannot be written.
    #[must_use]
    pub fn all(world: &World, name: &str) -> Vec<Self> {
        let mut layer = image::busybox().expect("busybox-static");
        image::program(&mut layer, "bin/any", ENTRY);
        for dir in ["opt", "opt/mssql-tools", "opt/mssql-tools/bin"] {
            layer.dir(dir);
        }
        // The users that databases' images have.
        let mut users = Layer::default();
        users.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/:/bin/sh\n");
        PROBES.iter().for_each(|probe| image::program(&mut layer, probe, b"#!/bin/sh\nexit 0\n"));
        world.load(ANY, &json!({ "Env": ["PATH=/bin"], "Entrypoint": ["/bin/any"] }), &[layer, users]);
        let parts = EXAMPLES.split("#### ").skip(1).map(|part| part.split_once('\n').expect("a title"));
        parts
            .filter(|(title, _)| !REFUSED.contains(title))
            .map(|(title, rest)| {
                let (_, file) = rest.split_once("=== compose.yaml\n").expect("a compose.yaml");
                let file = file.split_once("\n>>>\n").map_or(file, |(file, _)| file);
                let dir = world.path(name).join(title);
                fs::create_dir_all(&dir).expect("a directory");
                let (text, services) = with_images(file);
                fs::write(dir.join("compose.yaml"), text).expect("a file");
                make_files(&dir, file);
                Self { title: title.to_owned(), services, dir }
            })
            .collect()
    }

    /// `monocore compose` with these words in the example's directory, ended after five minutes
    /// with the code [`TOO_LONG`].
    ///
    /// # Panics
    /// The binary does not start.
    pub fn compose(&self, world: &World, words: &[&str]) -> Ran {
        let command: Command = world.monocore([&["compose"], words].concat());
        let mut bounded = Command::new("timeout");
        bounded.args(["--kill-after=5", LONGEST]).arg(command.get_program()).args(command.get_args());
        bounded.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        bounded.current_dir(&self.dir).stdin(Stdio::null()).output().expect("timeout starts").into()
    }

    /// How many sandboxes of the example are in the given state: `running`, `created`.
    ///
    /// # Panics
    /// They cannot be listed.
    #[must_use]
    pub fn count(&self, world: &World, state: &str) -> usize {
        let listed = self.compose(world, &["ps", "-a", "--format", "json"]);
        listed.out().matches(&format!("\"{state}\"")).count()
    }
}

/// The file with [`ANY`] in place of each image and build, little memory for each service, and the
/// number of services.
fn with_images(file: &str) -> (String, usize) {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut text = String::new();
    let (mut is_services, mut depth, mut keys, mut services, mut has_image) = (false, None, None, 0, false);
    let says_memory = file.contains("memory:") || file.contains("mem_limit:");
    for line in file.lines() {
        let is_content = !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if is_content && indent(line) == 0 {
            is_services = line.starts_with("services:");
        } else if is_content && is_services {
            let depth = *depth.get_or_insert(indent(line));
            if indent(line) == depth {
                services += 1;
                (keys, has_image) = (None, false);
            } else if indent(line) == *keys.get_or_insert(indent(line)) {
                let key = line.trim_start();
                if key.starts_with("image:") || key.starts_with("build:") {
                    let space = " ".repeat(indent(line));
                    if !has_image {
                        text.push_str(&format!("{space}image: {ANY}\n"));
                        if !says_memory {
                            text.push_str(&format!("{space}mem_limit: {MEMORY}\n"));
                        }
                    }
                    has_image = true;
                    text.push_str(&format!("{space}x-was-{key}\n"));
                    continue;
                }
            }
        }
        text.push_str(line);
        text.push('\n');
    }
    (text, services)
}

/// The files that an example's repository has beside its compose.yaml.
fn make_files(dir: &Path, file: &str) {
    for path in file.lines().filter_map(|line| line.trim().strip_prefix("file: ")) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, "secret\n").expect("a file");
    }
}
