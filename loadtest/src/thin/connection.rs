//! One subscriber's connection: a socket, and how far its answer has been read.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    rc::Rc,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
        socket_with, sockopt::socket_error,
    },
};

use super::{
    Fault,
    body::Body,
    frames::{Frame, Frames},
    inflating::Inflating,
    seen::{Seen, Violations},
};
use crate::fleet::message::Opening;

/// Bytes read at once, for all connections: a burst of large events in one call.
const READ_BYTES: usize = 256 * 1024;

/// Ports that connections come from, in turn. Left to itself the kernel looks for a free one among all
/// of an address each time, which takes milliseconds where half are taken, and the client reads nothing
/// meanwhile.
pub(super) struct Ports(u16);

impl Ports {
    /// Above those that servers use here, and below the kernel's own, which end at 60,999.
    const FIRST: u16 = 10_000;
    const LAST: u16 = 60_000;
    /// Ports in a row that may be taken.
    const TRIES_MAX: usize = 1_000;

    pub(super) const fn new() -> Self {
        Self(Self::FIRST)
    }

    fn bind(&mut self, socket: &OwnedFd, from: Ipv4Addr) -> Result<(), Fault> {
        for _ in 0..Self::TRIES_MAX {
            self.0 = if self.0 < Self::LAST { self.0 + 1 } else { Self::FIRST };
            match bind(socket, &SocketAddrV4::new(from, self.0)) {
                Ok(()) => return Ok(()),
                Err(Errno::ADDRINUSE) => {}
                Err(_) => break,
            }
        }
        Err(Fault::Refused)
    }
}

/// A subscriber that holds no buffer, but for what gzip may refer back to.
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) phase: Phase,
    pub(super) seen: Seen,
    /// Whether it reads nothing for now.
    pub(super) is_stalled: bool,
    opening: Rc<Opening>,
    body: Body,
    /// Where its stream comes by gzip.
    inflating: Option<Inflating>,
    frames: Frames,
}

/// What all connections of a thread read into, one at a time.
pub(super) struct Buffers {
    received: Vec<u8>,
    inflated: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { received: vec![0; READ_BYTES], inflated: vec![0; READ_BYTES] }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    /// It has asked, and has no answer yet.
    Asked,
    /// Its stream has begun.
    Live,
}

impl Connection {
    /// Begins to connect one that wants what this turn's does, from one of the ports.
    pub(super) fn begin(
        opening: Rc<Opening>,
        turn: usize,
        ports: &mut Ports,
    ) -> Result<Self, Fault> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
        let socket = socket.map_err(|_| Fault::Refused)?;
        ports.bind(&socket, opening.from)?;
        match connect(&socket, &opening.to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return Err(Fault::Refused),
        }
        let Opening { flow, is_before, is_strict, is_gzip, .. } = *opening;
        let seen = Seen::new(flow, opening.wanted[turn], is_before, is_strict);
        let (body, frames) = (Body::new(is_gzip), Frames::default());
        let inflating = is_gzip.then(Inflating::default);
        let (phase, is_stalled) = (Phase::Connecting, false);
        Ok(Self { socket, phase, seen, is_stalled, opening, body, inflating, frames })
    }

    /// Asks, once the connection stands.
    pub(super) fn ask(&mut self) -> Result<(), Fault> {
        socket_error(&self.socket).ok().and_then(Result::ok).ok_or(Fault::Refused)?;
        // A new connection's buffer has room for it.
        let request = self.request();
        match send(&self.socket, request.as_bytes(), SendFlags::NOSIGNAL) {
            Ok(sent) if sent == request.len() => {}
            _ => return Err(Fault::Refused),
        }
        self.phase = Phase::Asked;
        Ok(())
    }

    fn request(&self) -> String {
        let Opening { to, path: [before, behind], flow, is_gzip, .. } = &*self.opening;
        let accept = if *is_gzip { "Accept-Encoding: gzip\r\n" } else { "" };
        let filter = self.seen.wanted.filter(*flow);
        format!(
            "GET {before}{filter}{behind} HTTP/1.1\r\nHost: {to}\r\nAccept: text/event-stream\r\n\
             {accept}\r\n"
        )
    }

    /// Reads once what there is, and tells when each event of it had been due. Says how many bytes
    /// there were.
    pub(super) fn read(
        &mut self,
        buffers: &mut Buffers,
        violations: &mut Violations,
        mut delivered: impl FnMut(u64),
    ) -> Result<u64, Fault> {
        let length = match recv(&self.socket, &mut *buffers.received, RecvFlags::empty()) {
            Ok((0, _)) => return Err(Fault::Ended),
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(0),
            Err(_) => return Err(Fault::Ended),
        };
        let mut bytes = &buffers.received[..length];
        let is_strict = self.opening.is_strict;
        let Self { body, inflating, frames, seen, .. } = self;
        let mut judge = |plain: &[u8]| {
            frames.take(plain, is_strict, |frame| {
                if let Frame::Event(event) = frame {
                    delivered(event.due);
                }
                seen.take(frame, violations)
            })
        };
        while !bytes.is_empty() {
            let piece = body.next(&mut bytes)?;
            match inflating {
                Some(inflating) => inflating.take(piece, &mut buffers.inflated, &mut judge)?,
                None => judge(piece)?,
            }
        }
        match self.body {
            Body::Head(_) => {}
            Body::Ended => return Err(Fault::Ended),
            Body::Plain | Body::Chunks(_) => self.phase = Phase::Live,
        }
        Ok(length as u64)
    }
}
