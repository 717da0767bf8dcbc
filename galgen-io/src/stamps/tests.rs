use std::fs;
use std::path::Path;

use super::*;
use crate::test_dir;

fn layout(bands: usize) -> StampLayout {
    let columns = vec![
        Column::new("row", CellKind::I64, "", "row of the catalogue"),
        Column::new("id", CellKind::U64, "", "object"),
        Column::new("flux", CellKind::F64, "nmgy", ""),
        Column::new("axis_ratio", CellKind::F32, "", ""),
        Column::new("flags", CellKind::I32, "", ""),
        Column::new("status", CellKind::Text(7), "", ""),
    ];
    StampLayout {
        bands,
        height: 5,
        width: 7,
        columns,
    }
}

fn provenance() -> Provenance {
    Provenance {
        origin: "galgen 0.1.0".into(),
        model: "flow's".into(),
        model_hash: "0123456789abcdef".repeat(4),
        seed: Some(7),
        shard: Some("1/3".into()),
        numeric_path: Some("fma".into()),
        unit: Some("nmgy".into()),
        pixel_scale: Some(0.2),
        extra: vec![(
            "RECIPE".into(),
            CardValue::Text("long ".repeat(30)),
            "a note".into(),
        )],
    }
}

fn pixels(i: u64, len: usize) -> Vec<f32> {
    (0..len).map(|k| k as f32 * 0.1 + i as f32).collect()
}

fn row(i: u64) -> Vec<Cell> {
    vec![
        Cell::I64(i as i64 - 1),
        Cell::U64(u64::MAX - i),
        Cell::F64(1.5 * i as f64),
        Cell::F32(0.25),
        Cell::I32(-3),
        Cell::Text("drawn".into()),
    ]
}

fn write(path: &Path, count: u64, bands: usize) -> Result<u64, StampError> {
    let mut writer = StampWriter::create(path, layout(bands), &provenance())?;
    for i in 0..count {
        writer.push(&pixels(i, bands * 35), &row(i))?;
    }
    writer.finish()
}

#[test]
fn a_written_file_reads_back() {
    // GALGEN_STAMPS_OUT keeps the file, for `tests/goldens/check_fits.py`.
    let path = std::env::var("GALGEN_STAMPS_OUT")
        .map_or_else(|_| test_dir("stamps-back").join("s.fits"), Into::into);
    for (bands, count) in [(3, 4), (1, 101)] {
        assert_eq!(write(&path, count, bands).unwrap(), count);
        let mut file = StampFile::open(&path).unwrap();
        assert_eq!((file.count() as u64, file.shape()), (count, (bands, 5, 7)));
        let mut two = vec![0.0; 2 * file.stamp_len()];
        file.read(count as usize - 2, &mut two).unwrap();
        let wanted: Vec<f32> = (count - 2..count)
            .flat_map(|i| pixels(i, bands * 35))
            .collect();
        assert_eq!(two, wanted);
        let mut table = file.index().unwrap().unwrap();
        let names = ["row", "id", "flux", "axis_ratio", "flags", "status"];
        let columns: Vec<_> = names.iter().map(|n| table.find(n).unwrap()).collect();
        let chunk = table.next_chunk(&columns, 1000).unwrap().unwrap();
        assert_eq!(chunk.rows as u64, count);
        let last = chunk.row(chunk.rows - 1);
        assert_eq!(
            (last[0].i64(), last[1].u64()),
            (Some(count as i64 - 2), Some(u64::MAX - count + 1))
        );
        assert_eq!(last[5].to_string(), "drawn");
        let header = file.primary_header().unwrap();
        assert_eq!(
            (header.str("GGMODEL"), header.i64("GGSEED")),
            (Some("flow's"), Some(7))
        );
        assert_eq!(header.str("GGMHASH").map(str::len), Some(64));
        assert_eq!(header.str("RECIPE"), Some("long ".repeat(30).trim_end()));
        assert_eq!(file.header().unwrap().f64("PIXSCALE"), Some(0.2));
    }
}

/// The sum over a whole HDU with its CHECKSUM is all ones (FITS standard 4.0, section 4.4.2.7).
#[test]
fn every_hdu_sums_to_minus_zero() {
    for count in [1, 2, 3, 4, 50] {
        let path = test_dir("stamps-sum").join("s.fits");
        write(&path, count, 1).unwrap();
        let bytes = fs::read(&path).unwrap();
        let begins =
            |at: usize| bytes[at..].starts_with(b"SIMPLE") || bytes[at..].starts_with(b"XTENSION");
        let mut starts: Vec<usize> = (0..bytes.len())
            .step_by(2880)
            .filter(|&at| begins(at))
            .collect();
        assert_eq!(starts.len(), 3);
        starts.push(bytes.len());
        // astropy, taking the table apart, turns a float into another one.
        let text = String::from_utf8_lossy(&bytes);
        let zero = text.find("TZERO").map(|at| &text[at..at + 41]);
        assert_eq!(zero, Some("TZERO2  =  9223372036854775808 / unsigned"));
        for pair in starts.windows(2) {
            let sum = fitsio_pure::checksum::checksum_blocks(&bytes[pair[0]..pair[1]]);
            assert_eq!(sum, u32::MAX, "HDU at byte {}", pair[0]);
        }
    }
}

