use super::*;
use crate::test_dir;

fn spec(conditions: &[&str]) -> CatalogSpec {
    CatalogSpec {
        conditions: conditions.iter().map(|c| Condition::new(*c)).collect(),
        ..CatalogSpec::default()
    }
}

fn open(name: &str, text: &str, spec: &CatalogSpec) -> Result<Catalog, CatalogError> {
    let path = test_dir(&format!("catalog-{name}")).join("cat.csv");
    std::fs::write(&path, text).unwrap();
    Catalog::open(path, spec)
}

fn read(name: &str, text: &str, spec: &CatalogSpec) -> CatalogChunk {
    open(name, text, spec)
        .unwrap()
        .next_chunk(1000)
        .unwrap()
        .unwrap()
}

const HEAD: &str = "id,hlr,flux,pa,g1,g2,magnification,q,c\n";

#[test]
fn usual_names_are_found_and_order_is_kept() {
    let text =
        format!("{HEAD}9,0.5,10,30,0.1,-0.2,1.5,0.7,3\n18446744073709551615,1,2,0,0,0,1,1,2.5\n");
    let got = read("names", &text, &spec(&["axis_ratio", "concentration"]));
    let first = CatalogRow {
        row: 0,
        id: 9,
        half_light_radius: 0.5,
        flux: 10.0,
        position_angle: 30.0,
        g1: 0.1,
        g2: -0.2,
        magnification: 1.5,
        conditions: vec![0.7, 3.0],
    };
    assert_eq!(got.rows[0], first);
    assert_eq!((got.rows[1].row, got.rows[1].id), (1, u64::MAX));
    assert!(got.problems.is_empty());
}

#[test]
fn absent_roles_have_defaults_that_are_told() {
    let catalog = open("defaults", "HLR,Flux\n1,2\n", &spec(&[])).unwrap();
    let notices = catalog.notices().join("; ");
    assert!(
        notices.contains("no id column") && notices.contains("no position_angle"),
        "{notices}"
    );
    assert_eq!(catalog.size_definition(), SizeDefinition::Circular);
    let row = &read("defaults2", "HLR,Flux\n1,2\n3,4\n", &spec(&[])).rows[1];
    assert_eq!(
        (
            row.id,
            row.position_angle,
            row.g1,
            row.g2,
            row.magnification
        ),
        (1, 0.0, 0.0, 0.0, 1.0)
    );
}

/// Each row breaks one rule; the good one between them is drawn.
#[test]
fn every_bad_value_is_reported_with_row_id_and_column() {
    let cases = [
        ("x,1,1,0,0,0,1,1,3", "id"),
        ("-1,1,1,0,0,0,1,1,3", "id"),
        ("1.5,1,1,0,0,0,1,1,3", "id"),
        (",1,1,0,0,0,1,1,3", "id"),
        ("18446744073709551616,1,1,0,0,0,1,1,3", "id"),
        ("1,nan,1,0,0,0,1,1,3", "hlr"),
        ("2,0,1,0,0,0,1,1,3", "hlr"),
        ("3,-2,1,0,0,0,1,1,3", "hlr"),
        ("4,big,1,0,0,0,1,1,3", "hlr"),
        ("5,,1,0,0,0,1,1,3", "hlr"),
        ("6,1,inf,0,0,0,1,1,3", "flux"),
        ("7,1,0,0,0,0,1,1,3", "flux"),
        ("8,1,-1,0,0,0,1,1,3", "flux"),
        ("9,1,1,nan,0,0,1,1,3", "pa"),
        ("10,1,1,0,1,0,1,1,3", "g1"),
        ("11,1,1,0,0.8,0.8,1,1,3", "g2"),
        ("12,1,1,0,0,0,0,1,3", "magnification"),
        ("13,1,1,0,0,0,-1,1,3", "magnification"),
        ("14,1,1,0,0,0,1,0,3", "q"),
        ("15,1,1,0,0,0,1,1.01,3", "q"),
        ("16,1,1,0,0,0,1,-0.5,3", "q"),
        ("17,1,1,0,0,0,1,1,nan", "c"),
        ("18,1,1", "fields"),
        ("19,1,1,0,0,0,1,1,3,4", "fields"),
        ("100,1,1,0,0,0,1,1,3", "id"),
    ];
    let mut text = format!("{HEAD}100,1,1,0,0,0,1,1,3\n");
    cases
        .iter()
        .for_each(|(line, _)| text.push_str(&format!("{line}\n")));
    text.push_str("101,1,1,0,0,0,1,1,3\n");
    let got = read("bad", &text, &spec(&["axis_ratio", "concentration"]));
    assert_eq!(
        got.rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        [100, 101]
    );
    assert_eq!(got.problems.len(), cases.len());
    for (i, (problem, (line, column))) in got.problems.iter().zip(cases).enumerate() {
        assert_eq!(
            (problem.row, problem.line),
            (i as u64 + 1, Some(i as u64 + 3)),
            "{line}"
        );
        assert_eq!(problem.column, column, "{line}: {problem}");
        assert!(problem.reason.contains("expected") || problem.reason.contains("ids must differ"));
    }
    let said = got.problems[7].to_string();
    let wanted = "row 8 (line 10), id 3: hlr = -2: expected a positive number of arcsec";
    assert_eq!(said, wanted);
}

