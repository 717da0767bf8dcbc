//! The models: every family, every kind of net and flow, every density of pixels.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::card::Card;
use galgen_core::condition::Conditions;
use galgen_core::math::act::Act;
use galgen_core::math::spline::SplineSpec;
use galgen_core::models::{
    Body, Family, FlowNetwork, FlowPreset, Head, Likelihood, MadePreset, Mix, Network,
    PixelCnnPreset, Posterior, VaePreset,
};
use galgen_core::spec::{Base, Direction, ElementMap, Scale};
use galgen_core::stamp::Geometry;
use galgen_specimens::model::{
    calm_tensors, classes, file, flow_card, grey, random_model, random_model_with_psf,
    random_model_with_texture, random_pixel_cnn, random_vae, vae_card,
};

/// A model file that is made on the spot.
pub struct Case {
    /// Its name in the table.
    pub name: &'static str,
    /// Whether it is too much for a microcontroller.
    pub large: bool,
    make: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
}

impl Case {
    fn small(name: &'static str, make: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Case {
        Case {
            name,
            large: false,
            make: Box::new(make),
        }
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        (self.make)()
    }
}

/// All models, in the order of the table.
pub fn cases() -> Vec<Case> {
    let mut all = vec![
        Case::small("flow-vae", || random_model(16, 5)),
        Case::small("flow-vae-psf", || random_model_with_psf(16, 5)),
        Case::small("flow-vae-texture", || random_model_with_texture(16, 5)),
        Case {
            large: true,
            ..Case::small("flow-vae-64", || random_model(64, 6))
        },
    ];
    autoencoders(&mut all);
    vector_flows(&mut all);
    image_flows(&mut all);
    all.push(Case::small("ffjord-estimated", many_dimensions));
    all.push(Case::small("made", made));
    pixel_cnns(&mut all);
    all
}

fn autoencoders(all: &mut Vec<Case>) {
    let gaussian = Likelihood::Gaussian { deviation: 0.2 };
    for (name, posterior, likelihood, galaxies) in [
        (
            "vae-bernoulli",
            Posterior::Gaussian,
            Likelihood::Bernoulli,
            false,
        ),
        ("vae-gaussian", Posterior::Gaussian, gaussian, false),
        ("vae-galaxies", Posterior::Gaussian, gaussian, true),
        ("autoencoder", Posterior::Point, gaussian, false),
    ] {
        let make = move || random_vae(posterior, likelihood, galaxies, 3);
        all.push(Case::small(name, make));
    }
    let acts = [
        ("vae-relu", Act::Relu),
        ("vae-leaky-relu", Act::LeakyRelu { slope: 0.2 }),
        ("vae-elu", Act::Elu),
        ("vae-silu", Act::Silu),
        ("vae-tanh", Act::Tanh),
        ("vae-sigmoid", Act::Sigmoid),
        ("vae-softplus", Act::Softplus),
        ("vae-asinh", Act::Asinh),
    ];
    for (name, activation) in acts {
        all.push(Case::small(name, move || dense_vae(activation)));
    }
}

/// Dense layers, whose widths are no multiple of any vector's.
fn dense_vae(activation: Act) -> Vec<u8> {
    let preset = VaePreset {
        latent: 3,
        likelihood: Likelihood::Bernoulli,
        network: Network::Dense {
            hidden: vec![37, 19],
            activation,
        },
    };
    let conditions = classes();
    let model = preset.build(&grey(9), Posterior::Gaussian, conditions.width());
    random(&vae_card(model.expect("a model"), 9, None, conditions))
}

