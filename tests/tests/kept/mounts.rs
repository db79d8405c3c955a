//! `mount add`, `mount rm` and `mount ls`.

use std::fs;

use monocore_tests::wait::eventually;
use monocore_tests::world::World;

use crate::support::{Background, ran};

const SLEEP: &str = "sleep 1000";

#[test]
fn a_directory_comes_and_goes_in_a_sandbox_that_began_with_none() {
    let sandbox = Background::run("mount-live", &["--live-mounts"], SLEEP);
    let dir = World::get().path("mount-live");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("name"), "first\n").unwrap();
    let mount = format!("{}:/srv/data", dir.display());
    ran(&[&["mount", "add", "mount-live", &mount]]).out();
    assert_eq!(sandbox.exec(&[], "cat /srv/data/name; echo seen >/srv/data/new").out(), "first\n");
    assert_eq!(fs::read_to_string(dir.join("new")).unwrap(), "seen\n");
    let listed = ran(&[&["mount", "ls", "mount-live"]]);
    assert!(listed.out().contains("/srv/data") && listed.out().contains("mount add"), "{listed:?}");
    let again = ran(&[&["mount", "add", "mount-live", &mount]]);
    assert!(again.code == 1 && again.stderr.contains("mounted at /srv/data already"), "{again:?}");

    // Another directory at the same path changes nothing for what is mounted.
    fs::rename(&dir, World::get().path("mount-live-moved")).unwrap();
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("name"), "second\n").unwrap();
    assert_eq!(sandbox.exec(&[], "cat /srv/data/name").out(), "first\n");

    // What is open is not served any more, either.
    let script =
        "exec 3</srv/data/name; touch /open; while [ -e /open ]; do sleep 0.1; done; cat <&3 || echo gone";
    assert_eq!(sandbox.exec(&["-d"], &format!("({script}) >/result 2>/dev/null")).code, 0);
    eventually("the file is open", || sandbox.exec(&[], "test -e /open").code == 0);
    ran(&[&["mount", "rm", "mount-live", "/srv/data"]]).out();
    assert_eq!(sandbox.exec(&[], "ls /srv/data").out(), "");
    assert_eq!(
        sandbox.exec(&[], "rm /open; while ! test -s /result; do sleep 0.1; done; cat /result").out(),
        "gone\n"
    );
    let unknown = ran(&[&["mount", "rm", "mount-live", "/srv/data"]]);
    assert!(unknown.code == 1 && unknown.stderr.contains("nothing at /srv/data"), "{unknown:?}");

    // Again, read-only, and a file.
    ran(&[&["mount", "add", "mount-live", &format!("{mount}:ro")]]).out();
    ran(&[&["mount", "add", "mount-live", &format!("{}/name:/one", dir.display())]]).out();
    let script = "cat /srv/data/name /one; echo x 2>/dev/null >/srv/data/name || echo refused";
    assert_eq!(sandbox.exec(&[], script).stdout, "second\nsecond\nrefused\n");
    ran(&[&["mount", "add", "mount-live", "mount-volume:/volume"]]).out();
    assert_eq!(sandbox.exec(&[], "echo kept >/volume/file").code, 0);
    ran(&[&["mount", "rm", "mount-live", "/volume"]]).out();
    ran(&[&["mount", "add", "mount-live", "mount-volume:/elsewhere"]]).out();
    assert_eq!(sandbox.exec(&[], "cat /elsewhere/file").out(), "kept\n");
}

#[test]
fn what_cannot_be_mounted_is_told_and_leaves_nothing() {
    let sandbox = Background::run("mount-fail", &["--live-mounts"], SLEEP);
    let dir = World::get().path("mount-fail");
    fs::create_dir_all(&dir).unwrap();
    assert_eq!(sandbox.exec(&[], "touch /file; ln -s loop /loop").code, 0);
    for (target, words) in [("/file/below", "/file"), ("/loop/x", "/loop")] {
        let failed = ran(&[&["mount", "add", "mount-fail", &format!("{}:{target}", dir.display())]]);
        assert!(failed.code == 1 && failed.stderr.contains(words), "{failed:?}");
    }
    let missing = ran(&[&["mount", "add", "mount-fail", "/anonymous"]]);
    assert!(missing.code == 1 && missing.stderr.contains("named volumes"), "{missing:?}");
    ran(&[&["pause", "mount-fail"]]).out();
    let mount = format!("{}:/data", dir.display());
    let paused = ran(&[&["mount", "add", "mount-fail", &mount]]);
    assert!(paused.stderr.contains("is paused, unpause the sandbox before mount"), "{paused:?}");
    ran(&[&["unpause", "mount-fail"]]).out();
    assert_eq!(ran(&[&["mount", "ls", "--format", "json", "mount-fail"]]).out().trim(), "[]");
    ran(&[&["mount", "add", "mount-fail", &mount]]).out();
}

#[test]
fn a_sandbox_that_was_not_made_for_it_takes_no_mount() {
    let _sandbox = Background::run("mount-fixed", &[], SLEEP);
    let refused = ran(&[&["mount", "add", "mount-fixed", "/tmp:/data"]]);
    assert!(refused.code == 1 && refused.stderr.contains("--live-mounts"), "{refused:?}");
}
