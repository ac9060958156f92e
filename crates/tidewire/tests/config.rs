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
        ("log_filter", "tidewire=loud", "'tidewire=loud' names no level: error, warn, info"),
        ("log_format", "xml", "auto, text, json"),
        ("otlp_endpoint", "collector:4317", "http://127.0.0.1:4317"),
        ("otlp_endpoint", "https://collector:4317", "without TLS"),
        ("otlp_endpoint", "http://", "a collector's address"),
        ("trace_sample_ratio", "1.1", "from 0 to 1"),
        ("trace_sample_ratio", "NaN", "from 0 to 1"),
        ("metrics", "sometimes", "true, false"),
        ("page", "maybe", "true, false"),
    ] {
        value_is_refused("standalone", name, value, range);
    }
    for (name, value, range) in [
        ("nats_url", "http://127.0.0.1:4222", "an address such as nats://"),
        ("nats_stream", "a.b", "1 to 32 of A-Z"),
        ("nats_stream_policy", "maybe", "create, verify, require"),
        ("nats_replicas", "2", "1, 3 or 5"),
        ("nats_storage", "tape", "file, memory"),
        ("nats_compression", "gzip", "none, s2"),
        ("nats_tls", "perhaps", "true, false"),
        ("retention_bytes", "1B", "from 1MiB to 1024TiB"),
        ("retention_topic_events", "0", "from 1 to 1000000000"),
    ] {
        value_is_refused("ingest", name, value, range);
    }
    value_is_refused("edge", "nats_url", "nats://", "an address such as nats://");
}

fn value_is_refused(service: &str, name: &str, value: &str, range: &str) {
    let flag = format!("--{}", name.replace('_', "-"));
    let said = refusal(&mut tidewire(&["config", service, &flag, value]));
    assert!(
        said.contains(&format!("'{flag} <")) || said.contains(&format!("'{flag} [<")),
        "{said}"
    );
    assert!(said.contains(range), "{said}");

    let variable = format!("TIDEWIRE_{}", name.to_uppercase());
    let said = refusal(tidewire(&["config", service]).env(&variable, value));
    assert!(said.contains(&format!("'{variable}'")) && said.contains(range), "{said}");

    let file = Settings::file(&format!("{name} = \"{value}\""));
    let said = refusal(&mut tidewire(&["config", service, "--config", file.path()]));
    let place = format!("'{name} in {}'", file.path());
    assert!(said.contains(&place) && said.contains(range), "{said}");
    assert!(said.contains(value), "{said}");
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
    let said = refusal(&mut tidewire(&["config", "--tls-key", "hub.key"]));
    assert!(said.contains("'tls_key'") && said.contains("'tls_certificate'"), "{said}");
}

#[test]
fn proxies_to_trust_are_networks() {
    let flags = ["config", "--trusted-proxy", "10.0.0.0/8,::1"];
    assert_eq!(in_force(&printed(&mut tidewire(&flags)), "trusted_proxy").0, "10.0.0.0/8, ::1");
    let said = refusal(&mut tidewire(&["config", "--trusted-proxy", "proxy.example"]));
    assert!(said.contains("such as 10.0.0.0/8"), "{said}");
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start_by_name() {
    let directory = tempfile::TempDir::new().unwrap();
    let data = directory.path().display().to_string();
    let mut hub = tidewire(&["standalone", "--data-dir", &data, "--tls-certificate", "/nowhere/c"]);
    hub.args(["--tls-key", "/nowhere/k", "--http-listen", "127.0.0.1:0"]);
    hub.args(["--grpc-listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0"]);
    let output = output_of(&mut hub);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("--tls-certificate") && said.contains("'/nowhere/c' cannot be"),
        "{said}"
    );
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
    reads_back_the_same("standalone", &[]);
    reads_back_the_same("standalone", &arguments);

    let nats = [
        "--nats-url",
        "nats://n1:4222,tls://n2:4222",
        "--nats-stream",
        "OTHER",
        "--nats-credentials",
        "some where.creds",
        "--nats-tls",
        "true",
        "--nats-tls-ca",
        "ca.pem",
        "--nats-tls-certificate",
        "c.pem",
        "--nats-tls-key",
        "k.pem",
    ];
    let stream = ["--nats-replicas", "3", "--nats-storage", "memory", "--nats-compression", "s2"];
    let policy = ["--nats-stream-policy", "require", "--retention-topic-events", "9"];
    reads_back_the_same("ingest", &[]);
    reads_back_the_same("ingest", &[&nats[..], &stream, &policy].concat());
    reads_back_the_same("edge", &[]);
    reads_back_the_same("edge", &[&nats[..], &["--page", "false"]].concat());
}

