//! An axis: a scale, a label and ticks.

use super::scale::{Scale, Tick};
use super::size;
use super::text::text_width;

/// Height of a tick in a column of numbers, in points.
const ROOM_DOWN: f64 = 18.0;
/// Smallest gap between two numbers in a row, in points.
const GAP_ACROSS: f64 = 7.0;
/// Smallest gap between two names in a row, in points.
const GAP_NAMES: f64 = 2.0;
/// Most ticks of an axis; more are never useful.
const MOST_TICKS: usize = 9;

/// An axis along one side of a panel.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Maps numbers to places on the axis.
    pub scale: Scale,
    /// The quantity with its unit; empty for no label.
    pub label: String,
    ticks: Option<Vec<Tick>>,
}

impl Axis {
    /// Creates an axis with ticks at round numbers.
    pub fn new(scale: Scale, label: &str) -> Axis {
        Axis { scale, label: label.to_owned(), ticks: None }
    }

    /// Creates an axis of names, at 0, 1, 2 and so on.
    pub fn names(names: &[&str], label: &str) -> Axis {
        let ticks = (0..).zip(names).map(|(i, name)| Tick { value: f64::from(i), label: (*name).to_owned() });
        let scale = Scale::linear(-0.5, names.len().max(1) as f64 - 0.5);
        Axis { scale, label: label.to_owned(), ticks: Some(ticks.collect()) }
    }

    /// Replaces the ticks.
    pub fn with_ticks(mut self, ticks: Vec<Tick>) -> Axis {
        self.ticks = Some(ticks);
        self
    }

    /// Returns ticks that fit below each other on this height in points.
    pub(super) fn ticks_down(&self, height: f64) -> Vec<Tick> {
        let most = ((height / ROOM_DOWN) as usize).clamp(2, MOST_TICKS);
        self.ticks.clone().unwrap_or_else(|| self.scale.ticks(most))
    }

    /// Returns ticks that fit in a row on this width in points.
    pub(super) fn ticks_across(&self, width: f64) -> Vec<Tick> {
        if let Some(ticks) = &self.ticks {
            return self.spaced(ticks, width);
        }
        let fits = |ticks: &[Tick]| {
            ticks.windows(2).all(|pair| {
                let apart = (self.scale.fraction(pair[1].value) - self.scale.fraction(pair[0].value)) * width;
                let half = |tick: &Tick| text_width(&tick.label, size::SMALL, false) / 2.0;
                half(&pair[0]) + half(&pair[1]) + GAP_ACROSS <= apart
            })
        };
        let all = (2..=MOST_TICKS).rev().map(|most| self.scale.ticks(most));
        all.into_iter().find(|ticks| fits(ticks)).unwrap_or_default()
    }

    /// Returns ascending ticks without the names that would touch the name before.
    fn spaced(&self, ticks: &[Tick], width: f64) -> Vec<Tick> {
        let mut free_from = f64::NEG_INFINITY;
        let mut spaced = ticks.to_vec();
        for tick in spaced.iter_mut().filter(|tick| !tick.label.is_empty()) {
            let (at, half) =
                (self.scale.fraction(tick.value) * width, text_width(&tick.label, size::SMALL, false) / 2.0);
            if at - half < free_from {
                tick.label.clear();
            } else {
                free_from = at + half + GAP_NAMES;
            }
        }
        spaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_across_do_not_touch() {
        for width in [10.0, 40.0, 80.0, 160.0] {
            for scale in [Scale::linear(-0.0013, 0.0021), Scale::linear(0.0, 90_000.0), Scale::log(1e-9, 1e9)]
            {
                let axis = Axis::new(scale, "");
                let mut free_from = f64::NEG_INFINITY;
                for tick in axis.ticks_across(width) {
                    let half = text_width(&tick.label, size::SMALL, false) / 2.0;
                    let at = scale.fraction(tick.value) * width;
                    assert!(at - half > free_from, "{scale:?} on {width}");
                    free_from = at + half;
                }
            }
        }
        assert_eq!(Axis::new(Scale::linear(0.0, 1.0), "").ticks_across(200.0).len(), 6);
    }

    #[test]
    fn names_are_ticks() {
        let axis = Axis::names(&["a", "b"], "");
        let found: Vec<(f64, String)> =
            axis.ticks_across(50.0).into_iter().map(|tick| (tick.value, tick.label)).collect();
        assert_eq!(found, [(0.0, "a".to_owned()), (1.0, "b".to_owned())]);
        assert_eq!(axis.scale.fraction(0.0), 0.25);
    }
}
