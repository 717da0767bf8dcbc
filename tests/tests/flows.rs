//! Densities by flows, through the engine's session: they integrate to one, coding is exact, objects do not
//! matter to each other, and nothing finite gives a NaN.

use galgen_core::condition::Conditions;
use galgen_core::math::act::Act;
use galgen_core::math::spline::SplineSpec;
use galgen_core::models::{Family, FlowModel, FlowNetwork, FlowPreset, MadeModel, MadePreset, Mix};
use galgen_core::spec::{Base, Direction, ElementMap, Made, Scale, Trace};
use galgen_core::stamp::Geometry;
use galgen_infer::{DrawError, Model, Pixels, Scoring, Session};
use galgen_tests::model::{calm_tensors, classes, file, flow_card};
use galgen_tests::tensors::{random_values, random_weights};

fn preset(network: FlowNetwork, base: Base) -> FlowPreset {
    FlowPreset {
        levels: None,
        logit: None,
        base,
        network,
    }
}

fn columns(n: usize) -> Geometry {
    Geometry::columns((0..n).map(|i| format!("x{i}")).collect())
}

fn image(side: usize) -> Geometry {
    Geometry {
        side,
        bands: vec!["grey".into()],
        half_light_radius: None,
    }
}

fn session(model: FlowModel, geometry: Geometry, conditions: Conditions, seed: u64) -> Session {
    let card = flow_card(model, geometry, conditions);
    let bytes = file(&card, &calm_tensors(&card, seed));
    Session::new(Model::from_bytes(&bytes).expect("a model"))
}

/// Flows of vectors, every kind.
fn networks() -> Vec<(&'static str, FlowNetwork, Base)> {
    let hidden = vec![16, 16];
    let affine = ElementMap::Affine { bound: 1.5 };
    let coupling = |map, mix| FlowNetwork::Coupling {
        blocks: 3,
        hidden: vec![16, 16],
        activation: Act::Tanh,
        map,
        mix,
    };
    let autoregressive = |map, one_pass| FlowNetwork::Autoregressive {
        blocks: 2,
        hidden: vec![16, 16],
        activation: Act::Tanh,
        map,
        one_pass,
        mix: Mix::Permutation,
    };
    let spline = ElementMap::Spline(SplineSpec::new(6, 4.0));
    vec![
        (
            "NICE",
            coupling(ElementMap::Additive, Mix::Permutation),
            Base::Logistic,
        ),
        ("RealNVP", coupling(affine, Mix::Linear), Base::Normal),
        (
            "neural spline flow",
            coupling(spline, Mix::Permutation),
            Base::Normal,
        ),
        (
            "MAF",
            autoregressive(affine, Direction::Normalise),
            Base::Normal,
        ),
        (
            "IAF",
            autoregressive(affine, Direction::Generate),
            Base::Normal,
        ),
        (
            "TAN",
            FlowNetwork::Transformation {
                blocks: 2,
                hidden: hidden.clone(),
                activation: Act::Tanh,
                components: 3,
            },
            Base::Logistic,
        ),
        ("planar", FlowNetwork::Planar { blocks: 4 }, Base::Normal),
        (
            "FFJORD",
            FlowNetwork::Continuous {
                hidden: hidden.clone(),
                activation: Act::Tanh,
                frequencies: 0,
                trace: None,
            },
            Base::Normal,
        ),
        (
            "FFJORD, estimated",
            FlowNetwork::Continuous {
                hidden: hidden.clone(),
                activation: Act::Tanh,
                frequencies: 0,
                trace: Some(Trace::Hutchinson),
            },
            Base::Normal,
        ),
        (
            "planar CNF",
            FlowNetwork::ContinuousPlanar {
                width: 4,
                hidden: hidden.clone(),
            },
            Base::Normal,
        ),
    ]
}

/// An estimated density is one of its object, and not a density of the plane.
fn is_exact(name: &str) -> bool {
    name != "FFJORD, estimated"
}

