//! Cards that contradict themselves, and cards that are consistent and absurd.

use super::{changed, exercise, file, flow_vae, judge, load, refused};
use galgen_core::card::{Card, METADATA_KEY};
use galgen_core::models::Family;
use galgen_core::object::{Object, SizeDefinition};
use galgen_core::spec::{ElementMap, Flow, Layer, Net, Shape, Transform};
use galgen_infer::{LoadError, Session};
use galgen_tests::model::card;
use galgen_tests::tensors::{Tensors, write_safetensors};

/// Numbers of the card are replaced by absurd ones, and the fingerprint is made right, as an attacker would.
#[test]
fn absurd_numbers_in_the_card_do_no_harm() {
    let text = card(16).to_json();
    let is_number = |b: u8| b.is_ascii_digit() || b".-+eE".contains(&b);
    let mut starts = Vec::new();
    for (i, pair) in text.as_bytes().windows(2).enumerate() {
        if b":[,".contains(&pair[0]) && pair[1].is_ascii_digit() {
            starts.push(i + 1);
        }
    }
    let absurd = [
        "0",
        "-1",
        "1",
        "2",
        "3",
        "-0.0",
        "1e999",
        "1e308",
        "1e-308",
        "4294967296",
        "18446744073709551615",
        "9223372036854775808",
        "67108864",
        "null",
        "[]",
        "1e39",
        "0.5",
        "NaN",
    ];
    let mut tried = 0;
    for &start in &starts {
        let length = text[start..].bytes().take_while(|&b| is_number(b)).count();
        for value in absurd {
            let json = [&text[..start], value, &text[start + length..]].concat();
            // As the engine sees it; a card that is no card gets its old fingerprint.
            let bytes = match serde_json::from_str::<Card>(&json) {
                Ok(card) => file(card, 1),
                Err(_) => write_safetensors(&Tensors::new(), &[(METADATA_KEY, &json)]),
            };
            tried += 1;
            let what = format!(
                "{value} at {start}: {}",
                &text[start.saturating_sub(30)..start]
            );
            if let Ok(model) = load(&what, &bytes) {
                exercise(&what, model);
            }
        }
    }
    assert!(tried > 1000, "{tried} cards tried");
}

