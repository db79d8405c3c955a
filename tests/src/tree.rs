//! A file tree as text, one line an entry, so that the same tree seen twice can be compared.
//!
//! A line holds what a user of the tree can see: path, type, mode, owner, modification time, device number, links
//! (their count and the first path of the same file), symlink target, content hash (a sparse file by its content, holes
//! read as zeroes) and extended attributes. Entries are sorted by path bytes. Other file systems mounted below the root are left out.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr};
use sha2::{Digest, Sha256};

/// Every entry at and below `root`, named relative to it (`/` is the root itself); `skip` names paths
/// (relative, no leading `/`) to leave out with all below them.
///
/// # Errors
/// The file system's, with the path.
pub fn dump(root: &Path, skip: &[&str]) -> io::Result<Vec<String>> {
    let device = fs::symlink_metadata(root)?.dev();
    let mut lines = Vec::new();
    let mut first_paths: HashMap<u64, PathBuf> = HashMap::new();
    let mut linked = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        let path = if relative.as_os_str().is_empty() { root.to_owned() } else { root.join(&relative) };
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let meta = fs::symlink_metadata(&path).map_err(at)?;
        if skip.iter().any(|s| relative == Path::new(s)) || (meta.is_dir() && meta.dev() != device) {
            continue;
        }
        if !meta.is_dir() && meta.nlink() > 1 {
            let first = first_paths.entry(meta.ino()).or_insert_with(|| relative.clone());
            if relative < *first {
                first.clone_from(&relative);
            }
            linked.push((lines.len(), meta.ino()));
        }
        lines.push(line(&relative, &path, &meta).map_err(at)?);
        if meta.is_dir() {
            for entry in fs::read_dir(&path).map_err(at)? {
                open.push(relative.join(entry?.file_name()));
            }
        }
    }
    for (index, inode) in linked {
        let first = escape(first_paths[&inode].as_os_str().as_bytes());
        let _ = write!(lines[index], " same-as=/{first}");
    }
    lines.sort();
    Ok(lines)
}

fn line(relative: &Path, path: &Path, meta: &Metadata) -> io::Result<String> {
    let kind = meta.file_type();
    let mut line = format!("/{}", escape(relative.as_os_str().as_bytes()));
    let name = match () {
        () if kind.is_dir() => "dir",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "symlink",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () if kind.is_char_device() => "char",
        () => "block",
    };
    let _ = write!(
        line,
        " {name} {:04o} {}:{} {}.{:09}",
        meta.mode() & 0o7777,
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    if kind.is_file() {
        let _ = write!(line, " size={} sha256={}", meta.size(), hash(path)?);
    } else if kind.is_symlink() {
        let _ = write!(line, " -> {}", escape(fs::read_link(path)?.as_os_str().as_bytes()));
    } else if kind.is_char_device() || kind.is_block_device() {
        let _ = write!(line, " rdev={:#x}", meta.rdev());
    }
    if !kind.is_dir() {
        let _ = write!(line, " links={}", meta.nlink());
    }
    for (name, value) in xattrs(path)? {
        let _ = write!(line, " {}={}", escape(&name), escape(&value));
    }
    Ok(line)
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        sha.update(&buffer[..n]);
    }
    Ok(sha.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

type Xattr = (Vec<u8>, Vec<u8>);

fn xattrs(path: &Path) -> io::Result<Vec<Xattr>> {
    let mut names = vec![0u8; 1 << 16];
    let len = match llistxattr(path, &mut names[..]) {
        Ok(len) => len,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut all = Vec::new();
    for name in names[..len].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0u8; 1 << 16];
        let len = lgetxattr(path, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(len);
        all.push((name.to_vec(), value));
    }
    all.sort();
    Ok(all)
}

/// Bytes as text without white space or ambiguity: `%xx` for what is not printable ASCII.
fn escape(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &b| {
        if b.is_ascii_graphic() && b != b'%' {
            text.push(char::from(b));
        } else {
            let _ = write!(text, "%{b:02x}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_and_an_odd_name_show() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a b%");
        fs::write(&file, "one").unwrap();
        let before = dump(folder.path(), &[]).unwrap();
        assert!(before[1].starts_with("/a%20b%25 file"), "{before:?}");
        fs::write(&file, "two").unwrap();
        assert_ne!(before, dump(folder.path(), &[]).unwrap());
    }

    #[test]
    fn the_links_of_a_file_name_the_same_path() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "x").unwrap();
        fs::hard_link(folder.path().join("b"), folder.path().join("a")).unwrap();
        let lines = dump(folder.path(), &[]).unwrap();
        assert!(lines[1..].iter().all(|line| line.ends_with("links=2 same-as=/a")), "{lines:?}");
    }

    #[test]
    fn skipped_paths_are_left_out_with_what_is_below() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("proc/x")).unwrap();
        assert_eq!(dump(folder.path(), &["proc"]).unwrap().len(), 1);
    }
}
