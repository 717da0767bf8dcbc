//! The texture of drawn galaxies: what is drawn, against the formula written out here, and that the likelihood counts the
//! variance that is drawn.

use galgen_core::models::{Family, Texture};
use galgen_core::object::Object;
use galgen_core::rng::{Philox, Stream};
use galgen_infer::{Model, Session};
use galgen_tests::model::random_model_with_texture;

const SIDE: usize = 16;
const CONDITIONS: [f32; 2] = [0.5, 3.0];

fn session() -> Session {
    Session::new(Model::from_bytes(&random_model_with_texture(SIDE, 4)).expect("a good file"))
}

fn texture(session: &Session) -> Texture {
    match &session.model().card().model {
        Family::FlowVae(config) => config.texture.clone().expect("a texture"),
        other => unreachable!("{}", other.name()),
    }
}

/// The field of object `id` on a stamp of `side` pixels: sums of four uniform numbers, shared with the neighbours.
fn field(seed: u64, id: u64, neighbour: f64, side: usize) -> Vec<f64> {
    let mut rng = Philox::new(seed, id, Stream::Texture);
    let mut uniform = move || {
        let word = rng.next_u32();
        f64::from(word & 0xffff) + f64::from(word >> 16) - 65535.0
    };
    let deviation = ((65536f64 * 65536.0 - 1.0) / 3.0).sqrt();
    let white: Vec<f64> = (0..side * side)
        .map(|_| (uniform() + uniform()) / deviation)
        .collect();
    let mut shared = vec![0.0; side * side];
    for (i, out) in shared.iter_mut().enumerate() {
        for (dy, wy) in [(side - 1, neighbour), (0, 1.0), (1, neighbour)] {
            for (dx, wx) in [(side - 1, neighbour), (0, 1.0), (1, neighbour)] {
                let (y, x) = ((i / side + dy) % side, (i % side + dx) % side);
                *out += wy * wx * white[y * side + x] / (1.0 + 2.0 * neighbour * neighbour);
            }
        }
    }
    shared
}

#[test]
fn a_drawn_galaxy_is_its_mean_times_the_field_of_its_id() {
    let mut session = session();
    let texture = texture(&session);
    let latent = session.model().latent();
    let (mut z, mut out) = (vec![0.0; latent], vec![0.0; SIDE * SIDE]);
    let (mut mean, mut strength) = (out.clone(), out.clone());
    let mut strongest = 0.0f64;
    for id in [0, 3, u64::MAX] {
        let object = Object {
            flux: 3.0,
            ..Object::new(id, &CONDITIONS)
        };
        let drawn = session.sample_galaxy_frame(9, &object, &mut out);
        drawn.expect("a galaxy");
        session
            .sample_latent(9, id, &CONDITIONS, &mut z)
            .expect("a latent");
        session.decode(&z, &CONDITIONS, &mut mean).expect("a stamp");
        session
            .texture_strength(&z, &CONDITIONS, &mut strength)
            .expect("a map");
        let g = field(9, id, texture.neighbour, SIDE);
        let expected: Vec<f64> = (0..SIDE * SIDE)
            .map(|i| {
                let (m, s) = (f64::from(mean[i]), f64::from(strength[i]));
                strongest = strongest.max(s);
                m * (s * g[i] - 0.5 * s * s).exp()
            })
            .collect();
        let sum: f64 = expected.iter().sum();
        for (found, expected) in out.iter().zip(&expected) {
            let expected = 3.0 * expected / sum;
            assert!((f64::from(*found) - expected).abs() < 2e-6 * expected.max(1e-6));
        }
    }
    assert!(strongest > 0.1 && strongest <= 1.0, "{strongest}");
}

