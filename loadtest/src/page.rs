//! Results as one page that needs nothing else: tables, bars and plots, readable by day and by night.

mod plot;

use std::fmt::Write as _;

use self::plot::{Line, Scale};
use crate::{
    latency::median,
    results::{Results, Target},
    server::Peer,
    session::{Of, Phase, Turn},
    timeline::Sample,
};

const STYLE: &str = include_str!("page/style.css");

/// The page.
pub(crate) fn render(results: &Results) -> String {
    let title = title(results.scenario);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<main>\n<h1>{title}</h1>\n"
    );
    page += &verdict(results);
    page += &about(results);
    page += &targets(&results.targets);
    page += &comparison(&results.turns);
    for note in &results.notes {
        write_to(&mut page, format_args!("<p>{}</p>\n", escape(note)));
    }
    if results.turns.len() > 1 {
        page += "<h2>Each turn</h2>\n<p>What a delivery costs is to be read where receiving is steered away \
                 from the server's core, and how long it takes where it is not: see \
                 <code>docs/performance/README.md</code>.</p>\n";
    }
    for (number, turn) in results.turns.iter().enumerate() {
        page += &turn_section(number + 1, turn, results.turns.len() == 1);
    }
    page += "</main>\n</html>\n";
    page
}

fn title(scenario: &str) -> &'static str {
    match scenario {
        "bench" => "Tidewire beside the floor and other servers",
        "traces" => "Traces: what they cost",
        "fanout" => "Fan-out: what a delivery costs",
        "gzip" => "gzip: what it saves and what it costs",
        "idle" => "Idle connections: what they cost in memory",
        "topics" => "Many topics: what they cost",
        "topic-memory" => "Topics: what they cost in memory",
        "stalled" => "Half of all clients read nothing: what the others feel",
        "most" => "As many clients at once as fit",
        "soak" => "A long day of clients that come and leave",
        _ => "Clients that come and leave, busy topics and sparse ones",
    }
}

fn verdict(results: &Results) -> String {
    let deliveries: u64 = results.turns.iter().map(|turn| turn.verdict.deliveries).sum();
    let broken: Vec<_> =
        results.turns.iter().filter(|turn| turn.verdict.violations.total() > 0).collect();
    let deliveries = grouped(deliveries);
    if broken.is_empty() {
        return format!(
            "<p class=\"verdict kept\"><b>Everything came.</b> {deliveries} deliveries were checked \
             one by one: each came once, in order, with the bytes that were published.</p>\n"
        );
    }
    let mut text = format!(
        "<div class=\"verdict broken\"><b>Not everything came as it should have.</b> {deliveries} \
         deliveries were checked one by one.<ul>"
    );
    for turn in broken {
        let words = escape(&turn.verdict.describe());
        write_to(&mut text, format_args!("<li>{}: {words}</li>", turn.peer));
    }
    text + "</ul></div>\n"
}

fn about(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "<dl class=\"about\"><dt>Command</dt><dd><code>{}</code></dd>\n\
         <dt>Machine</dt><dd>{}, {} cores, {} GiB, Linux {}</dd>\n\
         <dt>Network</dt><dd>{}</dd>\n<dt>Begun</dt><dd>{}</dd></dl>\n",
        escape(&results.command),
        escape(&machine.processor),
        machine.cores,
        machine.memory_gib,
        escape(&machine.kernel),
        escape(results.network),
        date(results.begun)
    )
}