#[test]
fn overrides_name_columns_or_constants() {
    let text = "id,size,hlr,peak\n1,2,3,4\n";
    let overrides = [
        ("half_light_radius", "SIZE"),
        ("flux", "1"),
        ("position_angle", "45"),
    ];
    let overrides = overrides
        .map(|(r, c)| (r.to_string(), c.to_string()))
        .to_vec();
    let spec_ok = CatalogSpec {
        overrides,
        ..spec(&[])
    };
    let row = &read("override", text, &spec_ok).rows[0];
    assert_eq!(
        (row.half_light_radius, row.flux, row.position_angle),
        (2.0, 1.0, 45.0)
    );
    let said = |role: &str, column: &str| {
        let overrides = vec![(role.to_string(), column.to_string())];
        open(
            "override",
            text,
            &CatalogSpec {
                overrides,
                ..spec(&[])
            },
        )
        .unwrap_err()
        .to_string()
    };
    assert!(said("flux", "paek").contains("did you mean `peak`?"));
    assert!(
        said("fluks", "peak").contains("no role `fluks`")
            && said("fluks", "peak").contains("did you mean `flux`?")
    );
    assert!(said("id", "id").contains("no column for flux"));
}

#[test]
fn magnitudes_become_fluxes_and_sersic_indices_concentrations() {
    let conditions = vec![Condition {
        name: "concentration".into(),
        instead: Some(("sersic".into(), |n| 2.0 + n)),
        classes: Vec::new(),
    }];
    let spec = CatalogSpec {
        conditions,
        zero_point: Some(25.0),
        ..CatalogSpec::default()
    };
    let text = "id,a,MAG_AUTO,n\n1,1,25,1\n2,1,20,4\n3,1,99,1\n4,1,20,-inf\n";
    let got = read("mag", text, &spec);
    assert_eq!(got.rows[0].flux, 1.0);
    assert!((got.rows[1].flux - 100.0).abs() < 1e-12);
    assert_eq!(got.rows[1].conditions, [6.0]);
    let columns: Vec<_> = got.problems.iter().map(|p| p.column.as_str()).collect();
    assert_eq!(columns, ["MAG_AUTO", "n"]);
    let catalog = open("mag", text, &spec).unwrap();
    assert_eq!(catalog.size_definition(), SizeDefinition::SemiMajor);
    assert!(
        catalog
            .notices()
            .iter()
            .any(|n| n.contains("computed from sersic"))
    );
    // Both: who gives a zero point means magnitudes, and is told.
    let both = "id,a,flux,mag,n\n1,1,7,25,1\n";
    assert_eq!(read("both", both, &spec).rows[0].flux, 1.0);
    let notices = open("both", both, &spec).unwrap().notices().to_vec();
    assert!(notices.iter().any(|n| n.contains("`flux`")), "{notices:?}");
    let without = CatalogSpec {
        zero_point: None,
        ..spec
    };
    assert_eq!(read("both", both, &without).rows[0].flux, 7.0);
    assert!(
        open("mag", text, &without)
            .unwrap_err()
            .to_string()
            .contains("zero point")
    );
}

