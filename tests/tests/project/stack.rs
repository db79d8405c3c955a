//! A database, a job that prepares it, an HTTP interface and a worker: they come up by health, survive what is killed, and
//! keep their data.
//!
//! The same life with real PostgreSQL, whose image `MONOCORE_TEST_POSTGRES` names, only where `MONOCORE_TEST_LONG` is set.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use monocore_tests::wait::eventually;
use monocore_tests::world::World;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::TestProject;

/// The services by busybox alone: a row is a line of a file in the volume.
const SMALL: &str = r#"
[[service]]
name = "db"
base = "test/plain:latest"
ram = 128
group = "inside"
restart = "always"
volumes = ["rows:/rows"]
network.mode = "@DB@"
command = "/bin/sh"
args = ["-c", "touch /rows/all; exec busybox nc -ll -p 5432 -e sh -c 'read word; if [ $word = add ]; then echo row >> /rows/all; sync; fi; wc -l < /rows/all'"]
healthcheck = { test = ["TCP", "5432"], interval = "1s", start_period = "1m" }

[[service]]
name = "prepare"
base = "test/plain:latest"
ram = 128
group = "inside"
network.mode = "@OTHER@"
command = "/bin/sh"
args = ["-c", "echo add | busybox nc db 5432 | grep -q ."]
depends_on = { db = "healthy" }

[[service]]
name = "api"
base = "test/plain:latest"
ram = 128
group = "inside"
network.mode = "@OTHER@"
port = "@PORT@:80"
command = "/bin/sh"
args = ["-c", "exec busybox nc -ll -p 80 -e sh -c 'while read line && [ $${#line} -gt 1 ]; do :; done; echo HTTP/1.0 200 OK; echo; echo add | busybox nc db 5432'"]
healthcheck = { test = ["TCP", "80"], interval = "1s", start_period = "1m" }
depends_on = { db = "healthy", prepare = "completed" }

[[service]]
name = "worker"
base = "test/plain:latest"
ram = 128
group = "inside"
network.mode = "@DB@"
command = "/bin/sh"
args = ["-c", "trap 'exit 0' TERM; while :; do echo add | busybox nc db 5432; sleep 1; done"]
depends_on = { api = "healthy" }

[[group]]
name = "inside"
"#;

/// The same with PostgreSQL.
const POSTGRES: &str = r#"
[[service]]
name = "db"
base = "test/postgres:latest"
ram = 512
group = "inside"
restart = "always"
volumes = ["rows:/rows"]
network.mode = "@DB@"
command = "/bin/sh"
args = ["-c", """
bin=$(echo /usr/lib/postgresql/*/bin); mkdir -p /rows/data; chown postgres /rows/data
as='setpriv --reuid=postgres --regid=postgres --clear-groups'
if [ ! -s /rows/data/PG_VERSION ]; then
  $as $bin/initdb --no-sync --auth=trust --pgdata=/rows/data || exit 1
  echo 'host all all all trust' >> /rows/data/pg_hba.conf
fi
exec $as $bin/postgres -D /rows/data -c listen_addresses='*' -c unix_socket_directories=/tmp -c jit=off
"""]
healthcheck = { test = "$(echo /usr/lib/postgresql/*/bin)/pg_isready -h 127.0.0.1", interval = "2s", timeout = "30s", retries = 60, start_period = "10m" }
stop_signal = "INT"
stop_grace_period = "1m"

[[service]]
name = "prepare"
base = "test/postgres:latest"
ram = 256
group = "inside"
network.mode = "@OTHER@"
command = "/bin/sh"
args = ["-c", "exec $(echo /usr/lib/postgresql/*/bin)/psql -h db -U postgres -c 'create table if not exists visits (id serial primary key, what text)'"]
depends_on = { db = "healthy" }

[[service]]
name = "api"
base = "test/postgres:latest"
ram = 256
group = "inside"
network.mode = "@OTHER@"
port = "@PORT@:80"
command = "/usr/bin/python3"
args = ["-c", """
import http.server, psycopg2
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with psycopg2.connect(host='db', user='postgres') as connection, connection.cursor() as cursor:
            if self.path != '/health':
                cursor.execute("insert into visits (what) values ('api')")
            cursor.execute('select count(*) from visits')
            count = cursor.fetchone()[0]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'%d\\n' % count)
http.server.ThreadingHTTPServer(('', 80), Handler).serve_forever()
"""]
healthcheck = { test = ["HTTP", "80/health"], interval = "2s", timeout = "30s", retries = 60, start_period = "5m" }
depends_on = { db = "healthy", prepare = "completed" }

