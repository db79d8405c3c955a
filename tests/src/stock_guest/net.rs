//! A network card that is ours behind vhost-user, with a user-mode stack behind it. The host's part is
//! `tests/vhost_user_net.rs`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{say, wait_until};
use crate::net_load;

/// Port of the guest that is published.
pub const PUBLISHED: u16 = 8080;
/// Bytes of a stream, each way.
pub const STREAM_BYTES: u64 = 20_000_000;
/// A name the host's server knows, and one it does not.
pub const NAMES: [&str; 2] = ["known.example", "unknown.example"];

const GATEWAY: [&str; 2] = ["10.77.0.1", "fd4d:6f6e:6f00::1"];
/// What busybox's client calls with what it was told; whatever it is not told is an error.
const LEASE: &str = "#!/bin/busybox sh
set -eu
[ $1 = bound ] || exit 0
/bin/busybox ip addr add $ip/$mask dev $interface
/bin/busybox ip route add default via $router
[ $dns = 10.77.0.1 ]
";
/// The card's driver, where devices are taken from it and given back.
const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_net";

/// Uses the card as its driver offers it, before and after the driver let go of it. `ports` are the host's: one that receives a
/// stream, one that sends it, and one that echoes datagrams.
pub(super) fn run(ports: &str) -> Result<()> {
    let ports: Vec<u16> = ports.split(',').map(str::parse).collect::<Result<_, _>>().context("ports")?;
    ensure!(ports.len() == 3, "{ports:?}");
    for round in ["first", "second"] {
        set_up(round == "second").context("setting the card up")?;
        ping().with_context(|| format!("the {round} ping"))?;
        for gateway in GATEWAY {
            let at = |port: u16| SocketAddr::new(gateway.parse().expect("an address"), port).to_string();
            let sent =
                net_load::run(&["send", &at(ports[0]), &STREAM_BYTES.to_string()]).context("sending")?;
            let received = net_load::run(&["receive", &at(ports[1])]).context("receiving")?;
            say(&format!("sent {sent}; received {received}"));
            datagrams(at(ports[2]).parse()?).context("datagrams")?;
        }
        for name in NAMES {
            say(&format!("name: {}", net_load::run(&["ask", GATEWAY[0], name, "udp"]).context("a name")?));
        }
        listen().context("the host's question")?;
        let device = fs::read_dir(DRIVER)?.flatten().map(|entry| entry.file_name());
        let device =
            device.filter_map(|name| name.into_string().ok()).find(|name| name.starts_with("virtio"));
        let device = device.context("a device")?;
        fs::write(format!("{DRIVER}/unbind"), &device).context("letting go of the card")?;
        fs::write(format!("{DRIVER}/bind"), &device).context("taking the card back")?;
    }
    Ok(())
}

fn busybox(words: &[&str]) -> Result<String> {
    let done = Command::new("/bin/busybox").args(words).output().context("starting busybox")?;
    ensure!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?)
}

/// Gives the card its addresses, the first by DHCP or not.
fn set_up(by_dhcp: bool) -> Result<()> {
    // Nobody else is there to have the address.
    fs::write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0")?;
    for words in [
        &["link", "set", "lo", "up"][..],
        &["link", "set", "eth0", "up"],
        &["addr", "add", "fd4d:6f6e:6f00::2/64", "dev", "eth0"],
    ] {
        busybox(&[&["ip"], words].concat())?;
    }
    wait_until("the link is up", || {
        fs::read_to_string("/sys/class/net/eth0/carrier").is_ok_and(|carrier| carrier.trim() == "1")
    })?;
    if by_dhcp {
        fs::write("/tmp/lease", LEASE)?;
        fs::set_permissions("/tmp/lease", fs::Permissions::from_mode(0o755))?;
        return busybox(&["udhcpc", "-i", "eth0", "-n", "-q", "-s", "/tmp/lease"]).map(drop);
    }
    busybox(&["ip", "addr", "add", "10.77.0.2/24", "dev", "eth0"])?;
    busybox(&["ip", "route", "add", "default", "via", GATEWAY[0]]).map(drop)
}

fn ping() -> Result<()> {
    for gateway in GATEWAY {
        let said = busybox(&["ping", "-c", "3", "-W", "10", gateway])?;
        ensure!(said.contains("3 packets received"), "{said}");
    }
    let neighbours = fs::read_to_string("/proc/net/arp")?;
    ensure!(
        neighbours.lines().any(|line| line.starts_with(GATEWAY[0]) && line.contains(" 0x2 ")),
        "{neighbours}"
    );
    Ok(())
}

/// Datagrams of every length come back: those that fit the card's frames, and with frames as long as the stack takes, longer ones.
fn datagrams(echo: SocketAddr) -> Result<()> {
    let any: SocketAddr = if echo.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    socket.connect(echo)?;
    for (mtu, lengths) in [("1500", &[0, 1, 1000, 1452][..]), ("65535", &[1452, 9000, 60_000])] {
        busybox(&["ip", "link", "set", "eth0", "mtu", mtu])?;
        for length in lengths {
            let sent: Vec<u8> =
                (0..*length).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
            socket.send(&sent)?;
            let mut back = vec![0; 65_536];
            let count =
                socket.recv(&mut back).with_context(|| format!("{length} bytes at an MTU of {mtu}"))?;
            ensure!(back[..count] == sent, "{length} bytes came back as others");
        }
    }
    busybox(&["ip", "link", "set", "eth0", "mtu", "1500"]).map(drop)
}

/// Answers one question of the host's, put through the published port, with the same in capitals.
fn listen() -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PUBLISHED))?;
    say("listening");
    let (mut stream, _) = listener.accept()?;
    let mut question = String::new();
    stream.read_to_string(&mut question)?;
    stream.write_all(question.to_uppercase().as_bytes())?;
    Ok(stream.shutdown(Shutdown::Both)?)
}