fn reads_back_the_same(service: &str, arguments: &[&str]) {
    let written = printed(tidewire(&["config", service, "--toml"]).args(arguments));
    let file = Settings::file(&written);
    let again = printed(&mut tidewire(&["config", service, "--toml", "--config", file.path()]));
    assert_eq!(written, again);

    let values = |table: String| -> Vec<String> {
        let setting = |line: &str| line.rsplit_once("  ").unwrap().0.trim_end().to_owned();
        table.lines().map(setting).collect()
    };
    let before = values(printed(tidewire(&["config", service]).args(arguments)));
    let after = values(printed(&mut tidewire(&["config", service, "--config", file.path()])));
    assert_eq!(before, after);
}

#[test]
fn each_service_has_its_own_settings_and_one_is_meant_where_none_is_named() {
    let names = |arguments: &[&str]| -> Vec<String> {
        let table = printed(&mut tidewire(arguments));
        table.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let has = |service: &str, wanted: &[&str], unwanted: &[&str]| {
        let names = names(&["config", service]);
        let is_there = |name: &&&str| names.iter().any(|there| there == **name);
        assert_eq!(wanted.iter().filter(is_there).count(), wanted.len(), "{service}: {names:?}");
        assert_eq!(unwanted.iter().filter(is_there).count(), 0, "{service}: {names:?}");
    };
    let everyone = [
        "http_listen",
        "operations_listen",
        "ready_file",
        "log_filter",
        "log_format",
        "metrics",
        "otlp_endpoint",
        "trace_sample_ratio",
    ];
    let publishing = ["grpc_listen", "publish_timeout", "retention_age", "deduplication_window"];
    let subscribing = ["page", "window_events_max", "connections_max"];
    let nats = ["nats_url", "nats_stream", "nats_password", "nats_tls_ca"];
    let stream = ["nats_stream_policy", "nats_replicas", "retention_topic_events"];
    has("standalone", &[&everyone[..], &publishing, &subscribing, &["data_dir"]].concat(), &nats);
    has("ingest", &[&everyone[..], &publishing, &nats, &stream].concat(), &subscribing);
    has("ingest", &[], &["data_dir"]);
    has("edge", &[&everyone[..], &subscribing, &nats].concat(), &publishing);
    has("edge", &[], &[&stream[..], &["data_dir"]].concat());
    assert_eq!(names(&["config"]), names(&["config", "standalone"]));

    let before = printed(&mut tidewire(&["config", "--toml", "edge"]));
    assert_eq!(before, printed(&mut tidewire(&["config", "edge", "--toml"])));
    let said = refusal(&mut tidewire(&["config", "egde"]));
    assert!(said.contains("'egde'") && said.contains("'edge'"), "{said}");
}

#[test]
fn one_environment_and_one_file_serve_every_service() {
    let text = "data_dir = \"d\"\nnats_replicas = 3\npage = false\nretention_age = \"3h\"\n\
                nats_url = [\"nats://n1:4222\", \"nats://n2:4222\"]";
    let file = Settings::file(text);
    let table = |service: &str| {
        let mut command = tidewire(&["config", service, "--config", file.path()]);
        printed(command.env("TIDEWIRE_WINDOW_EVENTS_MAX", "7").env("TIDEWIRE_NATS_STREAM", "S"))
    };
    let [standalone, ingest, edge] = ["standalone", "ingest", "edge"].map(table);
    assert_eq!(in_force(&standalone, "data_dir").0, "d");
    for table in [&standalone, &ingest] {
        assert_eq!(in_force(table, "retention_age").0, "3h");
    }
    for table in [&standalone, &edge] {
        assert_eq!(in_force(table, "page").0, "false");
        assert_eq!(in_force(table, "window_events_max").0, "7");
    }
    for table in [&ingest, &edge] {
        assert_eq!(in_force(table, "nats_url").0, "nats://n1:4222, nats://n2:4222");
        assert_eq!(in_force(table, "nats_stream").0, "S");
    }
    assert_eq!(in_force(&ingest, "nats_replicas").0, "3");

    let file = Settings::file("nats_replica = 3");
    for service in ["standalone", "ingest", "edge"] {
        let said = refusal(&mut tidewire(&[service, "--config", file.path()]));
        assert!(said.contains("'nats_replica'") && said.contains("'nats_replicas'"), "{said}");
        let said = refusal(tidewire(&[service]).env("TIDEWIRE_NATS_URLS", "x"));
        assert!(said.contains("'TIDEWIRE_NATS_URL'"), "{said}");
    }
}

const SECRET: &str = "hunter2";

/// Everything a command says, which must not hold the secret.
fn said_without_secret(command: &mut Command) -> String {
    let output = output_of(command);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    assert!(!said.contains(SECRET), "{said}");
    said
}

#[test]
fn a_secret_is_never_shown() {
    let file = Settings::file(&format!("nats_token = \"{SECRET}\""));
    for service in ["ingest", "edge"] {
        let mut command = tidewire(&["config", service, "--nats-user", "ann"]);
        command.env("TIDEWIRE_NATS_PASSWORD", SECRET);
        let table = said_without_secret(&mut command);
        let shown = in_force(&table, "nats_password");
        assert_eq!(shown, ("(secret)".into(), "environment TIDEWIRE_NATS_PASSWORD".into()));
        assert_eq!(in_force(&table, "nats_token").0, "(none)");
        let toml = said_without_secret(command.arg("--toml"));
        assert!(toml.contains("\n# nats_password =\n") && toml.contains("A secret: "), "{toml}");
        said_without_secret(command.arg("--help"));

        let from_file = tidewire(&["config", service, "--config", file.path()]);
        let from_flag = tidewire(&["config", service, "--nats-token", SECRET]);
        for mut command in [from_file, from_flag] {
            let table = said_without_secret(&mut command);
            assert_eq!(in_force(&table, "nats_token").0, "(secret)");
        }
        let mut help = tidewire(&[service, "--help"]);
        let help = said_without_secret(help.env("TIDEWIRE_NATS_TOKEN", SECRET));
        assert!(help.contains("TIDEWIRE_NATS_TOKEN"), "{help}");
    }
}

#[test]
fn a_refusal_shows_no_secret() {
    let flag = |flag: &str| format!("{flag}={SECRET}");
    let url = format!("nats://ann:{SECRET}@127.0.0.1:4222");
    for arguments in [
        &["--nats-token", SECRET, "--nats-user", "ann"][..],
        &["--nats-password", SECRET],
        &["--nats-token", SECRET, "--nats-token", SECRET],
        &["--nats-token", SECRET, "--nats-replicas", "2"],
        &[&flag("--nats-pasword")],
        &["--nats-url", &url],
        &[&url],
    ] {
        let said = said_without_secret(tidewire(&["ingest"]).args(arguments));
        assert!(said.contains("--help") || said.contains("nats_"), "{said}");
    }
    let said = said_without_secret(tidewire(&["edge"]).env("TIDEWIRE_NATS_URL", &url));
    assert!(said.contains("'TIDEWIRE_NATS_URL'") && said.contains("127.0.0.1:4222"), "{said}");
    for text in [
        format!("nats_password = {SECRET}"),
        format!("nats_password = \"{SECRET}\" \"x\""),
        format!("nats_pasword = \"{SECRET}\""),
        format!("nats_password = [\"{SECRET}\"]"),
        format!("nats_url = \"{url}\""),
    ] {
        let file = Settings::file(&text);
        let said = said_without_secret(&mut tidewire(&["edge", "--config", file.path()]));
        assert!(said.contains(file.path()), "{said}");
    }
}

#[test]
fn ways_to_log_in_to_nats_that_contradict_each_other_are_refused_by_name() {
    for (arguments, names) in [
        (&["--nats-user", "a"][..], ["'nats_user'", "'nats_password'"]),
        (&["--nats-nkey", "a", "--nats-token", "b"], ["'nats_nkey'", "'nats_token'"]),
        (&["--nats-tls-key", "a"], ["'nats_tls_key'", "'nats_tls_certificate'"]),
    ] {
        for service in ["ingest", "edge"] {
            let said = refusal(tidewire(&["config", service]).args(arguments));
            assert!(names.iter().all(|name| said.contains(name)), "{said}");
        }
    }
    let said = refusal(&mut tidewire(&["ingest", "--retention-age", "1m"]));
    assert!(said.contains("deduplication_window") && said.contains("retention_age"), "{said}");
    let file = Settings::file("nats_url = []");
    let said = refusal(&mut tidewire(&["edge", "--config", file.path()]));
    assert!(said.contains("'nats_url'"), "{said}");
}

#[test]
fn help_is_given_whatever_the_environment_holds() {
    let mut command = tidewire(&["standalone", "--help"]);
    command.env("TIDEWIRE_DATA_DRI", "x").env("TIDEWIRE_CONFIG", "/nowhere");
    let help = printed(&mut command);
    for shown in ["TIDEWIRE_RETENTION_AGE", "1s to 3650d", "default: 24h", "Examples:"] {
        assert!(help.contains(shown), "{shown} is not in\n{help}");
    }
    for service in ["ingest", "edge"] {
        let help = printed(&mut tidewire(&[service, "--help"]));
        for shown in ["2.11 or newer", "JetStream", "TIDEWIRE_NATS_URL", "Examples:"] {
            assert!(help.contains(shown), "{shown} is not in\n{help}");
        }
    }
    let help = printed(&mut tidewire(&["config", "--help"]));
    for shown in ["standalone", "ingest", "edge", "--toml"] {
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

#[test]
fn a_service_over_nats_binds_its_ports_first_too() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ingest = &["--http-listen", "--operations-listen", "--grpc-listen"][..];
    for (service, flags) in [("ingest", ingest), ("edge", &ingest[..2])] {
        for flag in flags {
            let mut command = tidewire(&[service]);
            for other in flags {
                command.args([*other, if other == flag { &address } else { "127.0.0.1:0" }]);
            }
            let output = output_of(&mut command);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(&address) && said.contains(flag), "{said}");
        }
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
