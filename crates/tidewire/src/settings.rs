//! One name, three spellings: a flag, an environment variable, a line of a TOML file.
//!
//! The environment and the file become the defaults of the flags, so that one parser, one
//! validation and one form of error serve all three, and a flag beats the environment, which beats
//! the file, which beats the built-in default.

mod arguments;
mod environment;
mod file;
mod in_force;
mod secret;
pub(crate) mod units;

use std::{env, ffi::OsString, path::PathBuf};

use clap::{
    ArgMatches, Args, Command, CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use crate::cli::{self, Cli};

pub(crate) use self::{
    arguments::{
        EdgeArgs, FileArgs, IngestArgs, LogArgs, LogFormat, NatsArgs, ProcessArgs, StandaloneArgs,
        TelemetryArgs, TracesArgs,
    },
    in_force::Setting,
};
use self::{environment::variable, file::SettingsFile};

/// How alike two names are, from 0 to 1, when the one was probably meant by the other.
const ALIKE_MIN: f64 = 0.7;

/// What was asked for, and every setting that is in force for it.
pub(crate) struct Invocation {
    pub(crate) cli: Cli,
    pub(crate) settings: Vec<Setting>,
}

/// Reads the command line, the environment and, where one is named, the settings file.
///
/// # Errors
/// A value that is not allowed, in the spelling in which it was given; an unknown name in any of
/// the three; an unreadable file. A wish for help or the version is an "error" too, as clap has it.
pub(crate) fn read(arguments: Vec<OsString>) -> Result<Invocation, Error> {
    let arguments = &cli::with_default_service(arguments);
    let built_in = with_environment(Cli::command());
    let mut command = built_in.clone();
    let mut matches = parse(&mut command, arguments, None)?;
    environment::refuse_unknown(env::vars_os(), &vocabulary()).map_err(refusal)?;
    let file = match file_path(&matches) {
        Some(path) => Some(SettingsFile::read(path, &vocabulary()).map_err(refusal)?),
        None => None,
    };
    if let Some(file) = &file {
        command = file.become_defaults_of(built_in.clone());
        matches = parse(&mut command, arguments, Some(file))?;
    }
    let settings = in_force::settings(&built_in, &matches, file.as_ref());
    let cli = Cli::from_arg_matches(&matches)?;
    cli.check().map_err(refusal)?;
    Ok(Invocation { cli, settings })
}

/// Every setting that some service has, by the id that is its name in a file: one environment and
/// one file may serve them all.
fn vocabulary() -> Command {
    let services = [
        IngestArgs::augment_args(Command::new("ingest")),
        EdgeArgs::augment_args(Command::new("edge")),
        StandaloneArgs::augment_args(Command::new("standalone")),
    ];
    let arguments = services.iter().flat_map(Command::get_arguments);
    arguments.fold(Command::new("settings"), |all, argument| {
        if knows(&all, argument.get_id().as_str()) { all } else { all.arg(argument) }
    })
}

/// Whether a command has an argument of this name.
fn knows(command: &Command, name: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_id() == name)
}

fn with_environment(command: Command) -> Command {
    let vocabulary = vocabulary();
    mut_innermost(command, &|command| {
        command.mut_args(|argument| {
            let name = argument.get_id().to_string();
            // A variable that is set to nothing sets nothing, as in files of other programs.
            let is_empty = env::var_os(variable(&name)).is_some_and(|value| value.is_empty());
            if knows(&vocabulary, &name) && !is_empty {
                argument.env(variable(&name))
            } else {
                argument
            }
        })
    })
}

/// Changes the commands that have no commands below them: those have settings.
fn mut_innermost(command: Command, change: &dyn Fn(Command) -> Command) -> Command {
    if command.has_subcommands() {
        command.mut_subcommands(|command| mut_innermost(command, change))
    } else {
        change(command)
    }
}

fn parse(
    command: &mut Command,
    arguments: &[OsString],
    file: Option<&SettingsFile>,
) -> Result<ArgMatches, Error> {
    command
        .try_get_matches_from_mut(arguments)
        .map_err(|error| without_passwords(in_the_spelling_used(error, arguments, file)))
}

fn file_path(matches: &ArgMatches) -> Option<PathBuf> {
    let mut matches = matches;
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches.try_get_one::<PathBuf>("config").ok().flatten().cloned()
}