#[test]
fn missing_roles_and_empty_catalogues_are_single_errors() {
    let said = |text: &str, c: &[&str]| open("missing", text, &spec(c)).unwrap_err().to_string();
    let size = said("id,flux,half_light_radus\n", &[]);
    assert!(
        size.contains("no column for half_light_radius")
            && size.contains("`half_light_radus` looks close"),
        "{size}"
    );
    assert!(
        said("id,flux,hlr\n1,1,1\n", &["axis_ratio"])
            .contains("no column for axis_ratio: looked for axis_ratio, q")
    );
    let mut none = open("none", HEAD, &spec(&[])).unwrap();
    assert!(
        none.next_chunk(10)
            .unwrap_err()
            .to_string()
            .contains("has no rows")
    );
}

/// A FITS catalogue written by this crate: units are checked, arrays with usual names passed over.
#[test]
fn declared_units_must_be_those_of_the_roles() {
    use crate::stamps::{Cell, CellKind, Column, Provenance, StampLayout, StampWriter};
    let path = test_dir("catalog-units").join("cat.fits");
    let open = |unit: &str| {
        let columns = vec![
            Column::new("hlr", CellKind::F64, unit, ""),
            Column::new("flux", CellKind::F64, "nmgy", ""),
        ];
        let layout = StampLayout {
            bands: 1,
            height: 1,
            width: 1,
            columns,
        };
        let mut file = StampWriter::create(&path, layout, &Provenance::default()).unwrap();
        file.push(&[0.0], &[Cell::F64(1.0), Cell::F64(2.0)])
            .unwrap();
        file.finish().unwrap();
        Catalog::open(&path, &spec(&[]))
    };
    for unit in ["", "arcsec", "Arcsec"] {
        assert_eq!(
            open(unit).unwrap().next_chunk(5).unwrap().unwrap().rows[0].half_light_radius,
            1.0
        );
    }
    let said = open("pix").unwrap_err().to_string();
    assert!(
        said.contains("`hlr` for half_light_radius is in `pix`, expected arcsec"),
        "{said}"
    );
}

/// The outcome does not depend on the chunk size, duplicates across chunks included.
#[test]
fn chunk_size_does_not_matter() {
    let mut text = HEAD.to_string();
    for i in 0..200 {
        text.push_str(&format!(
            "{},{},1,0,0,0,1,1,3\n",
            i % 150,
            (i % 7) as f64 - 0.5
        ));
    }
    let read = |size: usize| {
        let mut catalog = open("chunks", &text, &spec(&["axis_ratio"])).unwrap();
        let (mut rows, mut problems) = (Vec::new(), Vec::new());
        while let Some(chunk) = catalog.next_chunk(size).unwrap() {
            rows.extend(chunk.rows);
            problems.extend(chunk.problems);
        }
        (rows, problems)
    };
    let all = read(1000);
    assert_eq!(all.0.len() + all.1.len(), 200);
    assert!([1, 13, 199].iter().all(|&size| read(size) == all));
}

#[test]
fn classes_are_names_and_images_need_nothing_else() {
    let dir = test_dir("catalog-classes");
    let path = dir.join("c.csv");
    std::fs::write(&path, "id,kind\n7,Sb\n8,E\n9,Sq\n").unwrap();
    let mut kind = Condition::new("kind");
    kind.classes = ["E", "Sb"].map(String::from).to_vec();
    let mut spec = CatalogSpec {
        conditions: vec![kind],
        images: true,
        ..CatalogSpec::default()
    };
    let read = |spec: &CatalogSpec| {
        let mut catalog = Catalog::open(&path, spec).unwrap();
        catalog.next_chunk(10).unwrap().unwrap()
    };
    let chunk = read(&spec);
    let found: Vec<_> = chunk.rows.iter().map(|r| (r.id, r.conditions[0])).collect();
    assert_eq!(found, [(7, 1.0), (8, 0.0)]);
    let problem = chunk.problems[0].to_string();
    assert!(
        problem.contains("kind = Sq: expected one of E, Sb"),
        "{problem}"
    );

    spec.overrides = vec![("kind".into(), "E".into())];
    assert!(read(&spec).rows.iter().all(|r| r.conditions == [0.0]));
    for (role, column, expected) in [
        (
            "kind",
            "So",
            "kind = So: expected a column, or one of the classes E, Sb",
        ),
        ("flux", "1", "no role `flux`"),
    ] {
        spec.overrides = vec![(role.into(), column.into())];
        let error = Catalog::open(&path, &spec).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    spec.images = false;
    spec.overrides.clear();
    let error = Catalog::open(&path, &spec).unwrap_err().to_string();
    assert!(error.contains("half_light_radius"), "{error}");
}