/// That of this file, with which what is drawn agrees: variance 1, and the kernel's correlation.
#[test]
fn the_field_has_unit_variance_and_the_correlation_of_its_kernel() {
    let (t, side) = (0.3, 32);
    let mut sums = [0.0; 4];
    let fields = 400;
    for id in 0..fields {
        let g = field(1, id, t, side);
        let at =
            |i: usize, dy: usize, dx: usize| g[(i / side + dy) % side * side + (i + dx) % side];
        for i in 0..side * side {
            let near = if i % side + 2 < side { i } else { 0 };
            sums[0] += g[i] * g[i];
            sums[1] += g[near] * at(near, 0, 1);
            sums[2] += g[near] * at(near, 0, 2);
            sums[3] += g[i] * at(i, 1, 0);
        }
    }
    let norm = 1.0 + 2.0 * t * t;
    let count = (fields as usize * side * side) as f64;
    for (found, expected) in
        sums.map(|s| s / count)
            .into_iter()
            .zip([1.0, 2.0 * t / norm, t * t / norm, 2.0 * t / norm])
    {
        assert!((found - expected).abs() < 0.01, "{found} {expected}");
    }
}

/// Behind a point-spread function the scatter of drawn galaxies about their mean is what the likelihood counts.
#[test]
fn the_likelihood_counts_the_variance_that_is_drawn() {
    let (side, p, t) = (24usize, 7usize, 0.3);
    let texture = Texture {
        neighbour: t,
        ..texture(&session())
    };
    let gaussian = |side: usize, sigma: f64| -> Vec<f64> {
        let c = (side as f64 - 1.0) / 2.0;
        let all = (0..side * side).map(|i| {
            let (x, y) = ((i % side) as f64 - c, (i / side) as f64 - c);
            (-0.5 * (x * x + y * y) / (sigma * sigma)).exp()
        });
        let all: Vec<f64> = all.collect();
        let sum: f64 = all.iter().sum();
        all.iter().map(|v| v / sum).collect()
    };
    let (light, psf) = (gaussian(side, 5.0), gaussian(p, 1.0));
    let psf32: Vec<f32> = psf.iter().map(|&v| v as f32).collect();
    let blurred = |image: &[f64], at: usize| -> f64 {
        let (y, x) = (at / side, at % side);
        (0..p * p)
            .map(|i| psf[i] * image[(y + p / 2 - i / p) * side + x + p / 2 - i % p])
            .sum()
    };
    let s = 0.1;
    let places = [12 * side + 12, 9 * side + 14, 15 * side + 8];
    let (mut second, mut of_unit_sum) = ([0.0; 3], [0.0; 3]);
    let draws = 6000;
    for id in 0..draws {
        let g = field(2, id, t, side);
        let drawn = light.iter().zip(&g);
        let drawn: Vec<f64> = drawn
            .map(|(m, g)| m * (s * g - 0.5 * s * s).exp())
            .collect();
        let sum: f64 = drawn.iter().sum();
        let scatter = |sum: f64| -> Vec<f64> {
            let pairs = drawn.iter().zip(&light);
            pairs.map(|(pixel, mean)| pixel / sum - mean).collect()
        };
        for (second, sum) in [(&mut second, 1.0), (&mut of_unit_sum, sum)] {
            let scatter = scatter(sum);
            for (second, &at) in second.iter_mut().zip(&places) {
                *second += blurred(&scatter, at).powi(2) / draws as f64;
            }
        }
    }
    let share = texture.share(&psf32, p);
    assert!(share < 0.4, "{share}");
    for ((found, divided), at) in second.into_iter().zip(of_unit_sum).zip(places) {
        let expected = share * (s * blurred(&light, at)).powi(2);
        // 6,000 draws: 2 % (one deviation); the light is not quite even over the function.
        assert!((found / expected - 1.0).abs() < 0.08, "{found} {expected}");
        // What the division by the sum takes back is not counted: 14 % in the middle of so small a stamp.
        let kept = divided / expected;
        assert!(kept > 0.8 && kept < 1.02, "{kept}");
    }
}