#[test]
fn contradicting_cards_are_refused() {
    type Change = fn(&mut Card);
    let cases: &[(&str, Change)] = &[
        ("no bands", |c| c.geometry.bands.clear()),
        ("17 bands", |c| {
            c.geometry.bands = (0..17).map(|i| format!("b{i}")).collect()
        }),
        ("two bands of one name", |c| {
            c.geometry.bands = vec!["r".into(), "r".into()]
        }),
        ("a band with an escape", |c| {
            c.geometry.bands = vec!["\u{1b}[31m".into()]
        }),
        ("a long band", |c| {
            c.geometry.bands = vec!["r".repeat(100_000)]
        }),
        ("a long name", |c| c.name = "n".repeat(100_000)),
        ("a nameless PSF", |c| c.psf.clear()),
        ("side", |c| c.geometry.side = 1 << 40),
        ("a tiny radius", |c| {
            c.geometry.half_light_radius = Some(1e-300)
        }),
        ("a negative radius", |c| {
            c.geometry.half_light_radius = Some(-2.0)
        }),
        ("a long condition", |c| {
            c.conditions.list[0].name = "c".repeat(100_000)
        }),
        ("a condition with a line break", |c| {
            c.conditions.list[0].name = "a\nb".into()
        }),
        ("two conditions of one name", |c| {
            c.conditions.list[1].name = "axis_ratio".into()
        }),
        ("an inverted range", |c| {
            c.conditions.list[0].range = [1.0, 0.2]
        }),
        ("no deviation", |c| c.conditions.list[0].deviation = 0.0),
        ("a skew precision", |c| {
            c.conditions.precision = vec![1.0, 0.5, -0.5, 1.0]
        }),
        ("a negative precision", |c| {
            c.conditions.precision = vec![-1.0, 0.0, 0.0, 1.0]
        }),
        ("a negative limit", |c| c.conditions.distance_limit = -1.0),
        ("17 conditions", |c| {
            let one = c.conditions.list[0].clone();
            c.conditions.list = (0..17)
                .map(|i| galgen_core::condition::Condition {
                    name: format!("c{i}"),
                    ..one.clone()
                })
                .collect();
        }),
        ("no latent", |c| flow_vae(c).latent = 0),
        ("a huge latent", |c| {
            let model = flow_vae(c);
            (model.latent, model.flow) = (1 << 22, Flow::vector(1 << 22, 2, vec![]));
        }),
        ("no intensity", |c| flow_vae(c).intensity = 0.0),
        ("huge intensity", |c| flow_vae(c).intensity = 1e300),
        ("tiny noise", |c| flow_vae(c).noise.floor = 1e-200),
        ("no layers", |c| flow_vae(c).decoder.layers.clear()),
        ("a permutation with a repetition", |c| {
            flow_vae(c)
                .flow
                .transforms
                .push(Transform::Permutation(vec![0, 1, 2, 3, 4, 4]));
        }),
        ("an empty permutation", |c| {
            flow_vae(c)
                .flow
                .transforms
                .push(Transform::Permutation(vec![]))
        }),
        ("a long permutation", |c| {
            flow_vae(c)
                .flow
                .transforms
                .push(Transform::Permutation(vec![0; 100_000]));
        }),
        ("keep = dim", |c| {
            let net = Net {
                input: Shape::Vector(6),
                context: 2,
                layers: vec![Layer::linear(1)],
            };
            let map = ElementMap::Affine { bound: 1.0 };
            flow_vae(c)
                .flow
                .transforms
                .push(Transform::Coupling { keep: 6, net, map });
        }),
        ("many transforms", |c| {
            flow_vae(c).flow.transforms = vec![Transform::Permutation((0..6).collect()); 50_000];
        }),
    ];
    for (what, change) in cases {
        let error = refused(what, &changed(change));
        assert!(matches!(error, LoadError::Card(_)), "{what}: {error}");
    }
    let newer = card(16)
        .to_json()
        .replace("\"format_version\":1", "\"format_version\":2,\"new\":[]");
    let error = refused(
        "newer",
        &write_safetensors(&Tensors::new(), &[(METADATA_KEY, &newer)]),
    );
    assert!(error.to_string().contains("use a newer galgen"), "{error}");
    let twice = card(16).to_json().replacen('{', "{\"name\":\"x\",", 1);
    refused(
        "a key twice",
        &write_safetensors(&Tensors::new(), &[(METADATA_KEY, &twice)]),
    );
    let nested = "[".repeat(100_000);
    refused(
        "nested",
        &write_safetensors(&Tensors::new(), &[(METADATA_KEY, &nested)]),
    );
    let padded = " ".repeat(5 << 20);
    refused(
        "blank",
        &write_safetensors(&Tensors::new(), &[(METADATA_KEY, &padded)]),
    );
}

