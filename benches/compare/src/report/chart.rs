//! Figures with their intervals as dots on a logarithmic scale: SVG, for the page and on its own.

use super::words::{JUDGED, peers};
use crate::results::{CaseResult, ContenderResult, Run, Standing};
use crate::stats::Figure;
use crate::table::digits;

pub(super) const STYLE: &str = include_str!("chart.css");

/// How a chart is laid out: beside text, or on a phone.
#[derive(Clone, Copy)]
struct Layout {
    class: &'static str,
    width: f64,
    /// Where the axis begins; at the left of it are the labels, if they are not above their rows.
    left: f64,
    margin: f64,
    /// Letters in a line of a label.
    columns: usize,
    /// Names beside each other in the legend.
    names: usize,
}

const WIDE: Layout = Layout {
    class: "across",
    width: 860.0,
    left: 250.0,
    margin: 24.0,
    columns: 36,
    names: 3,
};

const NARROW: Layout = Layout {
    class: "narrow",
    width: 358.0,
    left: 12.0,
    margin: 24.0,
    columns: 48,
    names: 2,
};

const TOP: f64 = 44.0;
const LINE: f64 = 11.0;
const LABEL: f64 = 15.0;
const GAP: f64 = 16.0;
const LEGEND: f64 = 18.0;
/// Rows of a picture that fits beside text.
const PICTURE_ROWS: usize = 6;

/// Marks of the contenders, the same in every chart: the base of a case, Corecast, the known peers.
const BASE: usize = 0;
const CORECAST: usize = 1;
const PEERS: [&str; 5] = [
    "tokio-tungstenite",
    "fastwebsockets",
    "gorilla (Go)",
    "npm ws",
    "Bun publish",
];
const STRANGER: usize = PEERS.len() + 2;

/// The data of a chart.
pub(super) struct Chart {
    /// For readers who cannot see it.
    pub(super) title: String,
    pub(super) rows: Vec<Row>,
    /// Draws a line at 1, and the meaning of either side.
    pub(super) is_ratio: bool,
    pub(super) unit: &'static str,
}

pub(super) struct Row {
    pub(super) label: String,
    pub(super) points: Vec<Point>,
}

pub(super) struct Point {
    pub(super) name: String,
    mark: usize,
    pub(super) figure: Figure,
    pub(super) is_wrong: bool,
}

impl Point {
    /// A point of the contender in this place of its case.
    pub(super) fn new(place: usize, one: &ContenderResult, figure: Figure) -> Self {
        Self {
            name: one.name.clone(),
            mark: match place {
                BASE => BASE,
                JUDGED => CORECAST,
                _ => mark_of_peer(&one.name),
            },
            figure,
            is_wrong: one.standing() == Standing::Wrong,
        }
    }
}

/// The costs of the cases, divided by Corecast's.
pub(super) fn ratios<'a>(cases: impl Iterator<Item = &'a CaseResult>) -> Chart {
    let row = |case: &CaseResult| {
        let is_floor = case.contenders[0].name.starts_with("floor");
        let points = case.contenders.iter().enumerate();
        let points = points.filter(|(place, _)| *place > JUDGED || (*place == 0 && is_floor));
        let points = points.filter_map(|(place, one)| Some(Point::new(place, one, one.to_judged?)));
        Row {
            label: case.title.clone(),
            points: points.collect(),
        }
    };
    let rows = cases.map(row).filter(|row| !row.points.is_empty());
    Chart {
        title: "What it costs, over what it costs Corecast: less than 1 is cheaper".to_owned(),
        rows: rows.collect(),
        is_ratio: true,
        unit: "× Corecast",
    }
}

/// A figure measured besides the values, of all contenders.
pub(super) fn figures<'a>(
    cases: impl Iterator<Item = &'a CaseResult>,
    title: &str,
    unit: &'static str,
    figure: impl Fn(&ContenderResult) -> Option<Figure>,
) -> Chart {
    let row = |case: &CaseResult| Row {
        label: case.title.clone(),
        points: (case.contenders.iter().enumerate())
            .filter_map(|(place, one)| Some(Point::new(place, one, figure(one)?)))
            .collect(),
    };
    let rows = cases.map(row).filter(|row| !row.points.is_empty());
    Chart {
        title: title.to_owned(),
        rows: rows.collect(),
        is_ratio: false,
        unit,
    }
}

