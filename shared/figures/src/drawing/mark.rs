//! Marks: the content of a panel.

use ndarray::Array2;

use super::canvas::{Anchor, Canvas, Paint, Rect, Stroke, TextStyle};
use super::color::{Color, Ramp};
use super::scale::Scale;

/// A mark in a panel, in the numbers of the panel's axes.
#[derive(Clone, Debug)]
pub enum Mark {
    /// A line through points. Points that are not finite interrupt it.
    Line {
        /// Points (x, y).
        points: Vec<(f64, f64)>,
        /// Style of the line.
        stroke: Stroke,
    },
    /// The area between two lines that share their x.
    Band {
        /// Points (x, lower y, upper y).
        points: Vec<(f64, f64, f64)>,
        /// Colour of the area.
        color: Color,
        /// Opacity of the area, 0 to 1.
        opacity: f64,
    },
    /// Single points; later ones cover earlier ones.
    Points {
        /// Place, size and colour of each point.
        points: Vec<Point>,
        /// Shape of all points.
        shape: Shape,
    },
    /// Bars from y = 0.
    Bars {
        /// Bars (left x, right x, y).
        bars: Vec<(f64, f64, f64)>,
        /// Colour of the bars.
        color: Color,
    },
    /// Error bars, from y − error to y + error.
    ErrorBars {
        /// Points (x, y, error).
        points: Vec<(f64, f64, f64)>,
        /// Style of the lines.
        stroke: Stroke,
    },
    /// A heat map.
    Cells {
        /// Left edge of the first column, and width of each column, in x.
        x: (f64, f64),
        /// Lower edge of the first row, and height of each row, in y.
        y: (f64, f64),
        /// Values from 0 to 1: (rows from below, columns). Cells with NaN stay empty.
        values: Array2<f64>,
        /// Colours of the values.
        ramp: Ramp,
    },
    /// A raster: in each row a short vertical line at every x.
    Raster {
        /// Rows (y of the middle, x of each line).
        rows: Vec<(f64, Vec<f64>)>,
        /// Height of the lines, in numbers of the y axis.
        height: f64,
        /// Style of the lines.
        stroke: Stroke,
    },
    /// A horizontal line across the panel.
    Across {
        /// y of the line.
        at: f64,
        /// Style of the line.
        stroke: Stroke,
    },
    /// A vertical line across the panel.
    Down {
        /// x of the line.
        at: f64,
        /// Style of the line.
        stroke: Stroke,
    },
    /// A line of text in the middle of a point's height.
    Label {
        /// The point.
        at: (f64, f64),
        /// The text, with the markup of [`Canvas::text`].
        text: String,
        /// The part of the text that lies at `at`.
        anchor: Anchor,
        /// Colour of the text.
        color: Color,
    },
    /// A line of text.
    Text {
        /// Position of the baseline.
        at: (f64, f64),
        /// The text, with the markup of [`Canvas::text`].
        text: String,
        /// The part of the text that lies at `at`.
        anchor: Anchor,
    },
}

/// A point of a scatter plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Number on the x axis.
    pub x: f64,
    /// Number on the y axis.
    pub y: f64,
    /// Diameter in points of print.
    pub diameter: f64,
    /// Colour of the point.
    pub color: Color,
}

/// Shape of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Disc with a thin white edge, so that neighbours can be distinguished.
    Disc,
    /// Half-transparent disc without an edge, so that many show their density.
    Dot,
    /// Disc with a thin black edge, so that pale ones are visible.
    Edged,
    /// Square with a thin black edge.
    EdgedSquare,
    /// Circle without a fill.
    Ring,
    /// Two crossed lines.
    Cross,
}

