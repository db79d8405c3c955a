//! Verbs, one after the other, as a user types them: each with the status and the output that Docker gives.

use monocore_tests::world::{Ran, World};

/// A command, its status, its output, and what its messages say. An output that begins with `~` is contained, one that is
/// `*` is anything.
type Row = (&'static str, i32, &'static str, &'static str);

const ROWS: &[Row] = &[
    // Words that are none of monocore's.
    ("bogus", 125, "", "unrecognized subcommand"),
    ("--version", 0, "~monocore ", ""),
    ("run --help", 0, "~--volume", ""),
    ("run", 125, "", "IMAGE is missing"),
    ("create", 125, "", "IMAGE is missing"),
    ("run --bogus x", 125, "", "--bogus"),
    ("run --name 'a b' x", 125, "", "a name begins with"),
    ("run --gpus all x", 125, "", "--gpus: not supported: a sandbox has no GPU"),
    ("run --network host x", 125, "", "--allow-host"),
    ("run --pull never nosuch/image", 125, "", "--pull never"),
    ("run -d --rm --restart always test/plain x", 125, "", "conflicting options"),
    ("run --cap-add NOPE test/plain x", 125, "", "unknown capability"),
    ("run --replace test/plain x", 125, "", "--name"),
    ("run -v relative test/plain x", 125, "", "relative"),
    ("run -a stdout -d test/plain x", 125, "", "--detach"),
    // In the foreground.
    ("run --rm -m 128m test/plain sh -c 'echo out; echo err >&2; exit 7'", 7, "out\n", "err"),
    ("run -m 128m test/plain nosuch", 127, "", "executable file not found in $PATH"),
    ("run -m 128m test/plain /etc", 126, "", "is a directory"),
    // Two sandboxes.
    ("run -d --name t-one -l tab=1 -m 128m test/plain sleep 1000", 0, "*", ""),
    ("create --name t-two -l tab=2 -m 128m test/plain sh -c 'echo two; exit 3'", 0, "*", ""),
    ("create --name t-two test/plain true", 125, "", "is taken by sandbox"),
    ("ps --filter name=t-one --format {{.Names}}", 0, "t-one\n", ""),
    ("ps -q --filter name=t-none", 0, "", ""),
    ("ps -a --filter name=t- --format '{{.Names}} {{.State}}'", 0, "t-two created\nt-one running\n", ""),
    ("ps --filter name=t-two --format {{.Names}}", 0, "", ""),
    ("ps --filter status=created --format {{.Names}}", 0, "t-two\n", ""),
    ("ps -a --filter label=tab=1 --format {{.Names}}", 0, "t-one\n", ""),
    ("ps -a --filter name=t-one --filter name=t-two --format {{.Names}}", 0, "t-two\nt-one\n", ""),
    ("ps -a --filter since=t-one --format {{.Names}}", 0, "t-two\n", ""),
    ("ps -a --filter before=t-two --filter name=t- --format {{.Names}}", 0, "t-one\n", ""),
    ("ps -l --format {{.Names}}", 0, "t-two\n", ""),
    ("ps -n 1 --format '{{.Names}}:{{.Command}}'", 0, "t-two:\"sh -c echo two; exit\u{2026}\"\n", ""),
    (
        "ps --filter name=t-one --format 'table {{.Names}}\\t{{.Image}}'",
        0,
        "NAMES     IMAGE\nt-one     test/plain\n",
        "",
    ),
    ("ls -a --filter name=t-two", 0, "~Created", ""),
    ("list --filter name=t-one", 0, "~SANDBOX ID", ""),
    ("ps --filter bogus=1", 125, "", "invalid filter 'bogus'"),
    ("ps --filter name", 125, "", "bad format of filter"),
    ("ps --filter name=t-one --format {{.Bogus}}", 1, "", "can't evaluate field Bogus"),
    ("ps --format {{.ID", 125, "", "template parsing error"),
    ("ps --format yaml", 125, "", "a Go template"),
    // exec
    ("exec t-one echo hi", 0, "hi\n", ""),
    ("exec t-one sh -c 'exit 42'", 42, "", ""),
    ("exec t-one sh -c 'kill -9 $$'", 137, "", ""),
    ("exec t-one nosuch", 127, "", "executable file not found in $PATH"),
    ("exec t-one /etc", 126, "", "is a directory"),
    ("exec t-two true", 125, "", "is not running"),
    ("exec nosuch true", 125, "", "no such sandbox: nosuch"),
    ("exec -w /tmp t-one pwd", 0, "/tmp\n", ""),
    ("exec -w /nosuch t-one pwd", 127, "", "/nosuch"),
    ("exec -e A=1 -e B=2 t-one sh -c 'echo $A$B'", 0, "12\n", ""),
    ("exec -u 5:6 t-one sh -c 'id -u; id -g'", 0, "5\n6\n", ""),
    ("exec -u nosuch t-one true", 125, "", "unable to find user nosuch"),
    ("exec -d t-one true", 0, "", ""),
    ("exec -d t-one nosuch", 127, "", "executable file not found"),
    ("exec t-one", 125, "", "COMMAND"),
    ("exec --detach-keys ctrl-1 t-one true", 125, "", "ctrl-"),
    // Looking at one.
    ("inspect nosuch", 1, "[]\n", "no such sandbox: nosuch"),
    ("inspect -f {{.State.Status}} t-one t-two", 0, "running\ncreated\n", ""),
    ("inspect -f {{.State.Status}} t-one nosuch", 1, "running\n", "no such sandbox: nosuch"),
    ("inspect --format {{.Name}} t-two", 0, "/t-two\n", ""),
    ("inspect -f '{{.State.Running}} {{.State.ExitCode}} {{.RestartCount}}' t-one", 0, "true 0 0\n", ""),
    ("inspect -f {{.Config.Image}} t-one", 0, "test/plain\n", ""),
    ("inspect -f '{{.Path}} {{join .Args \",\"}}' t-one", 0, "sleep 1000\n", ""),
    ("inspect -f '{{json .Config.Labels}}' t-one", 0, "{\"tab\":\"1\"}\n", ""),
    ("inspect -f '{{.HostConfig.AutoRemove}} {{.HostConfig.NetworkMode}}' t-one", 0, "false nat\n", ""),
    ("inspect -f {{.Nope}} t-one", 1, "", "can't evaluate field Nope"),
    ("port t-one", 0, "", ""),
    ("port t-one 80", 1, "", "port 80/tcp of sandbox t-one is not published"),
    ("port nosuch", 1, "", "no such sandbox: nosuch"),
    ("logs t-one", 0, "", ""),
    ("logs nosuch", 1, "", "no such sandbox: nosuch"),
    ("logs -n x t-one", 125, "", "give a number of lines"),
    ("top t-one -o comm", 0, "COMMAND\nsleep\n", ""),
    ("top t-two", 1, "", "is not running"),
    ("top nosuch", 1, "", "no such sandbox: nosuch"),
    ("top t-one -Z", 1, "", "-Z"),
    ("diff t-one", 0, "", ""),
    ("exec t-one sh -c 'echo x > /new; rm /bin/ls'", 0, "", ""),
    ("diff t-one", 0, "C /bin\nD /bin/ls\nA /new\n", ""),
    ("diff --format '{{.Kind}}{{.Path}}' t-one", 0, "C/bin\nD/bin/ls\nA/new\n", ""),
    ("stats --no-stream --format {{.Name}} t-one", 0, "t-one\n", ""),
    ("stats nosuch", 1, "", "no such sandbox: nosuch"),
    ("stats t-two", 1, "", "is not running"),
    ("cp nosuch:/x /tmp", 1, "", "no such sandbox: nosuch"),
    ("cp t-one:/nosuch /tmp", 1, "", "No such file or directory"),
    ("cp /tmp /var", 1, "", "at least one sandbox"),
    ("attach t-two", 1, "", "is not running"),
    ("shell t-two", 125, "", "monocore start t-two"),
    // Changing one.
    ("rename t-two t-one", 1, "", "is taken by sandbox"),
    ("rename t-two 'bad name'", 125, "", "a name begins with"),
    ("rename nosuch t-three", 1, "", "no such sandbox: nosuch"),
    ("rename t-two t-deux", 0, "", ""),
    ("inspect -f {{.Name}} t-deux", 0, "/t-deux\n", ""),
    ("rename t-deux t-two", 0, "", ""),
    ("update t-two", 1, "", "one or more flags"),
    ("update --memory 160m --restart on-failure:2 t-two", 0, "t-two\n", ""),
    (
        "inspect -f '{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}' t-two",
        0,
        "167772160 on-failure\n",
        "",
    ),
    ("update --memory lots t-two", 125, "", "--memory"),
    ("update --restart bogus t-two", 125, "", "--restart"),
    ("update --restart no t-two", 0, "t-two\n", ""),
    // Volumes.
    ("volume create t-vol", 0, "t-vol\n", ""),
    ("volume create t-vol", 0, "t-vol\n", ""),
    ("volume create 'a b'", 125, "", "a name begins with"),
    ("volume ls --filter name=t-vol", 0, "DRIVER  VOLUME NAME\nlocal   t-vol\n", ""),
    ("volume ls -q --filter name=t-vol --filter dangling=true", 0, "t-vol\n", ""),
    ("volume ls --filter bogus=1", 125, "", "invalid filter 'bogus'"),
    ("volume inspect -f '{{.Name}} {{.Driver}} {{.Scope}}' t-vol", 0, "t-vol local local\n", ""),
    ("volume inspect nosuch", 1, "[]\n", "no such volume: nosuch"),
    ("volume rm nosuch", 1, "", "no such volume: nosuch"),
    ("volume rm -f nosuch", 0, "", ""),
    ("volume rm t-vol", 0, "t-vol\n", ""),
    ("volume prune -f", 0, "Total reclaimed space: 0 B\n", ""),
    // From start to end.
    ("start nosuch", 1, "", "no such sandbox: nosuch"),
    ("start t-two", 0, "t-two\n", ""),
    ("wait t-two", 0, "3\n", ""),
    ("logs t-two", 0, "two\n", ""),
    ("logs -n 0 t-two", 0, "", ""),
    ("ps -a --filter exited=3 --filter name=t-two --format '{{.Names}} {{.State}}'", 0, "t-two exited\n", ""),
    ("start -a t-two", 3, "two\n", ""),
    ("start -a t-one t-two", 1, "", "cannot start and attach multiple"),
    ("kill t-two", 1, "", "is not running"),
    ("kill nosuch", 1, "", "no such sandbox: nosuch"),
    ("kill -s BOGUS t-one", 125, "", "BOGUS"),
    ("kill -s 0x t-one", 125, "", "0x"),
    ("stop nosuch", 1, "", "no such sandbox: nosuch"),
    ("stop", 125, "", "SANDBOX"),
    ("wait nosuch", 1, "", "no such sandbox: nosuch"),
    ("rm t-one", 1, "", "is running: stop it first"),
    ("rm nosuch", 1, "", "no such sandbox: nosuch"),
    ("rm -f nosuch", 0, "", ""),
    ("stop -t 0 t-one t-two", 0, "t-one\nt-two\n", ""),
    ("stop t-one", 0, "t-one\n", ""),
    ("exec t-one true", 125, "", "is not running"),
    ("start t-one nosuch", 1, "t-one\n", "no such sandbox: nosuch"),
    ("start t-one", 0, "t-one\n", ""),
    ("restart -t 0 t-one", 0, "t-one\n", ""),
    ("exec t-one cat /new", 0, "x\n", ""),
    ("kill t-one", 0, "t-one\n", ""),
    ("wait t-one", 0, "137\n", ""),
    ("rm --filter name=t-", 0, "t-one\nt-two\n", ""),
    ("ps -aq --filter name=t-", 0, "", ""),
    // Images.
    ("images --format '{{.Repository}} {{.Tag}}'", 0, "~test/plain latest\n", ""),
    ("image inspect nosuch", 1, "", "nosuch"),
    ("rmi nosuch", 1, "", "nosuch"),
];

/// Words as a shell reads them, of which only single quotes are used here.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    let mut is_word = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                is_word = true;
            }
            ' ' if !quoted => {
                if is_word {
                    words.push(String::new());
                }
                is_word = false;
            }
            c => {
                words.last_mut().unwrap().push(c);
                is_word = true;
            }
        }
    }
    words
}

fn fits(text: &str, wanted: &str) -> bool {
    match wanted.strip_prefix('~') {
        Some(part) => text.contains(part),
        None => wanted == "*" || text == wanted,
    }
}

#[test]
fn every_verb_answers_as_dockers_does() {
    assert!(ROWS.len() >= 120, "{}", ROWS.len());
    // Other tests of this process must not be counted by `ps -l`.
    let home = World::get().path("table-home");
    let copied =
        std::process::Command::new("cp").arg("-a").arg(World::get().home()).arg(&home).status().unwrap();
    assert!(copied.success());
    for left in ["sandboxes", "run", "names", "volumes"] {
        // Other tests may have made none yet.
        let _ = std::fs::remove_dir_all(home.join(left));
    }
    let mut wrong = Vec::new();
    for (line, code, out, err) in ROWS {
        let mut command = World::get().monocore(words(line));
        let ran: Ran = command.env("MONOCORE_HOME", &home).output().unwrap().into();
        if ran.code != *code || !fits(&ran.stdout, out) || !ran.stderr.contains(err) {
            wrong.push(format!("monocore {line}\n  wanted {code} {out:?} {err:?}\n  got {ran:?}"));
        }
    }
    let _ = std::fs::remove_dir_all(home);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}