/// Midpoints of a grid that holds the tails (of the logistic e^-18 = 2e-8), fine enough for the bins of a spline.
#[test]
fn densities_in_two_dimensions_integrate_to_one() {
    for (name, network, base) in networks().into_iter().filter(|n| is_exact(n.0)) {
        let model = preset(network, base).build(&columns(2), 0).expect("a flow");
        let continuous = name == "FFJORD" || name == "planar CNF";
        let (reach, step) = match base {
            _ if continuous => (8.0, 0.4),
            Base::Normal => (9.0, 0.05),
            Base::Logistic => (18.0, 0.15),
        };
        let mut session = session(model, columns(2), Conditions::default(), 5);
        let n = (2.0 * reach / step) as usize;
        let at = |i: usize| (-reach + (i as f64 + 0.5) * step) as f32;
        let mut mass = 0.0;
        for cell in 0..n * n {
            let point = [at(cell / n), at(cell % n)];
            let found = session.log_likelihood(&point, &[], None, 1, 0, 0);
            mass += found.expect("a density").exp() * step * step;
        }
        println!("{name}: {mass}");
        assert!((mass - 1.0).abs() < 1e-3, "{name}: {mass}");
    }
}

/// What is drawn has the density that is scored: encoding a draw gives its noise back, and coding is exact.
#[test]
fn decoding_undoes_encoding() {
    for (name, network, base) in networks() {
        let model = preset(network, base).build(&columns(4), 3).expect("a flow");
        let mut session = session(model, columns(4), classes(), 6);
        for id in 0..10 {
            let class = [(id % 3) as f32];
            let (mut z, mut x) = ([0.0; 4], [0.0; 4]);
            session.sample_latent(1, id, &class, &mut z).expect("noise");
            session
                .sample_image(1, id, &class, Pixels::Drawn, &mut x)
                .expect("a draw");
            let (mut mean, mut spread) = ([0.0; 4], [0.0; 4]);
            session
                .encode(&x, &class, &mut mean, &mut spread)
                .expect("a code");
            // x is rounded to f32 in between.
            let close = z
                .iter()
                .zip(mean)
                .all(|(a, b)| (a - b).abs() < 2e-4 * (1.0 + a.abs()));
            assert!(close, "{name} {id}: {z:?} came back as {mean:?}");
            let mut back = [0.0; 4];
            session
                .reconstruct(&x, &class, &mut back)
                .expect("a reconstruction");
            let close = x
                .iter()
                .zip(back)
                .all(|(a, b)| (a - b).abs() < 2e-4 * (1.0 + a.abs()));
            assert!(close, "{name} {id}: {x:?} came back as {back:?}");
        }
    }
}

/// More columns than an exact trace may have: ln p is that of seed and id, whatever else is scored with the row, and
/// whatever
/// `samples` are.
#[test]
fn an_estimated_density_belongs_to_its_object() {
    const N: usize = 7;
    const DIM: usize = 70;
    let network = FlowNetwork::Continuous {
        hidden: vec![12],
        activation: Act::Tanh,
        frequencies: 0,
        trace: None,
    };
    let model = preset(network, Base::Normal)
        .build(&columns(DIM), 0)
        .expect("a flow");
    let card = flow_card(model, columns(DIM), Conditions::default());
    let model = Model::from_bytes(&file(&card, &calm_tensors(&card, 5))).expect("a model");
    let rows: Vec<f32> = random_values(N * DIM, 3)
        .iter()
        .map(|&v| v as f32)
        .collect();
    let ids: Vec<u64> = (0..N as u64).map(|i| 40 + 3 * i).collect();
    let mut session = Session::new(model.clone());
    let mut alone = |samples: u32, seed: u64, ids: &[u64]| -> Vec<u64> {
        let pairs = rows.chunks(DIM).zip(ids);
        let score =
            |(row, &id): (&[f32], &u64)| session.log_likelihood(row, &[], None, samples, seed, id);
        pairs
            .map(score)
            .map(|v| v.expect("a density").to_bits())
            .collect()
    };
    let expected = alone(1, 9, &ids);
    assert_eq!(alone(5, 9, &ids), expected);
    for other in [alone(1, 8, &ids), alone(1, 9, &[0, 1, 2, 3, 4, 5, 6])] {
        assert!(other.iter().zip(&expected).all(|(a, b)| a != b));
    }
    for batch in [1, 2, 5, 64] {
        let mut session = Session::with_batch(model.clone(), batch);
        let scoring = Scoring {
            sky: None,
            samples: 1,
            seed: 9,
            ids: Some(&ids),
        };
        let mut found = Vec::new();
        session.log_likelihoods(N, &rows, &[], scoring, |_, v| {
            found.push(v.expect("a density").to_bits())
        });
        assert_eq!(found, expected, "in batches of {batch}");
    }
}

