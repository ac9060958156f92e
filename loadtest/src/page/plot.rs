//! Plots as SVG: lines over time, and bars side by side.

use super::{escape, plain, write_to};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;
/// Lines across a plot at most.
const RULES_MAX: f64 = 5.0;
const BAR_HEIGHT: f64 = 26.0;
const NAMES_WIDTH: f64 = 84.0;
const VALUES_WIDTH: f64 = 78.0;

/// How values become heights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    Logarithmic,
}

/// One line of a plot, with holes where there is no value.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    /// Seconds, and a value.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Lines over time. Nothing where no line has a point.
pub(super) fn lines(title: &str, unit: &str, scale: Scale, lines: &[Line]) -> String {
    let values = lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, value)| *value));
    let is_shown = |value: &f64| scale == Scale::Linear || *value > 0.0;
    let values: Vec<f64> = values.filter(is_shown).collect();
    let seconds = lines.iter().flat_map(|line| line.points.iter().map(|(at, _)| *at));
    let last = seconds.fold(0.0, f64::max);
    if values.is_empty() || last <= 0.0 {
        return String::new();
    }
    let axis = Axis::of(&values, scale);
    let x = |second: f64| LEFT + (WIDTH - LEFT - RIGHT) * second / last;
    let mut svg = axis.rules();
    for second in steps(last) {
        write_to(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second} s</text>",
                x(second),
                HEIGHT - 6.0
            ),
        );
    }
    for line in lines {
        svg += &path(line, &axis, x, unit);
    }
    let is_named = lines.len() > 1;
    let names: String = lines
        .iter()
        .filter(|_| is_named)
        .map(|line| format!("<span class=\"{}\">{}</span>", line.class, line.name))
        .collect();
    let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
    format!(
        "<figure><figcaption>{title}{unit}</figcaption><div class=\"legend\">{names}</div>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">{svg}</svg>\
         </figure>\n"
    )
}

/// A line's path, with a spot at each point that says its value.
fn path(line: &Line, axis: &Axis, x: impl Fn(f64) -> f64, unit: &str) -> String {
    let (mut path, mut spots) = (String::new(), String::new());
    let points = &line.points;
    for (index, (second, value)) in points.iter().enumerate() {
        let Some(value) = value else { continue };
        let (x, y) = (x(*second), axis.y(*value));
        let has = |index: Option<usize>| {
            index.and_then(|index| points.get(index)).is_some_and(|(_, value)| value.is_some())
        };
        let follows = has(index.checked_sub(1));
        let command = if follows { 'L' } else { 'M' };
        write_to(&mut path, format_args!("{command}{x:.1} {y:.1}"));
        // One that stands alone has no line that would show it.
        let lone = if follows || has(Some(index + 1)) { "" } else { "lone " };
        write_to(
            &mut spots,
            format_args!(
                "<circle class=\"{lone}{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"><title>{}, \
                 {second:.1} s: {} {unit}</title></circle>",
                line.class,
                line.name,
                plain(*value)
            ),
        );
    }
    format!("<path class=\"{}\" d=\"{path}\"/>{spots}", line.class)
}

/// The vertical axis.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    rules: Vec<f64>,
}

impl Axis {
    fn of(values: &[f64], scale: Scale) -> Self {
        let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        match scale {
            Scale::Linear => {
                let step = step(most);
                let count = (most / step).ceil().max(1.0);
                let rules = counted(count).map(|number| number * step).collect();
                Self { scale, low: 0.0, high: count * step, rules }
            }
            Scale::Logarithmic => {
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let low = least.log10().floor();
                let high = most.log10().ceil().max(low + 1.0);
                let rules = counted(high - low).map(|number| 10_f64.powf(low + number)).collect();
                Self { scale, low, high, rules }
            }
        }
    }

    fn y(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
        };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }

    fn rules(&self) -> String {
        let mut svg = String::new();
        for rule in &self.rules {
            let y = self.y(*rule);
            write_to(
                &mut svg,
                format_args!(
                    "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    WIDTH - RIGHT,
                    LEFT - 6.0,
                    y + 4.0,
                    short(*rule)
                ),
            );
        }
        svg
    }
}

/// Whole numbers from 0 up to one.
fn counted(last: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(0.0), |number| Some(number + 1.0))
        .take_while(move |number| *number <= last + 0.5)
}

/// 1, 2 or 5 times a power of ten, so that not too many fit below a value.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / RULES_MAX).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| most / step <= RULES_MAX).unwrap_or(10.0 * power)
}

fn steps(most: f64) -> Vec<f64> {
    let step = step(most).max(1.0);
    counted((most / step).floor() - 0.5).map(|number| number * step).collect()
}

/// A round value in few letters.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        1e4.. => format!("{}k", value / 1e3),
        _ => format!("{}", (value * 1e6).round() / 1e6),
    }
}

/// Bars side by side, each of one or two parts.
pub(super) fn bars(
    title: &str,
    unit: &str,
    names: Option<[&str; 2]>,
    bars: &[(String, [f64; 2])],
) -> String {
    let sum = |parts: &[f64; 2]| parts.iter().sum::<f64>();
    let most = bars.iter().map(|(_, parts)| sum(parts)).fold(f64::MIN_POSITIVE, f64::max);
    let width = |value: f64| (WIDTH - NAMES_WIDTH - VALUES_WIDTH) * value / most;
    let (mut svg, mut y) = (String::new(), 0.0);
    for (name, parts) in bars {
        let middle = y + BAR_HEIGHT / 2.0 + 4.0;
        write_to(
            &mut svg,
            format_args!(
                "<text class=\"name\" x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
                NAMES_WIDTH - 8.0,
                escape(name)
            ),
        );
        let mut x = NAMES_WIDTH;
        for (part, class) in parts.iter().zip(["first", "second"]) {
            write_to(
                &mut svg,
                format_args!(
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                     height=\"{:.1}\"/>",
                    y + 4.0,
                    width(*part),
                    BAR_HEIGHT - 8.0
                ),
            );
            x += width(*part);
        }
        write_to(
            &mut svg,
            format_args!(
                "<text class=\"value\" x=\"{:.1}\" y=\"{middle:.1}\">{} {unit}</text>",
                x + 6.0,
                plain(sum(parts))
            ),
        );
        y += BAR_HEIGHT;
    }
    let legend = names.map_or_else(String::new, |[one, other]| {
        format!("<span class=\"first\">{one}</span><span class=\"second\">{other}</span>")
    });
    format!(
        "<figure><figcaption>{title}</figcaption><div class=\"legend\">{legend}</div>\
         <svg viewBox=\"0 0 {WIDTH} {y}\" role=\"img\" aria-label=\"{title}\">{svg}</svg></figure>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_few() {
        for (most, expected) in [(0.7, 0.2), (5.0, 1.0), (14.0, 5.0), (15_000.0, 5_000.0)] {
            assert!((step(most) - expected).abs() < expected / 1e6, "{most}: {}", step(most));
        }
    }

    #[test]
    fn a_hole_parts_a_line() {
        let points = vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(2.0)), (3.0, Some(3.0))];
        let svg = lines("a", "ms", Scale::Linear, &[Line { name: "p50", class: "first", points }]);
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
        assert_eq!(svg.matches("lone").count(), 1, "{svg}");
    }
}
