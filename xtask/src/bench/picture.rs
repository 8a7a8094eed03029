//! A curve as a picture: SVG, because a page can show it and a difference can be read.

use std::fmt::Write as _;

use super::figure::{Curve, number};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const MARGIN: f64 = 48.0;

/// The curve with its first and last point named; `unit` is that of its values.
pub(super) fn draw(curve: &Curve, title: &str, unit: &str) -> String {
    let largest = |of: fn(&(f64, f64)) -> f64| curve.points.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
    let (right, top) = (largest(|point| point.0), largest(|point| point.1));
    let place = |(x, y): (f64, f64)| {
        let across = MARGIN + x / right * (WIDTH - 2.0 * MARGIN);
        (across, HEIGHT - MARGIN - y / top * (HEIGHT - 2.0 * MARGIN))
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"20\" font-size=\"14\">{title}</text>\n\
         <path d=\"M{MARGIN} {MARGIN}V{bottom}H{end}\" fill=\"none\" stroke=\"#999\"/>\n",
        bottom = HEIGHT - MARGIN,
        end = WIDTH - MARGIN,
    );
    let mut line = String::new();
    for point in &curve.points {
        let (x, y) = place(*point);
        let _ = write!(line, "{}{x:.1} {y:.1}", if line.is_empty() { "M" } else { "L" });
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#06c\"/>");
    }
    let _ = writeln!(svg, "<path d=\"{line}\" fill=\"none\" stroke=\"#06c\"/>");
    for point in curve.points.first().into_iter().chain(curve.points.last()) {
        let (x, y) = place(*point);
        let (value, below) = (number(point.1), HEIGHT - MARGIN + 18.0);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value} {unit}</text>", y - 8.0);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", number(point.0));
    }
    let (middle, low) = (WIDTH / 2.0, HEIGHT - 8.0);
    let _ = writeln!(svg, "<text x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\">{}</text>\n</svg>", curve.by);
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_point_is_in_the_corner_and_both_ends_are_named() {
        let curve = Curve { by: "hours".to_owned(), points: vec![(0.0, 0.0), (24.0, 8.0)] };
        let svg = draw(&curve, "memory", "MiB");
        assert!(svg.contains("<path d=\"M48.0 192.0L592.0 48.0\""), "{svg}");
        assert!(svg.contains(">8 MiB</text>") && svg.contains(">24</text>") && svg.ends_with("</svg>\n"), "{svg}");
    }
}
