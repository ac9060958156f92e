//! Settings in three spellings, as whoever types them sees them.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test suite: a failed expectation is its result"
)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The real binary, in an environment without settings.
fn tidewire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDEWIRE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

fn output_of(command: &mut Command) -> Output {
    command.output().expect("the binary runs")
}

/// What a command prints, which must succeed.
fn printed(command: &mut Command) -> String {
    let output = output_of(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// What a command says when it fails, with the exit code of a wrong call.
fn refusal(command: &mut Command) -> String {
    let output = output_of(command);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

/// A setting's value and source, as `tidewire config` shows them.
fn in_force(table: &str, name: &str) -> (String, String) {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    let columns: Vec<&str> = line
        .unwrap_or_else(|| panic!("no {name} in\n{table}"))
        .split("  ")
        .map(str::trim)
        .filter(|column| !column.is_empty())
        .collect();
    (columns[1].into(), columns[2].into())
}

struct Settings {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Settings {
    fn file(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidewire.toml");
        fs::write(&path, text).unwrap();
        Self { _dir: dir, path }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let file = Settings::file("retention_age = \"3h\"\npage = false\nreplays_max = 7\n");
    let from_file = format!("file {}", file.path());
    let wanted = |value: &str, source: &str| (value.to_owned(), source.to_owned());

    let table = printed(&mut tidewire(&["config"]));
    assert_eq!(in_force(&table, "retention_age"), wanted("24h", "default"));

    let table = printed(&mut tidewire(&["config", "--config", file.path()]));
    assert_eq!(in_force(&table, "retention_age"), wanted("3h", &from_file));
    assert_eq!(in_force(&table, "page"), wanted("false", &from_file));
    assert_eq!(in_force(&table, "replays_max"), wanted("7", &from_file));
    assert_eq!(in_force(&table, "retention_bytes"), wanted("1GiB", "default"));

    let mut command = tidewire(&["config", "standalone"]);
    command.env("TIDEWIRE_CONFIG", file.path()).env("TIDEWIRE_RETENTION_AGE", "2h");
    let table = printed(&mut command);
    let from_environment = "environment TIDEWIRE_RETENTION_AGE";
    assert_eq!(in_force(&table, "retention_age"), wanted("2h", from_environment));
    assert_eq!(in_force(&table, "page"), wanted("false", &from_file));

    let table = printed(command.args(["--retention-age", "1h"]));
    assert_eq!(in_force(&table, "retention_age"), wanted("1h", "flag --retention-age"));
}

#[test]
fn a_list_has_three_spellings_too() {
    let (one, two) = ("https://a.example", "https://b.example");
    let both = format!("{one}, {two}");
    let file = Settings::file(&format!("cors_origin = [\"{one}\", \"{two}\"]"));
    for command in [
        tidewire(&["config", "--config", file.path()]),
        tidewire(&["config", "--cors-origin", one, "--cors-origin", two]),
    ] {
        let mut command = command;
        assert_eq!(in_force(&printed(&mut command), "cors_origin").0, both);
    }
    let mut command = tidewire(&["config"]);
    command.env("TIDEWIRE_CORS_ORIGIN", format!("{one},{two}"));
    assert_eq!(in_force(&printed(&mut command), "cors_origin").0, both);
}

#[test]
fn a_typo_in_any_spelling_is_refused_with_the_nearest_name() {
    let said = refusal(&mut tidewire(&["config", "--data-dri", "x"]));
    assert!(said.contains("'--data-dri'") && said.contains("'--data-dir'"), "{said}");

    for command in ["config", "standalone", "demo"] {
        let said = refusal(tidewire(&[command]).env("TIDEWIRE_DATA_DRI", "x"));
        assert!(said.contains("'TIDEWIRE_DATA_DRI'"), "{said}");
        assert!(said.contains("'TIDEWIRE_DATA_DIR'"), "{said}");
    }

    let file = Settings::file("data_dri = \"x\"");
    let said = refusal(&mut tidewire(&["standalone", "--config", file.path()]));
    assert!(said.contains("'data_dri'") && said.contains("'data_dir'"), "{said}");
    assert!(said.contains(file.path()), "{said}");
}

#[test]
fn a_value_that_is_not_allowed_is_refused_in_the_spelling_in_which_it_was_given() {
    for (name, value, range) in [
        ("retention_age", "8parsecs", "from 1s to 3650d"),
        ("retention_age", "0s", "from 1s to 3650d"),
        ("retention_bytes", "12XB", "from 1MiB to 1024TiB"),
        ("event_bytes_max", "2MiB", "from 1B to 1MiB"),
        ("replays_max", "0", "from 1 to 1024"),
        ("http_listen", "localhost", "an IP address and a port"),
        ("cors_origin", "https://a.example/", "without a path"),
        ("log_filter", "tidewire=loud", "error, warn, info"),
        ("page", "maybe", "true, false"),
    ] {
        let flag = format!("--{}", name.replace('_', "-"));
        let said = refusal(&mut tidewire(&["config", &flag, value]));
        assert!(said.contains(&format!("'{flag} <")) && said.contains(range), "{said}");

        let variable = format!("TIDEWIRE_{}", name.to_uppercase());
        let said = refusal(tidewire(&["config"]).env(&variable, value));
        assert!(said.contains(&format!("'{variable}'")) && said.contains(range), "{said}");

        let file = Settings::file(&format!("{name} = \"{value}\""));
        let said = refusal(&mut tidewire(&["config", "--config", file.path()]));
        let place = format!("'{name} in {}'", file.path());
        assert!(said.contains(&place) && said.contains(range), "{said}");
        assert!(said.contains(value), "{said}");
    }
}

#[test]
fn a_file_that_cannot_be_understood_is_refused_with_the_place() {
    for (text, reason) in [
        ("data_dir = ", "line 1"),
        ("data_dir = [\"a\"]", "one value"),
        ("data_dir = 1.5", "a text in quotes"),
        ("[log]\ndata_dir = \"a\"", "'log'"),
        ("data_dir = \"a\"\ndata_dir = \"b\"", "duplicate key"),
    ] {
        let file = Settings::file(text);
        let said = refusal(&mut tidewire(&["config", "--config", file.path()]));
        assert!(said.contains(file.path()) && said.contains(reason), "{text}: {said}");
    }
    let said = refusal(&mut tidewire(&["config", "--config", "/nowhere/tidewire.toml"]));
    assert!(said.contains("/nowhere/tidewire.toml"), "{said}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let said = refusal(&mut tidewire(&["config", "--retry-min", "1m"]));
    assert!(said.contains("retry_min") && said.contains("retry_max"), "{said}");
}

#[test]
fn a_file_of_what_is_in_force_reads_back_the_same() {
    let arguments = [
        "--data-dir",
        "C:\\some \"where\" Ünïcode",
        "--retention-age",
        "90m",
        "--cors-origin",
        "https://a.example,https://b.example",
        "--page",
        "false",
        "--replays-max",
        "3",
        "--ready-file",
        "ready.json",
    ];
    for arguments in [&[][..], &arguments[..]] {
        let written = printed(tidewire(&["config", "--toml"]).args(arguments));
        let file = Settings::file(&written);
        let again = printed(&mut tidewire(&["config", "--toml", "--config", file.path()]));
        assert_eq!(written, again);

        let values = |table: String| -> Vec<String> {
            let setting = |line: &str| line.rsplit_once("  ").unwrap().0.trim_end().to_owned();
            table.lines().map(setting).collect()
        };
        let before = values(printed(tidewire(&["config"]).args(arguments)));
        let after = values(printed(&mut tidewire(&["config", "--config", file.path()])));
        assert_eq!(before, after);
    }
}

#[test]
fn help_is_given_whatever_the_environment_holds() {
    let mut command = tidewire(&["standalone", "--help"]);
    command.env("TIDEWIRE_DATA_DRI", "x").env("TIDEWIRE_CONFIG", "/nowhere");
    let help = printed(&mut command);
    for shown in ["TIDEWIRE_RETENTION_AGE", "1s to 3650d", "default: 24h", "Examples:"] {
        assert!(help.contains(shown), "{shown} is not in\n{help}");
    }
}

#[test]
fn an_address_in_use_is_said_with_the_setting_that_chooses_another_and_nothing_is_begun() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--http-listen", "--grpc-listen", "--operations-listen"] {
        let dir = tempfile::tempdir().unwrap();
        let output = output_of(&mut standalone_on_free_ports(dir.path(), flag, &address));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&address) && said.contains(flag), "{said}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no log was begun");
    }
}

fn standalone_on_free_ports(dir: &Path, flag: &str, address: &str) -> Command {
    let mut command = tidewire(&["standalone"]);
    command.arg("--data-dir").arg(dir.join("data"));
    for other in ["--http-listen", "--grpc-listen", "--operations-listen"] {
        command.args([other, if other == flag { address } else { "127.0.0.1:0" }]);
    }
    command
}
