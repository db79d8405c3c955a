//! SQLite, which trusts the locks of its file: two sandboxes write one database of a share.

use std::process::Command;

use monocore_tests::world::World;

use crate::support::Background;

/// Counts up, and notes who did.
const WRITE: &str = r#"
import sqlite3, sys
path, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = sqlite3.connect(path, timeout=600, isolation_level=None)
for n in range(count):
    db.execute("begin immediate")
    (value,) = db.execute("select value from counter").fetchone()
    db.execute("update counter set value = ?", (value + 1,))
    db.execute("insert into log values (?, ?, ?)", (who, n, value + 1))
    db.execute("commit")
print("done")
"#;

const MAKE: &str = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("create table counter (value integer)")
db.execute("insert into counter values (0)")
db.execute("create table log (who text, n integer, value integer unique)")
"#;

const CHECK: &str = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(*db.execute("pragma integrity_check").fetchone(), *db.execute("select value from counter").fetchone(),
    *db.execute("select count(*), count(distinct value), max(value), count(distinct who) from log").fetchone())
"#;

/// Transactions of both writers together: all 10,000 only where `MONOCORE_TEST_LONG` is set.
fn transactions() -> usize {
    if std::env::var_os("MONOCORE_TEST_LONG").is_some() { 10_000 } else { 500 }
}

fn python(program: &str, arguments: &[&str]) -> String {
    let output = Command::new("/usr/bin/python3").args(["-c", program]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_sandboxes_write_one_database_and_lose_nothing() {
    let world = World::get();
    let share = world.path("database");
    std::fs::create_dir_all(&share).unwrap();
    let database = share.join("db");
    python(MAKE, &[database.to_str().unwrap()]);
    std::fs::write(share.join("write.py"), WRITE).unwrap();
    let mount = format!("{}:/s", share.display());
    let names = ["sqlite-first", "sqlite-second"];
    let _sandboxes =
        names.map(|name| Background::run(name, &["-v", &mount, "-v", "/usr:/host:ro"], "sleep 100000"));
    let count = transactions() / 2;
    let writers = names.map(|name| {
        let script = format!(
            "PYTHONHOME=/host exec /host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path \
             /host/lib/x86_64-linux-gnu /host/bin/python3 /s/write.py /s/db {name} {count}"
        );
        std::thread::spawn(move || {
            World::get().monocore(["exec", name, "sh", "-c", &script]).output().unwrap()
        })
    });
    for writer in writers {
        let output = writer.join().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n", "{output:?}");
    }
    let all = 2 * count;
    assert_eq!(python(CHECK, &[database.to_str().unwrap()]), format!("ok {all} {all} {all} {all} 2\n"));
}
