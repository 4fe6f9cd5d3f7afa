//! Throughput over batch and over depth, as a picture: one SVG file with two panels.

use std::fmt::Write;

use super::report::Figure;
use super::workload::Kind;

/// Of one panel, in SVG units.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const MARGIN: f64 = 50.0;

/// A measured point: where, how fast, and how fast it could have been.
struct Point {
    at: f64,
    speed: f64,
    limit: f64,
}

/// Both panels; one without points says so.
pub(super) fn svg(model: &str, figures: &[Figure]) -> String {
    let points = |kind: Kind, at: fn(&Figure) -> usize| -> Vec<Point> {
        let wanted = figures
            .iter()
            .filter(|figure| figure.workload.kind == kind && figure.workload.together == 1);
        wanted
            .map(|figure| Point {
                at: at(figure) as f64,
                speed: figure.tokens_per_second.median,
                limit: figure.limit_tokens_per_second.median,
            })
            .collect()
    };
    let batch = points(Kind::Batch, |figure| figure.workload.sequences);
    let depth = points(Kind::Depth, |figure| figure.workload.depth);
    let width = 2.0 * (WIDTH + MARGIN);
    let height = HEIGHT + 2.0 * MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"18\" font-size=\"13\">{}: tokens per second; grey: what the machine could give</text>\n",
        escaped(model)
    );
    panel(&mut text, 0.0, "sequences at once", &batch);
    panel(&mut text, WIDTH + MARGIN, "positions before", &depth);
    text + "</svg>\n"
}

fn panel(text: &mut String, left: f64, label: &str, points: &[Point]) {
    let (x0, y0) = (left + MARGIN, MARGIN + HEIGHT);
    let (right, top) = (x0 + WIDTH - MARGIN, MARGIN);
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "<path d=\"M{x0} {top}V{y0}H{right}\" fill=\"none\" stroke=\"black\"/>\n<text x=\"{x0}\" y=\"{}\">{label}</text>",
        y0 + 34.0
    );
    let most_at = points.iter().map(|point| point.at).fold(1.0, f64::max);
    let most = points
        .iter()
        .map(|point| point.speed.max(point.limit))
        .fold(1.0, f64::max);
    let x = |at: f64| x0 + at / most_at * (right - x0);
    let y = |speed: f64| y0 - speed / most * (y0 - top);
    let line = |of: fn(&Point) -> f64| -> String {
        let places = points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.at), y(of(point))));
        places.collect::<Vec<_>>().join(" ")
    };
    for (color, places) in [
        ("silver", line(|point| point.limit)),
        ("steelblue", line(|point| point.speed)),
    ] {
        let _ = writeln!(
            text,
            "<polyline points=\"{places}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"
        );
    }
    for point in points {
        let (px, py) = (x(point.at), y(point.speed));
        let _ = writeln!(
            text,
            "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\" fill=\"steelblue\"/><text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0}</text><text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            py - 7.0,
            point.speed,
            y0 + 16.0,
            point.at
        );
    }
    if points.is_empty() {
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\">not measured</text>",
            x0 + 20.0,
            top + 40.0
        );
    }
}

/// Names of models come from outside.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::samples::Spread;
    use crate::bench::speed::workload::Workload;

    fn figure(kind: Kind, depth: usize, sequences: usize, speed: f64) -> Figure {
        let workload = Workload {
            kind,
            depth,
            sequences,
            together: 1,
            steps: 1,
        };
        Figure {
            workload,
            name: workload.to_string(),
            tokens_per_second: Spread::of(&[speed]),
            limit_tokens_per_second: Spread::of(&[2.0 * speed]),
            share_of_limit: Spread::of(&[0.5]),
            outside_share: Spread::of(&[0.5]),
        }
    }

    #[test]
    fn points_stand_where_they_were_measured() {
        let figures = [
            figure(Kind::Batch, 0, 1, 50.0),
            figure(Kind::Batch, 0, 4, 100.0),
            figure(Kind::Prompt, 0, 1, 999.0),
        ];
        let text = svg("a<b", &figures);
        assert!(text.contains("a&lt;b"));
        // 4 sequences stand at the right end, and the limit of 200 at the top.
        assert!(text.contains("points=\"142.5,180.0 420.0,50.0\""), "{text}");
        assert!(
            text.contains("points=\"142.5,245.0 420.0,180.0\""),
            "{text}"
        );
        assert_eq!(text.matches("not measured").count(), 1);
        assert!(!text.contains("999"));
    }
}
