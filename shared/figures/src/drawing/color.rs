//! Colours and colour ramps.

use std::fmt;

/// An sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    /// Red.
    pub red: u8,
    /// Green.
    pub green: u8,
    /// Blue.
    pub blue: u8,
}

impl Color {
    /// Black.
    pub const BLACK: Color = Color::rgb(0, 0, 0);
    /// White.
    pub const WHITE: Color = Color::rgb(255, 255, 255);
    /// Grey, for elements that should not stand out.
    pub const GREY: Color = Color::rgb(128, 128, 128);

    /// Creates a colour from its components.
    pub const fn rgb(red: u8, green: u8, blue: u8) -> Color {
        Color { red, green, blue }
    }

    /// Mixes this colour with another: 0 is this colour, 1 is the other.
    fn towards(self, other: Color, part: f64) -> Color {
        let mix =
            |from: u8, to: u8| (f64::from(from) + part * (f64::from(to) - f64::from(from))).round() as u8;
        Color::rgb(mix(self.red, other.red), mix(self.green, other.green), mix(self.blue, other.blue))
    }

    /// Returns the brightness in greyscale, 0 to 255 (the weights of Rec. 601).
    pub fn brightness(self) -> f64 {
        0.299 * f64::from(self.red) + 0.587 * f64::from(self.green) + 0.114 * f64::from(self.blue)
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

/// A colour ramp from 0 to 1: evenly spaced colours, and mixtures between neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Ramp(&'static [Color]);

impl Ramp {
    /// From green over light grey to purple, for numbers with a centre. Colour-blind readers can distinguish
    /// the sides. Both sides become darker outwards.
    pub const DIVERGING: Ramp = Ramp(&[
        Color::rgb(0, 78, 56),
        Color::rgb(0, 158, 115),
        Color::rgb(232, 232, 232),
        Color::rgb(190, 92, 178),
        Color::rgb(104, 18, 94),
    ]);

    /// From white over blue to nearly black, for numbers from 0 upwards.
    pub const SEQUENTIAL: Ramp = Ramp(&[
        Color::rgb(255, 255, 255),
        Color::rgb(158, 202, 225),
        Color::rgb(0, 114, 178),
        Color::rgb(0, 40, 84),
    ]);

    /// Light grey, for fields without a number.
    pub const MISSING: Ramp = Ramp(&[Color::rgb(222, 222, 222), Color::rgb(222, 222, 222)]);

    /// From pale to dark red, for lines in the order of a number. The palest is visible on white. No condition of the paper and
    /// no population has one of these colours.
    pub const LINES: Ramp =
        Ramp(&[Color::rgb(240, 165, 165), Color::rgb(196, 60, 70), Color::rgb(80, 0, 20)]);

    /// Returns the colour of a number. A number outside 0 to 1 has the colour of the nearest end.
    pub fn at(self, fraction: f64) -> Color {
        let gaps = self.0.len() - 1;
        let place = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) * gaps as f64 };
        let before = (place as usize).min(gaps - 1);
        self.0[before].towards(self.0[before + 1], place - before as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_go_through_their_colors() {
        assert_eq!(Ramp::DIVERGING.at(0.5).to_string(), "#e8e8e8");
        assert_eq!(Ramp::DIVERGING.at(0.0), Color::rgb(0, 78, 56));
        assert_eq!(Ramp::DIVERGING.at(7.0), Color::rgb(104, 18, 94));
        assert_eq!(Ramp::SEQUENTIAL.at(f64::NAN), Color::WHITE);
        assert_eq!(Ramp::SEQUENTIAL.at(1.0 / 6.0), Color::rgb(207, 229, 240));
    }

    #[test]
    fn ramps_are_readable_in_greyscale() {
        let brightness = |ramp: Ramp, i: i32| ramp.at(f64::from(i) / 100.0).brightness();
        for i in 0..100 {
            for ramp in [Ramp::SEQUENTIAL, Ramp::LINES] {
                assert!(brightness(ramp, i + 1) < brightness(ramp, i), "{i}");
            }
            let rises = brightness(Ramp::DIVERGING, i + 1) > brightness(Ramp::DIVERGING, i);
            assert_eq!(rises, i < 50, "{i}");
        }
    }
}
