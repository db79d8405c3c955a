//! `share-probe FOLDER`: see the library's module of that name.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).ok_or_else(|| std::io::Error::other("usage: share-probe FOLDER"))?;
    monocore_tests::share_probe::run(Path::new(&folder))
}
