//! Settings as a TOML file: flat, each under its name.

use std::{collections::BTreeMap, fs, path::PathBuf};

use clap::{ArgAction, Command};
use toml::{Table, Value};

use crate::settings::{knows, mut_innermost, unknown};

/// A settings file, read: each value as it would be typed after its flag.
#[derive(Debug)]
pub(super) struct SettingsFile {
    path: PathBuf,
    values: BTreeMap<String, Vec<String>>,
}

impl SettingsFile {
    /// Reads a file whose keys are all in the vocabulary.
    pub(super) fn read(path: PathBuf, vocabulary: &Command) -> Result<Self, String> {
        let shown = path.display();
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("cannot read the settings file '{shown}': {error}"))?;
        let table: Table = text.parse().map_err(|error| {
            let reason = in_place(&error, &text);
            format!("cannot read the settings file '{shown}': {reason}")
        })?;
        let values = table
            .into_iter()
            .map(|(name, value)| {
                let values = in_flag_form(&name, value, vocabulary)
                    .map_err(|reason| format!("{reason} (in '{shown}')"))?;
                Ok((name, values))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { path, values })
    }

    /// Makes the file's values the defaults of the flags, wherever a file may be named. What a
    /// command does not have is there for others.
    pub(super) fn become_defaults_of(&self, command: Command) -> Command {
        mut_innermost(command, &|command| {
            if !knows(&command, "config") {
                return command;
            }
            self.values.iter().fold(command, |command, (name, values)| {
                if knows(&command, name) {
                    command.mut_arg(name, |argument| argument.default_values(values.clone()))
                } else {
                    command
                }
            })
        })
    }

    /// How the file spells a setting.
    pub(super) fn spelling(&self, name: &str) -> String {
        format!("{name} in {}", self.path.display())
    }

    /// Where a setting stands, if it stands here.
    pub(super) fn holds(&self, name: &str) -> Option<&PathBuf> {
        self.values.contains_key(name).then_some(&self.path)
    }
}

/// What is wrong with a file, and where. The line itself is not shown: it may hold a secret.
fn in_place(error: &toml::de::Error, text: &str) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return error.message().to_owned();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {}", error.message())
}

fn in_flag_form(name: &str, value: Value, vocabulary: &Command) -> Result<Vec<String>, String> {
    let Some(argument) = vocabulary.get_arguments().find(|argument| argument.get_id() == name)
    else {
        return Err(unknown(&format!("setting '{name}'"), name, vocabulary, str::to_owned));
    };
    let is_list = matches!(argument.get_action(), ArgAction::Append);
    match value {
        Value::Array(values) if is_list => {
            values.into_iter().map(|value| scalar(name, value)).collect()
        }
        Value::Array(_) => Err(format!("'{name}' takes one value, not a list")),
        value => Ok(vec![scalar(name, value)?]),
    }
}

fn scalar(name: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        _ => Err(format!("'{name}' takes a text in quotes, a whole number, true or false")),
    }
}
