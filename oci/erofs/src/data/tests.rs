use super::*;

fn store(writer: &mut DataWriter<Vec<u8>>, content: &[u8], piece: usize) -> FileData {
    let size = content.len() as u64;
    let mut file = writer.begin(size, 1, size);
    let mut offset = 0;
    for piece in content.chunks(piece) {
        writer.write(&mut file, offset, piece).unwrap();
        offset += piece.len() as u64;
    }
    writer.finish(file).unwrap()
}

/// What a reader of the data would see.
fn load(data: &[u8], file: &FileData) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(file.size()).unwrap()];
    match file {
        FileData::Plain { size: 0, .. } => {}
        FileData::Plain { block, .. } => {
            let len = content.len();
            content.copy_from_slice(&data[*block as usize * 4096..][..len]);
        }
        FileData::Chunked { chunk_bits, extents, .. } => {
            for extent in extents {
                let at = (extent.chunk as usize) << (12 + chunk_bits);
                let len = ((extent.chunks as usize) << (12 + chunk_bits)).min(content.len() - at);
                content[at..at + len].copy_from_slice(&data[extent.block as usize * 4096..][..len]);
            }
        }
    }
    content
}

/// Content that differs from byte to byte and from seed to seed.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at.wrapping_mul(31) >> 3).to_le_bytes()[0] ^ seed) | 1).collect()
}

#[test]
fn contents_are_stored_once_and_read_back() {
    let mut writer = DataWriter::new(Vec::new());
    let mut contents =
        vec![noise(2, 10), noise(4, 5000), vec![], noise(2, 10), noise(6, 3 << 20), vec![0; 100]];
    contents.push(noise(6, 3 << 20));
    contents.push(noise(4, 5000));
    let mut holes = noise(8, 1 << 20);
    holes[65536..65536 * 5].fill(0);
    contents.push(holes);
    contents.push(vec![0; 1 << 20]);
    let files: Vec<_> = contents.iter().map(|content| store(&mut writer, content, 70_001)).collect();
    let (data, bytes) = writer.into_store().unwrap();
    assert_eq!(data.len() as u64, bytes);
    for (content, file) in contents.iter().zip(&files) {
        assert!(load(&data, file) == *content, "{file:?}");
    }
    assert_eq!(files[0], files[3]);
    assert_eq!(files[4], files[6], "taken back although already in the store");
    let distinct = 1 + 2 + 768 + 1 + (256 - 64);
    assert_eq!(bytes, distinct * 4096);
    assert!(matches!(&files[9], FileData::Chunked { extents, .. } if extents.is_empty()));
}

#[test]
fn pieces_do_not_matter() {
    let mut content = noise(5, 700_000);
    content[100_000..400_000].fill(0);
    content[..70_000].fill(0);
    let mut results = Vec::new();
    for piece in [1, 511, 4096, 65536, 100_000, 1 << 20] {
        let mut writer = DataWriter::new(Vec::new());
        let files =
            [store(&mut writer, &content, piece), store(&mut writer, &content[60_000..100_000], piece)];
        results.push((files, writer.into_store().unwrap().0));
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_huge_hole_costs_nothing() {
    let mut writer = DataWriter::new(Vec::new());
    let size = (16 << 40) - 4096;
    let mut file = writer.begin(size, 1, 5);
    // The chunk is rounded out with a hole of its own, which a real file keeps sparse.
    writer.write(&mut file, 3 << 30, b"head!").unwrap();
    assert!(size.div_ceil(file.chunk_bytes()) <= 4096, "{file:?}");
    assert_eq!(file.extents.len(), 1);
}

#[test]
fn segments_out_of_order_are_refused() {
    let mut writer = DataWriter::new(Vec::new());
    let mut file = writer.begin(100, 2, 20);
    writer.write(&mut file, 50, b"later").unwrap();
    assert!(writer.write(&mut file, 10, b"before").is_err());
    assert!(writer.write(&mut file, 99, b"beyond").is_err());
}
