//! Charts as SVG: lines and areas that stretch with the window, labels that stay readable.
//!
//! The marks are drawn into a square of 1000 units that is stretched to the plot's size
//! (`preserveAspectRatio="none"`), with strokes that keep their width. Labels are HTML beside it,
//! placed by percentages: text is never stretched.

use std::fmt::Write;

use super::scale::Scale;
use super::text::escape;

/// Widths of a plot in CSS pixels: on the narrowest phone, and one below which it counts as narrow
/// (`style.css` says the same).
const PHONE_PX: f64 = 190.0;
const NARROW_PX: f64 = 350.0;
/// Of a letter in a label, in the widest of the fonts, and between two labels.
const LETTER_PX: f64 = 7.6;
const APART_PX: f64 = 6.0;
/// A label that begins beyond this share of the axis is drawn towards its middle.
const END: f64 = 0.9;

/// One chart.
pub(super) struct Chart {
    title: String,
    /// One sentence for people who cannot see it.
    said: String,
    x: Scale,
    y: Scale,
    marks: String,
    legend: Vec<Key>,
    height: &'static str,
}

/// A name in the legend.
struct Key {
    series: &'static str,
    name: String,
    /// Shown as the shape of its dots, not as a line.
    has_dots: bool,
}

/// Points by their values.
pub(super) type Points = Vec<(f64, f64)>;

impl Chart {
    pub(super) fn new(title: &str, said: &str, x: Scale, y: Scale) -> Self {
        Self {
            title: title.to_owned(),
            said: said.to_owned(),
            x,
            y,
            marks: String::new(),
            legend: Vec::new(),
            height: "",
        }
    }

