//! Addresses that this host gets while the guest runs, in a network namespace of the test's own.

use std::process::Command;

use super::*;

/// Says that the process has a network namespace of its own.
const NAMESPACE: &str = "MONOCORE_TEST_NETWORK";

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().expect("Debian's iproute2").success());
}

#[test]
fn an_address_that_this_host_gets_later_is_its_own_at_once() {
    if std::env::var_os(NAMESPACE).is_none() {
        let path = "nat::tests::host::an_address_that_this_host_gets_later_is_its_own_at_once";
        let mut test = Command::new("unshare");
        test.args(["--map-root-user", "--net"]).arg(std::env::current_exe().unwrap());
        let ran = test.args(["--exact", path, "--nocapture"]).env(NAMESPACE, "1").output();
        let ran = ran.expect("unshare");
        let text = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        return;
    }
    ip(&["link", "set", "lo", "up"]);
    // Leads here and is not an address of this host: what stands for the public Internet.
    ip(&["route", "add", "local", "8.8.4.0/24", "dev", "lo"]);
    let listener = TcpListener::bind("0.0.0.0:4444").unwrap();
    let socket = UdpSocket::bind("0.0.0.0:4444").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut guest = Guest::new(Nat::new(&spec(vec![], vec![]), &[], None).unwrap());
    let address = [8, 8, 4, 78];
    let remote = SocketAddr::from((address, 4444));
    let ask = datagram(guest_address(remote.ip(), 5000), remote, b"ask");
    guest.send(&ask);
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 3);
    Peer::new(remote).connect(&mut guest);
    listener.accept().unwrap();

    ip(&["address", "add", "8.8.4.78/32", "dev", "lo"]);
    listener.set_nonblocking(true).unwrap();
    let mut peer = Peer::new(remote);
    peer.local.set_port(5001);
    peer.say(&mut guest, SYN, b"");
    assert_eq!(guest.icmp(), (3, 13), "prohibited");
    assert!(listener.accept().is_err());
    // The flow from before is gone, so its next datagram is judged again.
    guest.send(&ask);
    assert!(socket.recv(&mut [0; 8]).is_err());

    ip(&["address", "del", "8.8.4.78/32", "dev", "lo"]);
    guest.send(&ask);
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 3);
}