/// The picture for docs/benchmarks.md: the first cases with peers, each kind of load once.
pub(super) fn picture(run: &Run) -> String {
    let has_peers = |case: &&CaseResult| peers(case).len() > 1 && case.contenders.len() > JUDGED;
    let is_delivery = |case: &&CaseResult| case.unit == "µs/delivery";
    let mut cases: Vec<&CaseResult> = run
        .cases
        .iter()
        .filter(has_peers)
        .filter(is_delivery)
        .collect();
    while cases.len() > PICTURE_ROWS {
        // Evenly thinned out, so that fixed rates and saturation both stay.
        let step = cases.len().div_ceil(PICTURE_ROWS);
        cases = cases.into_iter().step_by(step).collect();
    }
    ratios(cases.into_iter()).file()
}

impl Chart {
    /// For a page that has [`STYLE`], which shows the one of the two that suits the window.
    pub(super) fn html(&self) -> String {
        self.svg(WIDE, false) + &self.svg(NARROW, false)
    }

    /// As a file of its own.
    pub(super) fn file(&self) -> String {
        self.svg(WIDE, true)
    }

    fn svg(&self, layout: Layout, is_file: bool) -> String {
        let names = self.names();
        let scale = Scale::of(self, layout);
        let legend = (names.len() as f64 / layout.names as f64).ceil() * LEGEND + 8.0;
        let heights: f64 = self.rows.iter().map(|row| row.height(layout)).sum();
        let height = legend + TOP + heights + 30.0;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart {class}\" \
             viewBox=\"0 0 {width} {height:.0}\" \
             role=\"img\" aria-label=\"{title}\">\n",
            class = layout.class,
            width = layout.width,
            title = escaped(&self.title)
        );
        if is_file {
            out += &format!(
                "<style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n"
            );
        }
        out += &legend_of(&names, layout);
        out += &self.axis(&scale, legend, heights);
        let mut y = legend + TOP;
        for row in &self.rows {
            out += &row.svg(&scale, y);
            y += row.height(layout);
        }
        out + "</svg>\n"
    }

    /// The names of all points, each once, in order.
    fn names(&self) -> Vec<(usize, &str)> {
        let mut names = Vec::new();
        for point in self.rows.iter().flat_map(|row| &row.points) {
            let name = (point.mark, short(&point.name));
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.sort_by_key(|(mark, _)| *mark);
        names
    }

    fn axis(&self, scale: &Scale, top: f64, heights: f64) -> String {
        let (first, last) = (top + TOP - 12.0, top + TOP + heights);
        let mut out = String::new();
        for tick in scale.ticks() {
            let x = scale.x(tick);
            let class = if self.is_ratio && tick == 1.0 {
                "one"
            } else {
                "tick"
            };
            out += &format!(
                "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{first:.0}\" \
                 y2=\"{last:.0}\"/>\
                 <text class=\"number\" x=\"{x:.1}\" y=\"{:.0}\">{}</text>\n",
                last + 15.0,
                number(tick)
            );
        }
        let layout = scale.layout;
        let middle = (layout.left + layout.width) / 2.0;
        let unit_y = first - 6.0;
        out += &match self.is_ratio {
            // At the ends of the axis, since 1 may be too close to one of them for a label.
            true => format!(
                "<text class=\"side\" x=\"{:.0}\" y=\"{unit_y:.0}\">← cheaper</text>\
                 <text class=\"side end\" x=\"{:.0}\" y=\"{unit_y:.0}\">dearer than Corecast →\
                 </text>\n",
                layout.left, layout.width,
            ),
            false => format!(
                "<text class=\"number\" x=\"{middle:.0}\" y=\"{unit_y:.0}\">{}</text>\n",
                self.unit
            ),
        };
        out
    }
}

impl Row {
    fn height(&self, layout: Layout) -> f64 {
        let points = self.points.len().max(2) as f64 * LINE + GAP;
        self.label_height(layout) + points
    }

