use std::path::PathBuf;

use super::*;
use crate::fits::tests::hdu;
use crate::test_dir;

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = test_dir(&format!("table-{name}")).join("a");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A table with a column of every kind that can be read, and two that cannot.
fn fits_table(rows: usize) -> Vec<u8> {
    let columns = [
        ("ID", "1K", "TZERO1  = 9223372036854775808"),
        ("signed", "K", ""),
        ("short", "1I", "TNULL3  = -32768"),
        ("byte", "1B", "TZERO4  = -128"),
        ("int", "1J", "TSCAL5  = 0.5"),
        ("f4", "1E", ""),
        ("f8", "1D", ""),
        ("name", "6A", ""),
        ("fit", "2D", ""),
        ("flag", "1L", ""),
        ("bits", "3X", ""),
        ("heap", "1PE(3)", ""),
    ];
    let mut cards: Vec<String> = columns
        .iter()
        .enumerate()
        .flat_map(|(i, (name, form, more))| {
            [
                format!("TTYPE{:<3}= '{name}'", i + 1),
                format!("TFORM{:<3}= '{form}'", i + 1),
                more.to_string(),
            ]
        })
        .filter(|c| !c.is_empty())
        .collect();
    let mut data = Vec::new();
    for i in 0..rows as u64 {
        data.extend(((u64::MAX - i) ^ (1 << 63)).to_be_bytes());
        data.extend((i64::MIN + i as i64).to_be_bytes());
        data.extend((if i == 1 { -32768 } else { i as i16 }).to_be_bytes());
        data.push(i as u8);
        data.extend((i as i32 * 3).to_be_bytes());
        data.extend((i as f32 + 0.25).to_be_bytes());
        data.extend((i as f64 + 0.125).to_be_bytes());
        data.extend(b"ab\0xyz");
        data.extend([1.5f64, i as f64].iter().flat_map(|v| v.to_be_bytes()));
        data.push(if i == 0 { b'T' } else { b'F' });
        data.push(0);
        data.extend([0; 8]);
    }
    let width = data.len() / rows.max(1);
    let head = [
        "XTENSION= 'BINTABLE'".into(),
        "BITPIX  = 8".into(),
        "NAXIS   = 2".into(),
        format!("NAXIS1  = {width}"),
        format!("NAXIS2  = {rows}"),
        "PCOUNT  = 0".into(),
        "GCOUNT  = 1".into(),
        format!("TFIELDS = {}", columns.len()),
    ];
    cards.splice(0..0, head);
    let cards: Vec<&str> = cards.iter().map(String::as_str).collect();
    let mut bytes = hdu(&["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0"], &[]);
    bytes.extend(hdu(&cards, &data));
    bytes
}

#[test]
fn every_fits_type_reads_exactly() {
    let mut table = Table::open(file("types", &fits_table(3))).unwrap();
    let names = [
        "id", "signed", "short", "byte", "int", "f4", "f8", "name", "fit[1]", "flag",
    ];
    let columns: Vec<_> = names.iter().map(|n| table.find(n).unwrap()).collect();
    let chunk = table.next_chunk(&columns, 10).unwrap().unwrap();
    use Value::{Int, Missing, Real, Text};
    let wanted = [
        Int(i128::from(u64::MAX) - 1),
        Int(i128::from(i64::MIN) + 1),
        Missing,
        Int(-127),
        Real(1.5),
        Real(1.25),
        Real(1.125),
        Text("ab".into()),
        Real(1.0),
        Int(0),
    ];
    assert_eq!(chunk.row(1), wanted);
    assert_eq!(chunk.row(1)[0].u64(), Some(u64::MAX - 1));
    assert_eq!(chunk.row(1)[1].i64(), Some(i64::MIN + 1));
    assert_eq!(
        table.next_chunk(&columns, 10).unwrap().map(|c| c.rows),
        None
    );
}

