//! The guides: each of their commands is run. Those of the REST API, the dashboard and the tools for
//! agents print what the guide says.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "guides/guide.rs"]
mod guide;
#[path = "guides/reader.rs"]
mod reader;
#[path = "guides/sandboxes.rs"]
mod sandboxes;
#[path = "guides/shell.rs"]
mod shell;

use std::sync::{Mutex, PoisonError};

use monocore_tests::image::busybox;
use monocore_tests::world::World;
use serde_json::json;

use guide::Guide;
use shell::Shell;

/// Images that the guides name, all of them with busybox.
fn load_images() {
    let config = json!({ "Env": ["PATH=/bin"], "Cmd": ["sleep", "1000"] });
    for name in ["alpine:latest", "nginx:latest", "redis:latest"] {
        World::get().load(name, &config, &[busybox().unwrap()]);
    }
}

/// Runs a guide, which must have some commands; not while another one runs, since they name the same
/// ports.
fn follow(name: &str, least: usize) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    load_images();
    let guide = Guide::read(name);
    let mut shell = Shell::new(name);
    for command in &guide.commands {
        shell.run(command);
    }
    assert!(guide.commands.len() >= least, "{name}: only {} commands", guide.commands.len());
    for arguments in &guide.agents {
        shell.serve_agent(arguments);
    }
    for policy in &guide.policies {
        shell.use_policy(policy);
    }
}

#[test]
fn each_command_of_the_rest_guide_runs() {
    follow("rest", 20);
}

#[test]
fn each_command_of_the_dashboard_guide_runs() {
    follow("dashboard", 4);
}

#[test]
fn each_command_and_setting_of_the_mcp_guide_runs() {
    follow("mcp", 8);
}