    /// Of a label above the points.
    fn label_height(&self, layout: Layout) -> f64 {
        let lines = match two_lines(&self.label, layout.columns) {
            [_, ""] => 1.0,
            _ => 2.0,
        };
        if layout.left < WIDE.left {
            lines * LABEL
        } else {
            0.0
        }
    }

    fn svg(&self, scale: &Scale, top: f64) -> String {
        let layout = scale.layout;
        let mut out = String::new();
        for (line, text) in two_lines(&self.label, layout.columns).iter().enumerate() {
            out += &format!(
                "<text class=\"label\" x=\"0\" y=\"{:.0}\">{}</text>",
                top + 10.0 + LABEL * line as f64,
                escaped(text)
            );
        }
        let first = top + self.label_height(layout) + 5.0;
        for (index, point) in self.points.iter().enumerate() {
            out += &point.svg(scale, first + LINE * index as f64);
        }
        out + &format!(
            "<line class=\"rule\" x1=\"0\" x2=\"{0}\" y1=\"{1:.0}\" y2=\"{1:.0}\"/>\n",
            layout.width,
            top + self.height(layout) - 8.0
        )
    }
}

impl Point {
    fn svg(&self, scale: &Scale, y: f64) -> String {
        let Figure {
            median, low, high, ..
        } = self.figure;
        let (x, from, to) = (scale.x(median), scale.x(low), scale.x(high));
        let wrong = if self.is_wrong { " wrong" } else { "" };
        let note = if self.is_wrong {
            ", lost deliveries"
        } else {
            ""
        };
        format!(
            "<g class=\"mark m{}{wrong}\"><title>{}: {} ({} to {}){note}</title>\
             <line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>{}</g>\n",
            self.mark,
            escaped(&self.name),
            digits(median),
            digits(low),
            digits(high),
            shape(self.mark, x, y)
        )
    }
}

fn mark_of_peer(name: &str) -> usize {
    let known = PEERS.iter().position(|peer| name.starts_with(peer));
    known.map_or(STRANGER, |place| CORECAST + 1 + place)
}

/// Marks differ by more than colour, and none is another one rotated.
fn shape(mark: usize, x: f64, y: f64) -> String {
    let path = |class: &str, steps: &[(f64, f64)]| {
        let steps = steps
            .iter()
            .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy));
        let points = steps.collect::<Vec<_>>().join(" ");
        format!("<polygon class=\"{class}\" points=\"{points}\"/>")
    };
    let strokes = |strokes: [(f64, f64); 2]| {
        let strokes = strokes.map(|(dx, dy)| {
            let (x1, y1, x2, y2) = (x - dx, y - dy, x + dx, y + dy);
            format!("M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}")
        });
        format!("<path class=\"strokes\" d=\"{}\"/>", strokes.concat())
    };
    let square = [(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)];
    let diamond = [(0.0, -5.5), (5.5, 0.0), (0.0, 5.5), (-5.5, 0.0)];
    match mark {
        0 => format!("<circle class=\"hollow\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        1 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>"),
        2 => path("", &square),
        3 => path("", &[(0.0, -5.0), (5.0, 4.0), (-5.0, 4.0)]),
        4 => path("hollow", &diamond),
        5 => strokes([(4.0, 4.0), (4.0, -4.0)]),
        6 => strokes([(5.0, 0.0), (0.0, 5.0)]),
        _ => path("hollow", &square),
    }
}

fn legend_of(names: &[(usize, &str)], layout: Layout) -> String {
    let mut out = String::new();
    for (index, (mark, name)) in names.iter().enumerate() {
        let x = 8.0 + (index % layout.names) as f64 * layout.width / layout.names as f64;
        let y = 10.0 + (index / layout.names) as f64 * LEGEND;
        out += &format!(
            "<g class=\"mark m{}\">{}</g><text class=\"label\" x=\"{:.0}\" y=\"{:.0}\">{}</text>\n",
            mark,
            shape(*mark, x, y),
            x + 12.0,
            y + 4.0,
            escaped(name)
        );
    }
    out
}

