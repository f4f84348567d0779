use ndarray::{Array2, array};

use super::*;

/// All points of a grid with `levels` levels from −1 to 1 in each of `k` inputs.
fn grid(levels: usize, k: usize) -> Array2<f64> {
    let level = |row: usize, input: usize| row / levels.pow(input as u32) % levels;
    Array2::from_shape_fn((levels.pow(k as u32), k), |(row, input)| {
        2.0 * level(row, input) as f64 / (levels - 1) as f64 - 1.0
    })
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} != {expected}");
}

#[test]
fn coefficients_of_independent_inputs_are_their_shares() {
    // The third input has no effect, and the product of the first two is orthogonal to all inputs.
    let inputs = grid(5, 3);
    let output: Vec<f64> = inputs.rows().into_iter().map(|x| 3.0 * x[0] - 4.0 * x[1] + 7.0).collect();
    let exact = linear_model(inputs.view(), &output).expect("a linear model");
    close(exact.r_squared, 1.0);
    for (effect, expected) in exact.coefficients.iter().zip([0.6, -0.8, 0.0]) {
        [effect.value, effect.low, effect.high].into_iter().for_each(|found| close(found, expected));
    }

    let product: Vec<f64> = inputs.rows().into_iter().map(|x| x[0] * x[1]).collect();
    let nothing = linear_model(inputs.view(), &product).expect("a linear model");
    close(nothing.r_squared, 0.0);
    // The standard error is 1 / √121, with 121 degrees of freedom.
    close(nothing.coefficients[0].high, StudentT::new(121).expect("degrees").quantile(0.975) / 11.0);
    close(nothing.coefficients[0].low, -nothing.coefficients[0].high);
}

#[test]
fn one_input_has_the_correlation_of_its_ranks() {
    // Ranks 1 to 5 and 1, 2, 3, 5, 4: the correlation is 1 − 6 · 2 / (5 · 24).
    let inputs = array![[1.0], [10.0], [100.0], [1000.0], [1e4]];
    let effects = partial_ranks(inputs.view(), &[-5.0, 0.0, 0.5, 9.0, 8.0]).expect("a correlation");
    let [Some(effect)] = effects[..] else { panic!("{effects:?}") };
    close(effect.value, 0.9);
    close(effect.low, (0.9_f64.atanh() - NORMAL_975 / 2.0_f64.sqrt()).tanh());
    close(effect.high, (0.9_f64.atanh() + NORMAL_975 / 2.0_f64.sqrt()).tanh());
}

#[test]
fn an_input_is_compared_after_the_effects_of_others() {
    // Without the first input, the second would seem to have no effect.
    let inputs = grid(5, 2);
    let output: Vec<f64> = inputs.rows().into_iter().map(|x| 100.0 * x[0] + x[1]).collect();
    let effects = partial_ranks(inputs.view(), &output).expect("correlations");
    assert!(effects.iter().all(|effect| effect.is_some_and(|effect| effect.value > 0.999)), "{effects:?}");
    // If the first input alone determines the output, the second has no correlation, not a random one.
    let first: Vec<f64> = inputs.column(0).mapv(f64::exp).to_vec();
    let effects = partial_ranks(inputs.view(), &first).expect("correlations");
    assert_eq!(effects[0].map(|effect| (effect.value, effect.low)), Some((1.0, 1.0)));
    assert_eq!(effects[1], None);
}