/// Cards that fit together and ask for far more than the file holds.
#[test]
fn small_files_do_not_make_large_models() {
    let up = |factor| Layer::UpsampleNearest { factor };
    let many = |layer: Layer, n| vec![layer; n];
    let identity = |n| Layer::Concat(vec![vec![]; n]);
    let slice = |len| Layer::Slice { start: 0, len };
    let flip = |n| {
        let pair = [
            Layer::Reshape(Shape::square(1, n)),
            Layer::Reshape(Shape::Vector(n * n)),
        ];
        pair.into_iter().cycle()
    };
    let before: Vec<(&str, Vec<Layer>)> = vec![
        ("up and cropped", {
            let map = Shape::Map {
                channels: 6,
                height: 1,
                width: 1,
            };
            let down = Layer::Conv2d {
                outputs: 1,
                kernel: [1, 1],
                stride: 1 << 12,
                padding: galgen_core::spec::Padding::all(0),
                mask: None,
            };
            vec![
                Layer::Reshape(map),
                up(1 << 12),
                down,
                Layer::Reshape(Shape::Vector(1)),
                identity(6),
            ]
        }),
        ("up to 2^23 again and again", {
            let map = |channels| Shape::Map {
                channels,
                height: 1,
                width: 1,
            };
            let turn = [
                vec![
                    Layer::Reshape(map(6)),
                    up(1024),
                    slice(6),
                    Layer::Activation(galgen_core::math::act::Act::Elu),
                ],
                vec![Layer::Reshape(Shape::Vector(6 << 20)), slice(6)],
            ]
            .concat();
            std::iter::repeat_n(turn, 600).flatten().collect()
        }),
        ("wide concatenation", vec![identity(1 << 20), slice(6)]),
        ("concatenations in a row", {
            (0..2000).flat_map(|_| [identity(2), slice(6)]).collect()
        }),
        (
            "concatenations that double",
            many(identity(2), 20)
                .into_iter()
                .chain([slice(6)])
                .collect(),
        ),
        ("phases without taps", {
            let none = galgen_core::spec::Padding::all(0);
            let pair = [
                Layer::ConvTranspose2d {
                    outputs: 1,
                    kernel: [1, 1],
                    stride: 64,
                    padding: none,
                },
                Layer::Conv2d {
                    outputs: 1,
                    kernel: [1, 1],
                    stride: 64,
                    padding: none,
                    mask: None,
                },
            ];
            let map = Shape::Map {
                channels: 1,
                height: 2,
                width: 2,
            };
            let mut layers = vec![slice(4), Layer::Reshape(map)];
            layers.extend(pair.into_iter().cycle().take(40));
            layers.extend([Layer::Reshape(Shape::Vector(4)), identity(2), slice(6)]);
            layers
        }),
        ("functions without end", {
            let map = Shape::Map {
                channels: 6,
                height: 1,
                width: 1,
            };
            let mut layers = vec![Layer::Reshape(map), up(512)];
            layers.extend(many(Layer::Scale(1.0), 3000));
            layers.extend([Layer::Reshape(Shape::Vector(6 << 18)), slice(6)]);
            layers
        }),
        ("10^5 layers", many(Layer::Scale(1.0), 100_000)),
        ("4000 layers", many(Layer::Scale(1.0), 4000)),
        ("4000 slices", many(slice(6), 4000)),
        ("1900 reshapes", {
            let to = [identity(6)].into_iter().chain(flip(6).take(3800));
            to.chain([slice(6)]).collect()
        }),
        (
            "4000 branches",
            vec![Layer::Sum(
                many(Layer::Scale(1.0), 2000)
                    .into_iter()
                    .map(|l| vec![l])
                    .collect(),
            )],
        ),
        (
            "contexts",
            many(Layer::AppendContext, 3000)
                .into_iter()
                .chain([slice(6)])
                .collect(),
        ),
        (
            "deep",
            (0..40).fold(vec![], |inner, _| vec![Layer::Sum(vec![inner])]),
        ),
    ];
    for (what, mut layers) in before {
        let bytes = changed(|card| {
            let decoder = &mut flow_vae(card).decoder;
            layers.append(&mut decoder.layers);
            decoder.layers = layers;
        });
        if let Ok(model) = load(what, &bytes) {
            exercise(what, model);
        }
    }
    // A stamp from no weights at all, as large as a geometry may be.
    for bands in [1, 16] {
        let bytes = changed(|card| {
            card.geometry.side = 512;
            card.geometry.bands = (0..bands).map(|i| format!("b{i}")).collect();
            let model = flow_vae(card);
            (model.latent, model.flow) = (2, Flow::vector(2, 2, vec![]));
            let to = Shape::Map {
                channels: 1,
                height: 1,
                width: 1,
            };
            model.decoder = Net {
                input: Shape::Vector(2),
                context: 2,
                layers: vec![slice(1), Layer::Reshape(to), identity(bands), up(512)],
            };
            let stamp = Shape::square(bands, 512);
            model.encoder = Net {
                input: stamp,
                context: 2,
                layers: vec![Layer::Reshape(Shape::Vector(stamp.len())), slice(4)],
            };
        });
        assert!(bytes.len() < 10_000);
        exercise(
            "no weights",
            load("no weights", &bytes).expect("the parts fit"),
        );
    }
}

