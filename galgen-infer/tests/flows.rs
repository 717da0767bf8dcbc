//! Laws of flows: generating undoes normalising, and the log-determinant is that of the numeric
//! Jacobian.

mod common;

use common::{random_weights, rng};
use galgen_core::math::act::Act;
use galgen_core::math::spline::SplineSpec;
use galgen_core::spec::{Direction, ElementMap, Flow, Layer, Made, Net, Scale, Shape, Transform};
use galgen_infer::flow::{FlowPlan, FlowScratch, default_noise};
use galgen_infer::kernels::Simd;
use galgen_infer::weights::Weights;

const DIM: usize = 5;
const CONTEXT: usize = 2;

fn coupling(keep: usize, map: ElementMap) -> Transform {
    let layers = vec![
        Layer::AppendContext,
        Layer::linear(24),
        Layer::Activation(Act::Silu),
        Layer::residual(vec![Layer::linear(24), Layer::Activation(Act::Tanh)]),
        Layer::linear((DIM - keep) * map.parameters()),
    ];
    Transform::Coupling {
        keep,
        net: Net {
            input: Shape::Vector(keep),
            context: CONTEXT,
            layers,
        },
        map,
    }
}

fn flow() -> Flow {
    let spline = ElementMap::Spline(SplineSpec::new(8, 5.0));
    let affine = ElementMap::Affine { bound: 2.0 };
    let transforms = vec![
        Transform::Diagonal,
        coupling(2, spline),
        Transform::Permutation(vec![3, 0, 4, 1, 2]),
        coupling(3, affine),
        Transform::Permutation(vec![4, 3, 2, 1, 0]),
        coupling(1, spline),
    ];
    Flow::vector(DIM, CONTEXT, transforms)
}

fn weights(flow: &Flow, seed: u64, size: f32) -> Weights<'static> {
    random_weights(&flow.tensors("flow").expect("valid"), &mut rng(seed), size)
}

/// Calls `f` with plans whose weights have this size, their scratch, a context and points.
fn for_points(size: f32, mut f: impl FnMut(&FlowPlan, &mut FlowScratch, &[f32], [f64; DIM])) {
    let flow = flow();
    for seed in 0..5 {
        let plan =
            FlowPlan::new(&flow, "flow", &weights(&flow, seed, size), Simd::detect()).unwrap();
        let mut scratch = plan.scratch();
        let mut rng = rng(100 + seed);
        for _ in 0..20 {
            let context = [rng.normal() as f32, rng.normal() as f32];
            let point = std::array::from_fn(|_| 1.5 * rng.normal());
            f(&plan, &mut scratch, &context, point);
        }
    }
}

/// The nets see the kept elements rounded to f32, and an element that is an ulp (2e-16) off can round to
/// its f32 neighbour (6e-8), so the round trip is exact to f32 at worst.
#[test]
fn generating_undoes_normalising() {
    for_points(1.0, |plan, scratch, context, x| {
        let mut y = x;
        let there = plan.normalise(&mut y, context, scratch).unwrap();
        let back = plan.generate(&mut y, context, scratch).unwrap();
        for (a, b) in x.iter().zip(y) {
            assert!((a - b).abs() < 1e-6, "{x:?} came back as {y:?}");
        }
        assert!((there + back).abs() < 1e-5, "{there} and {back}");
    });
}

/// Nets in f32 make the map a staircase with steps of 1e-7, which differences over 2e-3 magnify to 1e-4;
/// the median of a sum of such errors is smaller.
#[test]
fn the_log_determinant_is_that_of_the_numeric_jacobian() {
    let mut errors = Vec::new();
    for_points(0.2, |plan, scratch, context, x| {
        let mut z = x;
        let log_det = plan.normalise(&mut z, context, scratch).unwrap();
        let h = 1e-3;
        let mut jacobian = [[0.0; DIM]; DIM];
        for j in 0..DIM {
            let (mut up, mut down) = (x, x);
            up[j] += h;
            down[j] -= h;
            plan.normalise(&mut up, context, scratch).unwrap();
            plan.normalise(&mut down, context, scratch).unwrap();
            for i in 0..DIM {
                jacobian[i][j] = (up[i] - down[i]) / (2.0 * h);
            }
        }
        errors.push((log_abs_det(jacobian) - log_det).abs());
    });
    errors.sort_by(f64::total_cmp);
    let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
    assert!(
        median < 1e-4 && worst < 1e-3,
        "median {median}, worst {worst}"
    );
}

