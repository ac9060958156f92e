//! Real servers: they start, die and come back as they are told.
#![expect(clippy::unwrap_used, reason = "a failed expectation is a result")]

use std::{path::Path, time::Duration};

use tidewire_testbed::{NatsCluster, NatsOptions};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::timeout,
};

/// A client of NATS that knows requests and their answers.
struct Client {
    socket: BufReader<TcpStream>,
    info: String,
}

impl Client {
    async fn connect(url: &str) -> Self {
        let address = url.strip_prefix("nats://").unwrap();
        let mut socket = BufReader::new(TcpStream::connect(address).await.unwrap());
        let mut info = String::new();
        socket.read_line(&mut info).await.unwrap();
        let hello = "CONNECT {\"verbose\":false,\"no_responders\":true,\"headers\":true}\r\nSUB answers 1\r\n";
        socket.write_all(hello.as_bytes()).await.unwrap();
        Self { socket, info }
    }

    async fn request(&mut self, subject: &str, body: &str) -> String {
        let request = format!("PUB {subject} answers {}\r\n{body}\r\n", body.len());
        self.socket.write_all(request.as_bytes()).await.unwrap();
        loop {
            let mut line = String::new();
            assert!(self.socket.read_line(&mut line).await.unwrap() > 0, "the server hung up");
            if let Some(head) = line.strip_prefix("MSG ") {
                let bytes: usize = head.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
                let mut answer = vec![0; bytes + 2];
                self.socket.read_exact(&mut answer).await.unwrap();
                return String::from_utf8(answer).unwrap();
            }
            assert!(!line.starts_with("-ERR") && !line.starts_with("HMSG"), "{line}");
        }
    }

    async fn create_stream(&mut self, replicas: usize) {
        let config = format!(
            r#"{{"name":"KEPT","subjects":["kept.>"],"storage":"file","num_replicas":{replicas}}}"#
        );
        let answer = self.request("$JS.API.STREAM.CREATE.KEPT", &config).await;
        assert!(answer.contains(r#""did_create":true"#), "{answer}");
    }

    async fn last_sequence(&mut self) -> u64 {
        let answer = self.request("$JS.API.STREAM.INFO.KEPT", "").await;
        let info: serde_json::Value = serde_json::from_str(&answer).unwrap();
        info["state"]["last_seq"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }
}

#[tokio::test]
async fn one_server_comes_back_on_its_port_with_what_it_stored() {
    let cluster = NatsCluster::start(1).await;
    let urls = cluster.urls();
    let mut client = Client::connect(&urls[0]).await;
    assert!(client.info.starts_with("INFO {") && client.info.contains(r#""server_name":"n0""#));
    client.create_stream(1).await;
    client.request("kept.it", "x").await;

    let killed = cluster.pid(0);
    cluster.kill(0);
    assert!(TcpStream::connect(urls[0].strip_prefix("nats://").unwrap()).await.is_err());
    cluster.restart(0).await;

    assert_ne!(cluster.pid(0), killed);
    assert_eq!(cluster.urls(), urls);
    assert_eq!(Client::connect(&urls[0]).await.last_sequence().await, 1);

    let status = cluster.terminate(0).await;
    assert!(status.code().is_some(), "it ended by itself: {status}");
    assert!(cluster.log(0).contains("JetStream Shutdown"));
    cluster.start_node(0);
    cluster.ready().await;
    assert_eq!(Client::connect(&urls[0]).await.last_sequence().await, 1);
}

#[tokio::test]
async fn a_cluster_tells_who_leads_a_stream_and_another_leads_when_that_one_ends() {
    let cluster = NatsCluster::start(3).await;
    assert_eq!(cluster.nodes(), 3);
    assert_eq!(cluster.stream_leader("KEPT").await, None);

    Client::connect(&cluster.urls()[0]).await.create_stream(3).await;
    let leader = elected(&cluster).await;
    // Killed, it would be missed only after seconds.
    cluster.terminate(leader).await;
    assert_ne!(elected(&cluster).await, leader);

    cluster.restart(leader).await;
    cluster.ready().await;
    let route = cluster.monitor(leader, "/routez").await;
    assert!(route["num_routes"].as_u64().unwrap() > 0, "{route}");
}

/// Who leads the stream, once somebody does.
async fn elected(cluster: &NatsCluster) -> usize {
    let mut leader = None;
    until(async || {
        leader = cluster.stream_leader("KEPT").await;
        leader.is_some()
    })
    .await;
    leader.unwrap()
}

#[tokio::test]
async fn a_stopped_server_does_nothing_until_it_goes_on() {
    let cluster = NatsCluster::start(1).await;
    let mut client = Client::connect(&cluster.urls()[0]).await;
    client.create_stream(1).await;

    cluster.stop(0);
    until(async || state(cluster.pid(0)) == "T").await;
    assert_eq!(cluster.stream_leader("KEPT").await, None);
    cluster.cont(0);
    assert_eq!(client.last_sequence().await, 0);
}

#[tokio::test]
async fn work_shows_in_the_figures_of_a_server() {
    let cluster = NatsCluster::start(1).await;
    assert!(cluster.resident_bytes(0) > 1_000_000);

    let (mut client, before) = (Client::connect(&cluster.urls()[0]).await, cluster.cpu_seconds(0));
    until(async || {
        client.request("$JS.API.INFO", "").await;
        cluster.cpu_seconds(0) > before
    })
    .await;
}

#[tokio::test]
async fn dropping_a_cluster_ends_its_processes_even_stopped_ones() {
    let cluster = NatsCluster::start(1).await;
    let process = format!("/proc/{}", cluster.pid(0));
    cluster.stop(0);
    drop(cluster);
    assert!(!Path::new(&process).exists());
}

#[tokio::test]
async fn options_reach_the_server() {
    let elsewhere = tempfile::tempdir().unwrap();
    let options = NatsOptions {
        sync_always: true,
        store_bytes_max: Some(64 << 20),
        store_dirs: [(0, elsewhere.path().to_owned())].into(),
        extra_config: "max_payload: 12345".to_owned(),
        ..NatsOptions::default()
    };
    let cluster = NatsCluster::start_with(1, options).await;
    let config = &cluster.monitor(0, "/jsz").await["config"];
    assert_eq!(config["sync_always"], true, "{config}");
    assert_eq!(config["max_storage"], 64 << 20, "{config}");
    assert!(elsewhere.path().join("jetstream").is_dir());
    assert_eq!(cluster.monitor(0, "/varz").await["max_payload"], 12345);
}

#[tokio::test]
#[should_panic(expected = "the ports chosen were taken by others")]
async fn a_taken_port_is_a_reason_to_choose_others() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let extra_config = format!("leafnodes {{ listen: \"{}\" }}", taken.local_addr().unwrap());
    NatsCluster::start_with(1, NatsOptions { extra_config, ..NatsOptions::default() }).await;
}

#[tokio::test]
#[should_panic(expected = "n0 ended")]
async fn a_server_that_refuses_its_configuration_is_told_at_once() {
    let options =
        NatsOptions { extra_config: "no_such_key: 1".to_owned(), ..NatsOptions::default() };
    NatsCluster::start_with(1, options).await;
}

/// The state of a process, as Linux writes it.
fn state(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    after_name[..1].to_owned()
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let soon = async {
        while !is_so().await {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), soon).await.unwrap();
}
