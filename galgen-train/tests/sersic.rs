//! Best-fit Sersic galaxies against what GalSim drew and against statmorph's fits (`tests/goldens/morphology.py`).

use galgen_tests::tensors::{Tensors, read_safetensors};
use galgen_train::evaluate::sersic::{Fitted, Fitter};

const SIDE: usize = 60;

fn golden() -> Tensors {
    read_safetensors(include_bytes!("../../tests/goldens/morphology.safetensors")).0
}

fn floats(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// The fit to a golden galaxy through the golden PSF, and the noise of a pixel (1 for none).
fn fit(golden: &Tensors, name: &str) -> Fitted {
    let psf = if name == "sharp" {
        Vec::new()
    } else {
        floats(&golden["psf"].1)
    };
    let sigma = golden[&format!("{name}.sigma")].1[0];
    let weight = if sigma > 0.0 {
        1.0 / (sigma * sigma)
    } else {
        1.0
    };
    let image = floats(&golden[&format!("{name}.image")].1);
    let mut fitter = Fitter::new(SIDE, &psf).expect("square");
    fitter
        .fit(&image, &[weight as f32; SIDE * SIDE])
        .expect("light")
}

#[test]
fn show() {
    let golden = golden();
    for name in golden.keys().filter_map(|k| k.strip_suffix(".image")) {
        let f = fit(&golden, name);
        let s = &golden[&format!("{name}.sersic")].1;
        println!(
            "{name:16} n {:.4} ({:.4}) r {:.4} ({:.4}) q {:.4} ({:.4}) flux {:.1} pa {:.2} chi2 {:.1} {} truth {:?}",
            f.galaxy.index,
            s[0],
            f.galaxy.half_light_radius,
            s[1],
            f.galaxy.axis_ratio,
            s[2],
            f.galaxy.flux,
            f.galaxy.position_angle,
            f.chi2,
            f.converged,
            golden.get(&format!("{name}.truth")).map(|t| &t.1)
        );
    }
}