    /// Half as high as others.
    pub(super) fn low(mut self) -> Self {
        self.height = " low";
        self
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x.at(x) * 1000.0, 1000.0 - self.y.at(y) * 1000.0)
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (number, point) in points.iter().enumerate() {
            let (x, y) = self.place(*point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if number == 0 { "M" } else { "L" });
        }
        if points.len() == 1 {
            // A single point is drawn as a dot.
            path.push_str("h0");
        }
        path
    }

    fn name(&mut self, series: &'static str, name: &str) {
        if !name.is_empty() {
            self.legend.push(Key {
                series,
                name: name.to_owned(),
                has_dots: false,
            });
        }
    }

    /// A line through the points. An empty name stays out of the legend.
    pub(super) fn line(&mut self, series: &'static str, name: &str, points: &[(f64, f64)]) {
        if points.is_empty() {
            return;
        }
        let path = self.path(points);
        let _ = write!(self.marks, "<path class=\"line {series}\" d=\"{path}\"/>");
        self.name(series, name);
    }

    /// A line with the area below it.
    pub(super) fn area(&mut self, series: &'static str, name: &str, points: &[(f64, f64)]) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return;
        };
        let (from, to) = (self.place(*first).0, self.place(*last).0);
        let path = self.path(points);
        let _ = write!(
            self.marks,
            "<path class=\"area {series}\" d=\"{path}L{to:.1} 1000L{from:.1} 1000Z\"/>"
        );
        self.line(series, name, points);
    }

    /// A dot at each point, of a shape that the series has to itself. Dots without a name belong to
    /// the line through the same points.
    pub(super) fn dots(&mut self, series: &'static str, name: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for point in points {
            let (x, y) = self.place(*point);
            let _ = write!(path, "M{x:.1} {y:.1}h0");
        }
        let _ = write!(self.marks, "<path class=\"dots {series}\" d=\"{path}\"/>");
        if ["s3", "s4"].contains(&series) {
            // These are hollow.
            let _ = write!(self.marks, "<path class=\"core\" d=\"{path}\"/>");
        }
        self.name(series, name);
        let of_series = self.legend.iter_mut().rfind(|key| key.series == series);
        if let Some(key) = of_series {
            key.has_dots = true;
        }
    }

    /// Bars from the axis up: from, to, height.
    pub(super) fn bars(&mut self, series: &'static str, name: &str, bars: &[(f64, f64, f64)]) {
        for (from, to, height) in bars {
            let (left, top) = self.place((*from, *height));
            let (right, _) = self.place((*to, *height));
            let (width, height) = ((right - left - 1.0).max(1.0), 1000.0 - top);
            let _ = write!(
                self.marks,
                "<rect class=\"bar {series}\" x=\"{left:.1}\" y=\"{top:.1}\" \
                 width=\"{width:.1}\" height=\"{height:.1}\"/>"
            );
        }
        self.name(series, name);
    }

    /// A line from top to bottom.
    pub(super) fn mark_x(&mut self, series: &'static str, name: &str, value: f64) {
        let x = self.place((value, 0.0)).0;
        let _ = write!(
            self.marks,
            "<path class=\"mark {series}\" d=\"M{x:.1} 0V1000\"/>"
        );
        self.name(series, name);
    }

    /// The tooltips: one strip per text, as wide as its share.
    pub(super) fn tell(&mut self, strips: &[(f64, f64, String)]) {
        for (from, to, text) in strips {
            let (left, right) = (self.x.at(*from) * 1000.0, self.x.at(*to) * 1000.0);
            let width = (right - left).max(1.0);
            let text = escape(text);
            let _ = write!(
                self.marks,
                "<rect class=\"tell\" x=\"{left:.1}\" y=\"0\" width=\"{width:.1}\" \
                 height=\"1000\"><title>{text}</title></rect>"
            );
        }
    }

    /// Reverses the legend.
    pub(super) fn turn_legend(&mut self) {
        self.legend.reverse();
    }

    /// The chart as a figure.
    pub(super) fn html(&self) -> String {
        let mut grid = String::new();
        let mut labels = String::from("<div class=\"y\">");
        for (value, label) in &self.y.ticks {
            let y = 1000.0 - self.y.at(*value) * 1000.0;
            let _ = write!(grid, "<path class=\"grid\" d=\"M0 {y:.1}H1000\"/>");
            let _ = write!(
                labels,
                "<span style=\"top:{:.2}%\">{}</span>",
                y / 10.0,
                escape(label)
            );
        }
        labels.push_str("</div><div class=\"x\">");
        let (always, often) = (self.labelled(PHONE_PX), self.labelled(NARROW_PX));
        for (place, (value, label)) in self.x.ticks.iter().enumerate() {
            let x = self.x.at(*value);
            let _ = write!(grid, "<path class=\"grid\" d=\"M{:.1} 0V1000\"/>", x * 1e3);
            let dense = match (always.contains(&place), often.contains(&place)) {
                (true, _) => "",
                (false, true) => "dense",
                (false, false) => continue,
            };
            let end = if x > END { " end" } else { "" };
            let _ = write!(
                labels,
                "<span class=\"{dense}{end}\" style=\"left:{:.2}%\">{}</span>",
                x * 100.0,
                escape(label)
            );
        }
        labels.push_str("</div>");
        format!(
            "<figure><figcaption>{title}{legend}</figcaption>\
             <div class=\"plot{height}\" role=\"img\" aria-label=\"{said}\">\
             <svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\">{grid}{marks}</svg>\
             {labels}</div></figure>",
            title = escape(&self.title),
            legend = self.legend_html(),
            height = self.height,
            said = escape(&self.said),
            marks = self.marks,
        )
    }

    /// The ticks of the lower axis whose labels do not touch in a plot of this width: the last, the
    /// first, and from left to right those between that leave room for both.
    fn labelled(&self, width_px: f64) -> Vec<usize> {
        let extent = |place: usize| {
            let (value, label) = &self.x.ticks[place];
            let (x, width) = (self.x.at(*value), label.chars().count() as f64 * LETTER_PX);
            let left = x * width_px - width * if x > END { 0.8 } else { 0.5 };
            (left, left + width)
        };
        let Some(last) = self.x.ticks.len().checked_sub(1) else {
            return Vec::new();
        };
        let limit = extent(last).0 - APART_PX;
        let mut kept = Vec::new();
        let mut until = f64::NEG_INFINITY;
        for place in 0..last {
            let (left, right) = extent(place);
            if left > until + APART_PX && right < limit {
                kept.push(place);
                until = right;
            }
        }
        kept.push(last);
        kept
    }

    fn legend_html(&self) -> String {
        let mut out = String::new();
        for key in &self.legend {
            let dot = if key.has_dots { " dot" } else { "" };
            let (series, name) = (key.series, escape(&key.name));
            let _ = write!(out, "<span class=\"key {series}{dot}\">{name}</span>");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: u64, width_px: f64) -> Vec<String> {
        let y = Scale::from_zero(1.0, |value| value.to_string());
        let chart = Chart::new("", "", Scale::nines(count), y);
        let label = |place: usize| chart.x.ticks[place].1.clone();
        chart.labelled(width_px).into_iter().map(label).collect()
    }

    #[test]
    fn labels_that_would_touch_are_left_out_but_never_the_last() {
        let all = ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"];
        assert_eq!(labels(10_000, 2_000.0), all);
        assert_eq!(
            labels(10_000, NARROW_PX),
            ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]
        );
        assert_eq!(labels(10_000_000, PHONE_PX), ["0 %", "99 %", "99.9999 %"]);
        assert_eq!(labels(10, 1.0).len(), 1);
    }

    #[test]
    fn a_line_with_dots_has_their_shape_in_the_legend() {
        let scale = || Scale::from_zero(10.0, |value| value.to_string());
        let mut chart = Chart::new("", "", scale(), scale());
        let points = [(1.0, 1.0), (2.0, 3.0)];
        chart.line("s1", "one", &points);
        chart.line("s3", "other", &points);
        chart.dots("s3", "", &points);
        let html = chart.html();
        assert!(html.contains("<span class=\"key s1\">one</span>"), "{html}");
        assert!(
            html.contains("<span class=\"key s3 dot\">other</span>"),
            "{html}"
        );
        assert!(html.contains("class=\"core\""), "{html}");
    }
}
