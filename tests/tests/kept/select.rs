//! Which sandboxes a verb is about, `--replace`, `update`, `--format`.

use monocore_tests::world::PLAIN;

use crate::support::{Background, ran};

#[test]
fn sandboxes_are_selected_by_what_they_have_in_common() {
    for name in ["select-a", "select-b"] {
        ran(&[&["create", "--name", name, "-l", "set=select", "-m", "128m", PLAIN, "sleep", "1000"]]).out();
    }
    ran(&[&["create", "--name", "select-c", "-l", "set=other", "-m", "128m", PLAIN, "true"]]).out();
    assert_eq!(ran(&[&["start", "--label", "set=select"]]).out(), "select-a\nselect-b\n");
    assert_eq!(ran(&[&["start", "--label", "set=select"]]).out(), "");
    let names = ran(&[&["ps", "--filter", "label=set=select", "--format", "{{.Names}}={{.State}}"]]);
    assert_eq!(names.out(), "select-b=running\nselect-a=running\n");
    assert_eq!(ran(&[&["kill", "--filter", "name=select-a"]]).out(), "select-a\n");
    assert_eq!(ran(&[&["wait", "select-a"]]).out(), "137\n");
    assert_eq!(
        ran(&[&["ps", "-a", "-f", "exited=137", "-f", "label=set", "--format", "{{.Names}}"]]).out(),
        "select-a\n"
    );
    assert_eq!(ran(&[&["stop", "-t", "0", "--label", "set=select"]]).out(), "select-b\n");
    assert_eq!(ran(&[&["rm", "--label", "set=select"]]).out(), "select-a\nselect-b\n");
    assert_eq!(ran(&[&["rm", "--filter", "name=select-c"]]).out(), "select-c\n");
    let nothing = ran(&[&["rm"]]);
    assert_eq!(nothing.code, 125);
}

#[test]
fn a_sandbox_can_take_anothers_place() {
    let first = Background::run("select-place", &[], "sleep 1000");
    let id = first.inspect()["Id"].clone();
    let made =
        ran(&[&["run", "-d", "--replace", "--name", "select-place", "-m", "128m", PLAIN, "sleep", "1000"]]);
    assert_ne!(made.out().trim(), id.as_str().unwrap());
    assert_eq!(first.inspect()["Id"], made.stdout.trim());
    assert_eq!(ran(&[&["create", "--replace", PLAIN, "true"]]).code, 125, "without a name");
}

#[test]
fn an_update_counts_at_the_next_start() {
    let sandbox = Background::run("select-update", &["-m", "128m"], "sleep 1000");
    let updated =
        ran(&[&["update", "--memory", "256m", "--cpus", "2", "--restart", "on-failure:3", "select-update"]]);
    assert_eq!(updated.out(), "select-update\n");
    assert!(updated.stderr.contains("at its next start"), "{updated:?}");
    ran(&[&["restart", "-t", "0", "select-update"]]).out();
    assert_eq!(sandbox.exec(&[], "grep -c ^processor /proc/cpuinfo").out(), "2\n");
    let told = ran(&[&[
        "inspect",
        "-f",
        "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}} {{.HostConfig.Memory}}",
        "select-update",
    ]]);
    assert_eq!(told.out(), "on-failure 3 268435456\n");
    assert_eq!(ran(&[&["update", "select-update"]]).code, 1);
}

#[test]
fn templates_show_what_scripts_ask_for() {
    let flags = ["-e", "A=1", "-l", "x.y=z", "-v", "select-vol:/v", "-p", "127.0.0.1:0:80"];
    let _sandbox = Background::run("select-format", &flags, "exit 5");
    assert_eq!(ran(&[&["wait", "select-format"]]).out(), "5\n");
    for (format, wanted) in [
        ("{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.State.Pid}}", "exited 5 false 0"),
        ("{{.Name}} {{.Config.Image}}", "/select-format test/plain:latest"),
        ("{{json .Config.Env}}", r#"["PATH=/bin","A=1"]"#),
        ("{{index .Config.Labels \"x.y\"}}", "z"),
        ("{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}", "volume select-vol /v true"),
        ("{{.HostConfig.RestartPolicy.Name}} {{.NetworkSettings.Ports}}", "no map[]"),
        ("{{json .Config.Cmd}} {{.Path}} {{join .Args \",\"}}", r#"["sh","-c","exit 5"] sh -c,exit 5"#),
    ] {
        assert_eq!(
            ran(&[&["inspect", "-f", format, "select-format"]]).out(),
            format!("{wanted}\n"),
            "{format}"
        );
    }
    let unknown = ran(&[&["inspect", "-f", "{{.Nope}}", "select-format"]]);
    assert_eq!((unknown.code, unknown.stderr.contains("can't evaluate field Nope")), (1, true));
    let table = ran(&[&[
        "ps",
        "-a",
        "-f",
        "name=select-format",
        "--format",
        "table {{.Names}}\\t{{.Label \"x.y\"}}\\t{{.Mounts}}",
    ]]);
    let lines: Vec<Vec<&str>> = table.out().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["select-format", "z", "select-vol"]);
    assert_eq!(lines[0][0], "NAMES");
    assert_eq!(
        ran(&[&["images", "--format", "{{.Repository}}:{{.Tag}}"]])
            .out()
            .lines()
            .filter(|line| *line == "test/plain:latest")
            .count(),
        1
    );
}
