//! The split, the augmentation and the order of the training stamps.

mod common;

use candle_core::Device;
use common::{SIDE, elements, tiny_set};
use galgen_train::data::set::{COLUMNS, TrainingSet};
use galgen_train::samples::{FLIPS, Likelihood, Samples};
use std::collections::{BTreeMap, BTreeSet};

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| s.to_string()).collect()
}

fn samples(sets: &[TrainingSet]) -> Samples {
    Samples::new(sets, &names(&["axis_ratio", "concentration"]), 0.2).expect("good sets")
}

/// Rows `keep` of a set.
fn part(set: &TrainingSet, keep: &[usize]) -> TrainingSet {
    let pixels = SIDE * SIDE;
    TrainingSet {
        description: set.description.clone(),
        stamps: keep
            .iter()
            .flat_map(|&i| set.stamps[i * pixels..][..pixels].to_vec())
            .collect(),
        observed: keep
            .iter()
            .flat_map(|&i| set.observed[i * pixels..][..pixels].to_vec())
            .collect(),
        psf_side: set.psf_side,
        psf: keep.iter().flat_map(|&i| set.psf(i).to_vec()).collect(),
        acf_side: set.acf_side,
        noise_acf: keep
            .iter()
            .flat_map(|&i| set.noise_acf(i).to_vec())
            .collect(),
        variance: None,
        id: keep.iter().map(|&i| set.id[i]).collect(),
        columns: set
            .columns
            .iter()
            .map(|c| keep.iter().map(|&i| c[i]).collect())
            .collect(),
    }
}

fn column(name: &str) -> usize {
    COLUMNS.iter().position(|c| *c == name).expect("a column")
}

fn ids(samples: &Samples, positions: &[usize]) -> BTreeSet<u64> {
    positions.iter().map(|&p| samples.ids[p]).collect()
}

#[test]
fn an_object_stays_in_its_part_whatever_else_is_there() {
    let set = tiny_set(300, 1);
    let whole = samples(std::slice::from_ref(&set));
    let (training, validation) = (ids(&whole, &whole.training), ids(&whole, &whole.validation));
    assert_eq!(training.len() + validation.len(), 300);
    assert!(training.is_disjoint(&validation));
    // Three standard deviations of a binomial.
    assert!(
        (validation.len() as f64 - 60.0).abs() < 3.0 * 7.0,
        "{}",
        validation.len()
    );
    // Half of the objects, in another order and in two sets.
    let back: Vec<usize> = (0..150).rev().map(|i| 2 * i).collect();
    let halves = [part(&set, &back[..70]), part(&set, &back[70..])];
    let half = samples(&halves);
    assert!(ids(&half, &half.training).is_subset(&training));
    assert!(ids(&half, &half.validation).is_subset(&validation));
}

#[test]
fn whole_stripes_of_right_ascension_stay_together() {
    let mut set = tiny_set(400, 2);
    let ra = column("ra_deg");
    for (i, value) in set.columns[ra].iter_mut().enumerate() {
        *value = (i as f32 * 7.31) % 60.0;
    }
    let split = samples(std::slice::from_ref(&set));
    let mut stripes: BTreeMap<i64, BTreeSet<bool>> = BTreeMap::new();
    for (positions, kept) in [(&split.training, true), (&split.validation, false)] {
        for &p in positions {
            let stripe = set.columns[ra][p].floor() as i64;
            stripes.entry(stripe).or_default().insert(kept);
        }
    }
    assert!(
        stripes.len() > 50 && stripes.values().all(|parts| parts.len() == 1),
        "{stripes:?}"
    );
}

#[test]
fn conditions_are_standardised_over_the_training_part() {
    let split = samples(&[tiny_set(300, 3)]);
    let chosen: Vec<(usize, u8)> = split.training.iter().map(|&p| (p, 0)).collect();
    let context = split
        .context(&chosen, &Device::Cpu)
        .expect("a tensor")
        .expect("conditions");
    let values = elements(&context);
    for j in 0..2 {
        let column: Vec<f64> = values.iter().skip(j).step_by(2).copied().collect();
        let n = column.len() as f64;
        let mean = column.iter().sum::<f64>() / n;
        let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        assert!(
            mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-5,
            "{mean} {variance}"
        );
        // Half a percent on each side is outside of the trained range.
        let range = split.conditions.list[j].range.map(|v| v as f32);
        let outside = chosen.iter().filter(|(p, _)| {
            let v = split.values[2 * p + j];
            v < range[0] || v > range[1]
        });
        assert!(outside.count() as f64 <= 0.02 * n);
    }
    assert_eq!(split.conditions.list[0].name, "axis_ratio");
}

#[test]
fn flips_mirror_stamp_and_mask_and_undo_themselves() {
    let mut set = tiny_set(40, 4);
    // A mask without symmetry.
    set.observed
        .iter_mut()
        .enumerate()
        .for_each(|(k, o)| *o = u8::from(k % 7 != 0));
    let split = samples(std::slice::from_ref(&set));
    let pixels = |flip: u8| {
        let batch = split.batch(&[(5, flip)], &Device::Cpu).expect("a batch");
        (elements(&batch.stamps), elements(&batch.observed))
    };
    let mirrored = |values: &[f64], flip: u8| -> Vec<f64> {
        let at = |k: usize| {
            let (x, y) = (k % SIDE, k / SIDE);
            let x = if flip & 1 == 1 { SIDE - 1 - x } else { x };
            let y = if flip & 2 == 2 { SIDE - 1 - y } else { y };
            values[y * SIDE + x]
        };
        (0..SIDE * SIDE).map(at).collect()
    };
    let (stamp, observed) = pixels(0);
    assert_eq!(
        stamp,
        set.stamp(5)
            .iter()
            .map(|&v| f64::from(v))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        stamp,
        split
            .stamp(5)
            .iter()
            .map(|&v| f64::from(v))
            .collect::<Vec<_>>()
    );
    for flip in 1..FLIPS {
        let (flipped, mask) = pixels(flip);
        assert_ne!(flipped, stamp);
        assert_eq!(flipped, mirrored(&stamp, flip));
        assert_eq!(mask, mirrored(&observed, flip));
        assert_eq!(mirrored(&flipped, flip), stamp);
    }
}

