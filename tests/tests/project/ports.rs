//! Published ports that change while the services run.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::TestProject;

fn server(name: &str, mode: &str, more: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nbase = \"test/server:latest\"\nram = 128\nnetwork.mode = \"{mode}\"\n{more}\n"
    )
}

/// What the server says to who connects; nothing where nobody listens.
fn answer(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The same, once the server listens.
///
/// # Panics
/// After a minute, with what the guest and the host know of the port.
#[track_caller]
fn awaited(project: &TestProject, port: u16) -> String {
    let began = Instant::now();
    loop {
        match answer(port) {
            Some(text) if !text.is_empty() => return text,
            said if began.elapsed() > Duration::from_secs(60) => {
                let look = "busybox ps; busybox netstat -ant; \
                            busybox nc 127.0.0.1 80 </dev/null; echo the guest itself: $?";
                panic!(
                    "port {port} says {said:?}\n{:?}\n{:?}\n{:?}",
                    project.ran(&["port", "ls", "web"]),
                    project.ran(&["log", "web"]),
                    project.ran(&["exec", "web", "busybox", "timeout", "20", "sh", "-c", look]),
                );
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A port of this host that was free a moment ago.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn ports_are_added_and_removed_while_a_service_runs() {
    for mode in ["nat", "tsi"] {
        let project = TestProject::new(&format!("project-ports-{mode}"), &server("web", mode, ""));
        assert_eq!(project.ran(&["up", "-d"]).code, 0);
        let added = project.ran(&["port", "add", "web", ":80"]);
        let port: u16 = added.out().trim().rsplit(':').next().unwrap().parse().unwrap();
        assert_eq!(added.out(), format!("80/tcp -> 127.0.0.1:{port}\n"));
        assert!(awaited(&project, port).contains("answer"));
        let second = free();
        assert_eq!(project.ran(&["port", "add", "web", &format!("{second}:80")]).code, 0);
        assert!(awaited(&project, second).contains("answer"));
        let listed = project.ran(&["port", "ls", "web"]);
        assert_eq!(listed.out().lines().count(), 2, "{listed:?}");
        assert!(project.ran(&["ps"]).out().contains(&format!("127.0.0.1:{port}->80/tcp")));
        let taken = project.ran(&["port", "add", "web", &format!("{second}:80")]);
        assert!(taken.code == 1 && taken.stderr.contains(&second.to_string()), "{taken:?}");
        assert_eq!(project.ran(&["port", "rm", "web", &port.to_string()]).code, 0);
        assert_eq!(answer(port), None);
        TcpListener::bind(("127.0.0.1", port)).unwrap();
        let gone = project.ran(&["port", "rm", "web", &port.to_string()]);
        assert!(gone.code == 1 && gone.stderr.contains("publishes nothing"), "{gone:?}");
        assert!(awaited(&project, second).contains("answer"));
        assert_eq!(project.ran(&["port", "web", "80"]).out(), format!("127.0.0.1:{second}\n"));
        // What was added by hand goes with the machine.
        assert_eq!(project.ran(&["restart", "web"]).code, 0);
        assert_eq!(answer(second), None);
    }
}

#[test]
fn up_changes_ports_and_policies_without_a_restart() {
    let (first, second) = (free(), free());
    let toml = |port: u16, policy: &str| {
        server("web", "nat", &format!("port = \"{port}:80\"\nrestart = \"{policy}\""))
    };
    let project = TestProject::new("project-live", &toml(first, "no"));
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    assert!(awaited(&project, first).contains("answer"));
    let began = project.ran(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "web"]).out().to_owned();
    project.write(&toml(second, "always"));
    let plan = project.ran(&["up", "--dry-run", "--format", "json"]);
    let plan: serde_json::Value = serde_json::from_str(plan.out()).unwrap();
    assert_eq!(plan[0]["change"], "update");
    assert_eq!(plan[0]["because"], serde_json::json!(["ports", "restart"]));
    let apply = project.ran(&["apply"]);
    assert!(apply.code == 0 && apply.stderr.contains("project-live-web-1  Updated"), "{apply:?}");
    assert!(awaited(&project, second).contains("answer"));
    assert_eq!(answer(first), None);
    assert_eq!(project.ran(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "web"]).out(), began);
    assert!(!project.ran(&["up", "-d"]).stderr.contains("Updated"), "nothing is left to do");
    // A port that is taken: everything is as it was.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    project.write(&toml(taken.local_addr().unwrap().port(), "always"));
    let refused = project.ran(&["up", "-d"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(awaited(&project, second).contains("answer"));
    drop(taken);
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    assert_eq!(answer(second), None);
}
