//! Programs that people use, from this machine's own Debian, in a guest: curl, apt-get, Python's http.server and asyncio, and
//! TLS as OpenSSL speaks it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use monocore_test_images::image::Layer;
use monocore_tests::net_load::{Stream, Sum};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::ground::{self, Mode, PEER_V4, Running};
use crate::names;

in_each_mode!(debians_programs_find_their_way);

/// An image that has nothing but places for this machine's `/usr`.
const IMAGE: &str = "test/debian-usr:latest";

/// The guest's part; what it prints is what is asserted.
const SCRIPT: &str = r#"
set -e
cd /tmp
curl -sS --noproxy '*' http://files.example:$HTTP/file | sha256sum | cut -d' ' -f1
curl -sS --noproxy '*' --cacert /srv/cert.pem https://tls.example:$TLS/ -o page && grep -c 'Protocol *: TLSv1.3' page || tail page
mkdir -p apt/etc/apt/preferences.d apt/var/lib/apt/lists/partial apt/var/cache/apt/archives/partial
touch status
echo "deb [trusted=yes] http://files.example:$HTTP/repository/ ./" >apt/etc/apt/sources.list
apt() {
    apt-get -qq -o Dir=/tmp/apt -o Dir::Bin::methods=/usr/lib/apt/methods -o Dir::State::status=/tmp/status \
        -o APT::Sandbox::User=root -o APT::Architecture=amd64 -o Acquire::Languages=none -o Acquire::Retries=0 "$@"
}
apt update
apt download tool
sha256sum tool_1.0_all.deb | cut -d' ' -f1
python3 -S -c "
import asyncio
async def ask(number):
    reader, writer = await asyncio.open_connection('files.example', $ECHO)
    writer.write(b'%d' % number)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer == b'%d' % number
async def main():
    answers = await asyncio.gather(*(ask(number) for number in range(30)))
    print(sum(answers), 'answers')
asyncio.run(main())
"
python3 -S -m http.server --directory /srv 8000 >/dev/null 2>&1 &
echo serving
wait
"#;

/// Answers requests for files: the name after the last `/`, in `dir`.
fn serve_files(port: u16, dir: &Path) {
    let (listener, dir) = (TcpListener::bind((PEER_V4, port)).unwrap(), dir.to_owned());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, dir) = (stream.unwrap(), dir.clone());
            thread::spawn(move || -> std::io::Result<()> {
                let mut reader = BufReader::new(stream.try_clone()?);
                let mut request = String::new();
                reader.read_line(&mut request)?;
                let mut line = String::new();
                while reader.read_line(&mut line)? > 2 {
                    line.clear();
                }
                let path = request.split(' ').nth(1).unwrap_or_default();
                let name = path.rsplit('/').next().unwrap_or_default();
                let (status, body) = match std::fs::read(dir.join(name)) {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
                stream.write_all(&body)
            });
        }
    });
}

/// Answers with what it is sent.
fn serve_echo(port: u16) {
    let listener = TcpListener::bind((PEER_V4, port)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut all) = (stream.unwrap(), Vec::new());
            thread::spawn(move || stream.read_to_end(&mut all).and_then(|_| stream.write_all(&all)));
        }
    });
}

/// OpenSSL's own server, with a certificate in `dir` for `tls.example`.
fn serve_tls(port: u16, dir: &Path) -> Running {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=tls.example", "-addext", "subjectAltName=DNS:tls.example"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir)
        .output()
        .expect("Debian's openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = Command::new("openssl")
        .args(["s_server", "-quiet", "-www", "-accept", &format!("{PEER_V4}:{port}")])
        .args(["-cert", "cert.pem", "-key", "key.pem"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Running(server)
}

/// A file to fetch and a repository with one package; gives their hashes.
fn make_files(dir: &Path) -> [String; 2] {
    let hash =
        |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut bytes = Vec::new();
    let mut source = Stream::new(2_000_000);
    while let Some(block) = source.next_block() {
        bytes.extend(block);
    }
    let package = &bytes[..300_000];
    std::fs::write(dir.join("file"), &bytes).unwrap();
    std::fs::write(dir.join("tool_1.0_all.deb"), package).unwrap();
    let index = format!(
        "Package: tool\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody\nFilename: ./tool_1.0_all.deb\n\
         Size: {}\nSHA256: {}\nDescription: a tool\n\n",
        package.len(),
        hash(package),
    );
    std::fs::write(dir.join("Packages"), index).unwrap();
    [hash(&bytes), hash(package)]
}

fn make_image() {
    let mut layer = Layer::default();
    for dir in ["dev", "etc", "proc", "root", "srv", "sys", "usr", "var"] {
        layer.dir(dir);
    }
    layer.entry(tar::EntryType::Directory, "tmp", 0o1777, b"");
    for dir in ["bin", "lib", "lib64", "sbin"] {
        layer.symlink(dir, &format!("usr/{dir}"));
    }
    layer.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n").file("etc/group", b"root:x:0:\n");
    layer.file("etc/nsswitch.conf", b"hosts: files dns\n");
    let config = json!({ "Env": ["PATH=/usr/bin:/usr/sbin"] });
    ground::world().load(IMAGE, &config, &[layer]);
}

/// Fetches `path` from the server in the guest, which may not listen yet.
fn fetch(port: u16, path: &str) -> Vec<u8> {
    let start = Instant::now();
    loop {
        let mut all = Vec::new();
        let asked =
            TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).and_then(|mut stream| {
                stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
                stream.read_to_end(&mut all)
            });
        if asked.is_ok_and(|count| count > 0) {
            let body = all.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
            return all.split_off(body + 4);
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the guest's server does not answer");
        thread::sleep(Duration::from_millis(100));
    }
}

fn debians_programs_find_their_way(mode: Mode) {
    make_image();
    let dir = ground::world().path(&format!("tools-{}", mode.name()));
    std::fs::create_dir_all(&dir).unwrap();
    let [file, package] = make_files(&dir);
    let port = 8300 + 10 * mode.number();
    serve_files(port, &dir);
    serve_echo(port + 1);
    let _tls = serve_tls(port + 2, &dir);
    let address = Ipv4Addr::new(127, 0, 0, 130 + u8::try_from(mode.number()).unwrap());
    names::serve(address, Box::new(|_| (vec![PEER_V4.parse().unwrap()], 60)));

    let mut guest = Running(guest(mode, address, port, &dir));
    let mut output = BufReader::new(guest.0.stdout.take().unwrap());
    let mut said = String::new();
    while !said.ends_with("serving\n") && output.read_line(&mut said).unwrap() > 0 {}
    assert_eq!(said, format!("{file}\n1\n{package}\n30 answers\nserving\n"));
    let (mut sum, mut expected) = (Sum::default(), Sum::default());
    sum.add(&fetch(port + 3, "/file"));
    expected.add(&std::fs::read(dir.join("file")).unwrap());
    assert_eq!(sum.line(), expected.line());
}

fn guest(mode: Mode, server: Ipv4Addr, port: u16, dir: &Path) -> Child {
    let ports = [("HTTP", port), ("ECHO", port + 1), ("TLS", port + 2)];
    let mut command = ground::world().monocore(["run", "-m", "256m", "--network", mode.name()]);
    for (name, port) in ports {
        command.args(["-e", &format!("{name}={port}")]);
    }
    command.args(["--dns", &server.to_string(), "-p", &format!("{}:8000", port + 3), "-v", "/usr:/usr:ro"]);
    command.args(["-v", &format!("{}:/srv:ro", dir.display()), IMAGE, "sh", "-c", SCRIPT]);
    command.stdout(Stdio::piped()).spawn().unwrap()
}
