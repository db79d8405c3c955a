//! A sandbox from its creation to its removal, code in throw-away ones, and what the policy forbids.

use monocore_tests::wait::eventually;
use monocore_tests::world::{PLAIN, World};
use serde_json::{Value, json};

use crate::client::{Client, plain, text};

#[test]
fn a_sandbox_is_made_used_stopped_and_removed() {
    let mut client = Client::start(&[]);
    let made = client.call("create_sandbox", plain(&json!({"name": "mcp-one", "env": {"A": "b c"}})));
    assert!(made.starts_with("sandbox mcp-one (ID "), "{made}");
    let ran = client.call("exec", json!({"sandbox": "mcp-one", "script": "echo $A; echo err >&2; exit 3"}));
    assert_eq!(ran, "exit code 3\n--- stdout\nb c\n--- stderr\nerr");
    let ran = client.call("exec", json!({
        "sandbox": "mcp-one", "command": ["sh", "-c", "cat; pwd; id -u"], "stdin": "in\n", "workdir": "/tmp", "user": "1:1"
    }));
    assert_eq!(ran, "exit code 0\n--- stdout\nin\n/tmp\n1");
    files(&mut client);
    let shown: Value =
        serde_json::from_str(&client.call("inspect_sandbox", json!({"sandbox": "mcp-one"}))).unwrap();
    assert_eq!(
        (&shown["state"]["status"], &shown["labels"]["dev.monocore.mcp"]),
        (&json!("running"), &json!("1"))
    );
    let used: Value = serde_json::from_str(&client.call("stats", json!({"sandbox": "mcp-one"}))).unwrap();
    assert!(used["memory_total_mib"].as_u64().unwrap() > 64, "{used}");
    assert!(client.fails("remove_sandbox", json!({"sandbox": "mcp-one"})).contains("stop_sandbox"));
    let stopped = client.call("stop_sandbox", json!({"sandbox": "mcp-one"}));
    assert!(stopped.starts_with("sandbox mcp-one is stopped"), "{stopped}");
    assert!(client.fails("exec", json!({"sandbox": "mcp-one", "script": "true"})).contains("start_sandbox"));
    let read = client.call("read_file", json!({"sandbox": "mcp-one", "path": "/srv/new/file"}));
    assert_eq!(read, "content\n", "files of a stopped sandbox are there");
    client.call("start_sandbox", json!({"sandbox": "mcp-one"}));
    assert_eq!(client.script("mcp-one", "cat /srv/new/file"), "content");
    client.call("remove_sandbox", json!({"sandbox": "mcp-one", "force": true}));
    assert!(client.fails("stats", json!({"sandbox": "mcp-one"})).contains("no such sandbox: mcp-one"));
    assert!(client.leave());
}