#[test]
fn what_is_not_finished_leaves_the_former_file_alone() {
    let dir = test_dir("stamps-former");
    let path = dir.join("s.fits");
    fs::write(&path, b"former").unwrap();
    let mut writer = StampWriter::create(&path, layout(1), &provenance()).unwrap();
    writer.push(&pixels(0, 35), &row(0)).unwrap();
    writer.abort();
    let empty = write(&path, 0, 1).unwrap_err().to_string();
    assert!(empty.contains("s.fits") && empty.contains("no stamp"));
    assert_eq!(fs::read(&path).unwrap(), b"former");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn layouts_that_fits_cannot_hold_are_refused() {
    let path = test_dir("stamps-layout").join("s.fits");
    let said = |layout: StampLayout, provenance: Provenance| {
        StampWriter::create(&path, layout, &provenance)
            .unwrap_err()
            .to_string()
    };
    let card = |key: &str, value: CardValue| Provenance {
        extra: vec![(key.into(), value, String::new())],
        ..provenance()
    };
    assert!(said(layout(0), provenance()).contains("no pixels"));
    let twice = StampLayout {
        columns: [layout(1).columns, layout(1).columns].concat(),
        ..layout(1)
    };
    assert!(said(twice, provenance()).contains("two columns are named `row`"));
    assert!(
        said(layout(1), card("lower", CardValue::Bool(true)))
            .contains("`lower` is no FITS keyword")
    );
    assert!(said(layout(1), card("X", CardValue::Real(f64::NAN))).contains("X = NaN"));
    let nowhere = StampWriter::create("/nowhere/s.fits", layout(1), &provenance()).unwrap_err();
    assert!(nowhere.to_string().contains("no directory /nowhere"));
}

/// A `.npy` file of format version 1.
fn npy(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn numpy_arrays_of_both_widths_and_orders_read() {
    let path = test_dir("stamps-npy").join("a.npy");
    let values: Vec<f32> = (0..12).map(|v| v as f32 - 3.5).collect();
    let f8 = |f: fn(f64) -> [u8; 8]| {
        values
            .iter()
            .flat_map(|&v| f(v.into()))
            .collect::<Vec<u8>>()
    };
    let cases = [
        ("<f4", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        (">f4", values.iter().flat_map(|v| v.to_be_bytes()).collect()),
        ("<f8", f8(f64::to_le_bytes)),
        (">f8", f8(f64::to_be_bytes)),
    ];
    for (descr, data) in cases {
        for (shape, count, len) in [
            ("(2, 2, 3)", 2, 6),
            ("(3, 4)", 1, 12),
            ("(2, 1, 3, 2)", 2, 6),
        ] {
            fs::write(&path, npy(descr, "False", shape, &data)).unwrap();
            let mut file = StampFile::open(&path).unwrap();
            assert_eq!((file.count(), file.stamp_len()), (count, len));
            let mut last = vec![0.0; len];
            file.read(count - 1, &mut last).unwrap();
            assert_eq!(last, values[12 - len..]);
        }
    }
}

#[test]
fn bad_stamp_files_are_refused() {
    let path = test_dir("stamps-bad").join("a");
    let said = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        StampFile::open(&path).unwrap_err().to_string()
    };
    assert!(said(&npy("<i8", "False", "(2, 2)", &[0; 32])).contains("expected float32 or float64"));
    assert!(said(&npy("<f4", "True", "(2, 2)", &[0; 16])).contains("Fortran"));
    assert!(said(&npy("<f4", "False", "(99999999, 99999999)", &[0; 16])).contains("truncated"));
    assert!(said(&npy("<f8", "False", "(9999999999, 9999999999)", &[0; 16])).contains("truncated"));
    assert!(said(&npy("<f4", "False", "(4,)", &[0; 16])).contains("[height, width]"));
    assert!(said(&npy("<f4", "False", "(0, 2, 2)", &[])).contains("with pixels"));
    assert!(said(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("a header of 4294967295 bytes"));
    assert!(said(b"\x93NUMPY\x01\x00").contains("header"));
    assert!(said(b"not stamps").contains("not a FITS file"));
}