fn vector_flows(all: &mut Vec<Case>) {
    let affine = ElementMap::Affine { bound: 1.5 };
    let spline = ElementMap::Spline(SplineSpec::new(6, 4.0));
    let hidden = || vec![16, 11];
    let coupling = |map, mix| FlowNetwork::Coupling {
        blocks: 3,
        hidden: hidden(),
        activation: Act::Tanh,
        map,
        mix,
    };
    let autoregressive = |map, one_pass, mix| FlowNetwork::Autoregressive {
        blocks: 2,
        hidden: hidden(),
        activation: Act::Silu,
        map,
        one_pass,
        mix,
    };
    let mixture = ElementMap::LogisticMixture { components: 3 };
    let (maf, iaf) = (Direction::Normalise, Direction::Generate);
    for (name, network, base) in [
        (
            "nice",
            coupling(ElementMap::Additive, Mix::Permutation),
            Base::Logistic,
        ),
        ("realnvp", coupling(affine, Mix::Linear), Base::Normal),
        (
            "spline-coupling",
            coupling(spline, Mix::Permutation),
            Base::Normal,
        ),
        (
            "mixture-coupling",
            coupling(mixture, Mix::Permutation),
            Base::Normal,
        ),
        (
            "maf",
            autoregressive(affine, maf, Mix::Permutation),
            Base::Normal,
        ),
        (
            "spline-maf",
            autoregressive(spline, maf, Mix::Linear),
            Base::Normal,
        ),
        (
            "iaf",
            autoregressive(affine, iaf, Mix::Permutation),
            Base::Normal,
        ),
        (
            "tan",
            FlowNetwork::Transformation {
                blocks: 2,
                hidden: hidden(),
                activation: Act::Tanh,
                components: 3,
            },
            Base::Logistic,
        ),
        ("planar", FlowNetwork::Planar { blocks: 4 }, Base::Normal),
        (
            "ffjord",
            FlowNetwork::Continuous {
                hidden: vec![8],
                activation: Act::Tanh,
                frequencies: 2,
                trace: None,
            },
            Base::Normal,
        ),
        (
            "planar-cnf",
            FlowNetwork::ContinuousPlanar {
                width: 3,
                hidden: vec![8],
            },
            Base::Normal,
        ),
    ] {
        let preset = FlowPreset {
            levels: None,
            logit: None,
            base,
            network,
        };
        let names = ["a", "b", "c", "d", "e"].map(Into::into).to_vec();
        let geometry = Geometry::columns(names);
        all.push(Case::small(name, move || flow(&preset, &geometry)));
    }
}

/// More columns than an exact trace may have.
fn many_dimensions() -> Vec<u8> {
    let preset = FlowPreset {
        levels: None,
        logit: None,
        base: Base::Normal,
        network: FlowNetwork::Continuous {
            hidden: vec![7],
            activation: Act::Tanh,
            frequencies: 0,
            trace: None,
        },
    };
    flow(
        &preset,
        &Geometry::columns((0..70).map(|i| format!("c{i}")).collect()),
    )
}

fn image_flows(all: &mut Vec<Case>) {
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
    let affine = ElementMap::Affine { bound: 2.0 };
    for (name, network) in [
        ("realnvp-image", multi_scale(2, 1, affine, Mix::Permutation)),
        ("glow", multi_scale(0, 0, glow, Mix::Linear)),
    ] {
        let preset = FlowPreset {
            levels: Some(16),
            logit: Some(0.05),
            base: Base::Normal,
            network,
        };
        all.push(Case::small(name, move || flow(&preset, &grey(8))));
    }
}

fn flow(preset: &FlowPreset, geometry: &Geometry) -> Vec<u8> {
    let conditions = classes();
    let model = preset.build(geometry, conditions.width()).expect("a flow");
    random(&flow_card(model, geometry.clone(), conditions))
}

fn made() -> Vec<u8> {
    let (conditions, geometry) = (classes(), grey(9));
    let preset = MadePreset {
        hidden: vec![21, 18],
        activation: Act::Relu,
    };
    let model = preset.build(&geometry, conditions.width());
    let mut card = Card {
        model: Family::Made(model),
        ..flow_card(nothing(&geometry), geometry, conditions)
    };
    card.fingerprint = card.compute_fingerprint();
    random(&card)
}

/// What stands in a card until its own model does.
fn nothing(geometry: &Geometry) -> galgen_core::models::FlowModel {
    let preset = FlowPreset {
        levels: None,
        logit: None,
        base: Base::Normal,
        network: FlowNetwork::Planar { blocks: 0 },
    };
    preset.build(geometry, 0).expect("a flow")
}

fn pixel_cnns(all: &mut Vec<Case>) {
    for (name, body, blocks, head, labelled) in [
        (
            "pixelcnn-bernoulli",
            Body::Masked,
            2,
            Head::Bernoulli,
            false,
        ),
        (
            "pixelcnn-categorical",
            Body::Gated,
            1,
            Head::Categorical { levels: 5 },
            true,
        ),
        ("pixelcnn-gaussian", Body::Gated, 2, Head::Gaussian, true),
        (
            "pixelcnn-mixture",
            Body::Masked,
            1,
            Head::GaussianMixture { components: 2 },
            true,
        ),
        (
            "pixelcnn++",
            Body::PlusPlus,
            1,
            Head::DiscretisedLogistic {
                components: 3,
                levels: 16,
            },
            true,
        ),
    ] {
        let preset = PixelCnnPreset {
            body,
            channels: 5,
            blocks,
            head,
        };
        let make = move || {
            let conditions = match labelled {
                true => classes(),
                false => Conditions::default(),
            };
            random_pixel_cnn(preset, 9, conditions, 7)
        };
        all.push(Case::small(name, make));
    }
}

fn random(card: &Card) -> Vec<u8> {
    file(card, &calm_tensors(card, 11))
}
