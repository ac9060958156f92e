//! `tidewire config`: what is in force, and from where.

use std::{io::ErrorKind, process::ExitCode};

use anyhow::Context;
use toml::Value;

use crate::{cli::ConfigArgs, output, settings::Setting};

/// Columns that a comment fills at most, unless a word is longer.
const COMMENT_COLUMNS: usize = 98;

const TOML_HEAD: &str = "\
# Settings of Tidewire. Read with --config FILE or TIDEWIRE_CONFIG=FILE.
#
# Each is also a flag (data_dir is --data-dir) and an environment variable (TIDEWIRE_DATA_DIR).
# A flag beats the environment, which beats this file. Relative paths begin where the process is
# started. One file may serve several services: each takes what it has.";

pub(crate) fn run(args: &ConfigArgs, settings: &[Setting]) -> anyhow::Result<ExitCode> {
    match output::line(if args.toml { as_toml(settings) } else { as_table(settings) }) {
        // Whoever closed it has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each setting, in columns: its name, its value, where that is from.
fn as_table(settings: &[Setting]) -> String {
    let names = width(settings.iter().map(|setting| setting.name.clone()));
    let values = width(settings.iter().map(shown));
    let lines = settings.iter().map(|setting| {
        format!("{:names$}  {:values$}  {}", setting.name, shown(setting), setting.source)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn width(column: impl Iterator<Item = String>) -> usize {
    column.map(|text| text.chars().count()).max().unwrap_or(0)
}

fn shown(setting: &Setting) -> String {
    if setting.values.is_empty() { "(none)".into() } else { setting.values.join(", ") }
}

/// A settings file with what is in force, which reads back the same.
fn as_toml(settings: &[Setting]) -> String {
    let mut text = TOML_HEAD.to_owned();
    let mut heading = "";
    for setting in settings {
        if setting.heading != heading {
            heading = &setting.heading;
            text += &format!("\n\n\n# {heading}");
        }
        text += &format!("\n\n{}\n{}", comment(setting), assignment(setting));
    }
    text
}

fn comment(setting: &Setting) -> String {
    let built_in = match setting.built_in.join(", ") {
        none if none.is_empty() => "none".into(),
        value => value,
    };
    let mut text = format!("{}. Default: {built_in}.", setting.meaning.trim_end_matches('.'));
    if setting.is_secret {
        text += " A secret: where there is one, it is not written here.";
    }
    let mut comment = String::from("#");
    let mut columns = comment.len();
    for word in text.split_whitespace() {
        if columns + 1 + word.len() > COMMENT_COLUMNS {
            comment += "\n#";
            columns = 1;
        }
        comment += &format!(" {word}");
        columns += 1 + word.len();
    }
    comment
}

fn assignment(setting: &Setting) -> String {
    let name = &setting.name;
    match &*setting.values {
        _ if setting.is_secret => format!("# {name} ="),
        values if setting.is_list => {
            format!("{name} = {}", Value::Array(values.iter().map(value).collect()))
        }
        [one] => format!("{name} = {}", value(one)),
        _ => format!("# {name} ="),
    }
}

/// A text becomes what people write in TOML: `true` and `4096` without quotes, the rest with.
fn value(text: &String) -> Value {
    match (text.parse::<bool>(), text.parse::<i64>()) {
        (Ok(truth), _) => Value::Boolean(truth),
        (_, Ok(number)) if number.to_string() == *text => Value::Integer(number),
        _ => Value::String(text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, values: &[&str], is_list: bool) -> Setting {
        Setting {
            name: name.into(),
            heading: "Some".into(),
            meaning: format!("What {name} means, in words enough to fill more than one line ")
                .repeat(2),
            values: values.iter().map(ToString::to_string).collect(),
            built_in: vec![],
            is_list,
            is_secret: false,
            source: Default::default(),
        }
    }

    #[test]
    fn a_table_is_aligned() {
        let settings = [
            setting("a", &["1"], false),
            setting("a_long_name", &["a long value"], false),
            setting("b", &[], true),
        ];
        let table = as_table(&settings);
        let sources: Vec<_> = table.lines().map(|line| line.find("default")).collect();
        assert!(sources.iter().all(|at| *at == sources[0] && at.is_some()), "{table}");
    }

    #[test]
    fn toml_says_each_value_in_the_form_people_write() {
        let settings = [
            setting("dir", &["C:\\a \"b\""], false),
            setting("truth", &["true"], false),
            setting("number", &["42"], false),
            setting("padded", &["042"], false),
            setting("list", &["x", "y"], true),
            setting("none", &[], true),
            setting("absent", &[], false),
        ];
        let text = as_toml(&settings);
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["dir"], Value::from("C:\\a \"b\""));
        assert_eq!(table["truth"], Value::from(true));
        assert_eq!(table["number"], Value::from(42));
        assert_eq!(table["padded"], Value::from("042"));
        assert_eq!(table["list"], Value::from(vec!["x", "y"]));
        assert_eq!(table["none"], Value::Array(vec![]));
        assert!(!table.contains_key("absent"));
        assert!(text.lines().all(|line| line.len() <= COMMENT_COLUMNS), "{text}");
    }

    #[test]
    fn toml_has_a_place_for_a_secret_and_says_why_it_is_empty() {
        let secret = Setting { is_secret: true, ..setting("password", &["(secret)"], false) };
        let text = as_toml(&[secret]);
        assert!(text.ends_with("\n# password ="), "{text}");
        assert!(text.contains("A secret: ") && !text.contains("(secret)"), "{text}");
    }
}
