//! Figures with their intervals as dots on a logarithmic scale: SVG, for the page and on its own.

use super::words::{JUDGED, peers};
use crate::results::{CaseResult, ContenderResult, Run, Standing};
use crate::stats::Figure;
use crate::table::digits;

pub(super) const STYLE: &str = include_str!("chart.css");

const WIDTH: f64 = 860.0;
const LABELS: f64 = 250.0;
const MARGIN: f64 = 24.0;
const TOP: f64 = 44.0;
const LINE: f64 = 11.0;
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
    ratios(cases.into_iter()).svg(true)
}

impl Chart {
    /// As an element for a page that has [`STYLE`], or with the style as a file of its own.
    pub(super) fn svg(&self, is_file: bool) -> String {
        let names = self.names();
        let scale = Scale::of(self);
        let legend = (names.len() as f64 / 3.0).ceil() * LEGEND + 8.0;
        let heights: f64 = self.rows.iter().map(Row::height).sum();
        let height = legend + TOP + heights + 30.0;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" \
             viewBox=\"0 0 {WIDTH} {height:.0}\" \
             role=\"img\" aria-label=\"{}\">\n",
            escaped(&self.title)
        );
        if is_file {
            out += &format!(
                "<style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n"
            );
        }
        out += &legend_of(&names);
        out += &self.axis(&scale, legend, heights);
        let mut y = legend + TOP;
        for row in &self.rows {
            out += &row.svg(&scale, y);
            y += row.height();
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
        let middle = (LABELS + WIDTH) / 2.0;
        let unit_y = first - 6.0;
        out += &match self.is_ratio {
            true => {
                let one = scale.x(1.0);
                format!(
                    "<text class=\"side end\" x=\"{:.1}\" y=\"{:.0}\">← cheaper</text>\
                     <text class=\"side\" x=\"{:.1}\" y=\"{:.0}\">dearer than Corecast →</text>\n",
                    one - 8.0,
                    first - 6.0,
                    one + 8.0,
                    first - 6.0
                )
            }
            false => format!(
                "<text class=\"number\" x=\"{middle:.0}\" y=\"{unit_y:.0}\">{}</text>\n",
                self.unit
            ),
        };
        out
    }
}

impl Row {
    fn height(&self) -> f64 {
        self.points.len().max(2) as f64 * LINE + GAP
    }

    fn svg(&self, scale: &Scale, top: f64) -> String {
        let mut out = String::new();
        for (line, text) in two_lines(&self.label).iter().enumerate() {
            out += &format!(
                "<text class=\"label\" x=\"0\" y=\"{:.0}\">{}</text>",
                top + 10.0 + 15.0 * line as f64,
                escaped(text)
            );
        }
        for (index, point) in self.points.iter().enumerate() {
            out += &point.svg(scale, top + 5.0 + LINE * index as f64);
        }
        out + &format!(
            "<line class=\"rule\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{0:.0}\" y2=\"{0:.0}\"/>\n",
            top + self.height() - 8.0
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

/// Marks differ by more than colour.
fn shape(mark: usize, x: f64, y: f64) -> String {
    let path = |points: [(f64, f64); 4]| {
        let points = points.map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy));
        format!("<polygon points=\"{}\"/>", points.join(" "))
    };
    match mark {
        0 => format!("<circle class=\"hollow\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        1 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>"),
        2 => path([(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)]),
        3 => path([(0.0, -5.0), (5.0, 4.0), (0.0, 4.0), (-5.0, 4.0)]),
        4 => path([(0.0, -5.5), (5.5, 0.0), (0.0, 5.5), (-5.5, 0.0)]),
        5 => path([(-5.0, 0.0), (4.0, -5.0), (4.0, 5.0), (4.0, 5.0)]),
        6 => path([(5.0, 0.0), (-4.0, -5.0), (-4.0, 5.0), (-4.0, 5.0)]),
        _ => path([(-5.0, -4.0), (5.0, -4.0), (0.0, 5.0), (0.0, 5.0)]),
    }
}

fn legend_of(names: &[(usize, &str)]) -> String {
    let mut out = String::new();
    for (index, (mark, name)) in names.iter().enumerate() {
        let x = 8.0 + (index % 3) as f64 * WIDTH / 3.0;
        let y = 10.0 + (index / 3) as f64 * LEGEND;
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
}

impl Scale {
    fn of(chart: &Chart) -> Self {
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
            },
            false => Self {
                low: low.min(1.0) / 2.0,
                high: low.clamp(1.0, 1e12) * 2.0,
            },
        }
    }

    fn x(&self, value: f64) -> f64 {
        let share =
            (value.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln();
        LABELS + share * (WIDTH - LABELS - MARGIN)
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

/// A label split into two lines.
fn two_lines(label: &str) -> [&str; 2] {
    const COLUMNS: usize = 36;
    let cut = label.char_indices().nth(COLUMNS).map(|(at, _)| at);
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
        };
        let middle = (scale.x(0.1) + scale.x(10.0)) / 2.0;
        assert!((scale.x(1.0) - middle).abs() < 1e-9);
        assert_eq!(scale.x(0.01), scale.x(0.1));
        assert!(scale.x(10.0) <= WIDTH - MARGIN);
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
        for svg in [chart(Vec::new()).svg(false), chart(vec![one]).svg(true)] {
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("<name>"));
        }
    }

    #[test]
    fn a_long_label_is_cut_between_words() {
        let [first, second] = two_lines("1,000 clients, 512 B, saturated, 64 under way");
        assert_eq!(
            (first, second),
            ("1,000 clients, 512 B, saturated, 64", "under way")
        );
        assert_eq!(two_lines("short"), ["short", ""]);
    }
}
