//! The committed golden values: specs, weights, inputs and the value after every layer as PyTorch and
//! nflows computed them in double precision (`goldens/*.py` beside the files).

use crate::compare::Trace;
use crate::tensors::{Tensors, read_safetensors};
use galgen_core::models::{PixelCnn, Vae};
use galgen_core::spec::{Flow, Layer, Net};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

const NETS: &[u8] = include_bytes!("../goldens/nets.safetensors");
const FLOWS: &[u8] = include_bytes!("../goldens/flows.safetensors");
const VAES: &[u8] = include_bytes!("../goldens/vae.safetensors");
const PIXEL_CNNS: &[u8] = include_bytes!("../goldens/pixel_cnn.safetensors");

/// A net with weights under the prefix `net`.
pub struct NetGolden {
    /// Name of the case.
    pub name: String,
    /// The net.
    pub net: Net,
    /// Its tensors.
    pub tensors: Tensors,
    /// Inputs and what came of them.
    pub items: Vec<NetItem>,
}

/// One input of a net.
pub struct NetItem {
    /// Row-major input.
    pub input: Vec<f64>,
    /// Context, possibly empty.
    pub context: Vec<f64>,
    /// Value after every layer.
    pub trace: Trace,
}

/// A flow with tensors under the prefix `net`.
pub struct FlowGolden {
    /// Name of the case.
    pub name: String,
    /// The flow.
    pub flow: Flow,
    /// Its tensors.
    pub tensors: Tensors,
    /// Points and what came of them.
    pub items: Vec<FlowItem>,
}

/// One data point and one (unrelated) noise point. The traces hold `dim` values and ln |det| after
/// every transform, in the order of application.
pub struct FlowItem {
    /// Data.
    pub x: Vec<f64>,
    /// Context, possibly empty.
    pub context: Vec<f64>,
    /// From `x` towards noise.
    pub normalise: Trace,
    /// Noise.
    pub z: Vec<f64>,
    /// From `z` towards data.
    pub generate: Trace,
}

/// The golden nets.
pub fn nets() -> Vec<NetGolden> {
    let make = |name: &str, net: Net, mut all: Tensors| {
        let paths = paths(&net.layers, "");
        let inputs = rows(&mut all, "input");
        let contexts = context_rows(&mut all, inputs.len());
        let after: Vec<Vec<Vec<f64>>> = paths
            .iter()
            .map(|p| rows(&mut all, &format!("after.{p}")))
            .collect();
        let items = inputs
            .into_iter()
            .zip(contexts)
            .enumerate()
            .map(|(i, (input, context))| {
                let value =
                    |(path, rows): (&String, &Vec<Vec<f64>>)| (path.clone(), rows[i].clone());
                NetItem {
                    input,
                    context,
                    trace: paths.iter().zip(&after).map(value).collect(),
                }
            });
        NetGolden {
            name: name.into(),
            net,
            items: items.collect(),
            tensors: weights(name, all),
        }
    };
    read(NETS)
        .into_iter()
        .map(|(name, net, all)| make(&name, net, all))
        .collect()
}

/// The golden flows.
pub fn flows() -> Vec<FlowGolden> {
    let make = |name: &str, flow: Flow, mut all: Tensors| {
        let forward: Vec<usize> = (0..flow.transforms.len()).collect();
        let backward: Vec<usize> = forward.iter().rev().copied().collect();
        let mut steps = |direction: &str, order: &[usize]| -> Vec<(String, Vec<Vec<f64>>)> {
            let step = |i: &usize| (i.to_string(), rows(&mut all, &format!("{direction}.{i}")));
            order.iter().map(step).collect()
        };
        let (normalise, generate) = (steps("normalise", &forward), steps("generate", &backward));
        let row = |steps: &[(String, Vec<Vec<f64>>)], i: usize| -> Trace {
            steps
                .iter()
                .map(|(path, rows)| (path.clone(), rows[i].clone()))
                .collect()
        };
        let (x, z) = (rows(&mut all, "x"), rows(&mut all, "z"));
        let contexts = context_rows(&mut all, x.len());
        let items = x.into_iter().zip(z).zip(contexts).enumerate();
        let items = items.map(|(i, ((x, z), context))| FlowItem {
            x,
            context,
            normalise: row(&normalise, i),
            z,
            generate: row(&generate, i),
        });
        FlowGolden {
            name: name.into(),
            flow,
            items: items.collect(),
            tensors: weights(name, all),
        }
    };
    read(FLOWS)
        .into_iter()
        .map(|(name, flow, all)| make(&name, flow, all))
        .collect()
}

/// A variational autoencoder of 8 x 8 images with two latent dimensions.
pub struct VaeGolden {
    /// Name of the case.
    pub name: String,
    /// The networks; weights in `tensors` without prefix.
    pub model: Vae,
    /// Its tensors.
    pub tensors: Tensors,
    /// Images and what came of them.
    pub items: Vec<VaeItem>,
}

