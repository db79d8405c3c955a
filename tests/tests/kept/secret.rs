//! `--secret`: in the guest, and nowhere else.

use std::path::Path;
use std::process::Command;

use monocore_tests::world::{CONFIGURED, PLAIN, Ran, World};

use crate::support::ran;

/// A value that nothing else contains. It is not written in one piece, so that this program does not contain it either.
fn value(name: &str) -> String {
    format!("{}-{name}-{}", ["s3", "cr3t"].concat(), std::process::id())
}

fn start(words: &[&str], variable: Option<(&str, &str)>) -> Ran {
    let mut command = World::get().monocore(words);
    command.envs(variable);
    command.output().unwrap().into()
}

/// The files below `dir` that contain `text`. Disks are mostly holes, which only tar passes over.
fn holders(dir: &Path, text: &str) -> String {
    let script = r#"grep -rlaF --exclude=disk.img -e "$1" "$0"
                    find "$0" -name disk.img | while read -r disk; do
                        tar --sparse -cf - "$disk" 2>/dev/null | grep -qaF -e "$1" && echo "$disk"
                    done; true"#;
    let found = Command::new("sh").args(["-c", script]).arg(dir).arg(text).output().unwrap();
    assert!(found.status.success(), "{found:?}");
    String::from_utf8(found.stdout).unwrap()
}

fn contains(path: &Path, text: &str) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

/// The processes whose arguments or environment contain `text`.
fn tellers(text: &str) -> Vec<String> {
    let ids = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let files = ids.flat_map(|id| ["cmdline", "environ"].map(|name| id.join(name)));
    files.filter(|path| contains(path, text)).map(|path| path.display().to_string()).collect()
}

#[test]
fn a_secret_is_in_the_guest_and_nowhere_else() {
    let (world, name) = (World::get(), "secret-kept");
    let (from_env, from_file) = (value("env"), value("file"));
    let file = world.path("secret-file");
    std::fs::write(&file, &from_file).unwrap();
    let file_flag = format!("key.pem,file={}", file.display());
    let run = ["run", "-d", "--name", name, "-m", "128m", "--secret", "TOKEN", "--secret", &file_flag];
    let sleep = [PLAIN, "sh", "-c", "cat /run/secrets/TOKEN > /dev/null; sleep 1000"];
    let started = start(&[&run[..], &sleep].concat(), Some(("TOKEN", &from_env)));
    assert_eq!(started.code, 0, "{started:?}");
    let read = "stat -c '%n %a %U' /run/secrets/*; cat /run/secrets/*; echo; \
                touch /run/secrets/new 2>/dev/null || grep -o 'secrets tmpfs ro' /proc/mounts; env | grep -c TOKEN";
    let read = read.replace("secrets tmpfs ro", "/run/secrets tmpfs ro");
    let told = ran(&[&["exec", name, "sh", "-c", &read]]);
    let wanted = format!(
        "/run/secrets/TOKEN 400 root\n/run/secrets/key.pem 400 root\n{from_env}{from_file}\n/run/secrets tmpfs ro\n0\n"
    );
    assert_eq!(told.stdout, wanted, "{told:?}");
    let nobody = ran(&[&["exec", "-u", "app", name, "cat", "/run/secrets/TOKEN"]]);
    assert_eq!((nobody.code, nobody.stdout.as_str()), (1, ""), "{nobody:?}");

    // The file's own text is where the user put it; everything else is monocore's.
    for text in [&from_env, &from_file] {
        assert_eq!(holders(&world.home(), text), "");
        assert_eq!(tellers(text), Vec::<String>::new());
        for words in
            [&["inspect", name][..], &["ps", "--no-trunc"], &["events", "--since", "1h", "--until", "0s"]]
        {
            assert!(!format!("{:?}", ran(&[words])).contains(text.as_str()), "{words:?}");
        }
    }
    let inspected = ran(&[&["inspect", name]]);
    assert!(inspected.out().contains("TOKEN") && inspected.stdout.contains("secret-file"), "{inspected:?}");

    // The value is read anew at each start.
    ran(&[&["stop", "-t", "0", name]]).out();
    let gone = start(&["start", name], None);
    let problem = "secret TOKEN: the environment variable TOKEN is not set";
    assert!(gone.code != 0 && gone.stderr.contains(problem), "{gone:?}");
    let other = value("other");
    assert_eq!(start(&["start", name], Some(("TOKEN", &other))).code, 0);
    assert_eq!(ran(&[&["exec", name, "cat", "/run/secrets/TOKEN"]]).out(), other);
    ran(&[&["kill", name]]).out();
    std::fs::remove_file(&file).unwrap();
    let gone = start(&["start", name], Some(("TOKEN", &other)));
    assert!(
        gone.code != 0 && gone.stderr.contains("secret key.pem: ") && gone.stderr.contains("secret-file"),
        "{gone:?}"
    );
    ran(&[&["rm", "-f", name]]).out();
}

#[test]
fn a_secret_belongs_to_the_sandboxs_user() {
    let words = ["run", "-m", "128m", "--secret", "id=TOKEN,env=OTHER", CONFIGURED];
    let read = ["sh", "-c", "id -un; stat -c '%a %U' /run/secrets/TOKEN; cat /run/secrets/TOKEN"];
    let told = start(&[&words[..], &read].concat(), Some(("OTHER", "x")));
    assert!(told.out().ends_with("app\n400 app\nx"), "{told:?}");
    let twice = start(&["run", "--secret", "A", "--secret", "A,env=B", PLAIN, "true"], Some(("A", "x")));
    assert!(twice.code == 125 && twice.stderr.contains("two secrets are called A"), "{twice:?}");
}

#[test]
fn a_restarted_command_has_its_secret() {
    let script = "cat /run/secrets/TOKEN; [ -e /ran ] && sleep 1000; touch /ran; exit 1";
    let flags = ["--restart", "on-failure", "--secret", "TOKEN"];
    let words =
        [&["run", "-d", "--name", "secret-again", "-m", "128m"][..], &flags, &[PLAIN, "sh", "-c", script]];
    assert_eq!(start(&words.concat(), Some(("TOKEN", "line\n"))).code, 0);
    crate::support::until("the second run", || ran(&[&["logs", "secret-again"]]).stdout == "line\nline\n");
    ran(&[&["rm", "-f", "secret-again"]]).out();
    // One that is not there leaves nothing.
    let refused = start(&["run", "-d", "--name", "secret-again", "--secret", "NOT_SET", PLAIN, "true"], None);
    assert!(refused.code == 125 && refused.stderr.contains("NOT_SET is not set"), "{refused:?}");
    let _ = ran(&[&["rm", "-f", "secret-again"]]);
}
