//! `tidewire publish` and `tidewire subscribe`, as a shell sees them.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use super::hub::{self, Hub};

fn tidewire(arguments: &[&str]) -> Command {
    let mut command = hub::tidewire();
    command.args(arguments);
    command
}

fn publish(hub: &Hub, arguments: &[&str], input: &[u8]) -> Output {
    let mut process = tidewire(&["publish", "--url", &hub.grpc])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(input).unwrap();
    process.wait_with_output().unwrap()
}

/// What the first so many events on a filter are, printed by the command.
fn subscribe(hub: &Hub, filter: &str, count: usize, arguments: &[&str]) -> Vec<String> {
    let output = tidewire(&["subscribe", "--url", &hub.http, "--topic", filter])
        .args(["--from", "earliest", "--count", &count.to_string()])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    lines(&output)
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_published_and_its_repetition_marked() {
    let hub = Hub::start().await;
    let arguments = ["--topic", "a.b", "--type", "price", "--id", "one", "--data", "a\nb"];
    let first = publish(&hub, &arguments, b"");
    assert!(first.status.success(), "{}", stderr(&first));
    let cursor = lines(&first).remove(0);
    let second = publish(&hub, &arguments, b"");
    assert_eq!(lines(&second), [format!("{cursor} duplicate")]);
    assert_eq!(subscribe(&hub, "a.*", 1, &[]), [format!("{cursor}  a.b  price  a\\nb")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_an_event_and_a_refused_one_is_named() {
    let hub = Hub::start().await;
    let output = publish(&hub, &["--topic", "n"], b"one\n\ntwo\nn\0l\r\nfour");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("line 4: data: holds a NUL"), "{said}");
    assert!(said.contains("3 stored; 1 not"), "{said}");

    let cursors = lines(&output);
    let wanted: Vec<_> = ["one", "two", "four"]
        .iter()
        .zip(&cursors)
        .map(|(data, cursor)| format!("{cursor}  n  message  {data}"))
        .collect();
    assert_eq!(subscribe(&hub, "n", 3, &[]), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_lines_keep_their_order() {
    let hub = Hub::start().await;
    let numbers: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    let output = publish(&hub, &["--topic", "n"], numbers.join("\n").as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output).trim(), "5000 stored");
    let data = |line: String| line.rsplit("  ").next().unwrap().to_owned();
    let read: Vec<_> = subscribe(&hub, "n", 5_000, &[]).into_iter().map(data).collect();
    assert_eq!(read, numbers);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_tells_what_happened_on_the_way() {
    let hub = Hub::start().await;
    publish(&hub, &["--topic", "n"], b"one\ntwo\n");
    let arguments = ["--last-event-id", "00000000-7", "--json"];
    let items = subscribe(&hub, "n", 2, &arguments);
    let items: Vec<Value> = items.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = items.iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["gap", "connected", "event", "event"]);
    assert_eq!(items[0]["reason"], "epoch");
    assert_eq!(items[0]["requested"], "00000000-7");
    assert_eq!((&items[3]["topic"], &items[3]["data"]), (&"n".into(), &"two".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_a_subscription_quietly() {
    let hub = Hub::start().await;
    publish(&hub, &["--topic", "n"], b"one\ntwo\n");
    let mut process = tidewire(&["subscribe", "--url", &hub.http, "--topic", "n"])
        .args(["--from", "earliest"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.ends_with("  one\n"), "{first}");
    // Until it is written to, a closed pipe is not noticed.
    publish(&hub, &["--topic", "n"], b"three\nfour\n");
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("error"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_hub_is_said_with_what_to_start() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for arguments in [&["--data", "x"][..], &[]] {
        let output = tidewire(&["publish", "--topic", "a", "--url", &url])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&url) && said.contains("`tidewire standalone`"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_published_or_subscribed_to_is_refused_before_anything_is_sent() {
    for (arguments, reason) in [
        (&["publish", "--topic", "a.*", "--data", "x"][..], "topic: holds a wildcard"),
        (&["publish", "--topic", "a", "--data", ""], "data: is empty"),
        (&["publish", "--topic", "a", "--type", "a b", "--data", "x"], "type: may hold"),
        (&["publish", "--topic", "a", "--data", "x", "--url", "hub:1"], "url: "),
        (&["subscribe", "--topic", "a>b"], "filter: "),
        (&["subscribe", "--topic", "a", "--url", "https://a"], "url: "),
    ] {
        let output = tidewire(arguments).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_publishes_this_machines_figures_until_it_is_told_to_stop() {
    let hub = Hub::start().await;
    let mut demo = tidewire(&["demo", "--interval", "100ms", "--url", &hub.grpc])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for line in subscribe(&hub, "machine.cpu", 3, &[]) {
        let data: Value = serde_json::from_str(line.splitn(4, "  ").nth(3).unwrap()).unwrap();
        assert!(data["cores"].is_array(), "{data}");
    }
    let pid = demo.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(demo.wait().unwrap().success());
}