/// CFITSIO's extended names.
#[test]
fn an_hdu_in_brackets_is_read() {
    let mut bytes = fits_table(3);
    let second = [
        "XTENSION= 'BINTABLE'",
        "BITPIX  = 8",
        "NAXIS   = 2",
        "NAXIS1  = 2",
        "NAXIS2  = 1",
    ];
    let fields = [
        "PCOUNT  = 0",
        "GCOUNT  = 1",
        "TFIELDS = 1",
        "TTYPE1  = 'x'",
        "TFORM1  = '1I'",
    ];
    let cards = [&second[..], &fields, &["EXTNAME = 'OTHER'"]].concat();
    bytes.extend(hdu(&cards, &[0, 7]));
    let path = file("brackets", &bytes);
    let named = |hdu: &str| Table::open(format!("{}[{hdu}]", path.display()));
    for hdu in ["2", "other", " OTHER "] {
        let mut table = named(hdu).unwrap();
        assert_eq!(table.path(), path);
        let column = table.find("x").unwrap();
        let chunk = table.next_chunk(&[column], 5).unwrap().unwrap();
        assert_eq!(chunk.values, [Value::Int(7)]);
    }
    assert_eq!(
        named("1").unwrap().columns(),
        Table::open(&path).unwrap().columns()
    );
    assert!(
        named("0")
            .unwrap_err()
            .to_string()
            .contains("HDU 0 is not a binary table")
    );
    assert!(
        named("GONE")
            .unwrap_err()
            .to_string()
            .contains("no HDU `GONE`; the file has: 0")
    );
    let csv = file("brackets-csv", b"id\n1\n");
    let text = Table::open(format!("{}[1]", csv.display()))
        .unwrap_err()
        .to_string();
    assert!(text.contains("leave out the HDU"), "{text}");
    // A file of that very name.
    let odd = path.with_file_name("a[2]");
    std::fs::write(&odd, b"id\n1\n").unwrap();
    assert_eq!(Table::open(&odd).unwrap().columns(), ["id"]);
}

#[test]
fn columns_that_are_no_scalars_are_refused_with_advice() {
    let table = Table::open(file("arrays", &fits_table(1))).unwrap();
    let said = |name: &str| table.find(name).unwrap_err().to_string();
    assert!(said("fit").contains("`fit[0]` the first"));
    assert!(said("fit[2]").contains("the last is `fit[1]`"));
    assert!(said("bits").contains("bits") && said("heap").contains("variable length"));
    assert!(said("naem").contains("did you mean `name`?") && said("naem").contains("ID, signed"));
}

/// Rows do not depend on how many are asked for at a time.
#[test]
fn chunks_join_to_the_same_rows() {
    let csv: String = (0..57).fold("id,x\n".into(), |s, i| {
        format!("{s}{i},{}\n", i as f64 / 8.0)
    });
    for path in [
        file("chunk-f", &fits_table(57)),
        file("chunk-c", csv.as_bytes()),
    ] {
        let read = |size: usize| {
            let mut table = Table::open(&path).unwrap();
            let columns = [
                ColumnRef {
                    index: 1,
                    element: 0,
                },
                ColumnRef {
                    index: 0,
                    element: 0,
                },
            ];
            let (mut all, mut next) = (Vec::new(), 0);
            while let Some(chunk) = table.next_chunk(&columns, size).unwrap() {
                assert_eq!(chunk.first_row, next);
                next += chunk.rows as u64;
                all.extend(chunk.values);
            }
            assert!(table.progress() > 0.99);
            all
        };
        let all = read(1000);
        assert_eq!(all.len(), 114);
        assert!([1, 7, 56, 57].iter().all(|&size| read(size) == all));
    }
}

