//! Charts as SVG: lines and areas that stretch with the window, labels that stay readable.
//!
//! The marks are drawn into a square of 1000 units that is stretched to the plot's size
//! (`preserveAspectRatio="none"`), with strokes that keep their width. Labels are HTML beside it,
//! placed by percentages: text is never stretched.

use std::fmt::Write;

use super::scale::Scale;
use super::text::escape;

/// One chart.
pub(super) struct Chart {
    title: String,
    /// One sentence for people who cannot see it.
    said: String,
    x: Scale,
    y: Scale,
    marks: String,
    legend: Vec<(&'static str, String)>,
    height: &'static str,
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
            self.legend.push((series, name.to_owned()));
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

    /// A dot at each point.
    pub(super) fn dots(&mut self, series: &'static str, name: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for point in points {
            let (x, y) = self.place(*point);
            let _ = write!(path, "M{x:.1} {y:.1}h0");
        }
        let _ = write!(self.marks, "<path class=\"dots {series}\" d=\"{path}\"/>");
        self.name(series, name);
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
        let mut until = f64::NEG_INFINITY;
        for (value, label) in &self.x.ticks {
            let x = self.x.at(*value) * 100.0;
            let _ = write!(grid, "<path class=\"grid\" d=\"M{:.1} 0V1000\"/>", x * 10.0);
            // On a narrow window a label would run into the one before.
            let class = if x - until < 15.0 {
                " class=\"dense\""
            } else {
                ""
            };
            if class.is_empty() {
                until = x;
            }
            let _ = write!(
                labels,
                "<span{class} style=\"left:{x:.2}%\">{}</span>",
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

    fn legend_html(&self) -> String {
        let mut out = String::new();
        for (series, name) in &self.legend {
            let _ = write!(out, "<span class=\"key {series}\">{}</span>", escape(name));
        }
        out
    }
}
