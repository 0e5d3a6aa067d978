//! A strict parser of Prometheus' text format, version 0.0.4: every scraper accepts what it
//! accepts.

use std::collections::{BTreeMap, BTreeSet};

/// Labels, in their order.
type Labels = Vec<(String, String)>;

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// One answer of `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Scrape(pub(crate) BTreeMap<String, Family>);

impl Scrape {
    pub(crate) fn parse(text: &str) -> Result<Scrape, String> {
        let text = text.strip_suffix('\n').ok_or("the last line has no end")?;
        let mut scrape = Scrape::default();
        let mut lines = text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let (name, help) = comment(line, "# HELP ")?;
            let kind_line = lines.next().ok_or("HELP without TYPE")?;
            let (same, kind) = comment(kind_line, "# TYPE ")?;
            let known = ["counter", "gauge", "histogram"].contains(&kind);
            if same != name || !known || help.is_empty() || !is_name(name) {
                return Err(format!("bad header: {line:?}, {kind_line:?}"));
            }
            let mut family = Family {
                kind: kind.to_owned(),
                samples: Vec::new(),
            };
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                family.samples.push(sample(line)?);
            }
            family.check(name)?;
            if scrape.0.insert(name.to_owned(), family).is_some() {
                return Err(format!("{name} comes twice"));
            }
        }
        Ok(scrape)
    }

    /// The value of a series without labels.
    pub(crate) fn value(&self, name: &str) -> f64 {
        match self.samples(name).as_slice() {
            [sample] if sample.labels.is_empty() => sample.value,
            samples => panic!("{name}: {samples:?}"),
        }
    }

    /// The values of a family by the value of its only label.
    pub(crate) fn by_label(&self, name: &str) -> BTreeMap<&str, f64> {
        let samples = self.samples(name).iter();
        let pairs = samples.map(|sample| match sample.labels.as_slice() {
            [(_, value)] => (value.as_str(), sample.value),
            labels => panic!("{name}: {labels:?}"),
        });
        pairs.collect()
    }

    /// A sample of a histogram: its `_sum` or `_count`.
    pub(crate) fn of_histogram(&self, name: &str, suffix: &str) -> f64 {
        let wanted = format!("{name}{suffix}");
        let mut samples = self.samples(name).iter();
        let found = samples.find(|sample| sample.name == wanted);
        found.unwrap_or_else(|| panic!("no {wanted}")).value
    }

    fn samples(&self, name: &str) -> &Vec<Sample> {
        let family = self.0.get(name);
        &family.unwrap_or_else(|| panic!("no {name}")).samples
    }
}

impl Family {
    fn check(&self, name: &str) -> Result<(), String> {
        if self.samples.is_empty() {
            return Err(format!("{name} has no samples"));
        }
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            if !seen.insert((&sample.name, &sample.labels)) {
                return Err(format!("a series comes twice: {sample:?}"));
            }
            if self.kind == "counter" && !(sample.value >= 0.0 && sample.value.is_finite()) {
                return Err(format!("a counter cannot be {sample:?}"));
            }
        }
        if self.kind == "histogram" {
            return self.check_histogram(name);
        }
        let foreign = self.samples.iter().find(|sample| sample.name != name);
        foreign.map_or(Ok(()), |sample| Err(format!("{sample:?} in {name}")))
    }

    /// Buckets by rising bounds and cumulative, `+Inf` last, then the sum and the count.
    fn check_histogram(&self, name: &str) -> Result<(), String> {
        let [buckets @ .., sum, count] = self.samples.as_slice() else {
            return Err(format!("{name} is too short"));
        };
        let mut last = (f64::NEG_INFINITY, 0.0);
        for bucket in buckets {
            let [(label, bound)] = bucket.labels.as_slice() else {
                return Err(format!("a bucket with other labels: {bucket:?}"));
            };
            let bound = number(bound)?;
            let rises = bound > last.0 && bucket.value >= last.1;
            if bucket.name != format!("{name}_bucket") || label != "le" || !rises {
                return Err(format!("a bucket after {last:?}: {bucket:?}"));
            }
            last = (bound, bucket.value);
        }
        let is_whole = sum.name == format!("{name}_sum")
            && count.name == format!("{name}_count")
            && last == (f64::INFINITY, count.value)
            && sum.labels.is_empty()
            && count.labels.is_empty();
        let said = || format!("{name} ends with {last:?}, {sum:?}, {count:?}");
        is_whole.then_some(()).ok_or_else(said)
    }
}