#[test]
fn csv_fields_comments_quotes_and_bad_lines() {
    let text = "# made by hand\n\"Name, long\", ID ,x\n\"a, \"\"b\"\"\",18446744073709551615, 1.5e2\n\
                # between\n\n c ,7,\nd,8\ne,9,nan,4\nf,1D3,inf\n";
    let mut table = Table::open(file("csv", text.as_bytes())).unwrap();
    assert_eq!(table.columns(), ["Name, long", "ID", "x"]);
    let columns: Vec<_> = ["name, long", "id", "X"]
        .iter()
        .map(|n| table.find(n).unwrap())
        .collect();
    let chunk = table.next_chunk(&columns, 10).unwrap().unwrap();
    use Value::{Int, Missing, Real, Text};
    assert_eq!(
        chunk.row(0),
        [Text("a, \"b\"".into()), Int(u64::MAX.into()), Real(150.0)]
    );
    assert_eq!(chunk.row(1), [Text("c".into()), Int(7), Missing]);
    assert_eq!(chunk.row(4)[1..], [Real(1000.0), Real(f64::INFINITY)]);
    assert_eq!(chunk.lines, [3, 6, 7, 8, 9]);
    let bad: Vec<_> = chunk
        .malformed
        .iter()
        .map(|(row, what)| (*row, what.as_str()))
        .collect();
    assert_eq!(
        bad,
        [
            (2, "2 fields, the header has 3"),
            (3, "4 fields, the header has 3")
        ]
    );
    let mut tabs = Table::open(file("tabs", b"id\tx y\n1\t2\n")).unwrap();
    let column = tabs.find("x y").unwrap();
    assert_eq!(
        tabs.next_chunk(&[column], 5).unwrap().unwrap().values,
        [Int(2)]
    );
}

#[test]
fn what_is_no_table_is_refused() {
    let said = |name: &str, bytes: &[u8]| Table::open(file(name, bytes)).unwrap_err().to_string();
    assert!(said("empty", b"").contains("the file is empty"));
    assert!(said("gz", &[0x1f, 0x8b, 1]).contains("gunzip"));
    assert!(said("parquet", b"PAR1....").contains("Parquet"));
    assert!(said("binary", b"ab\0c").contains("neither FITS"));
    assert!(said("numbers", b"1,2\n3,4\n").contains("must name the columns"));
    assert!(said("comments", b"# only\n").contains("no header line"));
    let other = |name: &str, bytes: &[u8]| {
        let table = Table::open(file(name, bytes)).unwrap();
        table.find("mag").unwrap_err().to_string()
    };
    assert!(other("semicolons", b"id;mag\n1;20\n").contains("not by `;`"));
    assert!(other("blanks", b"id mag\n1 20\n").contains("not by ` `"));
    assert!(!other("plain", b"id,magnitude\n1,20\n").contains("not by"));
    assert!(said("twice", b"id,id\n1,2\n").contains("names `id` twice"));
    assert!(said("utf8", b"id,\xff\n1,2\n").contains("UTF-8"));
    let image = hdu(&["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0"], &[]);
    assert!(said("image", &image).contains("no HDU with a binary table"));
    let cut = fits_table(60);
    assert!(said("cut", &cut[..cut.len() - 2880]).contains("truncated"));
    let missing = Table::open("/nowhere/a.csv").unwrap_err().to_string();
    assert!(missing.contains("/nowhere/a.csv") && missing.contains("No such file"));
    let two = Table::open(file("two", b"Mag,MAG\n1,2\n")).unwrap();
    assert!(
        two.find("mag")
            .unwrap_err()
            .to_string()
            .contains("Mag, MAG")
    );
    assert_eq!(two.find("MAG").unwrap().index, 1);
}

/// Any byte of the header may be wrong: an error or rows, never a panic.
#[test]
fn no_damaged_table_header_panics() {
    let good = fits_table(3);
    let path = file("mutate", &good);
    let mut state = 7u64;
    for _ in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            bytes[2880 + (state >> 33) as usize % 2400] = (state >> 20) as u8;
        }
        std::fs::write(&path, &bytes).unwrap();
        let Ok(mut table) = Table::open(&path) else {
            continue;
        };
        let columns: Vec<_> = table
            .columns()
            .iter()
            .filter_map(|n| table.find_optional(n).ok().flatten())
            .collect();
        while let Ok(Some(_)) = table.next_chunk(&columns, 1000) {}
    }
}
