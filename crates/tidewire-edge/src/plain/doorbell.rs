//! What tells a sweeper that somebody is at a listener.

use std::io;

use mio::{Interest, Poll, Registry, net::TcpListener};

use super::sweeper::DOOR;

/// Rings for whoever waits with a poll, as long as it is on: nobody needs to be woken by each who comes
/// while none are let in.
pub(crate) struct Doorbell {
    registry: Registry,
    is_on: bool,
}

impl Doorbell {
    pub(super) fn of(poll: &Poll) -> io::Result<Self> {
        Ok(Self { registry: poll.registry().try_clone()?, is_on: false })
    }

    /// Rings from now on, and now if somebody is there.
    pub(crate) fn switch_on(&mut self, listener: &mut TcpListener) -> io::Result<()> {
        if !self.is_on {
            self.registry.register(listener, DOOR, Interest::READABLE)?;
            self.is_on = true;
        }
        Ok(())
    }

    /// Rings no more.
    pub(crate) fn switch_off(&mut self, listener: &mut TcpListener) {
        if self.is_on {
            // An error is a listener that does not ring.
            let _silent = self.registry.deregister(listener);
            self.is_on = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, time::Duration};

    use mio::Events;

    use super::*;

    #[test]
    fn rings_while_it_is_on_and_then_for_whoever_came_before() {
        let mut poll = Poll::new().unwrap();
        let mut doorbell = Doorbell::of(&poll).unwrap();
        let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        let mut rings = |somebody_comes: bool| {
            if somebody_comes {
                clients.push(TcpStream::connect(address).unwrap());
            }
            let mut events = Events::with_capacity(4);
            poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
            events.iter().any(|event| event.token() == DOOR)
        };
        assert!(!rings(true));
        doorbell.switch_on(&mut listener).unwrap();
        assert!(rings(false));
        assert!(rings(true));
        doorbell.switch_on(&mut listener).unwrap();
        assert!(!rings(false), "nobody has come since");
        doorbell.switch_off(&mut listener);
        doorbell.switch_off(&mut listener);
        assert!(!rings(true));
        doorbell.switch_on(&mut listener).unwrap();
        assert!(rings(false));
    }
}
