//! Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
//! easy as 1, 2, 3").
//!
//! A generator is addressed by (seed, object id, stream), so what is drawn for an object depends on
//! nothing else: not on the batch, the thread, the order or the shard. All functions give the same
//! bits on every platform (integer arithmetic, and `libm` for the two elementary functions).

/// What a stream of random numbers is used for. The discriminant is part of the value-stability
/// promise: changing one changes every drawn galaxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// The base sample of the latent flow.
    Latent = 0,
    /// Pixel noise added to a rendered stamp.
    Noise = 1,
    /// Draws from the encoder's posterior (importance-weighted bound, encode with scatter).
    Posterior = 2,
    /// Everything random in training: initial weights, order, augmentation, reparametrisation.
    Training = 3,
    /// The bits of binarised images.
    Binarise = 4,
    /// The pixels of autoregressive models: two blocks each.
    Pixel = 5,
    /// The signs that estimate the trace of a continuous flow.
    Trace = 6,
    /// The texture of a galaxy: two numbers of 32 bits for each pixel.
    Texture = 7,
}

const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// One 128-bit block of Philox 4x32-10.
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let (mut k, mut c) = (key, counter);
    for _ in 0..ROUNDS {
        let a = u64::from(MULTIPLIER[0]) * u64::from(c[0]);
        let b = u64::from(MULTIPLIER[1]) * u64::from(c[2]);
        c = [
            (b >> 32) as u32 ^ c[1] ^ k[0],
            b as u32,
            (a >> 32) as u32 ^ c[3] ^ k[1],
            a as u32,
        ];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// The sequence of random numbers of one (seed, object id, stream).
#[derive(Clone, Debug)]
pub struct Philox {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
    spare_normal: Option<f64>,
}

impl Philox {
    /// Starts the sequence of `stream` for object `id` under `seed`.
    pub fn new(seed: u64, id: u64, stream: Stream) -> Self {
        Philox {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, stream as u32, id as u32, (id >> 32) as u32],
            block: [0; 4],
            used: 4,
            spare_normal: None,
        }
    }

    /// Continues at block `block` of the sequence, four numbers of 32 bits each: what is drawn for one pixel
    /// does not depend on how many were drawn for others.
    pub fn skip_to(&mut self, block: u32) {
        self.counter[0] = block;
        self.used = 4;
        self.spare_normal = None;
    }

    /// The next 32 random bits. The sequence holds 2^34 of them.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.key, self.counter);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Fills `out` with the numbers that [`next_u32`](Self::next_u32) would give one after the other.
    pub fn fill(&mut self, out: &mut [u32]) {
        // Blocks are independent: several at a time keep the multipliers busy.
        const BLOCKS: usize = 4;
        let begun = (4 - self.used).min(out.len());
        let (first, rest) = out.split_at_mut(begun);
        first.iter_mut().for_each(|word| *word = self.next_u32());
        let mut wide = rest.chunks_exact_mut(4 * BLOCKS);
        for words in &mut wide {
            let mut counters = [self.counter; BLOCKS];
            for (i, counter) in counters.iter_mut().enumerate() {
                counter[0] = counter[0].wrapping_add(i as u32);
            }
            let blocks = counters.map(|counter| philox(self.key, counter));
            words.copy_from_slice(blocks.as_flattened());
            self.counter[0] = self.counter[0].wrapping_add(BLOCKS as u32);
        }
        let last = wide.into_remainder();
        last.iter_mut().for_each(|word| *word = self.next_u32());
    }

    /// Uniform in the open interval (0, 1), on a grid of 2^-52.
    pub fn uniform(&mut self) -> f64 {
        let high = u64::from(self.next_u32()) << 20;
        let low = u64::from(self.next_u32()) >> 12;
        ((high | low) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
    }

    /// Uniform integer in `0..bound` without bias (Lemire 2019). `bound` must not be 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Standard normal deviate (Box and Muller 1958), in pairs from two uniforms.
    pub fn normal(&mut self) -> f64 {
        if let Some(value) = self.spare_normal.take() {
            return value;
        }
        let radius = libm::sqrt(-2.0 * libm::log(self.uniform()));
        let angle = 2.0 * core::f64::consts::PI * self.uniform();
        let (sine, cosine) = libm::sincos(angle);
        self.spare_normal = Some(radius * sine);
        radius * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known-answer vectors published with the Random123 library.
    #[test]
    fn filling_is_drawing_one_by_one() {
        for (before, count) in [(0, 64), (1, 64), (3, 50), (2, 1), (4, 17), (5, 0)] {
            let mut one = Philox::new(3, 9, Stream::Texture);
            let mut many = one.clone();
            for _ in 0..before {
                assert_eq!(one.next_u32(), many.next_u32());
            }
            let mut filled = alloc::vec![0; count];
            many.fill(&mut filled);
            assert!(
                filled.iter().all(|&word| word == one.next_u32()),
                "{before} {count}"
            );
            assert_eq!(one.next_u32(), many.next_u32());
        }
    }

    #[test]
    fn known_answers() {
        assert_eq!(
            philox([0, 0], [0; 4]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    /// Kolmogorov-Smirnov distance of a sorted sample from a cumulative distribution.
    fn ks(sample: &mut [f64], cdf: impl Fn(f64) -> f64) -> f64 {
        sample.sort_by(f64::total_cmp);
        let n = sample.len() as f64;
        sample
            .iter()
            .enumerate()
            .map(|(i, &x)| {
                (cdf(x) - i as f64 / n)
                    .abs()
                    .max((cdf(x) - (i + 1) as f64 / n).abs())
            })
            .fold(0.0, f64::max)
    }

    /// 1.95 / sqrt(n): a right generator fails with probability 1e-3, and the seed is fixed.
    const N: usize = 20_000;
    const KS_BOUND: f64 = 1.95;

    #[test]
    fn uniforms_and_normals_follow_their_cdf() {
        let mut rng = Philox::new(7, 42, Stream::Latent);
        let mut u: alloc::vec::Vec<f64> = (0..N).map(|_| rng.uniform()).collect();
        assert!(u.iter().all(|&x| x > 0.0 && x < 1.0));
        assert!(ks(&mut u, |x| x) < KS_BOUND / libm::sqrt(N as f64));
        let mut z: alloc::vec::Vec<f64> = (0..N).map(|_| rng.normal()).collect();
        let normal_cdf = |x: f64| 0.5 * libm::erfc(-x / core::f64::consts::SQRT_2);
        assert!(ks(&mut z, normal_cdf) < KS_BOUND / libm::sqrt(N as f64));
    }

    #[test]
    fn integers_below_a_bound_are_uniform() {
        let mut rng = Philox::new(1, 2, Stream::Training);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        let chi2: f64 = counts
            .iter()
            .map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4)
            .sum();
        assert!(
            chi2 < 20.5,
            "chi-square {chi2} on 5 degrees of freedom, 0.1 % point 20.5"
        );
    }

    #[test]
    fn neighbours_in_seed_id_and_stream_differ() {
        let first = |seed, id, stream| Philox::new(seed, id, stream).next_u32();
        let base = first(1, 1, Stream::Latent);
        assert_ne!(base, first(2, 1, Stream::Latent));
        assert_ne!(base, first(1 << 32, 1, Stream::Latent));
        assert_ne!(base, first(1, 2, Stream::Latent));
        assert_ne!(base, first(1, 1 << 32 | 1, Stream::Latent));
        assert_ne!(base, first(1, 1, Stream::Noise));
    }
}
