//! Pulls an image into a store and says what it becomes: `cargo run --example pull -- HOME REFERENCE`.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use monocore_oci::{Error, PullOptions, Reference, Silent, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(home), Some(reference)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pull HOME REFERENCE".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(pull(&home, &reference))?;
    Ok(())
}

async fn pull(home: &str, reference: &str) -> Result<(), Error> {
    let reference: Reference = reference.parse()?;
    let image = Store::open(home)?.pull(&reference, &PullOptions::default(), &Silent).await?;
    println!("{} {}", image.id, reference.familiar());
    for part in image.root()?.parts {
        println!("{:>12} {:>12} {}", part.offset_bytes, part.len_bytes, part.path.display());
    }
    Ok(())
}
