//! Archives whose headers are right and whose entries are not: what a fuzzer's bytes become when a checksum must not
//! stop them at the first header.

use arbitrary::{Result, Unstructured};
use monocore_test_images::image::Layer;
use tar::{EntryType, Header};

/// Names that paths are made of; the same ones again and again, so that entries meet.
const NAMES: &[&str] =
    &["a", "b", "c", "dd", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh.", ".wh..wh.plnk"];
/// Lengths around the borders of records, blocks and chunks.
const LENGTHS: &[usize] = &[0, 1, 511, 512, 513, 4095, 4096, 4097, 8192, 65_535, 65_536, 65_537, 140_000];
/// Numbers at the borders of what fields hold.
const NUMBERS: &[u64] = &[
    0,
    1,
    511,
    512,
    4096,
    65_536,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 2,
    (1 << 32) - 1,
    1 << 32,
    1 << 40,
    1 << 44,
    (1 << 63) - 1,
    u64::MAX,
];
const KEYWORDS: &[&str] = &[
    "path",
    "linkpath",
    "size",
    "uid",
    "gid",
    "mtime",
    "comment",
    "SCHILY.xattr.user.a",
    "SCHILY.xattr.security.capability",
    "SCHILY.xattr.trusted.overlay.opaque",
    "SCHILY.xattr.system.posix_acl_access",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.name",
    "GNU.sparse.size",
    "GNU.sparse.realsize",
    "GNU.sparse.offset",
    "GNU.sparse.numbytes",
    "GNU.sparse.map",
];
const TYPES: &[u8] = b"0000000555122234567\x00SxgLKVD";
/// Entries of one archive.
const MOST_ENTRIES: usize = 24;

/// What the files of the archives contain, to compare with what is read back.
#[derive(Debug, Default)]
pub struct Given {
    /// The contents of regular files.
    pub contents: Vec<Vec<u8>>,
    /// Something may have made a file's content differ from all of these.
    pub reshaped: bool,
}

/// The next archive.
///
/// # Errors
/// None while `u` gives zeroes at its end, as it does.
pub fn archive(u: &mut Unstructured<'_>, given: &mut Given) -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    for _ in 0..u.int_in_range(0..=MOST_ENTRIES)? {
        if u.is_empty() {
            break;
        }
        entry(u, &mut layer, given)?;
    }
    let mut raw = layer.finish();
    if u.ratio(1, 16)? {
        given.reshaped = true;
        raw.truncate(u.choose_index(raw.len())?);
    }
    Ok(raw)
}

fn entry(u: &mut Unstructured<'_>, layer: &mut Layer, given: &mut Given) -> Result<()> {
    let kind = *u.choose(TYPES)?;
    let content = if matches!(kind, b'0' | b'7' | 0 | b'S') { content(u)? } else { Vec::new() };
    let mut header = if u.ratio(1, 4)? { Header::new_gnu() } else { Header::new_ustar() };
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(u.arbitrary::<u16>()?.into());
    header.set_uid(number(u)? & 0xffff_ffff_ffff);
    header.set_gid(number(u)? & 0xffff_ffff_ffff);
    header.set_mtime(number(u)?);
    header.set_size(content.len() as u64);
    if matches!(kind, b'3' | b'4') {
        // Too large for the field is as good as none.
        let _ = header.set_device_major(u.int_in_range(0..=5000)?);
        let _ = header.set_device_minor(u.int_in_range(0..=0x1f_ffff)?);
    }
    let (path, link) = (path(u)?, path(u)?);
    let mut pax: Vec<(&str, Vec<u8>)> = Vec::new();
    name(u, layer, &mut header, &mut pax, &path, b'L')?;
    if matches!(kind, b'1' | b'2') {
        name(u, layer, &mut header, &mut pax, &link, b'K')?;
    }
    for _ in 0..u.int_in_range(0..=3)? {
        let key = *u.choose(KEYWORDS)?;
        given.reshaped |= key == "size" || key.starts_with("GNU");
        pax.push((key, value(u)?));
    }
    let mut body = content.clone();
    if kind == b'S' || u.ratio(1, 6)? {
        given.reshaped = true;
        sparse(u, kind, &mut header, &mut pax, &mut body)?;
    }
    given.contents.push(content);
    let pax: Vec<(&str, &[u8])> = pax.iter().map(|(key, value)| (*key, value.as_slice())).collect();
    layer.append(&mut header, &pax, &body);
    Ok(())
}

/// Gives an entry its path or target in one of the four ways there are.
fn name<'p>(
    u: &mut Unstructured<'_>,
    layer: &mut Layer,
    header: &mut Header,
    pax: &mut Vec<(&'p str, Vec<u8>)>,
    name: &[u8],
    gnu: u8,
) -> Result<()> {
    let (at, key) = if gnu == b'L' { (0, "path") } else { (157, "linkpath") };
    let field = &mut header.as_mut_bytes()[at..at + 100];
    field.fill(0);
    match u.int_in_range(0..=3)? {
        0 => pax.push((key, name.to_vec())),
        1 => {
            let mut long = Header::new_gnu();
            long.set_entry_type(EntryType::new(gnu));
            long.set_size(name.len() as u64 + 1);
            layer.append(&mut long, &[], &[name, b"\0"].concat());
        }
        _ => {
            let len = name.len().min(field.len());
            field[..len].copy_from_slice(&name[..len]);
        }
    }
    Ok(())
}