#[test]
fn an_epoch_visits_every_training_stamp_once_in_a_new_order() {
    let split = samples(&[tiny_set(120, 5)]);
    let n = split.training.len();
    // Not a divisor of n: batches reach across epochs.
    let batch = 7;
    let draws: Vec<(usize, u8)> = (0..(4 * n / batch + 1) as u64)
        .flat_map(|step| split.choose(9, step, batch))
        .collect();
    let epochs: Vec<Vec<usize>> = draws
        .chunks_exact(n)
        .map(|epoch| epoch.iter().map(|(p, _)| *p).collect())
        .collect();
    assert!(epochs.len() >= 4);
    for epoch in &epochs {
        let mut sorted = epoch.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, split.training);
    }
    assert!(epochs.windows(2).all(|pair| pair[0] != pair[1]));
    for flip in 0..FLIPS {
        let share = draws.iter().filter(|(_, f)| *f == flip).count() as f64 / draws.len() as f64;
        // Four standard deviations of a quarter of 4 n draws.
        assert!(
            (share - 0.25).abs() < 4.0 * (0.1875 / draws.len() as f64).sqrt(),
            "{flip}: {share}"
        );
    }
    assert_eq!(split.choose(9, 3, batch), split.choose(9, 3, batch));
    assert_ne!(split.choose(9, 3, batch), split.choose(10, 3, batch));
    // The same draws, cut into other batches.
    let other: Vec<_> = (0..3)
        .flat_map(|step| split.choose(9, step, 2 * batch))
        .collect();
    assert_eq!(other, draws[..6 * batch]);
}

/// Correlated noise counts as so many times the noise of a pixel.
#[test]
fn the_likelihood_is_told_the_noise_of_correlated_pixels() {
    let sky = |samples: &Samples| {
        let batch = samples
            .batch(&[(3, 0), (8, 1)], &Device::Cpu)
            .expect("a batch");
        (elements(&batch.sky), samples.typical_sky())
    };
    let plain = samples(&[tiny_set(60, 7)]);
    let (one, typical) = sky(&plain);
    let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-6;
    assert!(near(one[0], plain.sky(3)) && near(one[1], plain.sky(8)));
    let (three, more) = sky(&plain.with_noise_correlation(3.0));
    assert!(near(three[0], 3.0 * one[0]) && near(three[1], 3.0 * one[1]));
    assert!(near(more, 3.0 * typical));
    // As many pixels vary together as the autocorrelation sums to: 4 of the one stamp, 2 of the other.
    let mut set = tiny_set(60, 7);
    let count = set.id.len();
    let grain = [0.25, 0.5, 0.25, 0.5, 1.0, 0.5, 0.25, 0.5, 0.25];
    set.acf_side = 3;
    set.noise_acf = grain.repeat(count);
    set.noise_acf[3 * 9..4 * 9].copy_from_slice(&[0.0, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.5, 0.0]);
    let (own, _) = sky(&samples(&[set]).with_likelihood(Likelihood::Effective));
    let expected = [2f64.sqrt() * one[0], 2.0 * one[1]];
    assert!(
        near(own[0], expected[0]) && near(own[1], expected[1]),
        "{own:?} {one:?}"
    );
}

#[test]
fn sets_that_do_not_fit_are_refused() {
    let good = || tiny_set(60, 6);
    let fault = |sets: &[TrainingSet], columns: &[&str]| {
        Samples::new(sets, &names(columns), 0.2)
            .err()
            .expect("to be refused")
    };
    assert!(fault(&[], &["axis_ratio"]).contains("no training set"));
    let unknown = fault(&[good()], &["redshift"]);
    assert!(
        unknown.contains("`redshift`") && unknown.contains("axis_ratio"),
        "{unknown}"
    );
    let mut larger = good();
    larger.description.hlr_px = 3.0;
    assert!(fault(&[good(), larger], &["axis_ratio"]).contains("cannot be mixed"));
    let mut bluer = good();
    bluer.id.iter_mut().for_each(|id| *id += 5000);
    bluer.description.band = "g".into();
    let mixed = fault(&[good(), bluer], &["axis_ratio"]);
    assert!(mixed.contains("`r`") && mixed.contains("`g`"), "{mixed}");
    // The same objects again: their stamps would count twice.
    let twice = fault(&[good(), good()], &["axis_ratio"]);
    assert!(twice.contains("1000"), "{twice}");
    let dependent = fault(&[good()], &["axis_ratio", "axis_ratio"]);
    assert!(dependent.contains("axis_ratio"), "{dependent}");
    // One value for all: nothing to condition on.
    let constant = fault(&[good()], &["signal_to_noise"]);
    assert!(constant.contains("signal_to_noise"), "{constant}");
    let mut unknown_place = good();
    unknown_place.columns[column("ra_deg")][0] = f32::NAN;
    let missing = fault(&[unknown_place], &["ra_deg"]);
    assert!(missing.contains("ra_deg"), "{missing}");
    assert!(fault(&[part(&good(), &[0, 1])], &["axis_ratio"]).contains("both parts"));
}