impl Shape {
    /// Draws a point of this shape.
    pub(super) fn draw(self, canvas: &mut Canvas, (x, y): (f64, f64), diameter: f64, color: Color) {
        let radius = diameter / 2.0;
        let edge = |color, width| Some(Stroke::solid(color, width));
        let paint = match self {
            Shape::Disc => Paint { fill: Some((color, 1.0)), stroke: edge(Color::WHITE, 0.3) },
            Shape::Dot => Paint { fill: Some((color, 0.5)), stroke: None },
            Shape::Edged => Paint { fill: Some((color, 1.0)), stroke: edge(Color::BLACK, 0.35) },
            Shape::EdgedSquare => {
                // The square has the area of the disc.
                let side = diameter * 0.886;
                let rect = Rect { x: x - side / 2.0, y: y - side / 2.0, width: side, height: side };
                let paint = Paint { fill: Some((color, 1.0)), stroke: edge(Color::BLACK, 0.35) };
                return canvas.rect(rect, &paint);
            }
            Shape::Ring => Paint { fill: None, stroke: edge(color, 0.7) },
            Shape::Cross => {
                let r = radius * 0.9;
                let lines = [[(x - r, y - r), (x + r, y + r)], [(x - r, y + r), (x + r, y - r)]];
                return canvas.lines(lines.iter().map(|line| &line[..]), Stroke::solid(color, 0.7));
            }
        };
        canvas.circle((x, y), radius, &paint);
    }
}

/// Returns the outline of bins of one width, as a line that rises at the left edge and falls at the right.
pub fn steps(first_edge: f64, width: f64, heights: &[f64]) -> Vec<(f64, f64)> {
    let edge = |i: usize| first_edge + i as f64 * width;
    let mut points = vec![(edge(0), 0.0)];
    for (i, &height) in heights.iter().enumerate() {
        points.extend([(edge(i), height), (edge(i + 1), height)]);
    }
    points.push((edge(heights.len()), 0.0));
    points
}

/// Converts numbers of two axes to points relative to a frame's upper left corner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane {
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Plane {
    pub(super) fn x(&self, x: f64) -> f64 {
        self.x.fraction(x) * self.width
    }

    pub(super) fn y(&self, y: f64) -> f64 {
        (1.0 - self.y.fraction(y)) * self.height
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x(x), self.y(y))
    }

    /// Whether a place is inside the frame or on its edge.
    fn has(&self, (x, y): (f64, f64)) -> bool {
        // Less than the precision of coordinates in pictures.
        const EDGE: f64 = 1e-3;
        let is_in = |at: f64, length: f64| (-EDGE..=length + EDGE).contains(&at);
        is_in(x, self.width) && is_in(y, self.height)
    }
}

