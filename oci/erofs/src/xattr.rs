//! Which extended attributes an image may carry and what EROFS calls them.

use crate::entry::Xattr;
use crate::format::XATTR_HEADER_BYTES;

const USER: u8 = 1;
const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;
const TRUSTED: u8 = 4;
const SECURITY: u8 = 6;

/// What overlayfs keeps for itself, and how it lets lower layers carry it all the same
/// (Linux `Documentation/filesystems/overlayfs.rst`, "Nesting overlayfs mounts").
const OVERLAY: &[u8] = b"overlay.";

/// Turns an attribute's full name and value into EROFS' form.
///
/// # Errors
/// Why it is left out: what an unpacking tool could not or would not set either (umoci's list), or what does not
/// fit the format.
pub(crate) fn convert(name: &[u8], value: Vec<u8>, plain_or_directory: bool) -> Result<Xattr, &'static str> {
    let (index, suffix) = split(name).ok_or("its name space is not supported")?;
    match (index, suffix) {
        (SECURITY, b"selinux") => return Err("SELinux labels belong to the host's policy"),
        (USER, _) if !plain_or_directory => return Err("only files and directories have user attributes"),
        (ACL_ACCESS | ACL_DEFAULT, _) if !is_acl(&value) => return Err("it is no valid access control list"),
        (USER | TRUSTED | SECURITY, b"") => return Err("its name is empty"),
        _ if suffix.contains(&0) => return Err("its name has a NUL"),
        _ => {}
    }
    let suffix = match suffix.strip_prefix(OVERLAY) {
        Some(rest) if index == TRUSTED => [OVERLAY, OVERLAY, rest].concat(),
        _ => suffix.to_vec(),
    };
    let xattr = Xattr { index, suffix, value };
    if name.len() > 255 || !fits(&xattr) {
        return Err("it is too long");
    }
    Ok(xattr)
}

/// Whether the format has room for an attribute, and Linux a name for it.
pub(crate) fn fits(xattr: &Xattr) -> bool {
    xattr.suffix.len() <= 255
        && !xattr.suffix.contains(&0)
        && xattr.value.len() <= usize::from(u16::MAX)
        && full_name(xattr.index, b"").is_some()
}

fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => return Some((ACL_ACCESS, b"")),
        b"system.posix_acl_default" => return Some((ACL_DEFAULT, b"")),
        _ => {}
    }
    [(USER, &b"user."[..]), (TRUSTED, b"trusted."), (SECURITY, b"security.")]
        .into_iter()
        .find_map(|(index, prefix)| Some((index, name.strip_prefix(prefix)?)))
}

/// Whether a value has the shape of version 2 of `struct posix_acl_xattr_header` and its entries.
fn is_acl(value: &[u8]) -> bool {
    value.len() >= 4 && (value.len() - 4).is_multiple_of(8) && value[..4] == 2u32.to_le_bytes()
}

/// The full name of an attribute, as a guest sees it through overlayfs.
pub(crate) fn full_name(index: u8, suffix: &[u8]) -> Option<Vec<u8>> {
    let prefix: &[u8] = match index {
        USER => b"user.",
        ACL_ACCESS => b"system.posix_acl_access",
        ACL_DEFAULT => b"system.posix_acl_default",
        TRUSTED => b"trusted.",
        SECURITY => b"security.",
        _ => return None,
    };
    let suffix = match suffix.strip_prefix(OVERLAY) {
        Some(escaped) if index == TRUSTED && escaped.starts_with(OVERLAY) => escaped,
        _ => suffix,
    };
    Some([prefix, suffix].concat())
}

/// Bytes that `xattrs` take behind an inode, header included; 0 for none.
pub(crate) fn inline_bytes(xattrs: &[Xattr]) -> u64 {
    if xattrs.is_empty() {
        return 0;
    }
    XATTR_HEADER_BYTES as u64 + xattrs.iter().map(entry_bytes).sum::<u64>()
}

fn entry_bytes(xattr: &Xattr) -> u64 {
    (4 + xattr.suffix.len() as u64 + xattr.value.len() as u64).next_multiple_of(4)
}

/// Most bytes [`inline_bytes`] may say for one inode: `i_xattr_icount` has 16 bits and counts words.
pub(crate) const INLINE_MAX: u64 = XATTR_HEADER_BYTES as u64 + 4 * (u16::MAX as u64 - 1);

/// Appends the inline form of `xattrs` to `out`.
pub(crate) fn encode(xattrs: &[Xattr], out: &mut Vec<u8>) {
    if xattrs.is_empty() {
        return;
    }
    out.extend_from_slice(&[0; XATTR_HEADER_BYTES]);
    for xattr in xattrs {
        let start = out.len();
        // Both lengths were checked when the attribute was taken in.
        out.push(u8::try_from(xattr.suffix.len()).unwrap_or(u8::MAX));
        out.push(xattr.index);
        out.extend_from_slice(&u16::try_from(xattr.value.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&xattr.suffix);
        out.extend_from_slice(&xattr.value);
        out.resize(start + (out.len() - start).next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_attributes_are_escaped_and_seen_unescaped() {
        let xattr = convert(b"trusted.overlay.opaque", b"y".to_vec(), true).unwrap();
        assert_eq!(xattr.suffix, b"overlay.overlay.opaque");
        assert_eq!(full_name(xattr.index, &xattr.suffix).unwrap(), b"trusted.overlay.opaque");
    }

    #[test]
    fn what_no_tool_would_set_is_left_out() {
        assert!(convert(b"security.selinux", vec![], true).is_err());
        assert!(convert(b"user.a", vec![], false).is_err());
        assert!(convert(b"btrfs.compression", vec![], true).is_err());
        assert!(convert(b"system.posix_acl_access", vec![1, 2, 3], true).is_err());
        assert!(convert(b"user.", vec![], true).is_err());
        assert!(convert(b"user.a\0b", vec![], true).is_err());
        assert!(convert(&[b"user.".as_slice(), &[b'x'; 300]].concat(), vec![], true).is_err());
        assert!(convert(b"security.capability", vec![0; 20], false).is_ok());
    }

    #[test]
    fn encoded_length_is_what_was_promised() {
        let xattrs = [
            Xattr { index: USER, suffix: b"abc".to_vec(), value: b"de".to_vec() },
            Xattr { index: SECURITY, suffix: b"capability".to_vec(), value: vec![7; 20] },
        ];
        let mut out = Vec::new();
        encode(&xattrs, &mut out);
        assert_eq!(out.len() as u64, inline_bytes(&xattrs));
    }
}