fn files(client: &mut Client) {
    let one = |more: Value| {
        let mut arguments = json!({"sandbox": "mcp-one"});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    client.call("write_file", one(json!({"path": "/srv/new/file", "content": "content\n"})));
    client.call(
        "write_file",
        one(json!({"path": "/srv/run", "content": "#!/bin/sh\necho ran\n", "mode": "755"})),
    );
    assert_eq!(
        client.script("mcp-one", "cat /srv/new/file; /srv/run; stat -c %a /tmp"),
        "content\nran\n1777"
    );
    client.call("write_file", one(json!({"path": "/srv/raw", "content": "/wD+", "encoding": "base64"})));
    assert_eq!(client.call("read_file", one(json!({"path": "/srv/raw"}))), "base64:/wD+");
    client.script("mcp-one", "ln -s raw /srv/link; seq 1 20000 > /srv/long");
    let part =
        client.call("read_file", one(json!({"path": "/srv/long", "offset": 108_000, "max_bytes": 12})));
    assert_eq!(part, "19852\n19853\n\n--- cut\nbytes 108000 to 108012 of 108894; go on with offset 108012");
    assert!(client.fails("read_file", one(json!({"path": "/srv"}))).contains("list_directory"));
    let missing = client.fails("read_file", one(json!({"path": "/srv/missing"})));
    assert!(missing.contains("/srv/missing"), "{missing}");
    let listed = client.call("list_directory", one(json!({"path": "/srv"})));
    let kinds: Vec<_> = listed.lines().map(|line| (&line[..1], line.split(' ').nth(4).unwrap())).collect();
    assert_eq!(kinds, [("l", "link"), ("f", "long"), ("d", "new"), ("f", "raw"), ("f", "run")], "{listed}");
    assert!(listed.contains(" link -> raw\n") && listed.contains("f 755 "), "{listed}");
    let cut = client.call("list_directory", one(json!({"path": "/srv", "max_entries": 2})));
    assert!(cut.ends_with("2 of 5 entries; give a larger max_entries"), "{cut}");
}

#[test]
fn code_runs_in_a_sandbox_of_its_own() {
    let mut client = Client::start(&[]);
    let run = |more: Value| {
        let mut wanted = json!({
            "language": "shell", "image": PLAIN, "memory_mib": 128, "network": {"reach": "none"}
        });
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wanted
    };
    let ran = client.call(
        "run_code",
        run(json!({
            "code": "echo out; echo $A; cat; echo err >&2; exit 4", "stdin": "typed\n", "env": {"A": "1"}
        })),
    );
    assert_eq!(ran, "exit code 4\n--- stdout\nout\n1\ntyped\n--- stderr\nerr");
    let long = client.call("run_code", run(json!({"code": "seq 1 100000", "max_output_bytes": 1000})));
    assert!(long.starts_with("exit code 0\n--- stdout\n1\n2\n"), "{long}");
    assert!(
        long.contains("bytes left out …]") && long.contains("\n100000\n--- cut\n587895 of 588895 bytes"),
        "{long}"
    );
    assert!(long.len() < 1500, "{}", long.len());
    let late =
        client.fails("run_code", run(json!({"code": "echo begun; exec sleep 1000", "timeout_seconds": 20})));
    assert!(late.starts_with("timed out after 20 s") && late.contains("begun"), "{late}");
    let none = client.fails("run_code", run(json!({"code": "x", "language": "python"})));
    assert!(none.contains("exit code 127") && none.contains("Choose an image"), "{none}");
    assert_eq!(client.count("echo begun"), 0, "throw-away sandboxes are gone");
    assert!(client.leave());
}

#[test]
fn output_and_logs_are_bounded_and_told() {
    let mut client = Client::start(&[]);
    // Two streams have no order among each other: the second one begins when the first is written down.
    let script = "for i in 1 2 3; do echo line $i; done; until [ -e /tmp/go ]; do sleep 0.1; done; \
                  echo bad >&2; exec sleep 1000";
    client.call("create_sandbox", plain(&json!({"name": "mcp-out", "command": ["sh", "-c", script]})));
    let wanted = json!({"sandbox": "mcp-out", "tail": 2});
    eventually("the lines are written down", || client.call("logs", wanted.clone()).contains("line 3"));
    client.script("mcp-out", ": > /tmp/go");
    eventually("the output is written down", || {
        client.call("logs", wanted.clone()).starts_with("line 3\n[stderr] bad\n--- cut\n2 earlier lines")
    });
    let ran = client.call(
        "exec",
        json!({
            "sandbox": "mcp-out", "script": "yes | head -c 10000000; echo end >&2", "max_output_bytes": 2000
        }),
    );
    assert!(ran.len() < 3000 && ran.contains("9998000 of 10000000 bytes of stdout"), "{ran}");
    let progress = client.told.iter().filter(|told| told["method"] == "notifications/progress");
    assert!(progress.count() > 0, "progress is told");
    let resources = client.ask("resources/list", json!({}));
    let resources = resources["result"]["resources"].as_array().unwrap();
    let own = resources.iter().find(|resource| resource["name"] == "mcp-out.log").unwrap();
    let uri = own["uri"].as_str().unwrap().to_owned();
    let read = client.ask("resources/read", json!({"uri": uri}));
    let expected = "line 1\nline 2\nline 3\n[stderr] bad\n";
    assert_eq!(read["result"]["contents"][0]["text"], expected);
    let by_name = client.ask("resources/read", json!({"uri": "monocore://sandboxes/mcp-out/logs"}));
    assert_eq!(by_name["result"]["contents"][0]["text"], expected);
    client.call("remove_sandbox", json!({"sandbox": "mcp-out", "force": true}));
    let gone = client.ask("resources/read", json!({"uri": uri}));
    assert!(gone["error"]["message"].as_str().unwrap().contains("no such sandbox"), "{gone}");
    assert!(client.leave());
}

#[test]
fn a_subscriber_is_told_of_output() {
    let mut client = Client::start(&[]);
    let script = "while read line; do echo got $line; done < /tmp/in";
    let command = json!(["sh", "-c", format!("mkfifo /tmp/in; {script}")]);
    client.call("create_sandbox", plain(&json!({"name": "mcp-sub", "command": command})));
    let uri = "monocore://sandboxes/mcp-sub/logs";
    let subscribed = client.ask("resources/subscribe", json!({"uri": uri}));
    assert!(subscribed["result"].is_object(), "{subscribed}");
    client.script("mcp-sub", "until [ -p /tmp/in ]; do sleep 0.1; done; echo hello > /tmp/in");
    eventually("the update is told", || {
        client.ask("ping", json!({}));
        client
            .told
            .iter()
            .any(|told| told["method"] == "notifications/resources/updated" && told["params"]["uri"] == uri)
    });
    client.call("remove_sandbox", json!({"sandbox": "mcp-sub", "force": true}));
    assert!(client.leave());
}

#[test]
fn files_go_to_and_from_the_host_where_the_policy_says_so() {
    let (open, shut) = (World::get().path("mcp-open"), World::get().path("mcp-shut"));
    for dir in [&open, &shut] {
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/file"), "from the host\n").unwrap();
    }
    std::os::unix::fs::symlink(&shut, open.join("out")).unwrap();
    let mut client = Client::start(&["--allow-path", &format!("{}:rw", open.display())]);
    client.create("mcp-files");
    let copy =
        |host: &std::path::Path, path: &str| json!({"sandbox": "mcp-files", "host_path": host, "path": path});
    client.call("upload", copy(&open.join("sub"), "/tmp/in"));
    assert_eq!(client.script("mcp-files", "cat /tmp/in/file; echo more > /tmp/in/more"), "from the host");
    client.call("download", copy(&open.join("back"), "/tmp/in"));
    assert_eq!(std::fs::read_to_string(open.join("back/more")).unwrap(), "more\n");
    client.call("download", copy(&open, "/tmp/in/more"));
    assert_eq!(std::fs::read_to_string(open.join("more")).unwrap(), "more\n");
    for path in [shut.join("sub"), open.join("out/sub/file"), open.join("../mcp-shut/sub")] {
        let refused = client.fails("upload", copy(&path, "/tmp/x"));
        assert!(refused.contains("not below an allowed path"), "{refused}");
    }
    let refused = client.fails("download", copy(&open.join("out/x"), "/tmp/in"));
    assert!(refused.contains("not below an allowed path") && !shut.join("x").exists(), "{refused}");
    // A guest's links are made as links and lead nowhere.
    client.script("mcp-files", &format!("mkdir /tmp/evil; ln -s {} /tmp/evil/link", shut.display()));
    client.call("download", copy(&open.join("evil"), "/tmp/evil"));
    let refused = client.fails("download", copy(&open.join("evil/link/y"), "/tmp/in"));
    assert!(refused.contains("not below") && !shut.join("y").exists(), "{refused}");
    let mount = json!({"name": "mcp-mount", "mounts": [{"path": "/m", "host_path": open.join("sub")}]});
    client.call("create_sandbox", plain(&mount));
    assert_eq!(
        client.script("mcp-mount", "cat /m/file; touch /m/x 2>/dev/null || echo read-only"),
        "from the host\nread-only"
    );
    let mount = json!({"mounts": [{"path": "/m", "host_path": "/etc"}]});
    assert!(client.fails("create_sandbox", plain(&mount)).contains("not below an allowed path"));
    for name in ["mcp-files", "mcp-mount"] {
        client.call("remove_sandbox", json!({"sandbox": name, "force": true}));
    }
    assert!(client.leave());
}

#[test]
fn the_policy_bounds_what_tools_do_and_see() {
    let world = World::get();
    let file = world.path("mcp-policy.toml");
    std::fs::write(
        &file,
        "[images]\nallow = [\"acme/*\"]\nstored = false\n[sandboxes]\nmax = 1\n[tools]\ndeny = [\"upload\"]\n",
    )
    .unwrap();
    let mut strict = Client::start(&["--policy", file.to_str().unwrap()]);
    let refused = strict.fails("create_sandbox", plain(&json!({})));
    assert!(refused.contains("test/plain:latest is not an allowed image (docker.io/acme/*)"), "{refused}");
    let listed = strict.ask("tools/list", json!({}));
    let names: Vec<_> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert!(names.len() == 19 && !names.contains(&&json!("upload")), "{names:?}");
    let denied = strict.ask("tools/call", json!({"name": "upload", "arguments": {}}));
    assert_eq!(denied["error"]["code"], -32602, "{denied}");
    assert!(strict.leave());
    let own = world.run(["-d", "--name", "not-for-mcp", PLAIN, "sleep", "1000"]);
    own.out();
    let mut client = Client::start(&[]);
    assert_eq!(client.count("not-for-mcp"), 0);
    for (tool, more) in
        [("exec", json!({"script": "true"})), ("stop_sandbox", json!({})), ("logs", json!({}))]
    {
        let mut arguments = json!({"sandbox": "not-for-mcp"});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert!(client.fails(tool, arguments).contains("no such sandbox: not-for-mcp"), "{tool}");
    }
    let id = client.begin("exec", json!({"sandbox": "x", "script": "true", "bogus": 1}));
    let wrong = client.answer(id);
    assert!(text(&wrong).starts_with("unknown field `bogus`"), "{wrong}");
    assert!(client.leave());
    let all = world.path("mcp-all.toml");
    std::fs::write(&all, "[sandboxes]\nvisible = \"all\"\n").unwrap();
    let mut seeing = Client::start(&["--policy", all.to_str().unwrap()]);
    assert!(seeing.call("list_sandboxes", json!({"running": true})).contains("not-for-mcp"));
    seeing.call("remove_sandbox", json!({"sandbox": "not-for-mcp", "force": true}));
    assert!(seeing.leave());
}
