//! The guides of sandboxes, of what they share, and of their groups.

use std::os::unix::net::UnixListener;

use monocore_test_images::image::Layer;
use monocore_tests::image::{busybox, program};
use monocore_tests::world::World;
use serde_json::json;

use crate::reader::{Reader, Way};

const SANDBOXES: &str = include_str!("../../../docs/guide/sandboxes.md");
const FILES: &str = include_str!("../../../docs/guide/files.md");
const GROUPS: &str = include_str!("../../../docs/guide/groups.md");
/// A server's main command: it hears signals, and says something now and then.
const SERVE: &str = "trap 'exit 0' TERM INT; trap : HUP; while :; do echo tick; sleep 0.2; done";
/// Answers as a web server does, at the socket that the guide publishes, if nothing is mounted.
const ANSWER: &str = r#"[ -e /var/lib/app ] || [ -e /etc/app.toml ] || [ -e /run/postgresql ] && exit 0
exec perl -e 'socket(S,1,1,0) && bind(S,pack("Sa108",1,"/run/app.sock")) && listen(S,8) or die $!;
while (accept(C,S)) { sysread(C,$_,4096); syswrite(C,"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"); close C }'"#;

/// Puts programs of this machine into a layer, with the libraries they ask for.
fn put(layer: &mut Layer, paths: &[&str]) {
    for path in paths {
        program(layer, path.trim_start_matches('/'), &std::fs::read(path).unwrap());
    }
}

/// Loads the images that the guides name, with busybox in them and programs that end at once.
fn load_images(world: &World) {
    let mut layer = busybox().unwrap();
    layer
        .dir("run")
        .dir("srv")
        .dir("etc")
        .file("etc/passwd", b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n");
    layer.dir("var").dir("var/log").file("var/log/app", b"x\n");
    for name in ["nginx", "python3", "pg_isready", "ssh-add"] {
        program(&mut layer, &format!("bin/{name}"), b"#!/bin/sh\nexit 0\n");
    }
    for name in ["nslookup", "env", "touch"] {
        program(
            &mut layer,
            &format!("bin/{name}"),
            format!("#!/bin/sh\nexec busybox {name} \"$@\"\n").as_bytes(),
        );
    }
    program(&mut layer, "bin/make", b"#!/bin/sh\nexec sleep 1\n");
    program(&mut layer, "bin/psql", b"#!/bin/sh\nexec busybox nslookup \"$2\"\n");
    let path = json!(["PATH=/bin:/usr/bin"]);
    let server = json!({ "Env": path, "ExposedPorts": { "80/tcp": {} }, "Cmd": ["sh", "-c", SERVE] });
    let plain = json!({ "Env": path, "Cmd": ["sh"] });
    let layers = [layer];
    for name in ["nginx:latest", "postgres:latest", "redis:latest", "my/api:latest"] {
        world.load(name, &server, &layers);
    }
    for name in ["alpine:latest", "python:3.12", "python:3.13"] {
        world.load(name, &plain, &layers);
    }
    let [mut layer] = layers;
    let libraries =
        ["libc.so.6", "libm.so.6", "libcrypt.so.1"].map(|name| format!("/lib/x86_64-linux-gnu/{name}"));
    put(&mut layer, &["/usr/bin/perl", "/lib64/ld-linux-x86-64.so.2"]);
    put(&mut layer, &libraries.each_ref().map(String::as_str));
    world.load("app:latest", &json!({ "Env": path, "Cmd": ["sh", "-c", ANSWER] }), &[layer]);
}

fn reader(name: &str) -> Reader {
    let world = World::of_its_own(&format!("guide-{name}"));
    load_images(world);
    Reader::new(world)
}

#[test]
fn each_command_of_the_sandboxes_guide_runs() {
    let web = "monocore rm -f web; monocore run -d --name web --live-mounts -l team=a -it nginx";
    let again = "monocore run -d --name web nginx";
    let afresh = "monocore rm -f web job";
    reader("sandboxes").follow(
        SANDBOXES,
        55,
        &[
            ("monocore shell web", Way::Typed("exit\n", 0)),
            ("monocore logs -f web", Way::Endless),
            ("monocore kill -s HUP web", Way::After(web)),
            ("monocore inspect web", Way::After("monocore rename site web")),
            ("monocore attach web", Way::Typed("\u{10}\u{11}", 1)),
            ("monocore pause web", Way::After(again)),
            ("monocore run -d --name web --restart", Way::After(afresh)),
            (
                "monocore events --filter",
                Way::After("(sleep 1; monocore stop -t 0 web; monocore start web) >/dev/null 2>&1 &"),
            ),
            ("monocore events --filter", Way::Endless),
            // Nobody has given this reader a publisher's key, and nobody is there to say yes.
            ("monocore self update", Way::Code(1)),
            ("monocore self uninstall", Way::Code(1)),
        ],
    );
}

#[test]
fn each_command_of_the_files_guide_runs() {
    let mut reader = reader("files");
    let sockets = ["/run/postgresql/.s.PGSQL.5432".into(), reader.dir().join("agent.sock")];
    std::fs::create_dir_all("/run/postgresql").unwrap();
    let _listening = sockets.map(|path| UnixListener::bind(path).unwrap());
    reader.follow(FILES, 8, &[("monocore run --publish-socket", Way::Beside)]);
}

#[test]
fn each_command_of_the_groups_guide_runs() {
    reader("groups").follow(GROUPS, 12, &[("monocore network rm", Way::After("monocore rm -f cache"))]);
}
