//! The commands of README and of the projects' page, run as they are written there.
//!
//! Each `$ monocore …` line of a `console` block is run, in the order of the page; a page that gains a line gains a test
//! of it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use monocore_tests::image::{busybox, program};
use monocore_tests::typist::Typist;
use monocore_tests::world::{Ran, World};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::ports;

const README: &str = include_str!("../../../README.md");
const PROJECTS: &str = include_str!("../../../docs/guide/projects.md");
/// What the page's projects are about.
const SHOP: &str = r#"
name = "shop"
[[service]]
name = "web"
base = "my/app:latest"
ram = 128
group = "backend"
command = "/bin/sh"
args = ["-c", "echo ERROR of web; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
scripts = { test = "npm test -- $@", seed = "echo seeded" }
depends_on = { db = "healthy" }
[[service]]
name = "db"
base = "my/app:latest"
ram = 128
command = "/bin/sh"
args = ["-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
healthcheck = { test = ["CMD", "true"], interval = "200ms" }
volumes = ["data:/data"]
[[group]]
name = "backend"
"#;
const COMPOSE: &str = "name: shop\nservices:\n  web:\n    image: my/app:latest\n    mem_limit: 128m\n    \
                       command: sleep 1000\n    stop_signal: KILL\n";

/// One line of a page, without its comment.
struct PageLine<'a> {
    heading: &'a str,
    words: Vec<String>,
}

/// The lines of `page` that run monocore.
fn lines(page: &str) -> Vec<PageLine<'_>> {
    let (mut heading, mut is_console, mut found) = ("", false, Vec::new());
    for line in page.lines() {
        match line.strip_prefix("## ") {
            Some(text) if !is_console => heading = text,
            _ if line.starts_with("```") => is_console = line == "```console",
            _ => {}
        }
        let Some(command) = line.strip_prefix("$ monocore ").filter(|_| is_console) else { continue };
        let command = command.split("  #").next().unwrap_or(command).split(" # ").next().unwrap_or_default();
        let words = command.split_whitespace().map(|word| word.trim_matches('\'').to_owned());
        found.push(PageLine { heading, words: words.collect() });
    }
    found
}

/// A directory in which a page's lines are run.
struct Desk {
    /// Sandboxes have the names of the page, which are services' of other tests.
    world: &'static World,
    dir: PathBuf,
    /// What a line started that others need.
    running: Vec<Child>,
}

impl Desk {
    fn new(world: &'static World, name: &str) -> Self {
        let dir = world.path(name);
        std::fs::create_dir_all(dir.join("src")).unwrap();
        std::fs::write(dir.join("src/x.py"), "").unwrap();
        Self { world, dir, running: Vec::new() }
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.world.monocore(words);
        command.current_dir(&self.dir);
        command
    }

    #[track_caller]
    fn run(&mut self, line: &PageLine<'_>) {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        eprintln!("monocore {}", words.join(" "));
        let goes_on = words.contains(&"-f") && words.iter().any(|word| word.starts_with("log"))
            || words.contains(&"--watch") && words[0] == "up"
            || words.starts_with(&["net", "tail"]);
        let serves = words[0] == "run" && words.last() == Some(&"nginx") && !words.contains(&"-d");
        if words.contains(&"-it") {
            let mut typist = Typist::start_in(self.world, 24, 80, &words);
            typist.type_in("exit\n");
            assert_eq!(typist.end(), 0, "{words:?}: {}", typist.seen);
        } else if goes_on || serves {
            self.begin(&words, serves && words.contains(&"--name"));
        } else {
            let ran: Ran = self.command(&words).output().unwrap().into();
            assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        }
    }

    /// Runs what does not end by itself; ended by Ctrl-C at once or with the page.
    fn begin(&mut self, words: &[&str], is_needed: bool) {
        let mut child = self.command(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        if words[0] == "run" {
            assert!(child.stdout.as_mut().unwrap().read(&mut [0]).unwrap() > 0, "{words:?}");
        } else {
            // There may be nothing to show.
            std::thread::sleep(Duration::from_millis(500));
            assert!(child.try_wait().unwrap().is_none(), "{words:?} ended");
        }
        if is_needed {
            self.running.push(child);
        } else {
            end(child);
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.running.drain(..).for_each(end);
    }
}

fn end(mut child: Child) {
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    child.wait().unwrap();
}

/// The images that the pages name, all of them busybox.
fn load_images(world: &World) {
    let mut layer = busybox().unwrap();
    layer.dir("var/log").file("var/log/app", b"x\n");
    for name in ["bash", "npm", "node", "python3"] {
        let text: &[u8] =
            if name == "bash" { b"#!/bin/sh\nexec sh \"$@\"\n" } else { b"#!/bin/sh\necho \"$@\"\n" };
        program(&mut layer, &format!("bin/{name}"), text);
    }
    let layers = [layer];
    let serve = "trap 'exit 0' TERM INT; echo ready; while :; do sleep 0.1; done";
    let server =
        json!({ "Env": ["PATH=/bin"], "ExposedPorts": { "80/tcp": {} }, "Cmd": ["sh", "-c", serve] });
    let plain = json!({ "Env": ["PATH=/bin"], "Cmd": ["sh", "-c", "echo app"] });
    for name in ["nginx", "postgres"] {
        world.load(&format!("{name}:latest"), &server, &layers);
    }
    for name in ["alpine:latest", "python:3.12", "debian:12", "my/app:latest", "app:latest"] {
        world.load(name, &plain, &layers);
    }
}

#[test]
fn the_commands_of_the_readme_run() {
    let _ports = ports();
    let world = World::of_its_own("readme");
    load_images(world);
    let mut desk = Desk::new(world, "readme");
    let all = lines(README);
    assert!(all.len() >= 20, "{}", all.len());
    for (number, line) in all.iter().enumerate() {
        if number > 0 && all[number - 1].heading != line.heading {
            desk.running.drain(..).for_each(end);
        }
        desk.run(line);
    }
    drop(desk);
    world.monocore(["rm", "-f", "db"]).output().unwrap();
}

#[test]
fn the_commands_of_the_projects_page_run() {
    let world = World::of_its_own("projects-page");
    load_images(world);
    let mut first = Desk::new(world, "page-first");
    let mut shop = Desk::new(world, "shop");
    std::fs::write(shop.dir.join("monocore.toml"), SHOP).unwrap();
    std::fs::write(shop.dir.join("compose.yaml"), COMPOSE).unwrap();
    let all = lines(PROJECTS);
    assert!(all.len() >= 30, "{}", all.len());
    for (number, line) in all.iter().enumerate() {
        let is_new = number == 0 || all[number - 1].heading != line.heading;
        match line.heading {
            "From nothing to a running project" => {
                first.run(line);
                continue;
            }
            "With Compose's words" if is_new => ready(&shop, &["down"]),
            // Each line of this part ends what is there.
            "End it" => ready(&shop, &["up", "-d", "--scale", "web=1"]),
            "Scripts" if is_new => ready(&shop, &["up", "-d"]),
            _ => {}
        }
        shop.run(line);
    }
    ready(&shop, &["down", "-v"]);
    assert!(Path::new(&shop.dir.join("logs")).exists());
}

fn ready(desk: &Desk, words: &[&str]) {
    let ran: Ran = desk.command(words).output().unwrap().into();
    assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
}
