//! HTTP by hand: exactly the bytes that were meant, and all that came back.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of what has come that are told where it is not what was wanted.
const TOLD_BYTES: usize = 2_000;
/// What a kernel is asked to hold of what comes for one that has little room. It doubles this, at least to
/// 2,304.
const RECEIVE_BYTES: u32 = 2_048;

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (held, value) = line.split_once(": ")?;
            held.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// GETs a path and reads to the end of the connection.
pub(crate) async fn get(base_url: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    request(base_url, "GET", path, headers).await
}

pub(crate) async fn request(
    base_url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Response {
    let mut socket = connect(base_url).await;
    send(&mut socket, method, path, headers).await;
    read_response(&mut socket).await
}

/// Asks with a body.
pub(crate) async fn ask(
    base_url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let length = body.len().to_string();
    let headers = [headers, &[("Content-Length", &*length)]].concat();
    let mut socket = connect(base_url).await;
    send(&mut socket, method, path, &headers).await;
    socket.write_all(body.as_bytes()).await.unwrap();
    read_response(&mut socket).await
}

pub(crate) async fn connect(base_url: &str) -> TcpStream {
    TcpStream::connect(base_url.trim_start_matches("http://")).await.unwrap()
}

/// A connection whose kernel takes hardly anything unless it is read from.
pub(crate) async fn connect_with_little_room(base_url: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
    let address = base_url.trim_start_matches("http://").parse().unwrap();
    socket.connect(address).await.unwrap()
}

/// Writes the head of a request that asks for no other on its connection.
pub(crate) async fn send(
    socket: &mut TcpStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) {
    send_as(socket, method, path, "hub", headers).await;
}

/// The same, to a host of a name that matters.
pub(crate) async fn send_as(
    socket: &mut TcpStream,
    method: &str,
    path: &str,
    host: &str,
    headers: &[(&str, &str)],
) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
}

pub(crate) async fn read_response(socket: &mut TcpStream) -> Response {
    let mut bytes = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("the answer ends").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Response { status, head: head.into(), body: body.into() }
}

/// Reads until a text has come.
pub(crate) async fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&bytes).contains(wanted) {
            assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0, "ended before {wanted:?}");
        }
    };
    let outcome = timeout(PATIENCE, reading).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let end = &text[text.floor_char_boundary(text.len().saturating_sub(TOLD_BYTES))..];
    assert!(outcome.is_ok(), "no {wanted:?} in {} bytes that end with {end:?}", text.len());
    text
}
