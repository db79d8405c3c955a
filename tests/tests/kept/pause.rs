//! `pause` and `unpause`.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use monocore_tests::wait::eventually;
use monocore_tests::world::World;

use crate::support::{Background, ran};

/// Long enough for the clock of a guest that stood still to be visibly wrong.
const STANDSTILL: Duration = Duration::from_secs(5);

#[test]
fn a_paused_sandbox_stands_still_and_goes_on() {
    let sandbox = Background::run("pause-plain", &[], "while busybox sleep 0.1; do echo tick; done");
    let lines = || ran(&[&["logs", "pause-plain"]]).out().lines().count();
    eventually("lines are logged", || lines() != 0);
    // The shortest there is: the guest's kernel must not take the standstill for a processor that hangs.
    let timeout = "/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout";
    sandbox.exec(&["--privileged"], &format!("echo 3 >{timeout}; grep -q ^3$ {timeout}")).out();
    assert_eq!(ran(&[&["pause", "pause-plain"]]).out(), "pause-plain\n");
    let listed = ran(&[&["ps", "--filter", "status=paused"]]);
    assert!(listed.out().contains("(Paused)") && listed.out().contains("Up "), "{listed:?}");
    assert_eq!(sandbox.inspect()["state"]["status"], "paused");
    let again = ran(&[&["pause", "pause-plain"]]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("sandbox pause-plain is already paused"), "{again:?}");
    for flags in [&[][..], &["-d"]] {
        let refused = sandbox.exec(flags, "true");
        assert_eq!(refused.code, 125);
        let words = "sandbox pause-plain is paused, unpause the sandbox before exec";
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    let still = lines();
    thread::sleep(STANDSTILL);
    assert_eq!(lines(), still);
    let stats = ran(&[&["stats", "pause-plain"]]);
    assert!(stats.out().contains("--"), "a guest that stands still tells nothing: {stats:?}");
    assert_eq!(ran(&[&["unpause", "pause-plain"]]).out(), "pause-plain\n");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // A guest is told the time in whole seconds when it begins.
    let before = now() - 1;
    let guest: u64 = sandbox.exec(&[], "busybox date +%s").out().trim().parse().unwrap();
    assert!((before..=now()).contains(&guest), "{guest} is not between {before} and {}", now());
    eventually("lines are logged again", || lines() != still);
    let again = ran(&[&["unpause", "pause-plain"]]);
    assert!(again.stderr.contains("sandbox pause-plain is not paused"), "{again:?}");
    assert_eq!(sandbox.exec(&[], "busybox dmesg | busybox grep -ci stall").stdout, "0\n");
}

#[test]
fn a_paused_sandbox_is_stopped_and_killed() {
    let sandbox = Background::run("pause-stop", &[], "trap 'echo bye; exit 7' TERM; sleep 1000 & wait");
    ran(&[&["pause", "pause-stop"]]).out();
    assert_eq!(ran(&[&["stop", "pause-stop"]]).out(), "pause-stop\n");
    let state = sandbox.inspect()["state"].clone();
    assert_eq!((&state["status"], &state["exit_code"]), (&"exited".into(), &7.into()));
    ran(&[&["start", "pause-stop"]]).out();
    assert_eq!(sandbox.inspect()["state"]["status"], "running");
    ran(&[&["pause", "pause-stop"]]).out();
    ran(&[&["kill", "pause-stop"]]).out();
    assert_eq!(sandbox.inspect()["state"]["exit_code"], 137);
}

/// Lines with numbers, from here to a guest and back, without a gap.
struct Traffic {
    to_guest: u16,
    from_guest: u16,
    received: Arc<AtomicU64>,
}

impl Traffic {
    fn start() -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (source, sink) = (listen(), listen());
        let received = Arc::new(AtomicU64::new(0));
        let traffic = Self {
            to_guest: source.local_addr().unwrap().port(),
            from_guest: sink.local_addr().unwrap().port(),
            received: Arc::clone(&received),
        };
        thread::spawn(move || send_numbers(source.accept().unwrap().0));
        thread::spawn(move || {
            let mut reader = BufReader::new(sink.accept().unwrap().0);
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 0 {
                // The last line is cut short when the guest ends.
                if let Some(number) = line.strip_suffix('\n') {
                    let number: u64 = number.parse().unwrap();
                    let before = received.swap(number, Ordering::SeqCst);
                    assert_eq!(number, before + 1, "a line is lost");
                }
                line.clear();
            }
        });
        traffic
    }

    fn script(&self) -> String {
        let (to_guest, from_guest) = (self.to_guest, self.from_guest);
        format!(
            "busybox nc host.monocore.internal {to_guest} </dev/null | \
             busybox awk '$1 != NR {{ print $1, NR >\"/bad\" }} NR % 64 == 0 {{ print NR >\"/net\"; close(\"/net\") }}' & \
             (i=1; while [ ! -e /share/stop ]; do busybox seq $i $((i+199)); i=$((i+200)); busybox sleep 0.02; done) | \
             busybox nc host.monocore.internal {from_guest} &"
        )
    }
}