/// One image, and one unrelated latent.
pub struct VaeItem {
    /// The image.
    pub x: Vec<f64>,
    /// Its class, where the model has classes.
    pub label: f64,
    /// Posterior of the image.
    pub mean: Vec<f64>,
    /// Posterior of the image.
    pub log_variance: Vec<f64>,
    /// A latent.
    pub z: Vec<f64>,
    /// Its mean image.
    pub decoded: Vec<f64>,
    /// Exact evidence lower bound, by quadrature.
    pub elbo: f64,
    /// Exact ln p(x), by quadrature.
    pub log_likelihood: f64,
}

/// The golden variational autoencoders.
pub fn vaes() -> Vec<VaeGolden> {
    let make = |(name, model, mut all): (String, Vae, Tensors)| {
        let mut take = |name: &str| rows(&mut all, name);
        let (x, z, label) = (take("x"), take("z"), take("label"));
        let [mean, log_variance, decoded, elbo, log_likelihood] =
            ["mean", "log_variance", "decoded", "elbo", "log_likelihood"]
                .map(|name| take(&format!("after.{name}")));
        let items = (0..x.len()).map(|i| VaeItem {
            x: x[i].clone(),
            label: label[i][0],
            mean: mean[i].clone(),
            log_variance: log_variance[i].clone(),
            z: z[i].clone(),
            decoded: decoded[i].clone(),
            elbo: elbo[i][0],
            log_likelihood: log_likelihood[i][0],
        });
        let unprefixed = |(name, tensor): (String, _)| (name["net.".len()..].to_string(), tensor);
        VaeGolden {
            items: items.collect(),
            tensors: weights(&name, all).into_iter().map(unprefixed).collect(),
            name,
            model,
        }
    };
    read(VAES).into_iter().map(make).collect()
}

/// An autoregressive model with its tensors under their names in a file.
pub struct PixelCnnGolden {
    /// Name of the case.
    pub name: String,
    /// The model.
    pub model: PixelCnn,
    /// Its tensors.
    pub tensors: Tensors,
    /// Images and what came of them.
    pub items: Vec<PixelCnnItem>,
}

/// One image.
pub struct PixelCnnItem {
    /// The image.
    pub x: Vec<f64>,
    /// Its class, where the model has classes.
    pub label: f64,
    /// Parameters of its pixels, `[parameters, n, n]`.
    pub parameters: Vec<f64>,
    /// ln p of every pixel.
    pub log_p: Vec<f64>,
}

/// The golden autoregressive models.
pub fn pixel_cnns() -> Vec<PixelCnnGolden> {
    let make = |(name, model, mut all): (String, PixelCnn, Tensors)| {
        let mut take = |name: &str| rows(&mut all, name);
        let (x, label) = (take("x"), take("label"));
        let (parameters, log_p) = (take("after.parameters"), take("after.log_p"));
        let items = (0..x.len()).map(|i| PixelCnnItem {
            x: x[i].clone(),
            label: label[i][0],
            parameters: parameters[i].clone(),
            log_p: log_p[i].clone(),
        });
        PixelCnnGolden {
            items: items.collect(),
            tensors: weights(&name, all),
            name,
            model,
        }
    };
    read(PIXEL_CNNS).into_iter().map(make).collect()
}

/// (case, spec, tensors without the name of the case) of a golden file.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Vec<(String, T, Tensors)> {
    let (mut tensors, metadata) = read_safetensors(bytes);
    let specs: BTreeMap<String, T> = serde_json::from_str(&metadata["specs"]).expect("specs");
    let mut cases = Vec::new();
    for (name, spec) in specs {
        let prefix = format!("{name}.");
        let own: Vec<String> = tensors
            .keys()
            .filter(|k| k.starts_with(&prefix))
            .cloned()
            .collect();
        let take = |key: String| {
            let tensor = tensors.remove(&key).expect("the key was listed");
            (key[prefix.len()..].to_string(), tensor)
        };
        let own = own.into_iter().map(take).collect();
        cases.push((name, spec, own));
    }
    assert!(
        tensors.is_empty(),
        "tensors of no case: {:?}",
        tensors.keys()
    );
    cases
}

/// Takes the rows of a `[batch, ...]` tensor out of `all`.
fn rows(all: &mut Tensors, name: &str) -> Vec<Vec<f64>> {
    let (shape, values) = all
        .remove(name)
        .unwrap_or_else(|| panic!("no golden tensor {name}"));
    values
        .chunks_exact(values.len() / shape[0])
        .map(<[f64]>::to_vec)
        .collect()
}

fn context_rows(all: &mut Tensors, batch: usize) -> Vec<Vec<f64>> {
    if all.contains_key("context") {
        rows(all, "context")
    } else {
        vec![Vec::new(); batch]
    }
}

/// What is left of a case is its weights.
fn weights(name: &str, left: Tensors) -> Tensors {
    let stray = left.keys().find(|key| !key.starts_with("net."));
    assert!(
        stray.is_none(),
        "case {name}: golden tensor {stray:?} belongs to no layer"
    );
    left
}

/// Paths of all layers in the order in which their values are known.
fn paths(layers: &[Layer], stem: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        if let Layer::Sum(branches) | Layer::Concat(branches) = layer {
            for (j, branch) in branches.iter().enumerate() {
                out.extend(paths(branch, &format!("{stem}{i}.{j}.")));
            }
        }
        out.push(format!("{stem}{i}"));
    }
    out
}
