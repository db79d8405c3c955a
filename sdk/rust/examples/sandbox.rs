//! Makes a sandbox, runs commands in it, copies a file both ways, and removes it:
//! `cargo run --example sandbox -- /path/to/home /path/to/monocore [IMAGE]`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monocore::sandbox::{Command, Installation, Sandbox};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let usage = "usage: sandbox HOME MONOCORE [IMAGE]";
    let home = PathBuf::from(words.next().ok_or(usage)?);
    let installation = Installation::at(&home, PathBuf::from(words.next().ok_or(usage)?))?;
    let image =
        words.next().map_or_else(|| "alpine:latest".into(), |word| word.to_string_lossy().into_owned());

    let spec = Sandbox::builder(image).name("example").ram_mib(128).command(["sleep", "1000000"]).build()?;
    let sandbox = Sandbox::create(&installation, spec).await?;
    let result = work(&sandbox, &home).await;
    sandbox.remove().await?;
    result
}

pub(crate) async fn work(sandbox: &Sandbox, home: &Path) -> Result<(), Box<dyn Error>> {
    sandbox.start().await?;
    let count = Command::new(["wc", "-l"]).stdin("one\ntwo\n");
    let output = sandbox.exec(count).await?;
    eprintln!("wc ended with {}: {}", output.code, String::from_utf8_lossy(&output.stdout).trim());

    let (given, taken) = (home.join("given.txt"), home.join("taken.txt"));
    std::fs::write(&given, "from the host\n")?;
    sandbox.copy_in(&given, "/given.txt").await?;
    sandbox.exec(["sh", "-c", "tr a-z A-Z < /given.txt > /taken.txt"]).await?;
    sandbox.copy_out("/taken.txt", &taken).await?;
    eprintln!("copied: {}", std::fs::read_to_string(&taken)?.trim());

    // A command whose future is dropped is killed in the guest.
    let endless = sandbox.exec(["sleep", "997"]);
    if tokio::time::timeout(Duration::from_millis(500), endless).await.is_ok() {
        return Err("a command without an end has ended".into());
    }
    sandbox.stop().await?;
    eprintln!("the sandbox ended with {}", sandbox.wait().await?);
    Ok(())
}
