//! What a scrape holds, read from Prometheus' text format as this process writes it.

use std::collections::HashMap;

/// The values of all series, by metric.
#[derive(Debug, Default)]
pub(crate) struct Samples(HashMap<String, Vec<Sample>>);

#[derive(Debug, PartialEq)]
struct Sample {
    labels: Vec<(String, String)>,
    value: f64,
}

impl Samples {
    /// Reads a scrape. Lines that are no samples are passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let mut samples = Self::default();
        for (name, sample) in text.lines().filter_map(sample) {
            samples.0.entry(name.to_owned()).or_default().push(sample);
        }
        samples
    }

    /// Whether there are none: nothing is counted here.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a metric of one series.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.of(name).first().map(|sample| sample.value)
    }

    /// The sum of all series of a metric; `None` where there are none.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|samples| samples.iter().map(|sample| sample.value).sum())
    }

    /// The sum of those series of which a label has this value.
    pub(crate) fn sum_where(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        let samples = self.0.get(name)?.iter();
        let wanted = samples.filter(|sample| sample.label(label) == Some(value));
        Some(wanted.map(|sample| sample.value).sum())
    }

    /// The values of a metric by one label, in the order of its values.
    pub(crate) fn by_label(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let mut by_label: Vec<(String, f64)> = Vec::new();
        for sample in self.of(name) {
            let Some(value) = sample.label(label) else { continue };
            match by_label.iter_mut().find(|(known, _)| known == value) {
                Some((_, sum)) => *sum += sample.value,
                None => by_label.push((value.to_owned(), sample.value)),
            }
        }
        by_label.sort_by(|(one, _), (other, _)| one.cmp(other));
        by_label
    }

    /// A histogram's buckets in order: the upper bound of each, and how many observations are not above it.
    pub(crate) fn buckets(&self, histogram: &str) -> Vec<(f64, f64)> {
        let samples = self.of(&format!("{histogram}_bucket"));
        let bucket = |sample: &Sample| Some((sample.label("le")?.parse().ok()?, sample.value));
        let mut buckets: Vec<(f64, f64)> = samples.iter().filter_map(bucket).collect();
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        buckets
    }

    fn of(&self, name: &str) -> &[Sample] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

impl Sample {
    fn label(&self, wanted: &str) -> Option<&str> {
        self.labels.iter().find_map(|(name, value)| (name == wanted).then_some(value.as_str()))
    }
}

/// The metric and the sample of a line; `None` for a comment, or what is no sample.
fn sample(line: &str) -> Option<(&str, Sample)> {
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, Sample { labels, value }))
}

/// Labels up to their closing brace, and what stands behind it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, behind) = rest.split_once("=\"")?;
        let (value, behind) = quoted(behind)?;
        labels.push((name.to_owned(), value));
        rest = behind;
    }
}

/// A value up to its closing quote, without the escapes, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = r#"# HELP opened_total Opened, by how
# TYPE opened_total counter
opened_total{resume="live"} 7
opened_total{resume="gap",transport="a\"b\\c\n}"} 2
opened_total{resume="gap"} 1

up 1
small 2.5e-7
told 3 1700000000000
took_bucket{le="0.1"} 4
took_bucket{le="+Inf"} 9
took_bucket{le="2.5"} 8
took_sum 3.5
took_count 9
broken{resume="live
broken
"#;

    #[test]
    fn a_scrape_is_read_with_its_labels() {
        let samples = Samples::parse(SCRAPE);
        assert_eq!(samples.value("up"), Some(1.0));
        assert_eq!(samples.value("small"), Some(2.5e-7));
        assert_eq!(samples.value("told"), Some(3.0), "a time stands behind it");
        assert_eq!(samples.value("absent"), None);
        assert_eq!((samples.sum("opened_total"), samples.sum("absent")), (Some(10.0), None));
        assert_eq!(samples.sum_where("opened_total", "resume", "gap"), Some(3.0));
        assert_eq!(samples.sum_where("opened_total", "resume", "none"), Some(0.0));
        let by_resume = samples.by_label("opened_total", "resume");
        assert_eq!(by_resume, [("gap".to_owned(), 3.0), ("live".to_owned(), 7.0)]);
        let odd = samples.by_label("opened_total", "transport");
        assert_eq!(odd, [("a\"b\\c\n}".to_owned(), 2.0)]);
        assert!(!samples.0.contains_key("broken"));
    }

    #[test]
    fn buckets_come_in_the_order_of_their_bounds() {
        let buckets = Samples::parse(SCRAPE).buckets("took");
        assert_eq!(buckets, [(0.1, 4.0), (2.5, 8.0), (f64::INFINITY, 9.0)]);
        assert!(Samples::parse(SCRAPE).buckets("up").is_empty());
    }

    #[test]
    fn what_the_exporter_writes_is_what_is_read() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new()
            .set_buckets(&[0.5, 1.0])
            .unwrap()
            .build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::describe_counter!("c_total", metrics::Unit::Count, "a \"quoted\" {help}");
            metrics::counter!("c_total", "reason" => "a\"b\\c").increment(3);
            metrics::gauge!("g").set(-1.5);
            metrics::histogram!("h").record(0.75);
        });
        let samples = Samples::parse(&recorder.handle().render());
        assert_eq!(samples.by_label("c_total", "reason"), [("a\"b\\c".to_owned(), 3.0)]);
        assert_eq!(samples.value("g"), Some(-1.5));
        assert_eq!(samples.buckets("h"), [(0.5, 0.0), (1.0, 1.0), (f64::INFINITY, 1.0)]);
    }
}