/// Gaussian elimination with partial pivoting.
fn log_abs_det(mut a: [[f64; DIM]; DIM]) -> f64 {
    let mut log_det = 0.0;
    for c in 0..DIM {
        let pivot = (c..DIM)
            .max_by(|&i, &j| a[i][c].abs().total_cmp(&a[j][c].abs()))
            .unwrap();
        a.swap(c, pivot);
        log_det += a[c][c].abs().ln();
        for r in c + 1..DIM {
            let factor = a[r][c] / a[c][c];
            let pivot_row = a[c];
            a[r].iter_mut()
                .zip(pivot_row)
                .skip(c)
                .for_each(|(v, p)| *v -= factor * p);
        }
    }
    log_det
}

#[test]
fn a_permutation_moves_what_it_says() {
    for order in [
        vec![0u32, 1, 2],
        vec![1, 2, 0],
        vec![2, 0, 1],
        vec![2, 1, 0],
        vec![1, 0, 2],
    ] {
        let transforms = vec![Transform::Permutation(order.clone())];
        let flow = Flow::vector(3, 0, transforms);
        let plan = FlowPlan::new(&flow, "flow", &Weights::from_values([]), Simd::Scalar).unwrap();
        let mut x = [10.0, 11.0, 12.0];
        let mut scratch = plan.scratch();
        assert_eq!(plan.normalise(&mut x, &[], &mut scratch), Ok(0.0));
        let want: Vec<f64> = order.iter().map(|&from| 10.0 + f64::from(from)).collect();
        assert_eq!(x.to_vec(), want);
        plan.generate(&mut x, &[], &mut scratch).unwrap();
        assert_eq!(x, [10.0, 11.0, 12.0]);
    }
}

#[test]
fn levels_agree_to_the_bit() {
    let flow = flow();
    let weights = weights(&flow, 3, 1.0);
    let draw = |simd| {
        let plan = FlowPlan::new(&flow, "flow", &weights, simd).unwrap();
        let mut z = [0.3, -1.0, 0.2, 2.0, -0.1];
        let log_det = plan
            .generate(&mut z, &[0.1, -0.4], &mut plan.scratch())
            .unwrap();
        (z.map(f64::to_bits), log_det.to_bits())
    };
    for simd in Simd::available() {
        assert_eq!(draw(simd), draw(Simd::Scalar), "{}", simd.name());
    }
}

