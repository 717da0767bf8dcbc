//! The referee against PyTorch and nflows, layer by layer.

use galgen_core::spec::{Direction, Layer};
use galgen_tests::compare::{Trace, first_difference, relative_error};
use galgen_tests::goldens;
use galgen_tests::referee::Referee;

/// Both sides compute in f64 (rounding 1.1e-16) and differ only in the order of sums of up to 100
/// terms: 1e-14 and less is seen, see the last test.
const TOLERANCE: f64 = 1e-13;
/// nflows inverts a spline bin by the quadratic formula, the referee by bisection; slopes down to
/// 0.1 in these cases magnify the rounding of the knots tenfold in each of three couplings.
const INVERSE_TOLERANCE: f64 = 1e-12;

#[test]
fn nets_agree_after_every_layer() {
    for golden in goldens::nets() {
        let referee = Referee::new(golden.tensors);
        for (i, item) in golden.items.iter().enumerate() {
            let trace = referee.trace(&golden.net, "net", &item.input, &item.context);
            if let Some(difference) = first_difference(&trace, &item.trace, TOLERANCE) {
                panic!("{} item {i}: {difference}", golden.name);
            }
        }
    }
}

#[test]
fn flows_agree_after_every_transform() {
    for golden in goldens::flows() {
        golden.flow.check().unwrap();
        let referee = Referee::new(golden.tensors);
        for (i, item) in golden.items.iter().enumerate() {
            let trace = |direction, from: &[f64]| {
                referee.flow_trace(&golden.flow, "net", direction, from, &item.context)
            };
            let normalise = trace(Direction::Normalise, &item.x);
            let generate = trace(Direction::Generate, &item.z);
            let forward = first_difference(&normalise, &item.normalise, TOLERANCE);
            assert_eq!(forward, None, "{} item {i}, normalise", golden.name);
            let backward = first_difference(&generate, &item.generate, INVERSE_TOLERANCE);
            assert_eq!(backward, None, "{} item {i}, generate", golden.name);
        }
    }
}

/// The specs' own list of tensors is the one that was written by hand.
#[test]
fn tensor_names_and_shapes_are_those_of_the_spec() {
    for golden in goldens::nets() {
        let mut specs = golden.net.tensors("net").unwrap();
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        let found = golden
            .tensors
            .iter()
            .map(|(name, (shape, _))| (name.clone(), shape.clone()));
        let expected = specs.into_iter().map(|s| (s.name, s.shape));
        assert!(found.eq(expected), "{}", golden.name);
    }
}

/// The goldens are sharp: the smallest change that a spec can suffer moves them by far more than the
/// tolerance.
#[test]
fn a_changed_epsilon_or_slope_is_caught() {
    let mut caught = 0;
    for golden in goldens::nets() {
        for i in 0..golden.net.layers.len() {
            let mut net = golden.net.clone();
            match &mut net.layers[i] {
                Layer::GroupNorm { epsilon, .. } => *epsilon *= 1.01,
                Layer::Activation(galgen_core::math::act::Act::LeakyRelu { slope }) => {
                    *slope *= 1.01
                }
                _ => continue,
            }
            let referee = Referee::new(golden.tensors.clone());
            let item = &golden.items[0];
            let trace = referee.trace(&net, "net", &item.input, &item.context);
            let named = first_difference(&trace, &item.trace, TOLERANCE).unwrap_or_default();
            assert!(
                named.starts_with(&format!("layer {i}: ")),
                "{} layer {i}: {named}",
                golden.name
            );
            caught += 1;
        }
    }
    assert!(caught >= 4, "only {caught} layers were changed");
}

/// A tolerance a thousand times above what is seen judges nothing.
#[test]
fn the_tolerances_are_not_loose() {
    let worst = |pairs: Vec<(Trace, Trace)>| {
        let errors = pairs.iter().flat_map(|(a, b)| a.iter().zip(b));
        errors
            .map(|(a, b)| relative_error(&a.1, &b.1))
            .fold(0.0, f64::max)
    };
    let mut nets = Vec::new();
    for golden in goldens::nets() {
        let referee = Referee::new(golden.tensors);
        for item in golden.items {
            nets.push((
                referee.trace(&golden.net, "net", &item.input, &item.context),
                item.trace,
            ));
        }
    }
    let (mut normalise, mut generate) = (Vec::new(), Vec::new());
    for golden in goldens::flows() {
        let referee = Referee::new(golden.tensors);
        for item in golden.items {
            let trace = |d, v: &[f64]| referee.flow_trace(&golden.flow, "net", d, v, &item.context);
            normalise.push((trace(Direction::Normalise, &item.x), item.normalise));
            generate.push((trace(Direction::Generate, &item.z), item.generate));
        }
    }
    for (name, worst, tolerance) in [
        ("nets", worst(nets), TOLERANCE),
        ("normalise", worst(normalise), TOLERANCE),
        ("generate", worst(generate), INVERSE_TOLERANCE),
    ] {
        println!("{name}: largest relative error {worst:.1e}, tolerance {tolerance:.0e}");
        assert!(
            worst > tolerance / 1000.0,
            "{name}: error {worst:e}, tolerance {tolerance:e}"
        );
    }
}