[[service]]
name = "worker"
base = "test/postgres:latest"
ram = 256
group = "inside"
network.mode = "@DB@"
command = "/usr/bin/python3"
args = ["-c", """
import psycopg2, time
while True:
    try:
        with psycopg2.connect(host='db', user='postgres') as connection, connection.cursor() as cursor:
            cursor.execute("insert into visits (what) values ('worker')")
    except psycopg2.Error as error:
        print(error, flush=True)
    time.sleep(1)
"""]
depends_on = { api = "healthy" }

[[group]]
name = "inside"
"#;

/// A free port of this host, a moment ago.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Adds a row by the HTTP interface; how many there are then.
fn visit(port: u16) -> Option<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n"))?;
    head.contains("200").then(|| body.trim().parse().ok()).flatten()
}

fn visited(port: u16) -> u64 {
    let mut count = None;
    eventually("a visit is counted", || {
        count = visit(port);
        count.is_some()
    });
    count.unwrap()
}

/// The process of a service's supervisor.
fn supervisor(project: &TestProject, service: &str) -> Pid {
    let pid = project.ran(&["inspect", "-f", "{{.State.Pid}}", service]).out().trim().parse().unwrap();
    Pid::from_raw(pid).unwrap()
}

/// The machine that a supervisor runs.
fn machine(supervisor: Pid) -> Pid {
    let pid = supervisor.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let is_machine = |child: &&str| {
        std::fs::read(format!("/proc/{child}/cmdline"))
            .is_ok_and(|line| line.split(|b| *b == 0).nth(1) == Some(b"vmm"))
    };
    let found = children.split_whitespace().find(is_machine).unwrap_or_else(|| panic!("{children}"));
    Pid::from_raw(found.parse().unwrap()).unwrap()
}

fn lives(name: &str, toml: &str, modes: [&str; 2]) {
    let port = free();
    let toml =
        toml.replace("@DB@", modes[0]).replace("@OTHER@", modes[1]).replace("@PORT@", &port.to_string());
    let project = TestProject::new(name, &toml);
    let up = project.ran(&["up", "-d", "--wait"]);
    assert_eq!(up.code, 0, "{up:?}");
    let at = |line: &str| up.stderr.find(line).unwrap_or_else(|| panic!("{line:?} is not in {}", up.stderr));
    let step = |service: &str, step: &str| at(&format!("{name}-{service}-1  {step}"));
    assert!(step("db", "Healthy") < step("prepare", "Starting"));
    assert!(step("prepare", "Completed") < step("api", "Starting"));
    assert!(step("api", "Healthy") < step("worker", "Starting"));
    eprintln!("{name}: everything runs");
    let first = visited(port);
    assert!(first >= 1, "{first}");
    eventually("visits are counted", || visited(port) >= first + 3);
    eprintln!("{name}: {first} rows and more");
    // The database's machine, which its supervisor starts again.
    let before = visited(port);
    kill_process(machine(supervisor(&project, "db")), Signal::KILL).unwrap();
    assert!(visited(port) > before);
    eprintln!("{name}: the database's machine was killed");
    // The interface's supervisor: the next `up` starts it again.
    let before = visited(port);
    kill_process(supervisor(&project, "api"), Signal::KILL).unwrap();
    eventually("the service is down", || project.status_of("api") != "running");
    assert_eq!(project.ran(&["up", "-d", "--wait"]).code, 0);
    let after = visited(port);
    assert!(after > before);
    eprintln!("{name}: the supervisor of the interface was killed");
    assert_eq!(project.ran(&["down"]).code, 0);
    assert_eq!(project.status(), serde_json::json!([]));
    let again = project.ran(&["up", "-d", "--wait"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(visited(port) > after, "the volume keeps the rows");
    assert_eq!(project.ran(&["down", "-v"]).code, 0);
    assert_eq!(visit(port), None);
    let home = World::get().home();
    let names = |dir: &str| -> Vec<String> {
        let entries = std::fs::read_dir(home.join(dir)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    for dir in ["names", "volumes", "groups"] {
        assert!(names(dir).iter().all(|entry| !entry.contains(name)), "{dir}: {:?}", names(dir));
    }
}

#[test]
fn a_stack_lives_and_keeps_its_data() {
    lives("stack-small", SMALL, ["nat", "tsi"]);
}

#[test]
fn a_stack_with_real_postgresql_lives_and_keeps_its_data() {
    if std::env::var_os("MONOCORE_TEST_LONG").is_none() {
        eprintln!("without MONOCORE_TEST_LONG the smaller stack stands for this one");
        return;
    }
    let archive = std::env::var_os("MONOCORE_TEST_POSTGRES").expect("`cargo xtask test` makes the image");
    let loaded = World::get().monocore(["load", "-q", "-i"]).arg(archive).output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    lives("stack-nat", POSTGRES, ["nat", "tsi"]);
    lives("stack-tsi", POSTGRES, ["tsi", "nat"]);
}
