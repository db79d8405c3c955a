//! What tests of both front ends need: who may be reached by nobody, numbers that are the same in every run, and what a
//! process holds.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Listeners at every address of this host, which nobody may reach.
pub(crate) struct Canaries {
    tcp: TcpListener,
    udp: UdpSocket,
    pub(crate) port: u16,
}

impl Canaries {
    pub(crate) fn new() -> Self {
        let everywhere = [IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from([0, 0, 0, 0])];
        let (tcp, udp) = everywhere
            .iter()
            .find_map(|address| {
                (0..100).find_map(|_| {
                    let tcp = TcpListener::bind((*address, 0)).ok()?;
                    let udp = UdpSocket::bind(tcp.local_addr().unwrap()).ok()?;
                    Some((tcp, udp))
                })
            })
            .expect("a port that is free for both");
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        let port = tcp.local_addr().unwrap().port();
        let canaries = Self { tcp, udp, port };
        for address in ["127.0.0.1", "127.1.2.3"] {
            // They do sing.
            let there: SocketAddr = (address.parse::<IpAddr>().unwrap(), port).into();
            drop(TcpStream::connect(there).unwrap());
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", there).unwrap();
            assert_eq!(canaries.count(), 2, "{there}");
        }
        canaries
    }

    /// Connections and datagrams since the last count.
    pub(crate) fn count(&self) -> usize {
        std::iter::from_fn(|| self.tcp.accept().ok()).count()
            + std::iter::from_fn(|| self.udp.recv_from(&mut [0; 1]).ok()).count()
    }
}

/// A host that stands for all that is public, or for a service that is allowed: it counts connections and datagrams,
/// answers each datagram with itself, and each connection with what comes over it.
pub(crate) struct Outside {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    datagrams: Arc<AtomicUsize>,
}

impl Outside {
    pub(crate) fn new() -> Self {
        let (tcp, udp) = (0..100)
            .find_map(|_| {
                let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
                UdpSocket::bind(tcp.local_addr().unwrap()).ok().map(|udp| (tcp, udp))
            })
            .expect("a port that is free for both");
        let outside = Self {
            address: tcp.local_addr().unwrap(),
            connections: Arc::default(),
            datagrams: Arc::default(),
        };
        let (connections, datagrams) = (Arc::clone(&outside.connections), Arc::clone(&outside.datagrams));
        std::thread::spawn(move || {
            for mut host in tcp.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || std::io::copy(&mut host.try_clone().unwrap(), &mut host));
            }
        });
        std::thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            while let Ok((count, from)) = udp.recv_from(&mut bytes) {
                datagrams.fetch_add(1, Ordering::SeqCst);
                let _ = udp.send_to(&bytes[..count], from);
            }
        });
        outside
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn datagrams(&self) -> usize {
        self.datagrams.load(Ordering::SeqCst)
    }
}

/// Addresses that no rule which speaks of everything opens: this host, its neighbours and the metadata services, spelled in
/// every way there is.
pub(crate) fn guarded() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.77.0.1",
        "10.77.0.77",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.0.0.53",
        "127.1.2.3",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.254",
        "192.0.0.192",
        "192.168.0.1",
        "192.168.255.254",
        "198.18.0.1",
        "240.0.0.1",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::127.0.0.1",
        "64:ff9b:1::169.254.169.254",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2001::7f00:1",
        "2001:db8::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00::1",
        "fd4d:6f6e:6f00::1",
        "fe80::1",
        "fe80::a9fe:a9fe",
        "fec0::1",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    all.extend(crate::HostAddresses::watch().unwrap().all());
    all
}

/// Whether an address is one of this machine or its neighbourhood whatever one thinks of the rest.
pub(crate) fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.octets()[0] == 0
                || v4.octets()[0] >= 224
        }
        // Behind a translator, it is what it is there. Else only 2000::/3 is given to anybody.
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_inside(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into())
            }
            [first, ..] => first >> 13 != 1,
        },
    }
}

/// Numbers that look like chance and are the same in every run.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn word(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    pub(crate) fn short(&mut self) -> u16 {
        let [a, b, ..] = self.next().to_le_bytes();
        u16::from_le_bytes([a, b])
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// One of the numbers below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// Changes some of `bytes`, or how many there are.
    pub(crate) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len().max(1));
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => bytes.extend(vec![0; at + 1]),
                2 => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0xff),
                3 => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = self.byte()),
            }
        }
    }
}

/// Descriptors of this process.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Memory of this process that is really there, bytes.
pub(crate) fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// The next `count` bytes that `host` hears.
pub(crate) fn read(host: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut seen = vec![0; count];
    host.read_exact(&mut seen).unwrap();
    seen
}

/// The host has heard nothing and has been reset.
pub(crate) fn assert_was_reset(mut host: TcpStream) {
    let error = host.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// Nobody has connected and nobody is going to.
pub(crate) fn assert_untouched(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

/// A listener on loopback, and its port.
pub(crate) fn server() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}