fn is_finite(&(x, y): &(f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}

impl Mark {
    /// Whether the frame clips the mark. Points at the edge are drawn whole.
    pub(super) fn is_cut(&self) -> bool {
        !matches!(self, Mark::Points { .. } | Mark::ErrorBars { .. })
    }

    pub(super) fn draw(&self, canvas: &mut Canvas, plane: &Plane) {
        match self {
            Mark::Line { points, stroke } => {
                let points: Vec<_> = points.iter().map(|&point| plane.at(point)).collect();
                canvas.lines(points.split(|point| !is_finite(point)).filter(|line| line.len() > 1), *stroke);
            }
            Mark::Band { points, color, opacity } => {
                let there = points.iter().filter(|(x, low, high)| is_finite(&(*x, low + high)));
                let (lower, upper): (Vec<_>, Vec<_>) =
                    there.map(|&(x, low, high)| (plane.at((x, low)), plane.at((x, high)))).unzip();
                let around: Vec<_> = lower.into_iter().chain(upper.into_iter().rev()).collect();
                canvas.polygons([&around[..]], &Paint { fill: Some((*color, *opacity)), stroke: None });
            }
            Mark::Points { points, shape } => {
                for point in points {
                    let at = plane.at((point.x, point.y));
                    if plane.has(at) {
                        shape.draw(canvas, at, point.diameter, point.color);
                    }
                }
            }
            Mark::Bars { bars, color } => {
                let around = |&(left, right, y): &(f64, f64, f64)| {
                    [(left, 0.0), (left, y), (right, y), (right, 0.0)].map(|corner| plane.at(corner))
                };
                let bars: Vec<_> = bars.iter().map(around).filter(|bar| bar.iter().all(is_finite)).collect();
                canvas.polygons(bars.iter().map(|bar| &bar[..]), &Paint::fill(*color));
            }
            Mark::ErrorBars { points, stroke } => {
                const CAP: f64 = 2.0;
                for &(x, y, error) in points {
                    let ((x, upper), lower) = (plane.at((x, y + error)), plane.y(y - error));
                    // Parts beyond the frame are left out.
                    let [inner_upper, inner_lower] = [upper, lower].map(|y| y.clamp(0.0, plane.height));
                    if inner_upper < inner_lower && plane.has((x, inner_upper)) {
                        let ends = [upper, lower].into_iter().filter(|&y| plane.has((x, y)));
                        let caps = ends.map(|y| [(x - CAP, y), (x + CAP, y)]);
                        let bar = [(x, inner_upper), (x, inner_lower)];
                        let lines: Vec<_> = std::iter::once(bar).chain(caps).collect();
                        canvas.lines(lines.iter().map(|line| &line[..]), *stroke);
                    }
                }
            }
            Mark::Cells { x, y, values, ramp } => {
                for ((row, column), value) in values.indexed_iter().filter(|(_, value)| !value.is_nan()) {
                    let left = x.0 + column as f64 * x.1;
                    let lower = y.0 + row as f64 * y.1;
                    let ((left, top), (right, bottom)) =
                        (plane.at((left, lower + y.1)), plane.at((left + x.1, lower)));
                    // Cells overlap slightly, so that no gap is visible.
                    let rect =
                        Rect { x: left, y: top, width: right - left + 0.1, height: bottom - top + 0.1 };
                    canvas.rect(rect, &Paint::fill(ramp.at(*value)));
                }
            }
            Mark::Raster { rows, height, stroke } => {
                let line =
                    |y: f64, x: f64| [plane.at((x, y + height / 2.0)), plane.at((x, y - height / 2.0))];
                let all: Vec<_> = rows.iter().flat_map(|(y, xs)| xs.iter().map(|&x| line(*y, x))).collect();
                canvas.lines(
                    all.iter().filter(|line| line.iter().all(is_finite)).map(|line| &line[..]),
                    *stroke,
                );
            }
            Mark::Across { at, stroke } => {
                let y = plane.y(*at);
                canvas.lines([&[(0.0, y), (plane.width, y)][..]], *stroke);
            }
            Mark::Down { at, stroke } => {
                let x = plane.x(*at);
                canvas.lines([&[(x, 0.0), (x, plane.height)][..]], *stroke);
            }
            Mark::Label { at, text, anchor, color } => {
                let (x, y) = plane.at(*at);
                let style = TextStyle { color: *color, ..TextStyle::new(super::size::SMALL, *anchor) };
                canvas.text((x, y + 0.36 * super::size::SMALL), text, style);
            }
            Mark::Text { at, text, anchor } => {
                canvas.text(plane.at(*at), text, TextStyle::new(super::size::SMALL, *anchor));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(mark: &Mark) -> String {
        let mut canvas = Canvas::new(50.0, 50.0);
        let plane =
            Plane { x: Scale::linear(0.0, 10.0), y: Scale::linear(0.0, 10.0), width: 100.0, height: 100.0 };
        let empty = canvas.svg("", "").lines().count();
        mark.draw(&mut canvas, &plane);
        let svg = canvas.svg("", "");
        roxmltree::Document::parse(&svg).expect("XML");
        svg.lines().skip(empty - 1).filter(|line| *line != "</svg>").collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn marks_are_where_their_numbers_say() {
        let stroke = Stroke::solid(Color::BLACK, 1.0);
        let line = draw(&Mark::Line { points: vec![(0.0, 0.0), (10.0, 5.0)], stroke });
        assert!(line.contains("d=\"M0 100L100 50\""), "{line}");
        let broken = vec![
            (0.0, 0.0),
            (1.0, 1.0),
            (2.0, f64::NAN),
            (3.0, 3.0),
            (4.0, 4.0),
            (5.0, f64::NAN),
            (6.0, 6.0),
        ];
        let line = draw(&Mark::Line { points: broken, stroke });
        assert!(line.contains("d=\"M0 100L10 90M30 70L40 60\""), "{line}");
        let bars = draw(&Mark::Bars { bars: vec![(1.0, 2.0, 3.0)], color: Color::GREY });
        assert!(bars.contains("d=\"M10 100L10 70L20 70L20 100Z\" fill=\"#808080\""), "{bars}");
        let error = draw(&Mark::ErrorBars { points: vec![(5.0, 5.0, 1.0)], stroke });
        assert!(error.contains("d=\"M50 40L50 60M48 40L52 40M48 60L52 60\""), "{error}");
        let cells = draw(&Mark::Cells {
            x: (0.0, 5.0),
            y: (0.0, 10.0),
            values: ndarray::array![[0.0, f64::NAN]],
            ramp: Ramp::SEQUENTIAL,
        });
        assert_eq!(cells.matches("<rect").count(), 1);
        let raster = draw(&Mark::Raster { rows: vec![(1.0, vec![2.0, 4.0])], height: 1.0, stroke });
        assert!(raster.contains("d=\"M20 85L20 95M40 85L40 95\""), "{raster}");
        let band = draw(&Mark::Band {
            points: vec![(0.0, 0.0, 1.0), (10.0, 0.0, 2.0)],
            color: Color::BLACK,
            opacity: 0.2,
        });
        assert!(
            band.contains("d=\"M0 100L100 100L100 80L0 90Z\" fill=\"#000000\" fill-opacity=\"0.2\""),
            "{band}"
        );
        let across = draw(&Mark::Across { at: 10.0, stroke }) + &draw(&Mark::Down { at: 10.0, stroke });
        assert!(across.contains("M0 0L100 0") && across.contains("M100 0L100 100"), "{across}");
    }

    #[test]
    fn what_is_not_finite_is_not_drawn() {
        let point = Point { x: f64::NAN, y: 1.0, diameter: 3.0, color: Color::BLACK };
        for shape in [Shape::Disc, Shape::Dot, Shape::Edged, Shape::EdgedSquare, Shape::Ring, Shape::Cross] {
            assert_eq!(draw(&Mark::Points { points: vec![point], shape }), "");
            assert_ne!(draw(&Mark::Points { points: vec![Point { x: 1.0, ..point }], shape }), "");
        }
        assert_eq!(draw(&Mark::Bars { bars: vec![(1.0, 2.0, f64::INFINITY)], color: Color::BLACK }), "");
        assert_eq!(draw(&Mark::Line { points: vec![], stroke: Stroke::solid(Color::BLACK, 1.0) }), "");
        assert_eq!(draw(&Mark::Band { points: vec![], color: Color::BLACK, opacity: 1.0 }), "");
    }

    #[test]
    fn points_at_the_edge_are_whole_and_those_beyond_are_not_drawn() {
        let stroke = Stroke::solid(Color::BLACK, 1.0);
        let point = |x: f64, y: f64| Point { x, y, diameter: 3.0, color: Color::BLACK };
        let points = |points| draw(&Mark::Points { points, shape: Shape::Disc });
        let edge = points(vec![point(0.0, 0.0), point(10.0, 10.0)]);
        assert!(edge.contains("cx=\"0\" cy=\"100\"") && edge.contains("cx=\"100\" cy=\"0\""), "{edge}");
        assert_eq!(points(vec![point(-0.1, 5.0), point(5.0, 10.1)]), "");
        // An error bar ends at the frame, without a cap there.
        let bar = draw(&Mark::ErrorBars { points: vec![(0.0, 1.0, 2.0)], stroke });
        assert!(bar.contains("d=\"M0 70L0 100M-2 70L2 70\""), "{bar}");
        assert_eq!(draw(&Mark::ErrorBars { points: vec![(5.0, 15.0, 2.0), (11.0, 5.0, 1.0)], stroke }), "");

        let axis = || crate::drawing::Axis::new(Scale::linear(0.0, 10.0), "");
        let mut panel = crate::drawing::Panel::new(axis(), axis());
        panel.add(Mark::Down { at: 5.0, stroke });
        panel.add(Mark::Points { points: vec![point(0.0, 0.0)], shape: Shape::Disc });
        let mut canvas = Canvas::new(50.0, 50.0);
        let area = canvas.area();
        crate::drawing::grid(&mut canvas, area, 1, &[panel]);
        let svg = canvas.svg("", "");
        let document = roxmltree::Document::parse(&svg).expect("XML");
        let disc = document.descendants().find(|node| node.has_tag_name("circle")).expect("a disc");
        assert_eq!(disc.parent().and_then(|frame| frame.attribute("overflow")), Some("visible"));
    }

    #[test]
    fn bins_have_an_outline() {
        let expected = [(1.0, 0.0), (1.0, 2.0), (1.5, 2.0), (1.5, 3.0), (2.0, 3.0), (2.0, 0.0)];
        assert_eq!(steps(1.0, 0.5, &[2.0, 3.0]), expected);
    }
}
