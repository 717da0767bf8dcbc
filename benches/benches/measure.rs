//! What is measured on every drawn stamp: `cargo bench -p galgen-benches --bench measure`.

use criterion::{Criterion, criterion_group, criterion_main};
use galgen_benches::Inputs;
use galgen_core::measure::{self, Ellipse, flux_within};
use std::hint::black_box;

fn stamps(c: &mut Criterion) {
    let inputs = Inputs::read();
    let side = inputs.card.geometry.side;
    // Stamps of one band are their own light.
    let stamps: Vec<_> = inputs
        .stamps()
        .into_iter()
        .map(|mut s| {
            s.truncate(side * side);
            s
        })
        .collect();
    for stamp in &stamps {
        let radius = measure::half_light_radius(stamp, side, 1.0).expect("the stamp has light");
        let half = flux_within(stamp, side, &Ellipse::centred(side, 1.0), radius);
        let share = half / measure::total(stamp);
        assert!(
            (share - 0.5).abs() < 1e-6,
            "the half-light radius holds {share}"
        );
        assert!(
            measure::shape(stamp, side).is_some(),
            "the stamp has no shape"
        );
    }
    let mut group = c.benchmark_group("measure");
    let mut next = stamps.iter().cycle();
    group.bench_function("half_light_radius", |b| {
        b.iter(|| measure::half_light_radius(black_box(next.next().unwrap()), side, 1.0));
    });
    group.bench_function("shape", |b| {
        b.iter(|| measure::shape(black_box(next.next().unwrap()), side));
    });
}

criterion_group!(benches, stamps);
criterion_main!(benches);
