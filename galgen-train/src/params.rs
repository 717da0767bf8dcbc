//! The trainable tensors of a model, by name, and their seeded initial values.

use crate::digest;
use candle_core::{DType, Device, Result, Tensor, Var};
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::{Role, TensorSpec};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Trainable tensors in the order of their names, which is the order of every loop over them.
pub struct Parameters {
    vars: BTreeMap<String, Var>,
    /// The same memory as the networks read it: with a gradient, or [`Parameters::frozen`].
    tensors: BTreeMap<String, Tensor>,
    /// Tensors that follow from the specification, such as masks.
    constants: Mutex<BTreeMap<String, Tensor>>,
}

impl Parameters {
    /// Initial values that depend on `seed` and the tensor's name only: weights normal with variance
    /// 2 / fan_in (He et al. 2015), biases 0, gains 1.
    pub fn initialise(
        specs: &[TensorSpec],
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let mut vars = BTreeMap::new();
        for spec in specs {
            let tensor = match spec.role {
                Role::Weight { fan_in } => {
                    let mut rng = Philox::new(
                        seed,
                        digest::of_bytes(spec.name.as_bytes()),
                        Stream::Training,
                    );
                    let deviation = (2.0 / fan_in as f64).sqrt();
                    let count = spec.shape.iter().product();
                    let values: Vec<f64> = (0..count).map(|_| deviation * rng.normal()).collect();
                    Tensor::from_vec(values, spec.shape.clone(), &Device::Cpu)?
                }
                Role::Bias => Tensor::zeros(spec.shape.clone(), DType::F64, &Device::Cpu)?,
                Role::Gain => Tensor::ones(spec.shape.clone(), DType::F64, &Device::Cpu)?,
            };
            let tensor = tensor.to_dtype(dtype)?.to_device(device)?;
            vars.insert(spec.name.clone(), Var::from_tensor(&tensor)?);
        }
        Ok(Parameters::of(vars))
    }

    /// Parameters with given values.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Result<Self> {
        let make = |(name, tensor): (String, Tensor)| Ok((name, Var::from_tensor(&tensor)?));
        let vars = tensors.into_iter().map(make).collect::<Result<_>>()?;
        Ok(Parameters::of(vars))
    }

    /// The same values in memory of their own.
    pub fn copy(&self) -> Result<Self> {
        let copy = |(name, var): (&String, &Var)| {
            Ok((name.clone(), Var::from_tensor(&var.as_tensor().copy()?)?))
        };
        let vars = self.vars.iter().map(copy).collect::<Result<_>>()?;
        Ok(Parameters::of(vars))
    }

    /// The same values in the same memory, without gradients: for a network that something else learns through.
    pub fn frozen(&self) -> Self {
        let detached = |(name, var): (&String, &Var)| (name.clone(), var.as_detached_tensor());
        Parameters {
            tensors: self.vars.iter().map(detached).collect(),
            vars: BTreeMap::new(),
            constants: Mutex::default(),
        }
    }

    fn of(vars: BTreeMap<String, Var>) -> Self {
        let tensor = |(name, var): (&String, &Var)| (name.clone(), var.as_tensor().clone());
        Parameters {
            tensors: vars.iter().map(tensor).collect(),
            vars,
            constants: Mutex::default(),
        }
    }

    /// A tensor that follows from the specification, called `name`: `make` is called once.
    pub fn constant(&self, name: &str, make: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let mut constants = self
            .constants
            .lock()
            .expect("no thread panics while it makes one");
        if let Some(known) = constants.get(name) {
            return Ok(known.clone());
        }
        let made = make()?;
        constants.insert(name.to_string(), made.clone());
        Ok(made)
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        match self.tensors.get(name) {
            Some(tensor) => Ok(tensor),
            None => candle_core::bail!("no parameter is called `{name}`"),
        }
    }

    /// Names and variables whose name starts with one of `prefixes`, in order.
    pub fn iter<'a>(&'a self, prefixes: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a Var)> {
        let wanted = move |name: &str| prefixes.iter().any(|p| name.starts_with(p));
        self.vars
            .iter()
            .filter(move |(name, _)| wanted(name))
            .map(|(name, var)| (name.as_str(), var))
    }

    /// Number of scalars.
    pub fn count(&self) -> usize {
        self.vars.values().map(|v| v.elem_count()).sum()
    }

    /// Multiplies the tensor called `name` by `factor`: for layers that should start small or at 0.
    pub fn scale(&self, name: &str, factor: f64) -> Result<()> {
        match self.vars.get(name) {
            Some(var) => var.set(&(var.as_tensor() * factor)?),
            None => candle_core::bail!("no parameter is called `{name}`"),
        }
    }

    /// Moves the tensor called `name` towards `value`: `decay` of itself and the rest of `value`.
    pub fn decay_to(&self, name: &str, value: &Tensor, decay: f64) -> Result<()> {
        match self.vars.get(name) {
            Some(var) => crate::ops::decay_to(var, value, decay),
            None => candle_core::bail!("no parameter is called `{name}`"),
        }
    }

    /// Overwrites the tensor called `name`.
    pub fn set(&self, name: &str, value: &Tensor) -> Result<()> {
        match self.vars.get(name) {
            Some(var) => var.set(value),
            None => candle_core::bail!("no parameter is called `{name}`"),
        }
    }
}
