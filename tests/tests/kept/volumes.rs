//! `volume`, and which sandboxes use one.

use monocore_tests::wait::eventually;
use monocore_tests::world::PLAIN;

use crate::support::{Background, ran};

#[test]
fn a_volume_lives_apart_from_its_sandboxes() {
    assert_eq!(ran(&[&["volume", "create", "--label", "team=a", "vol-one"]]).out(), "vol-one\n");
    let anonymous = ran(&[&["volume", "create"]]).out().trim().to_owned();
    assert_eq!(anonymous.len(), 64);
    let sandbox = Background::run("volumes-first", &["-v", "vol-one:/d"], "echo kept > /d/file; sleep 1000");
    eventually("the file is there", || sandbox.exec(&[], "test -s /d/file").code == 0);
    let refused = ran(&[&["volume", "rm", "vol-one"]]);
    assert_eq!(refused.code, 1);
    let id = sandbox.inspect()["Id"].as_str().unwrap().to_owned();
    assert!(refused.stderr.contains("volume is in use") && refused.stderr.contains(&id), "{refused:?}");
    assert_eq!(ran(&[&["volume", "ls", "-q", "--filter", "label=team=a"]]).out(), "vol-one\n");
    assert_eq!(
        ran(&[&["volume", "ls", "-q", "-f", "dangling=true", "-f", &format!("name={anonymous}")]])
            .out()
            .trim(),
        anonymous
    );
    let point = ran(&[&["volume", "inspect", "-f", "{{.Mountpoint}} {{.Labels.team}}", "vol-one"]]);
    let point = point.out().strip_suffix(" a\n").unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(format!("{point}/file")).unwrap(), "kept\n");
    drop(sandbox);
    assert!(
        ran(&[&["volume", "prune", "-f"]]).out().starts_with(&format!("Deleted Volumes:\n{anonymous}\n"))
    );
    let told = ran(&[&["run", "--rm", "-m", "128m", "-v", "vol-one:/d", PLAIN, "cat", "/d/file"]]);
    assert_eq!(told.out(), "kept\n", "it outlives sandboxes and prune");
    assert_eq!(ran(&[&["volume", "rm", "vol-one"]]).out(), "vol-one\n");
    let gone = ran(&[&["volume", "inspect", "vol-one"]]);
    assert_eq!((gone.code, gone.stderr.contains("no such volume: vol-one")), (1, true));
}
