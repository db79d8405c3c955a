//! `cp` both ways.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use monocore_tests::wait::eventually;
use monocore_tests::world::{PLAIN, World};

use crate::support::{Background, ran};

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn files_and_trees_go_both_ways() {
    let world = World::get();
    let sandbox = Background::run("copy-tree", &[], "sleep 1000");
    let tree = world.path("copy-from");
    fs::create_dir_all(tree.join("sub/empty")).unwrap();
    fs::write(tree.join("sub/file"), "content\n").unwrap();
    fs::hard_link(tree.join("sub/file"), tree.join("twin")).unwrap();
    std::os::unix::fs::symlink("sub/file", tree.join("link")).unwrap();
    fs::set_permissions(tree.join("sub"), PermissionsExt::from_mode(0o750)).unwrap();
    std::os::unix::fs::chown(tree.join("sub/file"), Some(1234), Some(5678)).unwrap();
    fs::File::create(tree.join("sparse")).unwrap().set_len(64 << 20).unwrap();
    let source = tree.to_str().unwrap();

    assert_eq!(ran(&[&["cp", source, "copy-tree:/new"]]).out(), "");
    ran(&[&["cp", "-a", source, "copy-tree:/tmp"]]).out();
    sandbox.exec(&[], "mkdir /only").out();
    ran(&[&["cp", &format!("{source}/."), "copy-tree:/only"]]).out();
    assert_eq!(sandbox.exec(&[], "cat /only/twin").out(), "content\n");
    let told = sandbox.exec(
        &[],
        "cd /new && cat twin && readlink link && stat -c '%a %u %g' sub sub/file; \
        stat -c '%u %g' /tmp/copy-from/sub/file; stat -c %s sparse; du -k sparse | cut -f1; \
        [ twin -ef sub/file ] && echo same",
    );
    assert_eq!(told.out(), "content\nsub/file\n750 0 0\n644 0 0\n1234 5678\n67108864\n0\nsame\n");

    sandbox.exec(&[], "echo changed > /new/sub/file; chown 77:88 /new/sub/file; mkfifo /new/pipe").out();
    let back = world.path("copy-back");
    ran(&[&["cp", "copy-tree:/new", back.to_str().unwrap()]]).out();
    assert_eq!(text(&back.join("twin")), "changed\n");
    assert_eq!(fs::read_link(back.join("link")).unwrap(), Path::new("sub/file"));
    assert_eq!(back.join("twin").metadata().unwrap().ino(), back.join("sub/file").metadata().unwrap().ino());
    assert_eq!(back.join("sub").metadata().unwrap().mode() & 0o7777, 0o750);
    assert_eq!(back.join("sub/file").metadata().unwrap().uid(), 0);
    assert!(back.join("sparse").metadata().unwrap().blocks() < 100);
    ran(&[&["cp", "-a", "copy-tree:/new", back.to_str().unwrap()]]).out();
    assert_eq!(back.join("new/sub/file").metadata().unwrap().gid(), 88);

    let plain = world.path("copy-plain");
    ran(&[&["cp", "copy-tree:new/link", plain.to_str().unwrap()]]).out();
    assert_eq!(fs::read_link(&plain).unwrap(), Path::new("sub/file"));
    fs::remove_file(&plain).unwrap();
    ran(&[&["cp", "-L", "copy-tree:/new/link", plain.to_str().unwrap()]]).out();
    assert_eq!(text(&plain), "changed\n");
}

#[test]
fn tar_streams_come_and_go() {
    let world = World::get();
    let sandbox = Background::run("copy-tar", &[], "mkdir -p /d/e; echo one > /d/e/f; sleep 1000");
    eventually("the file is there", || sandbox.exec(&[], "test -s /d/e/f").code == 0);
    let out = world.monocore(["cp", "copy-tar:/d", "-"]).output().unwrap();
    assert!(out.status.success());
    let mut child =
        Command::new("tar").arg("t").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&out.stdout).unwrap();
    let names = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(names, "d/\nd/e/\nd/e/f\n");

    let mut child = world.monocore(["cp", "-", "copy-tar:/tmp"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&out.stdout).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(sandbox.exec(&[], "cat /tmp/d/e/f").out(), "one\n");
    let refused = ran(&[&["cp", "-", "copy-tar:/nowhere"]]);
    assert_eq!(refused.code, 1, "{refused:?}");
}

#[test]
fn a_sandbox_that_does_not_run_gives_and_takes_files_too() {
    let world = World::get();
    ran(&[&["create", "--name", "copy-still", "-m", "128m", PLAIN, "cat", "/given"]]).out();
    let file = world.path("copy-given");
    fs::write(&file, "given\n").unwrap();
    ran(&[&["cp", file.to_str().unwrap(), "copy-still:/given"]]).out();
    let back = world.path("copy-taken");
    ran(&[&["cp", "copy-still:/given", back.to_str().unwrap()]]).out();
    assert_eq!(text(&back), "given\n");
    assert!(ran(&[&["ps", "-a", "--filter", "name=copy-still"]]).out().contains("Created"));
    ran(&[&["start", "copy-still"]]).out();
    assert_eq!(ran(&[&["wait", "copy-still"]]).out(), "0\n");
    assert_eq!(ran(&[&["logs", "copy-still"]]).out(), "given\n");
    ran(&[&["rm", "copy-still"]]).out();
}

#[test]
fn what_cannot_be_copied_is_told() {
    let world = World::get();
    let _sandbox = Background::run("copy-bad", &[], "sleep 1000");
    let file = world.path("copy-file");
    fs::write(&file, "x").unwrap();
    let (file, missing) = (file.to_str().unwrap(), world.path("copy-missing"));
    let missing = missing.to_str().unwrap();
    for (words, reason) in [
        (["cp", "copy-bad:/nosuch", missing], "/nosuch: No such file or directory"),
        (["cp", missing, "copy-bad:/"], "No such file or directory"),
        (["cp", file, "copy-bad:/nosuch/"], "/nosuch/: no such directory"),
        (["cp", file, "copy-bad:/nosuch/x"], "/nosuch: no such directory"),
        (["cp", "copy-bad:/bin", file], "cannot copy a directory to a file"),
        (["cp", "copy-bad:/bin", "copy-bad:/x"], "between sandboxes is not supported"),
        (["cp", file, missing], "at least one sandbox"),
        (["cp", "nobody:/x", missing], "no such sandbox: nobody"),
    ] {
        let refused = ran(&[&words]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains(reason), "{words:?}: {refused:?}");
    }
    assert!(!Path::new(missing).exists());
}