#[test]
fn samples_that_do_not_fit_are_refused() {
    let refused = |inputs: &Array2<f64>, output: &[f64]| {
        let errors = [
            linear_model(inputs.view(), output).map(|_| ()).expect_err("no model"),
            partial_ranks(inputs.view(), output).map(|_| ()).expect_err("no correlations"),
        ];
        assert_eq!(errors[0], errors[1]);
        errors[0]
    };
    let inputs = array![[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [4.0, 5.0], [5.0, 1.0]];
    let output = [1.0, 2.0, 1.5, 0.0, 2.5];
    let changed = |row: usize, value: f64| {
        let (mut inputs, mut output) = (inputs.clone(), output);
        (inputs[[row, 1]], output[row]) = (value, value);
        (inputs, output)
    };
    let (infinite, nan) = changed(3, f64::NAN);
    assert_eq!(refused(&inputs, &output[1..]), SensitivityError::Shape { outputs: 4, rows: 5 });
    assert_eq!(refused(&infinite, &output), SensitivityError::InputNotFinite { row: 3, input: 1 });
    assert_eq!(refused(&inputs, &nan), SensitivityError::OutputNotFinite(3));
    assert_eq!(refused(&inputs, &[0.1; 5]), SensitivityError::ConstantOutput);
    let mut dependent = inputs.clone();
    dependent.column_mut(1).assign(&inputs.column(0).mapv(|value| 0.1 - 3.0 * value));
    assert_eq!(refused(&dependent, &output), SensitivityError::Dependent(1));
    dependent.column_mut(1).fill(0.1);
    assert_eq!(refused(&dependent, &output), SensitivityError::ConstantInput(1));

    let few = inputs.slice(ndarray::s![..4, ..]);
    assert!(linear_model(few, &output[..4]).is_ok());
    let error = partial_ranks(few, &output[..4]);
    assert_eq!(error, Err(SensitivityError::TooFewRows { rows: 4, needed: 5 }));
}

const RESAMPLING: Resampling = Resampling { resamples: 500, seed: 451 };

#[test]
fn sobol_indices_approach_those_of_the_function() {
    // The function is x₀ + 2 x₁ + 3 x₀ x₁, with inputs from −1 to 1. Its variances are 1/3, 4/3, and 9/9 for the
    // interaction.
    let design = Saltelli { base_points: 4096, inputs: 3 };
    let points = design.points().expect("a design").mapv(|x| 2.0 * x - 1.0);
    let output: Vec<f64> = points.rows().into_iter().map(|x| x[0] + 2.0 * x[1] + 3.0 * x[0] * x[1]).collect();
    let indices = sobol(&output, design, RESAMPLING).expect("indices");
    let variance = 1.0 / 3.0 + 4.0 / 3.0 + 1.0;
    for (effects, expected) in
        [(&indices.first, [1.0 / 3.0, 4.0 / 3.0, 0.0]), (&indices.total, [4.0 / 3.0, 7.0 / 3.0, 0.0])]
    {
        for (effect, expected) in effects.iter().zip(expected.map(|part| part / variance)) {
            assert!((effect.value - expected).abs() < 0.01, "{effect:?}: {expected}");
            assert!(effect.low <= expected && expected <= effect.high, "{effect:?}: {expected}");
            assert!(effect.high - effect.low < 0.2, "{effect:?}");
        }
    }
    assert_eq!(sobol(&output, design, RESAMPLING), Ok(indices));
}

#[test]
fn outputs_that_do_not_fit_a_design_are_refused() {
    let design = Saltelli { base_points: 2, inputs: 1 };
    let refused = |output: &[f64], resamples| {
        sobol(output, design, Resampling { resamples, seed: 1 }).expect_err("no indices")
    };
    assert_eq!(refused(&[0.0; 5], 9), SensitivityError::Shape { outputs: 5, rows: 6 });
    assert_eq!(refused(&[0.0; 6], 9), SensitivityError::ConstantOutput);
    assert_eq!(refused(&[0.0, 1.0, 0.0, 0.0, 2.0, 0.0], 9), SensitivityError::ConstantOutput);
    assert_eq!(refused(&[0.0, 1.0, 2.0, 3.0, 4.0, f64::INFINITY], 9), SensitivityError::OutputNotFinite(5));
    assert_eq!(refused(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 1), SensitivityError::TooFewResamples(1));
    let nothing = Saltelli { base_points: 0, inputs: 1 };
    assert_eq!(sobol(&[], nothing, RESAMPLING), Err(SensitivityError::ConstantOutput));
}