fn comment<'l>(line: &'l str, start: &str) -> Result<(&'l str, &'l str), String> {
    let rest = line.strip_prefix(start);
    let parts = rest.and_then(|rest| rest.split_once(' '));
    parts.ok_or_else(|| format!("no {start:?}: {line:?}"))
}

fn is_name(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    name.bytes().next().is_some_and(is_first)
        && name
            .bytes()
            .all(|byte| is_first(byte) || byte.is_ascii_digit())
}

fn sample(line: &str) -> Result<Sample, String> {
    let (series, value) = line.rsplit_once(' ').ok_or(format!("no value: {line:?}"))?;
    let (name, labels) = match series.split_once('{') {
        None => (series, Labels::new()),
        Some((name, rest)) => {
            let inside = rest.strip_suffix('}').ok_or(format!("no }}: {line:?}"))?;
            (name, labels(inside)?)
        }
    };
    if !is_name(name) {
        return Err(format!("bad name: {line:?}"));
    }
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: number(value)?,
    })
}

/// `name="value"`, with commas between. Values here need no escapes, so none are accepted.
fn labels(text: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for part in text.split(',') {
        let pair = part.split_once("=\"");
        let pair = pair.and_then(|(name, rest)| Some((name, rest.strip_suffix('"')?)));
        match pair {
            Some((name, value)) if is_name(name) && !value.contains(['"', '\\']) => {
                labels.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(format!("bad labels: {text:?}")),
        }
    }
    Ok(labels)
}

fn number(text: &str) -> Result<f64, String> {
    if text == "+Inf" {
        return Ok(f64::INFINITY);
    }
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let value = text.parse().ok().filter(|_| is_plain);
    value.ok_or_else(|| format!("bad number: {text:?}"))
}

#[test]
fn the_parser_takes_what_is_right_and_nothing_else() {
    let right = "# HELP a_seconds Some help.\n# TYPE a_seconds histogram\n\
                 a_seconds_bucket{le=\"0.5\"} 1\na_seconds_bucket{le=\"+Inf\"} 3\n\
                 a_seconds_sum 7.25\na_seconds_count 3\n\
                 # HELP b_total Help.\n# TYPE b_total counter\n\
                 b_total{reason=\"x\"} 0\nb_total{reason=\"y\"} 12\n";
    let scrape = Scrape::parse(right).expect("it is right");
    assert_eq!(scrape.of_histogram("a_seconds", "_sum"), 7.25);
    assert_eq!(scrape.by_label("b_total")["y"], 12.0);
    for (from, to) in [
        ("+Inf\"} 3", "+Inf\"} 4"),
        ("0.5\"} 1", "0.5\"} 5"),
        ("le=\"+Inf\"", "le=\"1\""),
        ("# TYPE b_total counter\n", ""),
        ("# HELP b_total Help.\n", ""),
        ("reason=\"y\"", "reason=\"x\""),
        ("b_total{reason=\"x\"} 0", "b_total{reason=\"x\"} -1"),
        ("b_total{reason=\"x\"} 0", "b_total{reason=\"x\"} NaN"),
        ("b_total{reason=\"x\"} 0", "c_total{reason=\"x\"} 0"),
        ("b_total", "a_seconds"),
        ("Help.", ""),
        (" 12\n", " 12"),
        (" 12\n", "\n"),
        (" 12\n", " 12\n\n"),
    ] {
        let wrong = right.replace(from, to);
        assert_ne!(wrong, right);
        assert!(Scrape::parse(&wrong).is_err(), "{wrong}");
    }
}