fn targets(targets: &[Target]) -> String {
    if targets.is_empty() {
        return String::new();
    }
    let mut text =
        "<h2>Targets</h2>\n<p>Ratios are of servers that had their turns in this run, on \
                    the same core. The floor sends prepared bytes with one system call for each \
                    connection, and does nothing else: F is its figure, N is nchan's.</p>\n<table><thead><tr><th>Figure</th>\
                    <th class=\"number\">Measured</th><th class=\"number\">Must</th><th></th></tr>\
                    </thead><tbody>\n"
            .to_owned();
    for target in targets {
        let (class, word) = match target.is_met() {
            Some(true) => ("met", "met"),
            Some(false) => ("missed", "missed"),
            None => ("open", "not measured"),
        };
        let value = target.value.map_or_else(|| "–".to_owned(), |value| target.in_unit(value));
        let sign = if target.is_least { "≥" } else { "≤" };
        write_to(
            &mut text,
            format_args!(
                "<tr><td>{}</td><td class=\"number\">{value}</td><td class=\"number\">{sign} {}</td>\
                 <td class=\"{class}\">{word}</td></tr>\n",
                escape(&target.figure),
                target.in_unit(target.must)
            ),
        );
    }
    text + "</tbody></table>\n"
}

/// Bars of what servers with more than one turn, or of more than one kind, differ in.
fn comparison(turns: &[Turn]) -> String {
    let turns = || turns.iter().filter(|turn| turn.is_compared);
    let mut peers: Vec<Peer> = Vec::new();
    for turn in turns() {
        if !peers.contains(&turn.peer) {
            peers.push(turn.peer);
        }
    }
    if peers.len() < 2 {
        return String::new();
    }
    let bars = |figure: &dyn Fn(&Turn) -> Option<[f64; 2]>| -> Vec<(String, [f64; 2])> {
        let of = |peer: &Peer| {
            let found: Vec<_> =
                turns().filter(|turn| turn.peer == *peer).filter_map(figure).collect();
            let middle = |part: usize| median(found.iter().map(|parts| parts[part]).collect());
            (!found.is_empty()).then(|| (peer.to_string(), [middle(0), middle(1)]))
        };
        peers.iter().filter_map(of).collect()
    };
    let costs = |phase: &Phase| [phase.own_us, phase.kernel_us];
    let parts = ["the server's own", "the kernel's for it"];
    let mut text = "<h2>Side by side</h2>\n<p>Medians over the turns of each server; less is \
                    better.</p>\n<div class=\"plots\">\n"
        .to_owned();
    for (title, unit, names, bars) in [
        (
            "Processor time of a delivery, one event at a time",
            "µs",
            Some(parts),
            bars(&|turn| turn.phase(Of::Processor, |burst| burst == 1).map(costs)),
        ),
        (
            "Processor time of a delivery, several events at once",
            "µs",
            Some(parts),
            bars(&|turn| turn.phase(Of::Processor, |burst| burst > 1).map(costs)),
        ),
        (
            "99 of 100 deliveries of an event take at most",
            "ms",
            None,
            bars(&|turn| turn.phase(Of::Latency, |_| true).map(|phase| [phase.p99_ms, 0.0])),
        ),
        (
            "Memory of a connection, before the first event",
            "bytes",
            None,
            bars(&|turn| Some([turn.each?.idle_bytes.max(0.0), 0.0])),
        ),
        (
            "Memory of a connection, after the last event",
            "bytes",
            None,
            bars(&|turn| Some([turn.each?.after_bytes.max(0.0), 0.0])),
        ),
        (
            "Processor time of a new connection",
            "µs",
            None,
            bars(&|turn| Some([turn.each?.connect_us, 0.0])),
        ),
    ] {
        if bars.len() > 1 {
            text += &plot::bars(title, unit, names, &bars);
        }
    }
    text + "</div>\n"
}

