//! A small layer for figures: panels with axes, marks and legends, rendered as SVG, PDF and PNG.
//!
//! ```text
//! Panel (x and y Axis, Marks) ┐
//! Legend, ColorBar            ├→ Canvas → SVG, PDF, PNG
//! ```
//!
//! Coordinates are in points of print (1/72 inch), so font sizes are those on paper. Text is set in Noto
//! Sans, which is part of the program. So PDF and PNG look the same on every machine.
//!
//! ```
//! use granule_figures::drawing::{Axis, Canvas, Color, Mark, Panel, Scale, Stroke, grid};
//!
//! let mut panel = Panel::new(
//!     Axis::new(Scale::linear(0.0, 50.0), "Time (ms)"),
//!     Axis::new(Scale::linear(0.0, 1.0), "Spike probability"),
//! );
//! panel.add(Mark::Line { points: vec![(0.0, 0.1), (50.0, 0.9)], stroke: Stroke::solid(Color::BLACK, 1.0) });
//! let mut canvas = Canvas::new(85.0, 60.0);
//! let area = canvas.area();
//! grid(&mut canvas, area, 1, &[panel]);
//! assert!(canvas.svg("A rise", "A line that rises").contains("Spike probability"));
//! ```

mod axis;
mod canvas;
mod color;
mod font;
mod key;
mod mark;
mod panel;
mod render;
mod scale;
mod text;
mod web_font;

pub use axis::Axis;
pub use canvas::{Anchor, Canvas, Dash, Paint, Rect, Stroke, TextStyle};
pub use color::{Color, Ramp};
pub use key::{ColorBar, Legend, Swatch};
pub use mark::{Mark, Point, Shape, steps};
pub use panel::{Along, Panel, grid};
pub use render::{RenderError, pdf, png};
#[cfg(test)]
pub(crate) use render::{check_layout, text_boxes};
pub use scale::{Scale, Tick, fixed};
pub use text::text_width;
pub use web_font::web_font;

/// Sizes of text, in points.
pub mod size {
    /// Numbers at ticks, legends and notes.
    pub const SMALL: f64 = 7.0;
    /// Labels of axes, and titles.
    pub const LABEL: f64 = 7.5;
    /// Letters of panels.
    pub const LETTER: f64 = 9.0;
}
