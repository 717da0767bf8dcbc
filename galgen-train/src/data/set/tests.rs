use super::*;

fn set() -> TrainingSet {
    let side = 8;
    let description = Description {
        format_version: FORMAT_VERSION,
        side,
        hlr_px: 2.0,
        band: "r".into(),
        source: "test".into(),
        credit: "none".into(),
        stretch: "none".into(),
        psf: "drawn".into(),
        noise: "white".into(),
        pixel_scale_arcsec: None,
        accepted: 2,
        rejected: BTreeMap::from([("star".into(), 3)]),
        options: String::new(),
    };
    let mut columns = vec![vec![0.5, 0.25]; COLUMNS.len()];
    columns[15] = vec![f32::NAN; 2];
    TrainingSet {
        psf_side: 3,
        psf: [[0.0, 0.1, 0.0, 0.1, 0.6, 0.1, 0.0, 0.1, 0.0]; 2].concat(),
        acf_side: 3,
        noise_acf: [[0.0, 0.2, 0.0, 0.2, 1.0, 0.2, 0.0, 0.2, 0.0]; 2].concat(),
        variance: Some(vec![1.5; 2 * side * side]),
        description,
        stamps: vec![1.0 / 64.0; 2 * side * side],
        observed: vec![1; 2 * side * side],
        id: vec![3, 5],
        columns,
    }
}

#[test]
fn a_set_comes_back_as_it_was_written() {
    let path = std::env::temp_dir().join(format!("galgen-set-{}.safetensors", std::process::id()));
    let written = set();
    written.save(&path).expect("temporary folder");
    let read = TrainingSet::load(&path).expect("just written");
    std::fs::remove_file(&path).expect("just read");
    assert_eq!(read.description, written.description);
    assert_eq!((read.stamps, read.id), (written.stamps, written.id));
    assert_eq!(read.columns[1], [0.5, 0.25]);
    assert!(read.columns[15][0].is_nan());
    assert_eq!((read.psf_side, read.psf), (3, written.psf));
    assert_eq!((read.acf_side, read.noise_acf), (3, written.noise_acf));
    assert_eq!(read.variance, written.variance);
}

#[test]
fn every_fault_is_named() {
    let fault = |change: &dyn Fn(&mut TrainingSet)| {
        let mut faulty = set();
        change(&mut faulty);
        TrainingSet::parse(&faulty.to_bytes().expect("serialises")).expect_err("a fault")
    };
    assert!(fault(&|s| s.id[1] = 3).contains("'id': row 1"));
    assert!(fault(&|s| s.stamps[64] = f32::NAN).contains("'stamps': row 1"));
    assert!(fault(&|s| s.observed[0] = 7).contains("'observed'"));
    assert!(fault(&|s| s.columns[1][1] = f32::INFINITY).contains("'axis_ratio': row 1"));
    assert!(fault(&|s| s.psf[12] = 0.0).contains("'psf': row 1"));
    assert!(fault(&|s| s.noise_acf[13] = 0.5).contains("'noise_acf': row 1 has 0.5"));
    assert!(fault(&|s| s.noise_acf[10] = 0.1).contains("opposite"));
    let negative = |s: &mut TrainingSet| {
        for lag in [1, 3, 5, 7] {
            s.noise_acf[lag] = 0.4;
        }
    };
    assert!(fault(&negative).contains("power spectrum"));
    let flat = |s: &mut TrainingSet| (s.psf_side, s.psf) = (2, vec![0.25; 8]);
    assert!(fault(&flat).contains("p odd"));
    assert!(fault(&|s| s.variance.as_mut().expect("there")[7] = 0.0).contains("'variance'"));
    assert!(fault(&|s| s.description.format_version = 9).contains("version 9"));
    assert!(
        TrainingSet::parse(b"nonsense")
            .expect_err("a fault")
            .contains("safetensors")
    );
}
