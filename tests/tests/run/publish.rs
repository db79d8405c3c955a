//! Published ports as their users ask for them: all that an image exposes, on ports that were free, told by `monocore port`.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use monocore_tests::world::{PLAIN, Ran, SERVER, World};

use crate::running::Running;

/// Runs the server image as `name`, and returns once it listens.
fn serve(name: &str, flags: &[&str]) -> Running {
    Running::start(&[&["--name", name], flags, &[SERVER]].concat())
}

fn port(words: &[&str]) -> Ran {
    World::get().monocore([&["port"], words].concat()).output().unwrap().into()
}

/// What the server says.
fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_an_image_exposes_is_published_where_it_is_told() {
    for (name, network) in [("all-nat", "nat"), ("all-tsi", "tsi")] {
        let running = serve(name, &["-P", "-p", "7300:81", "--network", network]);
        let told = port(&[name]);
        let lines: Vec<(&str, SocketAddr)> = told
            .out()
            .lines()
            .map(|line| line.split_once(" -> ").unwrap())
            .map(|(guest, host)| (guest, host.parse().unwrap()))
            .collect();
        let guests: Vec<_> = lines.iter().map(|(guest, _)| *guest).collect();
        assert_eq!(guests, ["81/tcp", "53/udp", "80/tcp"], "{told:?}");
        assert_eq!(lines[0].1, "127.0.0.1:7300".parse().unwrap());
        assert!(lines.iter().all(|(_, host)| host.ip().is_loopback() && host.port() != 0), "{told:?}");
        assert_eq!(port(&[name, "80"]).out(), format!("{}\n", lines[2].1));
        assert_eq!(ask(lines[2].1), "answer\n", "{network}");

        let json: serde_json::Value =
            serde_json::from_str(port(&[name, "53/udp", "--format", "json"]).out()).unwrap();
        assert_eq!(json[0]["host_port"], lines[1].1.port());
        assert_eq!((&json[0]["guest_port"], &json[0]["protocol"]), (&53.into(), &"udp".into()));
        let unpublished = port(&[name, "82"]);
        assert_eq!(unpublished.code, 1);
        assert!(
            unpublished.stderr.contains("port 82/tcp") && unpublished.stdout.is_empty(),
            "{unpublished:?}"
        );
        drop(running);
        let gone = port(&[name]);
        assert!(gone.code == 1 && gone.stderr.contains(&format!("no such sandbox: {name}")), "{gone:?}");
        assert!(TcpStream::connect(lines[2].1).is_err(), "the port is free again");
    }
}

#[test]
fn a_free_port_is_found_and_a_sandbox_without_a_network_has_none() {
    let running = serve("free", &["-p", ":80"]);
    let told = port(&["free", "80/tcp"]);
    assert_eq!(ask(told.out().trim().parse().unwrap()), "answer\n");
    drop(running);
    let _alone = serve("alone", &["--no-net"]);
    let told = port(&["alone"]);
    assert!(told.code == 1 && told.stderr.contains("sandbox alone has no network"), "{told:?}");
    let refused = World::get().run(["--no-net", "-P", PLAIN, "true"]);
    assert!(refused.code == 125 && refused.stderr.contains("--publish-all"), "{refused:?}");
}