#[test]
fn what_was_scored_before_does_not_matter_and_nothing_finite_gives_a_nan() {
    for (name, network, base) in networks() {
        let model = preset(network, base).build(&columns(3), 0).expect("a flow");
        let mut session = session(model, columns(3), Conditions::default(), 7);
        let points = random_values(30, 1);
        let mut score = |point: &[f64]| {
            let point: Vec<f32> = point.iter().map(|&v| v as f32).collect();
            session.log_likelihood(&point, &[], None, 1, 0, 0)
        };
        let first: Vec<u64> = points
            .chunks(3)
            .map(|p| score(p).unwrap().to_bits())
            .collect();
        for extreme in [3e38, -3e38, 1e20, 1e-40, -0.0] {
            for at in 0..3 {
                let mut point = [0.5, -0.5, 0.2];
                point[at] = extreme;
                match score(&point) {
                    Ok(found) => assert!(
                        !found.is_nan() && found < f64::INFINITY,
                        "{name} {extreme}: {found}"
                    ),
                    Err(error) => {
                        assert!(matches!(error, DrawError::Unsolved(_)), "{name}: {error}")
                    }
                }
            }
        }
        for (p, &bits) in points.chunks(3).zip(&first).rev() {
            assert_eq!(score(p).unwrap().to_bits(), bits, "{name}");
        }
    }
}

/// Images of grey levels on several scales: draws are levels, their density is that of one level, and the bound grows
/// with the draws of the noise.
#[test]
fn images_of_grey_levels() {
    let multi_scale = |checkerboards, residual, map, mix| FlowNetwork::MultiScale {
        scales: 2,
        checkerboards,
        steps: 2,
        channels: 6,
        residual,
        map,
        mix,
    };
    let glow = ElementMap::ShiftScale(Scale::Sigmoid { floor: 0.0 });
    let networks = [
        multi_scale(2, 1, ElementMap::Affine { bound: 2.0 }, Mix::Permutation),
        multi_scale(0, 0, glow, Mix::Linear),
    ];
    for network in networks {
        let preset = FlowPreset {
            levels: Some(16),
            logit: Some(0.05),
            base: Base::Normal,
            network,
        };
        let model = preset.build(&image(8), 3).expect("a flow");
        let mut session = session(model, image(8), classes(), 8);
        let mut pixels = [0.0; 64];
        session
            .sample_image(2, 3, &[1.0], Pixels::Drawn, &mut pixels)
            .expect("a draw");
        assert!(
            pixels
                .iter()
                .all(|p| (p * 15.0 - (p * 15.0).round()).abs() < 1e-5)
        );
        let mut back = [0.0; 64];
        session
            .reconstruct(&pixels, &[1.0], &mut back)
            .expect("a reconstruction");
        assert_eq!(pixels, back);
        let mut bound = |samples| {
            let each =
                (0..20).map(|id| session.log_likelihood(&pixels, &[1.0], None, samples, 4, id));
            each.map(|v| v.expect("a density")).sum::<f64>() / 20.0
        };
        let (one, many) = (bound(1), bound(50));
        assert!(many > one, "{one} {many}");
        pixels[7] = 0.03;
        let error = session
            .log_likelihood(&pixels, &[1.0], None, 1, 0, 0)
            .unwrap_err();
        assert!(error.to_string().contains("grey level"), "{error}");
    }
}

#[test]
fn weights_of_16_bits_are_refused_until_they_are_accepted() {
    let network = FlowNetwork::Planar { blocks: 1 };
    let model = preset(network, Base::Normal)
        .build(&columns(2), 0)
        .expect("a flow");
    let card = flow_card(model, columns(2), Conditions::default());
    let bytes = file(&card, &calm_tensors(&card, 9));
    let half = narrowed(&bytes);
    let mut session = Session::new(Model::from_bytes(&half).expect("a model"));
    session
        .sample_image(0, 0, &[], Pixels::Drawn, &mut [0.0; 2])
        .expect("a draw");
    let refused = session.log_likelihood(&[0.1, 0.2], &[], None, 1, 0, 0);
    assert_eq!(refused, Err(DrawError::HalfPrecision));
    session.accept_half_precision(true);
    let mut exact = Session::new(Model::from_bytes(&bytes).expect("a model"));
    let [a, b] = [&mut session, &mut exact]
        .map(|s| s.log_likelihood(&[0.1, 0.2], &[], None, 1, 0, 0).unwrap());
    assert!((a - b).abs() < 1e-2 && a != b, "{a} {b}");
}

