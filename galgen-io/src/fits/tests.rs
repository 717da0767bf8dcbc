use std::path::PathBuf;

use super::write::Checksum;
use super::*;
use crate::test_dir;

/// One HDU from card texts and data, padded. It shares no code with the crate.
pub(crate) fn hdu(cards: &[&str], data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for card in cards.iter().chain(&["END"]) {
        bytes.extend(format!("{card:<80}").bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(2880), b' ');
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(2880), 0);
    bytes
}

fn image(bitpix: i32, axes: &[usize], extra: &[&str], data: &[u8]) -> Vec<u8> {
    let mut cards = vec![
        "SIMPLE  =                    T".to_string(),
        format!("BITPIX  = {bitpix:>20}"),
    ];
    cards.push(format!("NAXIS   = {:>20}", axes.len()));
    cards.extend(
        axes.iter()
            .enumerate()
            .map(|(i, n)| format!("NAXIS{}  = {n:>20}", i + 1)),
    );
    let cards: Vec<&str> = cards
        .iter()
        .map(String::as_str)
        .chain(extra.iter().copied())
        .collect();
    hdu(&cards, data)
}

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = test_dir(&format!("fits-{name}")).join("a.fits");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn refusal(name: &str, bytes: &[u8]) -> String {
    read_image(file(name, bytes), HduSelect::FirstImage)
        .unwrap_err()
        .to_string()
}

#[test]
fn every_bitpix_reads_with_scale_and_blank() {
    let scale = ["BSCALE  = 2.0", "BZERO   = 10.0"];
    let values = [-3i16, 0, 100, 7, 8, 9];
    let wanted: Vec<f32> = values.iter().map(|v| f32::from(*v) * 2.0 + 10.0).collect();
    let encoded: [(i32, Vec<u8>); 5] = [
        (16, values.iter().flat_map(|v| v.to_be_bytes()).collect()),
        (
            32,
            values
                .iter()
                .flat_map(|v| i32::from(*v).to_be_bytes())
                .collect(),
        ),
        (
            64,
            values
                .iter()
                .flat_map(|v| i64::from(*v).to_be_bytes())
                .collect(),
        ),
        (
            -32,
            values
                .iter()
                .flat_map(|v| f32::from(*v).to_be_bytes())
                .collect(),
        ),
        (
            -64,
            values
                .iter()
                .flat_map(|v| f64::from(*v).to_be_bytes())
                .collect(),
        ),
    ];
    for (bitpix, data) in encoded {
        let path = file(
            &format!("b{bitpix}"),
            &image(bitpix, &[3, 2], &scale, &data),
        );
        let got = read_image(path, 0).unwrap();
        assert_eq!(
            (got.width, got.height, got.planes, got.data),
            (3, 2, 1, wanted.clone())
        );
        assert_eq!(got.header.f64("bzero"), Some(10.0));
    }
    let bytes = image(8, &[2, 2], &["BLANK   = 255"], &[0, 1, 254, 255]);
    let got = read_image(file("b8", &bytes), 0).unwrap().data;
    assert_eq!(got[..3], [0.0, 1.0, 254.0]);
    assert!(got[3].is_nan());
}

#[test]
fn extensions_are_found_by_index_and_name_and_planes_stream() {
    let cube: Vec<f32> = (0..2 * 3 * 5).map(|v| v as f32).collect();
    let data: Vec<u8> = cube.iter().flat_map(|v| v.to_be_bytes()).collect();
    let mut bytes = image(8, &[], &[], &[]);
    let extension = [
        "XTENSION= 'IMAGE   '",
        "BITPIX  = -32",
        "NAXIS   = 3",
        "NAXIS1  = 2",
        "NAXIS2  = 3",
        "NAXIS3  = 5",
        "PCOUNT  = 0",
        "GCOUNT  = 1",
        "EXTNAME = 'Cube'",
    ];
    bytes.extend(hdu(&extension, &data));
    // The standard allows other records after the last HDU.
    bytes.extend([0u8; 5000]);
    let path = file("planes", &bytes);
    for select in [HduSelect::FirstImage, 1.into(), "1".into(), "CUBE".into()] {
        let got = read_image(&path, select).unwrap();
        assert_eq!((got.planes, &got.data), (5, &cube));
        assert_eq!(got.plane(4), &cube[24..]);
    }
    let mut open = FitsFile::open(&path).unwrap();
    let mut part = vec![0.0; 12];
    open.read_planes(1, 2, &mut part).unwrap();
    assert_eq!(part, cube[12..24]);
    let said = open.find("other").unwrap_err().to_string();
    assert!(
        said.contains("`other`") && said.contains("1 (Cube): image 2 x 3 x 5"),
        "{said}"
    );
    let said = read_image(&path, 0).unwrap_err().to_string();
    assert!(
        said.contains("expected an image") && said.contains("no data"),
        "{said}"
    );
}

#[test]
fn damaged_files_are_refused_without_large_allocations() {
    let good = image(-32, &[4, 4], &[], &[0; 64]);
    assert!(refusal("cut", &good[..2880 + 63]).contains("declares 64 bytes of data but only 63"));
    assert!(refusal("head", &good[..1000]).contains("ends before the END card"));
    assert!(refusal("empty", &[]).contains("an empty file"));
    assert!(refusal("text", b"id,flux\n1,2\n").contains("not a FITS file"));
    assert!(refusal("gz", &[0x1f, 0x8b, 8, 0]).contains("gunzip"));
    let huge = image(-64, &[2_000_000, 2_000_000], &[], &[]);
    assert!(refusal("huge", &huge).contains("truncated"));
    let overflow = image(-64, &[usize::MAX >> 1, 1 << 40], &[], &[]);
    assert!(refusal("overflow", &overflow).contains("overflow"));
    assert!(refusal("bitpix", &image(12, &[2, 2], &[], &[])).contains("BITPIX = 12"));
    assert!(refusal("none", &image(8, &[], &[], &[])).contains("no HDU with an image"));
    assert!(refusal("line", &image(8, &[4], &[], &[0; 4])).contains("two axes"));
    let axes = hdu(
        &["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 999999999999"],
        &[],
    );
    assert!(refusal("axes", &axes).contains("NAXIS = 999999999999"));
    let negative = hdu(
        &["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = -5"],
        &[],
    );
    assert!(refusal("negative", &negative).contains("NAXIS1 = -5"));
}

/// Any byte of the header may be wrong: an error or an image, never a panic.
#[test]
fn no_damaged_header_panics() {
    let good = image(
        -32,
        &[4, 4],
        &["BSCALE  = 2.0", "OBJECT  = 'a long string'"],
        &[1; 64],
    );
    let path = file("mutate", &good);
    let mut state = 1u64;
    for _ in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (state >> 33) as usize % 640;
            bytes[at] = (state >> 20) as u8;
        }
        std::fs::write(&path, &bytes).unwrap();
        let _ = read_image(&path, 0);
    }
}

#[test]
fn the_checksum_does_not_depend_on_the_pieces() {
    let bytes: Vec<u8> = (0..999u32).map(|i| (i * 77 % 251) as u8).collect();
    let mut whole = Checksum::default();
    whole.add(&bytes);
    for size in 1..9 {
        let mut parts = Checksum::default();
        bytes.chunks(size).for_each(|c| parts.add(c));
        assert_eq!(parts.value(), whole.value());
    }
    // Independent of the running form: the library's sum over whole blocks.
    let mut block = bytes.clone();
    block.resize(2880, 0);
    assert_eq!(
        whole.value(),
        fitsio_pure::checksum::checksum_blocks(&block)
    );
}