/// clap speaks of the flag, wherever the value came from. Who wrote a variable or a line of a file
/// is told about that.
fn in_the_spelling_used(
    mut error: Error,
    arguments: &[OsString],
    file: Option<&SettingsFile>,
) -> Error {
    let Some(ContextValue::String(usage)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let flag = usage.split([' ', '=']).next().unwrap_or_default().to_owned();
    let name = flag.trim_start_matches('-').replace('-', "_");
    let typed = arguments.iter().any(|argument| {
        argument.to_string_lossy().strip_prefix(&*flag).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('=') // A longer flag begins the same.
        })
    });
    if typed || !knows(&vocabulary(), &name) {
        return error;
    }
    let spelling = match file {
        _ if env::var_os(variable(&name)).is_some() => variable(&name),
        Some(file) => file.spelling(&name),
        None => return error,
    };
    error.insert(ContextKind::InvalidArg, ContextValue::String(spelling));
    error
}

/// clap shows what it refuses, and an address may hold a password where it must not.
fn without_passwords(mut error: Error) -> Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue] {
        let Some(ContextValue::String(shown)) = error.get(kind) else { continue };
        if let Some((_, host)) = shown.rsplit_once('@') {
            let shown = format!("…@{host}");
            error.insert(kind, ContextValue::String(shown));
        }
    }
    error
}

fn refusal(reason: String) -> Error {
    Error::raw(ErrorKind::ValueValidation, format!("{reason}\n"))
}

/// Refuses a name that no setting has, and says which was probably meant, in the same spelling.
fn unknown(
    what: &str,
    name: &str,
    vocabulary: &Command,
    spelling: impl Fn(&str) -> String,
) -> String {
    let likeness = |known: &str| strsim::jaro(known, name);
    let meant = vocabulary
        .get_arguments()
        .map(|argument| argument.get_id().as_str())
        .filter(|known| likeness(known) >= ALIKE_MIN)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match meant {
        Some(meant) => format!("unknown {what}: did you mean '{}'?", spelling(meant)),
        None => format!("unknown {what}: `tidewire config` lists every setting"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_and_command_is_well_formed() {
        with_environment(Cli::command()).debug_assert();
    }

    #[test]
    fn every_setting_has_one_name_in_three_spellings_and_a_meaning() {
        for argument in vocabulary().get_arguments() {
            let name = argument.get_id().as_str();
            assert_eq!(argument.get_long(), Some(&*name.replace('_', "-")));
            assert!(argument.get_help().is_some(), "{name} says what it means");
            assert!(argument.get_help_heading().is_some(), "{name} stands under a heading");
        }
    }

    #[test]
    fn a_typo_is_answered_with_the_nearest_name() {
        let refuse = |name| unknown("setting", name, &vocabulary(), str::to_uppercase);
        assert_eq!(refuse("retention_agee"), "unknown setting: did you mean 'RETENTION_AGE'?");
        assert_eq!(refuse("datadir"), "unknown setting: did you mean 'DATA_DIR'?");
        assert_eq!(refuse("nats_urls"), "unknown setting: did you mean 'NATS_URL'?");
        assert!(refuse("zzz").contains("tidewire config"));
    }

    /// A hub of one process ends at once: there is no other for its clients to go to.
    const OF_STANDALONE: [(&str, &str); 2] = [("drain_delay", "0s"), ("drain_window", "0s")];

    #[test]
    fn a_setting_is_the_same_wherever_it_is_taken() {
        let cli = Cli::command();
        let config = cli.find_subcommand("config").unwrap();
        let vocabulary = vocabulary();
        for command in cli.get_subcommands().chain(config.get_subcommands()) {
            for argument in command.get_arguments() {
                let name = argument.get_id();
                let Some(known) = vocabulary.get_arguments().find(|known| known.get_id() == name)
                else {
                    continue;
                };
                let of_standalone = OF_STANDALONE.iter().find(|(of, _)| name == of);
                match of_standalone.filter(|_| command.get_name() == "standalone") {
                    Some((_, default)) => assert_eq!(argument.get_default_values(), [*default]),
                    None => assert_eq!(
                        argument.get_default_values(),
                        known.get_default_values(),
                        "{name}"
                    ),
                }
                let texts =
                    [argument, known].map(|argument| argument.get_help().map(ToString::to_string));
                assert_eq!(texts[0], texts[1], "{name}");
            }
        }
    }

    #[test]
    fn what_must_not_be_shown_is_marked() {
        let vocabulary = vocabulary();
        let secrets = vocabulary.get_arguments().filter(|argument| in_force::is_secret(argument));
        let names: Vec<_> = secrets.map(|argument| argument.get_id().as_str()).collect();
        assert_eq!(names, ["nats_password", "nats_token"]);
    }
}