/// The same file with its tensors as BF16: the upper halves of the f32.
fn narrowed(bytes: &[u8]) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    for (_, tensor) in header
        .iter_mut()
        .filter(|(name, _)| *name != "__metadata__")
    {
        tensor["dtype"] = "BF16".into();
        for offset in tensor["data_offsets"].as_array_mut().unwrap() {
            *offset = (offset.as_u64().unwrap() / 2).into();
        }
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let halves = bytes[8 + length..]
        .chunks_exact(4)
        .flat_map(|v| [v[2], v[3]]);
    [&(header.len() as u64).to_le_bytes()[..], &header]
        .concat()
        .into_iter()
        .chain(halves)
        .collect()
}

/// Masked networks of binary elements: all probabilities of three bits sum to one, and what is drawn has the frequency
/// that is scored.
#[test]
fn a_made_is_a_distribution_and_draws_from_it() {
    let preset = MadePreset {
        hidden: vec![12, 9],
        activation: Act::Relu,
    };
    for order in [vec![], vec![2, 0, 1]] {
        let mut model = preset.build(&columns(3), 3);
        if !order.is_empty() {
            let made = Made {
                elements: 3,
                context: 3,
                hidden: &[12, 9],
                activation: Act::Relu,
                parameters: 1,
                order: &order,
            };
            model = MadeModel {
                net: made.net(),
                order,
            };
        }
        let mut card = flow_card(flow_of_nothing(), columns(3), classes());
        card.model = Family::Made(model);
        card.fingerprint = card.compute_fingerprint();
        let tensors = random_weights(&card.check().expect("a consistent card"), 11);
        let mut session = Session::new(Model::from_bytes(&file(&card, &tensors)).expect("a model"));
        let bits = |k: usize| [0, 1, 2].map(|i| f32::from(k >> i & 1 == 1));
        let class = [1.0];
        let p = |session: &mut Session, k| {
            session
                .log_likelihood(&bits(k), &class, None, 1, 0, 0)
                .expect("bits")
                .exp()
        };
        let all: Vec<f64> = (0..8).map(|k| p(&mut session, k)).collect();
        assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{all:?}");
        const DRAWS: u64 = 4000;
        let mut counts = [0.0; 8];
        for id in 0..DRAWS {
            let mut x = [0.0; 3];
            session
                .sample_image(5, id, &class, Pixels::Drawn, &mut x)
                .expect("a draw");
            let mut back = [0.0; 3];
            session
                .reconstruct(&x, &class, &mut back)
                .expect("a reconstruction");
            assert_eq!(x, back);
            counts[(0..3).map(|i| (x[i] as usize) << i).sum::<usize>()] += 1.0;
        }
        for (count, p) in counts.iter().zip(&all) {
            let expected = DRAWS as f64 * p;
            // Five standard deviations of a binomial.
            assert!(
                (count - expected).abs() < 5.0 * (expected * (1.0 - p)).sqrt() + 1.0,
                "{counts:?} {all:?}"
            );
        }
        let error = session
            .log_likelihood(&[0.5, 0.0, 1.0], &class, None, 1, 0, 0)
            .unwrap_err();
        assert!(error.to_string().contains("binarise"), "{error}");
    }
}

fn flow_of_nothing() -> FlowModel {
    preset(FlowNetwork::Planar { blocks: 0 }, Base::Normal)
        .build(&columns(3), 3)
        .expect("a flow")
}

/// What has no latent is refused, in words, and leaves no number that looks like one.
#[test]
fn what_cannot_be_encoded_is_refused() {
    let coupling = FlowNetwork::Coupling {
        blocks: 1,
        hidden: vec![4],
        activation: Act::Tanh,
        map: ElementMap::Additive,
        mix: Mix::Permutation,
    };
    let flow = FlowPreset {
        logit: Some(0.05),
        ..preset(coupling, Base::Normal)
    };
    let model = flow.build(&columns(2), 0).expect("a flow");
    let mut session = session(model, columns(2), Conditions::default(), 3);
    let mut code = [[0.0; 2]; 2];
    let [mean, spread] = &mut code;
    session
        .encode(&[0.2, 1.0], &[], mean, spread)
        .expect("inside");
    let outside = session.encode(&[0.2, 2.0], &[], mean, spread);
    assert_eq!(outside, Err(DrawError::Outside));
}