fn send_numbers(mut stream: TcpStream) {
    // It ends with the guest.
    for number in 1_u64.. {
        if writeln!(stream, "{number}").is_err() {
            return;
        }
        // The emulated processor has others to serve.
        if number.is_multiple_of(200) {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How often a machine is paused: all 100 times only where `MONOCORE_TEST_LONG` is set.
fn rounds() -> u32 {
    if std::env::var_os("MONOCORE_TEST_LONG").is_some() { 100 } else { 20 }
}

fn is_paused_under_load(name: &'static str, network: &str) {
    let share = World::get().path(name);
    std::fs::create_dir_all(&share).unwrap();
    let mount = format!("{}:/share", share.display());
    let traffic = Traffic::start();
    // Each copy is read back from where it was written.
    let files = |dir: &str| {
        format!(
            "(n=0; while [ ! -e /share/stop ]; do \
             busybox dd if=/dev/urandom of={dir}/a bs=16k count=16 2>/dev/null; busybox cp {dir}/a {dir}/b; \
             busybox sync; echo 3 >/proc/sys/vm/drop_caches; busybox cmp {dir}/a {dir}/b || touch /bad; \
             n=$((n+1)); echo $n >{dir}/count; busybox sleep 0.1; done; touch {dir}/done) &"
        )
    };
    let script = format!(
        "mkdir /disk; {} {} {} i=0; while [ ! -e /share/stop ]; do i=$((i+1)); echo line $i; busybox sleep 0.05; done; \
         until [ -e /disk/done ] && [ -e /share/done ]; do busybox sleep 0.1; done; echo all $i",
        files("/disk"),
        files("/share"),
        traffic.script()
    );
    let sandbox = Background::run(name, &["-t", "--network", network, "--allow-host", "-v", &mount], &script);
    let counts = || {
        let shown =
            sandbox.exec(&[], "cat /disk/count /share/count /net 2>/dev/null; ls /bad 2>/dev/null; true");
        let mut counts: Vec<u64> = shown.out().lines().map(|line| line.parse().expect(line)).collect();
        counts.push(traffic.received.load(Ordering::SeqCst));
        counts
    };
    eventually("everything counts", || counts().len() == 4);
    let mut before = counts();
    for round in 0..rounds() {
        let paused = ran(&[&["pause", name]]);
        if paused.code != 0 {
            let id = sandbox.inspect()["id"].as_str().unwrap().to_owned();
            let log = World::get().home().join("sandboxes").join(id).join("log/supervisor.log");
            let log = std::fs::read_to_string(log).unwrap_or_default();
            eprintln!("{}", &log[log.len().saturating_sub(6000)..]);
            panic!("round {round}: {paused:?}");
        }
        ran(&[&["unpause", name]]).out();
        if round % 10 == 9 {
            let deadline = Instant::now() + Duration::from_secs(120);
            while counts().iter().zip(&before).any(|(now, then)| now <= then) {
                assert!(Instant::now() < deadline, "round {round}: {before:?} is still {:?}", counts());
            }
            before = counts();
        }
    }
    // From this side: who said it in the guest could be killed with it.
    std::fs::write(share.join("stop"), "").unwrap();
    assert_eq!(ran(&[&["wait", name]]).out(), "0\n");
    let logs = ran(&[&["logs", name]]);
    let lines: Vec<_> = logs.out().lines().filter(|line| line.starts_with("line ")).collect();
    for (number, line) in (1..).zip(&lines) {
        assert_eq!(*line, format!("line {number}"), "of the terminal");
    }
    assert!(logs.out().contains(&format!("all {}", lines.len())));
    let read = |file: &str| std::fs::read(share.join(file)).unwrap();
    assert_eq!(read("a").len(), 256 << 10);
    assert!(read("a") == read("b"));
}

#[test]
fn nothing_is_lost_by_pauses_under_load_with_a_card() {
    is_paused_under_load("pause-nat", "nat");
}

#[test]
fn nothing_is_lost_by_pauses_under_load_with_carried_sockets() {
    is_paused_under_load("pause-tsi", "tsi");
}