/// Logarithmic, over all points and, for ratios, over 1.
struct Scale {
    low: f64,
    high: f64,
    layout: Layout,
}

impl Scale {
    fn of(chart: &Chart, layout: Layout) -> Self {
        let figures = chart
            .rows
            .iter()
            .flat_map(|row| &row.points)
            .map(|point| point.figure);
        let one = chart.is_ratio.then_some([0.75, 1.5]).into_iter().flatten();
        let all = figures
            .flat_map(|figure| [figure.low, figure.high])
            .chain(one);
        let all = all.filter(|value| *value > 0.0 && value.is_finite());
        let (low, high) = all.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        match low < high {
            true => Self {
                low: low / 1.1,
                high: high * 1.1,
                layout,
            },
            false => Self {
                low: low.min(1.0) / 2.0,
                high: low.clamp(1.0, 1e12) * 2.0,
                layout,
            },
        }
    }

    fn x(&self, value: f64) -> f64 {
        let share =
            (value.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln();
        let Layout {
            width,
            left,
            margin,
            ..
        } = self.layout;
        left + share * (width - left - margin)
    }

    /// 1, 2 and 5 of each power of ten; over a wide range the powers alone.
    fn ticks(&self) -> Vec<f64> {
        let (from, to) = (
            self.low.log10().floor() as i32,
            self.high.log10().ceil() as i32,
        );
        let steps: &[f64] = if to - from > 3 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let all =
            (from..=to).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|tick| (self.low..=self.high).contains(tick))
            .collect()
    }
}

fn number(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => format!("{value}"),
    }
}

/// The name without the part after a comma: the floor's mode, a peer's option.
fn short(name: &str) -> &str {
    match name.starts_with("corecast") {
        true => name,
        false => name.split(',').next().unwrap_or(name),
    }
}

/// A label split into two lines of at most so many columns.
fn two_lines(label: &str, columns: usize) -> [&str; 2] {
    let cut = label.char_indices().nth(columns).map(|(at, _)| at);
    let cut = cut.and_then(|end| label[..end].rfind(' '));
    cut.map_or([label, ""], |cut| [&label[..cut], &label[cut + 1..]])
}

pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_logarithmic_and_holds_all_points() {
        let scale = Scale {
            low: 0.1,
            high: 10.0,
            layout: WIDE,
        };
        let middle = (scale.x(0.1) + scale.x(10.0)) / 2.0;
        assert!((scale.x(1.0) - middle).abs() < 1e-9);
        assert_eq!(scale.x(0.01), scale.x(0.1));
        assert!(scale.x(10.0) <= WIDE.width - WIDE.margin);
        assert!(scale.ticks().contains(&0.5) && scale.ticks().contains(&1.0));
    }

    #[test]
    fn a_chart_without_points_or_with_one_is_drawn_all_the_same() {
        let chart = |points: Vec<Point>| Chart {
            title: "t".to_owned(),
            rows: vec![Row {
                label: "l".to_owned(),
                points,
            }],
            is_ratio: false,
            unit: "µs",
        };
        let figure = Figure {
            median: 3.0,
            low: 3.0,
            high: 3.0,
            rounds: 1,
        };
        let one = Point {
            name: "a <name>".to_owned(),
            mark: STRANGER,
            figure,
            is_wrong: false,
        };
        for svg in [chart(Vec::new()).html(), chart(vec![one]).file()] {
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("<name>"));
        }
    }

    #[test]
    fn no_two_marks_have_the_same_shape() {
        let shapes: Vec<String> = (0..=STRANGER).map(|mark| shape(mark, 0.0, 0.0)).collect();
        let different: std::collections::BTreeSet<&String> = shapes.iter().collect();
        assert_eq!(different.len(), shapes.len());
    }

    #[test]
    fn a_long_label_is_cut_between_words() {
        let [first, second] = two_lines("1,000 clients, 512 B, saturated, 64 under way", 36);
        assert_eq!(
            (first, second),
            ("1,000 clients, 512 B, saturated, 64", "under way")
        );
        assert_eq!(two_lines("short", 36), ["short", ""]);
    }
}