/// Masked autoregressive transforms in both orders and directions, dense and coupling layers, with a context.
fn masked_flow() -> Flow {
    const N: usize = 7;
    let made = |map: ElementMap, one_pass, order: &[u32]| Transform::Autoregressive {
        net: Made {
            elements: N,
            context: CONTEXT,
            hidden: &[150, 37],
            activation: Act::Relu,
            parameters: map.parameters(),
            order,
        }
        .net(),
        map,
        one_pass,
        order: order.to_vec(),
    };
    let affine = ElementMap::Affine { bound: 2.0 };
    let spline = ElementMap::Spline(SplineSpec::new(5, 4.0));
    let layers = vec![
        Layer::linear(40),
        Layer::Activation(Act::Tanh),
        Layer::AppendContext,
        Layer::linear(4 * 2),
        Layer::Scale(0.5),
    ];
    let transforms = vec![
        made(affine, Direction::Normalise, &[3, 1, 6, 0, 2, 5, 4]),
        Transform::Coupling {
            keep: 3,
            net: Net {
                input: Shape::Vector(3),
                context: CONTEXT,
                layers,
            },
            map: ElementMap::ScaleShift(Scale::Sigmoid { floor: 1e-3 }),
        },
        made(spline, Direction::Generate, &[]),
        Transform::Diagonal,
        made(
            ElementMap::ScaleShift(Scale::Softplus { floor: 0.1 }),
            Direction::Normalise,
            &[],
        ),
    ];
    Flow::vector(N, CONTEXT, transforms)
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Every item has the bits that it has alone, in batches of any size, and on every level.
#[test]
fn items_have_the_same_bits_alone_and_together() {
    const ITEMS: usize = 21;
    for flow in [flow(), masked_flow()] {
        let (dim, weights) = (flow.dim(), weights(&flow, 8, 1.0));
        let mut rng = rng(9);
        let points: Vec<f64> = (0..ITEMS * dim).map(|_| 1.5 * rng.normal()).collect();
        let contexts: Vec<f32> = (0..ITEMS * CONTEXT).map(|_| rng.normal() as f32).collect();
        for direction in [Direction::Generate, Direction::Normalise] {
            let mut expected = None;
            for simd in Simd::available() {
                let plan = FlowPlan::new(&flow, "flow", &weights, simd).unwrap();
                for batch in [1, 2, 5, 6, 8, ITEMS] {
                    let mut scratch = plan.scratch_of(batch);
                    let (mut values, mut log_dets) = (points.clone(), Vec::new());
                    let chunks = values.chunks_mut(batch * dim);
                    for (values, contexts) in chunks.zip(contexts.chunks(batch * CONTEXT)) {
                        let mut outcomes = vec![Ok(0.0); values.len() / dim];
                        let noise = &default_noise;
                        plan.run_batch(
                            direction,
                            values,
                            contexts,
                            noise,
                            &mut outcomes,
                            &mut scratch,
                        );
                        log_dets.extend(outcomes.into_iter().map(|o| o.unwrap()));
                    }
                    let found = (bits(&values), bits(&log_dets));
                    let expected = expected.get_or_insert(found.clone());
                    assert!(found == *expected, "{} in batches of {batch}", simd.name());
                }
            }
        }
    }
}

/// Element after element the nets give the bits that they give in one pass: what is left of a round trip is the
/// rounding of the maps in f64, far below that of the nets in f32.
#[test]
fn masked_nets_give_the_same_bits_element_by_element() {
    let Flow { transforms, .. } = masked_flow();
    for transform in transforms {
        if !matches!(transform, Transform::Autoregressive { .. }) {
            continue;
        }
        let flow = Flow::vector(7, CONTEXT, vec![transform]);
        let plan = FlowPlan::new(&flow, "flow", &weights(&flow, 3, 1.0), Simd::detect()).unwrap();
        let (mut scratch, mut rng) = (plan.scratch(), rng(4));
        for _ in 0..20 {
            let context = [rng.normal() as f32, rng.normal() as f32];
            // As f32 holds them: what the net sees on the way back is then the same.
            let x: [f64; 7] = std::array::from_fn(|_| f64::from(rng.normal() as f32));
            for first in [Direction::Normalise, Direction::Generate] {
                let mut y = x;
                let mut outcome = [Ok(0.0)];
                let noise = &default_noise;
                plan.run_batch(first, &mut y, &context, noise, &mut outcome, &mut scratch);
                let there = outcome[0].unwrap();
                plan.run_batch(
                    first.reversed(),
                    &mut y,
                    &context,
                    noise,
                    &mut outcome,
                    &mut scratch,
                );
                let back = outcome[0].unwrap();
                let far = x
                    .iter()
                    .zip(y)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f64::max);
                // Where the net sees y, which is rounded to f32 on both ways alike.
                assert!(far < 1e-11, "{x:?} came back as {y:?}");
                assert!((there + back).abs() < 1e-10, "{there} and {back}");
            }
        }
    }
}
