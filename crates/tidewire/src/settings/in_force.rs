//! What is in force, and from where.

use std::{fmt, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

use crate::settings::{environment::variable, file::SettingsFile, knows, vocabulary};

/// One setting, as it is in force.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name as in a file.
    pub(crate) name: String,
    /// The heading it stands under.
    pub(crate) heading: String,
    /// What it means.
    pub(crate) meaning: String,
    /// Its value, as it would be typed; none where there is no value. Of a secret, only that there
    /// is one.
    pub(crate) values: Vec<String>,
    /// What the value would be if nobody had said anything.
    pub(crate) built_in: Vec<String>,
    /// Whether it takes several values.
    pub(crate) is_list: bool,
    /// Whether its value is never shown.
    pub(crate) is_secret: bool,
    /// Where the value is from.
    pub(crate) source: Source,
}

/// Where a value is from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// It was typed.
    Flag(String),
    /// It stands in the environment.
    Environment(String),
    /// It stands in a file.
    File(PathBuf),
    /// Nobody said anything.
    #[default]
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Every setting of the command that was given, in the order of its help.
pub(super) fn settings(
    built_in: &Command,
    matches: &ArgMatches,
    file: Option<&SettingsFile>,
) -> Vec<Setting> {
    let (mut command, mut matches) = (built_in, matches);
    while let Some((name, inner)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name) else { return Vec::new() };
        (command, matches) = (found, inner);
    }
    let vocabulary = vocabulary();
    command
        .get_arguments()
        .filter(|argument| knows(&vocabulary, argument.get_id().as_str()))
        .map(|argument| setting(argument, matches, file))
        .collect()
}

/// Whether a setting's value is never shown: help and `tidewire config` agree about it.
pub(super) fn is_secret(argument: &Arg) -> bool {
    argument.is_hide_env_values_set()
}

fn setting(argument: &Arg, matches: &ArgMatches, file: Option<&SettingsFile>) -> Setting {
    let name = argument.get_id().as_str();
    let is_secret = is_secret(argument);
    let values = matches.get_raw(name).into_iter().flatten().map(|value| {
        if is_secret { "(secret)".into() } else { value.to_string_lossy().into_owned() }
    });
    let built_in = argument.get_default_values().iter();
    let source = match matches.value_source(name) {
        Some(ValueSource::CommandLine) => Source::Flag(format!("--{}", name.replace('_', "-"))),
        Some(ValueSource::EnvVariable) => Source::Environment(variable(name)),
        _ => file
            .and_then(|file| file.holds(name))
            .map_or(Source::Default, |path| Source::File(path.clone())),
    };
    Setting {
        name: name.into(),
        heading: argument.get_help_heading().unwrap_or_default().into(),
        meaning: argument.get_help().map(ToString::to_string).unwrap_or_default(),
        values: values.collect(),
        built_in: built_in.map(|value| value.to_string_lossy().into_owned()).collect(),
        is_list: matches!(argument.get_action(), ArgAction::Append),
        is_secret,
        source,
    }
}
