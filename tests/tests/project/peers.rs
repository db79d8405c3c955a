//! Services of one group reach each other by name, whatever the mode of their networks.

use crate::support::TestProject;

fn client(name: &str, mode: &str) -> String {
    format!(
        r#"
[[service]]
name = "{name}"
base = "test/plain:latest"
ram = 128
group = "inside"
command = "/bin/sh"
args = ["-c", "until busybox nc server 80 </dev/null | grep answer; do sleep 0.2; done"]
depends_on = ["server"]
network.mode = "{mode}"
"#
    )
}

#[test]
fn a_service_is_reached_by_its_name_in_its_group() {
    let server = r#"
[[service]]
name = "server"
base = "test/server:latest"
ram = 128
group = "inside"
[[group]]
name = "inside"
"#;
    let toml = [client("card", "nat"), client("sockets", "tsi"), server.to_owned()].concat();
    let project = TestProject::new("project-peers", &toml);
    let up = project.ran(&["up", "-d"]);
    assert_eq!(up.code, 0, "{up:?}");
    for client in ["card", "sockets"] {
        let ended = project.ran(&["wait", &format!("project-peers-{client}-1")]);
        assert_eq!(ended.out(), "0\n");
        assert!(project.ran(&["log", client]).out().contains("| answer\n"));
    }
}
