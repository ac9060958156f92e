//! The floor: what fan-out costs where a server does nothing else. One thread over epoll, prepared
//! bytes, and one `send` for each connection.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::OwnedFd,
    thread,
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, listen,
        recv, send, socket_with, sockopt,
    },
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;
/// Sockets looked at after one wait.
const EVENTS_MAX: usize = 512;
/// A request is shorter.
const REQUEST_BYTES_MAX: usize = 1_024;
const LISTENER: u64 = u64::MAX;
const CONTROL_LISTENER: u64 = u64::MAX - 1;
const CONTROL: u64 = u64::MAX - 2;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                      Transfer-Encoding: chunked\r\n\r\n2\r\n:\n\r\n";

/// Where it listens.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For subscribers: they get everything.
    http: u16,
    /// For one publisher: a line for the data of each event, and an empty one to send them. It is
    /// answered an empty line when all has been handed to the kernel, or waits for room there.
    control: u16,
}

/// Serves until its input ends.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    end_with_input();
    let mut floor = Floor::listen(args)?;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        events.clear();
        match epoll::wait(&floor.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            // Copied: its fields are packed.
            let data = event.data;
            match data.u64() {
                LISTENER => floor.accept()?,
                CONTROL_LISTENER => floor.accept_control()?,
                CONTROL => floor.read_control()?,
                index => floor.serve(usize::try_from(index)?),
            }
        }
    }
}

/// Ends this process when that which started it has gone.
#[expect(clippy::exit, reason = "nothing is to be finished")]
pub(crate) fn end_with_input() {
    thread::spawn(|| {
        // Whatever comes, and an error too.
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(0);
    });
}

struct Floor {
    epoll: OwnedFd,
    listener: OwnedFd,
    control_listener: TcpListener,
    control: Option<TcpStream>,
    /// What the publisher has not ended yet.
    input: Vec<u8>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Everything that is to be sent, from this position of the stream on.
    log: Vec<u8>,
    log_begins: u64,
    /// Of the last event, from 1.
    number: u64,
    /// Connections for which the kernel had no room.
    waiting: usize,
}

/// A subscriber: its socket, and the position in the log up to which it has been sent everything.
struct Connection {
    socket: OwnedFd,
    /// None before it has asked.
    sent: Option<u64>,
    is_waiting: bool,
}

impl Floor {
    fn listen(args: &Args) -> anyhow::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        // Accepted sockets inherit it.
        sockopt::set_tcp_nodelay(&listener, true)?;
        bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, args.http))?;
        listen(&listener, BACKLOG)?;
        let control_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.control))?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let add = |socket: &_, token| {
            epoll::add(&epoll, socket, EventData::new_u64(token), EventFlags::IN)
        };
        add(&listener, LISTENER)?;
        epoll::add(
            &epoll,
            &control_listener,
            EventData::new_u64(CONTROL_LISTENER),
            EventFlags::IN,
        )?;
        Ok(Self {
            epoll,
            listener,
            control_listener,
            control: None,
            input: Vec::new(),
            connections: Vec::new(),
            free: Vec::new(),
            log: Vec::new(),
            log_begins: 0,
            number: 0,
            waiting: 0,
        })
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let index = self.free.pop().unwrap_or(self.connections.len());
            let data = EventData::new_u64(index as u64);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
            let connection = Some(Connection { socket, sent: None, is_waiting: false });
            if index == self.connections.len() {
                self.connections.push(connection);
            } else {
                self.connections[index] = connection;
            }
        }
    }

    fn accept_control(&mut self) -> anyhow::Result<()> {
        let (control, _) = self.control_listener.accept()?;
        control.set_nodelay(true)?;
        epoll::add(&self.epoll, &control, EventData::new_u64(CONTROL), EventFlags::IN)?;
        self.control = Some(control);
        Ok(())
    }

    /// Reads once from the publisher, and sends what is to be sent.
    fn read_control(&mut self) -> anyhow::Result<()> {
        let Some(control) = &mut self.control else { return Ok(()) };
        let mut buffer = [0; 64 * 1024];
        let length = control.read(&mut buffer)?;
        if length == 0 {
            // Closed with it, and so out of epoll.
            self.control = None;
            return Ok(());
        }
        self.input.extend_from_slice(&buffer[..length]);
        while let Some(end) = memchr::memmem::find(&self.input, b"\n\n") {
            let burst: Vec<u8> = self.input.drain(..end + 2).collect();
            for data in burst[..end].split(|byte| *byte == b'\n') {
                self.append(data);
            }
            for index in 0..self.connections.len() {
                self.send(index);
            }
            self.forget();
            if let Some(control) = &mut self.control {
                control.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    fn append(&mut self, data: &[u8]) {
        self.number += 1;
        let mut frame = format!("id: 0-{}\ndata: ", self.number).into_bytes();
        frame.extend_from_slice(data);
        frame.extend_from_slice(b"\n\n");
        self.log.extend_from_slice(format!("{:x}\r\n", frame.len()).as_bytes());
        self.log.extend_from_slice(&frame);
        self.log.extend_from_slice(b"\r\n");
    }

    /// One `send` of everything that a connection has not been sent.
    fn send(&mut self, index: usize) {
        let Some(connection) = &mut self.connections[index] else { return };
        let Some(sent) = &mut connection.sent else { return };
        let from = usize::try_from(*sent - self.log_begins).unwrap_or(usize::MAX);
        let Some(bytes) = self.log.get(from..).filter(|bytes| !bytes.is_empty()) else { return };
        match send(&connection.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(length) => *sent += length as u64,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return self.close(index),
        }
        let is_waiting = *sent < self.log_begins + self.log.len() as u64;
        if is_waiting != connection.is_waiting {
            connection.is_waiting = is_waiting;
            let flags = if is_waiting { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let data = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &connection.socket, data, flags).ok();
            self.waiting = if is_waiting { self.waiting + 1 } else { self.waiting - 1 };
        }
    }

    /// Nobody needs what has been sent to all.
    fn forget(&mut self) {
        if self.waiting == 0 {
            self.log_begins += self.log.len() as u64;
            self.log.clear();
        }
    }

    /// A subscriber's socket has something to read, or room again.
    fn serve(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let mut buffer = [0; REQUEST_BYTES_MAX];
        match recv(&connection.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.close(index),
            // It comes in one piece, and says nothing that matters here.
            Ok(_) if connection.sent.is_none() => {
                let answered = send(&connection.socket, HEAD, SendFlags::NOSIGNAL);
                connection.sent = Some(self.log_begins + self.log.len() as u64);
                if answered != Ok(HEAD.len()) {
                    self.close(index);
                }
            }
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => {
                self.send(index);
                self.forget();
            }
            Err(_) => self.close(index),
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(connection) = self.connections[index].take() {
            self.waiting -= usize::from(connection.is_waiting);
            self.free.push(index);
        }
    }
}