/// A flow of hardly any weights on the largest stamps: its items are not computed together.
#[test]
fn a_session_for_many_items_is_bounded() {
    let bytes = changed(|card| {
        (card.geometry.side, card.geometry.half_light_radius) = (512, None);
        card.geometry.bands = (0..16).map(|i| format!("b{i}")).collect();
        let dim = card.geometry.pixels();
        let net = Net {
            input: Shape::Vector(1),
            context: card.conditions.width(),
            layers: vec![Layer::linear(1)],
        };
        let transforms = vec![
            Transform::Split { keep: 2 },
            Transform::Coupling {
                keep: 1,
                net,
                map: ElementMap::Additive,
            },
        ];
        card.model = Family::Flow(galgen_core::models::FlowModel {
            levels: None,
            flow: Flow::vector(dim, card.conditions.width(), transforms),
        });
    });
    let model = load("a wide flow", &bytes).expect("the parts fit");
    let [alone, together] = [1, 64].map(|items| model.session_bytes_of(items));
    assert!(together == alone, "{alone} bytes, {together} for 64 items");
}

/// A PixelCNN that looks far away through nothing but shifts.
#[test]
fn drawing_pixel_by_pixel_ends() {
    let bytes = changed(|card| {
        (card.geometry.side, card.geometry.half_light_radius) = (64, None);
        let shift = Layer::Shift { down: 0, right: 63 };
        card.model = Family::PixelCnn(galgen_core::models::PixelCnn {
            net: Net {
                input: Shape::square(1, 64),
                context: card.conditions.width(),
                layers: vec![shift; 4000],
            },
            head: galgen_core::models::Head::Bernoulli,
        });
    });
    let error = refused("shifts", &bytes).to_string();
    assert!(error.contains("visits"), "{error}");
}

/// Cards without conditions, or with other ones, are models as well.
#[test]
fn any_conditions_can_be_drawn() {
    for count in [0, 1, 16] {
        let mut card = card(16);
        let one = card.conditions.list[1].clone();
        card.conditions.list = (0..count)
            .map(|i| galgen_core::condition::Condition {
                name: format!("c{i}"),
                ..one.clone()
            })
            .collect();
        card.conditions.precision = (0..count * count)
            .map(|i| f64::from(i % (count + 1) == 0))
            .collect();
        // The rounding of an inversion.
        if let Some(corner) = card.conditions.precision.get_mut(1) {
            *corner = 1e-17;
        }
        let geometry = card.geometry.clone();
        let preset = galgen_core::models::FlowVaePreset {
            latent: 4,
            channels: vec![4, 4, 4],
            flow_blocks: 2,
            flow_hidden: 8,
            ..Default::default()
        };
        card.model = Family::FlowVae(preset.build(&geometry, count).unwrap());
        let model = load("conditions", &file(card, 1)).expect("a model");
        let mut session = Session::new(model.clone());
        let mut stamp = vec![0.0; model.stamp_len()];
        let object = Object {
            size_definition: SizeDefinition::SemiMajor,
            ..Object::new(1, &vec![3.0; count])
        };
        session
            .sample_native(1, &object, &mut stamp)
            .expect("a galaxy");
        judge("conditions", &stamp, 1.0);
    }
}

/// Extreme but lawful statistics of the conditions.
#[test]
fn extreme_standardisation_does_no_harm() {
    for (mean, deviation) in [(1e308, 1e-308), (-1e308, 1e308), (0.0, 1e-300), (1e30, 1.0)] {
        let bytes = changed(|card| {
            for c in &mut card.conditions.list {
                (c.mean, c.deviation, c.range) = (mean, deviation, [-1e308, 1e308]);
            }
            card.conditions.precision = vec![1e308, -1e308, -1e308, 1e308];
        });
        exercise(
            "standardisation",
            load("standardisation", &bytes).expect("lawful"),
        );
    }
}