fn path(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut path = Vec::new();
    for at in 0..u.int_in_range(0..=5)? {
        if at > 0 || u.ratio(1, 8)? {
            path.push(b'/');
        }
        path.extend_from_slice(u.choose(NAMES)?.as_bytes());
    }
    if u.ratio(1, 16)? {
        path.extend_from_slice(u.bytes(u.len().min(3))?);
    }
    Ok(path)
}

/// Noise, one byte over and over, or zeroes with a byte among them.
fn content(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if u.ratio(1, 3)? {
        let len = u.int_in_range(0..=64)?;
        return Ok(u.bytes(len.min(u.len()))?.to_vec());
    }
    let len = *u.choose(LENGTHS)?;
    let mut content = vec![if u.arbitrary()? { u.arbitrary()? } else { 0 }; len];
    if len > 0 && u.arbitrary()? {
        content[u.int_in_range(0..=len - 1)?] = 1;
    }
    Ok(content)
}

fn number(u: &mut Unstructured<'_>) -> Result<u64> {
    if u.ratio(3, 4)? { Ok(u.arbitrary::<u16>()?.into()) } else { Ok(*u.choose(NUMBERS)?) }
}

fn value(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Ok(match u.int_in_range(0..=3)? {
        0 => number(u)?.to_string().into_bytes(),
        1 => path(u)?,
        2 => format!("{},{}", number(u)?, number(u)?).into_bytes(),
        _ => u.bytes(u.len().min(24))?.to_vec(),
    })
}

/// Makes a file sparse in one of the four formats; the map may or may not fit the content.
fn sparse<'p>(
    u: &mut Unstructured<'_>,
    kind: u8,
    header: &mut Header,
    pax: &mut Vec<(&'p str, Vec<u8>)>,
    body: &mut Vec<u8>,
) -> Result<()> {
    let (mut segments, mut end, mut left) = (Vec::new(), 0u64, body.len() as u64);
    for _ in 0..u.int_in_range(0..=6)? {
        let offset = end.saturating_add(*u.choose(NUMBERS)?);
        let bytes = u.int_in_range(0..=left)?;
        (end, left) = (offset.saturating_add(bytes), left - bytes);
        segments.push((offset, bytes));
    }
    if left > 0 {
        segments.push((end, left));
        end = end.saturating_add(left);
    }
    let size =
        if u.ratio(1, 8)? { number(u)? } else { end.saturating_add(*u.choose(&[0, 1, 4096, 1 << 33])?) };
    let text = |number: u64| number.to_string().into_bytes();
    if kind == b'S' {
        *header = gnu_sparse(header, &segments, size);
        return Ok(());
    }
    match u.int_in_range(0..=2)? {
        0 => {
            for (offset, bytes) in &segments {
                pax.push(("GNU.sparse.offset", text(*offset)));
                pax.push(("GNU.sparse.numbytes", text(*bytes)));
            }
            pax.push(("GNU.sparse.size", text(size)));
        }
        1 => {
            let map: Vec<_> = segments.iter().map(|(offset, bytes)| format!("{offset},{bytes}")).collect();
            pax.push(("GNU.sparse.map", map.join(",").into_bytes()));
            pax.push(("GNU.sparse.size", text(size)));
        }
        _ => {
            let lines: String =
                segments.iter().map(|(offset, bytes)| format!("{offset}\n{bytes}\n")).collect();
            let mut map = format!("{}\n{lines}", segments.len()).into_bytes();
            map.resize(map.len().next_multiple_of(512), 0);
            map.append(body);
            *body = map;
            header.set_size(body.len() as u64);
            pax.push(("GNU.sparse.major", text(1)));
            pax.push(("GNU.sparse.minor", text(0)));
            pax.push(("GNU.sparse.realsize", text(size)));
        }
    }
    Ok(())
}

/// The old form; what does not fit the header's four places is left out.
fn gnu_sparse(of: &Header, segments: &[(u64, u64)], size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..257].copy_from_slice(&of.as_bytes()[..257]);
    let Some(gnu) = header.as_gnu_mut() else { return header };
    let octal = |field: &mut [u8; 12], number: u64| {
        let text = format!("{:011o}", number & 0x1_ffff_ffff);
        field[..11].copy_from_slice(&text.as_bytes()[..11]);
    };
    for (place, (offset, bytes)) in gnu.sparse.iter_mut().zip(segments) {
        octal(&mut place.offset, *offset);
        octal(&mut place.numbytes, *bytes);
    }
    octal(&mut gnu.realsize, size);
    header
}
