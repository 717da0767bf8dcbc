//! Against PyTorch, in double precision (`goldens/pixel_cnn.py`).

use galgen_infer::{Model, Session};
use galgen_tests::compare::relative_error;
use galgen_tests::goldens::{PixelCnnGolden, PixelCnnItem, pixel_cnns};
use galgen_tests::model::{classes, file, pixel_cnn_card};
use galgen_tests::referee::Referee;

/// The engine rounds to f32 (6e-8) through five layers of up to 49 terms.
const TOLERANCE: f64 = 2e-6;

fn session(golden: &PixelCnnGolden) -> (Session, usize) {
    let conditional = golden.model.net.context > 0;
    let conditions = if conditional {
        classes()
    } else {
        Default::default()
    };
    let card = pixel_cnn_card(golden.model.clone(), 8, conditions);
    let model = Model::from_bytes(&file(&card, &golden.tensors)).expect("a golden model");
    (Session::new(model), usize::from(conditional))
}

fn f32s(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// Heads in f64, on torch's own parameters: 1e-13 allows for a hundred roundings.
#[test]
fn heads_agree_with_torch() {
    for golden in pixel_cnns() {
        let head = golden.model.head;
        for PixelCnnItem {
            x,
            parameters,
            log_p,
            ..
        } in &golden.items
        {
            let found: Vec<f64> = (0..64)
                .map(|i| {
                    let p: Vec<f64> = parameters[i..].iter().step_by(64).copied().collect();
                    head.log_prob(&p, x[i])
                })
                .collect();
            let error = relative_error(&found, log_p);
            assert!(error < 1e-13, "{}: {error:e}", golden.name);
        }
    }
}

#[test]
fn engine_and_referee_agree_with_torch() {
    for golden in pixel_cnns() {
        let (mut session, conditions) = session(&golden);
        let referee = Referee::new(golden.tensors.clone());
        for item in &golden.items {
            let label = [item.label as f32];
            let label = &label[..conditions];
            let x = f32s(&item.x);
            let mut context = vec![0.0; golden.model.net.context];
            if let Some(of_class) = context.get_mut(item.label as usize) {
                *of_class = 1.0;
            }
            let exact = referee.run(&golden.model.net, "net", &item.x, &context);
            let error = relative_error(&exact, &item.parameters);
            assert!(error < 1e-13, "{}, referee: {error:e}", golden.name);

            let mut found = vec![0.0; item.parameters.len()];
            session
                .pixel_parameters(&x, label, true, &mut found)
                .unwrap();
            let found: Vec<f64> = found.iter().map(|&v| f64::from(v)).collect();
            let error = relative_error(&found, &item.parameters);
            assert!(error < TOLERANCE, "{}, parameters: {error:e}", golden.name);

            let mut map = vec![0.0; 64];
            session.pixel_log_likelihoods(&x, label, &mut map).unwrap();
            let error = relative_error(&map, &item.log_p);
            assert!(error < TOLERANCE, "{}, log p: {error:e}", golden.name);
            let whole = session.log_likelihood(&x, label, None, 1, 0, 0).unwrap();
            let expected: f64 = item.log_p.iter().sum();
            assert!(
                (whole - expected).abs() < TOLERANCE * expected.abs(),
                "{}",
                golden.name
            );
        }
    }
}