fn turn_section(number: usize, turn: &Turn, is_open: bool) -> String {
    let open = if is_open { " open" } else { "" };
    let mut text = format!(
        "<details{open}><summary>{number}. {}, {} connections: {}</summary>\n<p>{}.",
        turn.peer,
        grouped(turn.connections),
        turn.phases.first().map_or("a replay", |phase| &phase.what),
        escape(&turn.verdict.describe()),
    );
    if let Some(each) = turn.each {
        write_to(
            &mut text,
            format_args!(
                " A connection cost {:.1} µs of the server's processor time to begin with, and {} \
                 bytes of its memory; {} after the last event.",
                each.connect_us,
                plain(each.idle_bytes),
                plain(each.after_bytes)
            ),
        );
    }
    text += "</p>\n";
    if turn.phases.is_empty() {
        return text + "</details>\n";
    }
    text += "<table><thead><tr><th>Phase</th><th class=\"number\">Deliveries</th>\
             <th class=\"number\">bytes on the wire each</th>\
             <th class=\"number\">µs of processor time each</th><th class=\"number\">p50 ms</th>\
             <th class=\"number\">p99 ms</th><th class=\"number\">longest ms</th>\
             <th class=\"number\">segments sent again</th></tr></thead><tbody>\n";
    for phase in &turn.phases {
        write_to(
            &mut text,
            format_args!(
                "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{:.0}</td>\
                 <td class=\"number\">{:.2}</td>\
                 <td class=\"number\">{:.1}</td><td class=\"number\">{:.1}</td>\
                 <td class=\"number\">{:.1}</td><td class=\"number\">{}</td></tr>\n",
                escape(&phase.what),
                grouped(phase.deliveries),
                phase.wire_bytes,
                phase.cpu_us(),
                phase.p50_ms,
                phase.p99_ms,
                phase.max_ms,
                phase.retransmissions
            ),
        );
    }
    text += "</tbody></table>\n<div class=\"plots\">\n";
    text += &plots(&turn.timeline);
    text + "</div></details>\n"
}

fn plots(samples: &[Sample]) -> String {
    let line = |name, class, value: &dyn Fn(&Sample) -> Option<f64>| Line {
        name,
        class,
        points: samples.iter().map(|sample| (sample.seconds, value(sample))).collect(),
    };
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
    let megabytes = |sample: &Sample| Some(sample.memory_bytes as f64 / 1e6);
    #[expect(clippy::cast_precision_loss, reason = "connections are far below 2^52")]
    let connections = |sample: &Sample| Some(sample.connections as f64);
    [
        plot::lines(
            "How long deliveries take",
            "ms",
            Scale::Logarithmic,
            &[
                // The lower ones are drawn over it, where they meet.
                line("longest", "third", &|sample| sample.max_ms),
                line("p50", "first", &|sample| sample.p50_ms),
                line("p99", "second", &|sample| sample.p99_ms),
            ],
        ),
        plot::lines(
            "Deliveries each second",
            "",
            Scale::Linear,
            &[line("deliveries", "first", &|sample| Some(sample.deliveries_per_second))],
        ),
        plot::lines(
            "Cores that the server uses",
            "",
            Scale::Linear,
            &[
                line("its own", "first", &|sample| Some(sample.own_cores)),
                line("the kernel's", "second", &|sample| Some(sample.kernel_cores)),
            ],
        ),
        plot::lines(
            "The server's memory",
            "MB",
            Scale::Linear,
            &[line("memory", "first", &megabytes)],
        ),
        plot::lines(
            "Connections",
            "",
            Scale::Linear,
            &[line("connections", "first", &connections)],
        ),
    ]
    .concat()
}

/// A number of things, its thousands parted.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure in as many digits as are worth reading.
fn plain(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive and below 2^52"
    )]
    match value.abs() {
        1_000.0.. => {
            let sign = if value < 0.0 { "-" } else { "" };
            format!("{sign}{}", grouped(value.abs().round() as u64))
        }
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Target {
    /// A value as it is written.
    pub(crate) fn in_unit(&self, value: f64) -> String {
        format!("{} {}", plain(value), self.of)
    }
}

/// The day and the time, in UTC.
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days, for days from 1970 on: the year begins in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3_600, second / 60 % 60)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A String takes everything.
    text.write_fmt(arguments).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_735_689_599), "2024-12-31 23:59 UTC");
    }

    #[test]
    fn figures_have_the_digits_that_are_worth_reading() {
        let written = [0.0, 3.333, 12.34, 250.4, 10_249.6, 1_234_567.0].map(plain);
        assert_eq!(written, ["0.00", "3.33", "12.3", "250", "10,250", "1,234,567"]);
    }

    #[test]
    fn what_was_typed_is_no_markup() {
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }
}
