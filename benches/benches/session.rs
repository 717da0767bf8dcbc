//! What a caller sees, one galaxy after another on one thread: `cargo bench -p galgen-benches --bench session`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use galgen_benches::{Inputs, OBJECTS, SEED, assert_sum};
use galgen_core::object::Object;
use galgen_infer::{Drawn, Session, Simd};

/// Posterior draws of a likelihood.
const SAMPLES: u32 = 16;

/// A way to draw: its name, length of its image and the call.
type Draw<'a> = Box<dyn FnMut(&mut Session, &Object, &mut [f32]) -> Drawn + 'a>;

fn ways(inputs: &Inputs) -> Vec<(&'static str, usize, Draw<'_>)> {
    let mut renderer = inputs.renderer();
    let stamp = inputs.card.geometry.pixels();
    vec![
        (
            "sample_galaxy_frame",
            stamp,
            Box::new(|session, object, out| {
                session
                    .sample_galaxy_frame(SEED, object, out)
                    .expect("a valid object")
            }),
        ),
        (
            "sample_native",
            stamp,
            Box::new(|session, object, out| {
                session
                    .sample_native(SEED, object, out)
                    .expect("a valid object")
            }),
        ),
        (
            "sample_rendered, 64 x 64, Moffat",
            renderer.image_len(),
            Box::new(move |session, object, out| {
                let drawn =
                    session.sample_rendered(SEED, object, [0.1, -0.2], &mut renderer, None, out);
                drawn.expect("a valid object")
            }),
        ),
    ]
}

fn draw(c: &mut Criterion) {
    let inputs = Inputs::read();
    let objects: Vec<Object> = (0..OBJECTS).map(|id| inputs.object(id)).collect();
    let mut session = inputs.session();
    let mut oracle = Session::new(inputs.model(Simd::Scalar));
    let mut group = c.benchmark_group("session");
    group.throughput(Throughput::Elements(1));
    for (name, len, mut draw) in ways(&inputs) {
        let (mut out, mut expected) = (vec![0.0; len], vec![0.0; len]);
        for object in &objects {
            let drawn = draw(&mut session, object, &mut out);
            assert_sum(&out, drawn.flux * drawn.fraction_inside);
        }
        draw(&mut oracle, &objects[objects.len() - 1], &mut expected);
        assert_eq!(out, expected, "{name}: other bits than the portable code");
        let mut next = objects.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| draw(&mut session, next.next().unwrap(), &mut out));
        });
    }
}

fn score(c: &mut Criterion) {
    let inputs = Inputs::read();
    let stamps = inputs.stamps();
    let conditions = inputs.conditions();
    let likelihood = |session: &mut Session, stamp: &[f32]| {
        let bound = session.log_likelihood(stamp, &conditions, Some(1e-4), SAMPLES, SEED, 0);
        bound.expect("a valid stamp")
    };
    let mut session = inputs.session();
    let mut oracle = Session::new(inputs.model(Simd::Scalar));
    let (found, expected) = (
        likelihood(&mut session, &stamps[0]),
        likelihood(&mut oracle, &stamps[0]),
    );
    assert!(found.is_finite(), "log-likelihood {found}");
    assert_eq!(
        found.to_bits(),
        expected.to_bits(),
        "{found}, portable code {expected}"
    );
    let mut next = stamps.iter().cycle();
    c.bench_function("session/log_likelihood, 16 draws", |b| {
        b.iter(|| likelihood(&mut session, next.next().unwrap()));
    });
}

criterion_group!(benches, draw, score);
criterion_main!(benches);
