//! The way to the writer: bounded, and in the order of the first polls.

use tokio::{
    sync::{Mutex, mpsc},
    task::unconstrained,
};

/// The sending end of a bounded queue. Who finds it full waits.
pub(crate) struct Queue<T> {
    places: mpsc::Sender<T>,
    /// Held by the one who waits for a place; the others wait for it.
    turn: Mutex<()>,
}

/// The writer has ended.
#[derive(Debug)]
pub(crate) struct Closed;

impl<T: Send> Queue<T> {
    /// A queue of so many places, and its other end.
    pub(crate) fn new(places: usize) -> (Self, mpsc::Receiver<T>) {
        let (places, receiver) = mpsc::channel(places);
        (Self { places, turn: Mutex::new(()) }, receiver)
    }

    /// Puts an item in the queue. Its place in the order is taken at the first poll.
    ///
    /// A place that comes free in a full queue belongs to who has waited longest. The channel alone
    /// does not see to that: another task could take the next free place before the waiting one
    /// runs again. So there is a turn, handed on in order. And nothing here may yield to the
    /// scheduler on its own account, which would put off even the first poll.
    pub(crate) async fn put(&self, item: T) -> Result<(), Closed> {
        unconstrained(async {
            let _turn = self.turn.lock().await;
            self.places.send(item).await.map_err(|_| Closed)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, pin_mut};

    use super::*;

    #[test]
    fn nobody_overtakes_who_waits_for_a_place() {
        let (queue, mut receiver) = Queue::new(2);
        assert!(queue.put(1).now_or_never().is_some());
        assert!(queue.put(2).now_or_never().is_some());
        let (third, fourth) = (queue.put(3).fuse(), queue.put(4).fuse());
        pin_mut!(third, fourth);
        assert!((&mut third).now_or_never().is_none(), "the queue is full");
        let taken = [receiver.try_recv().unwrap(), receiver.try_recv().unwrap()];
        // Two places are free now, and one of them is the third one's, who has not run yet.
        assert!((&mut fourth).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_some());
        assert!((&mut fourth).now_or_never().is_some());
        let rest = [receiver.try_recv().unwrap(), receiver.try_recv().unwrap()];
        assert_eq!([taken, rest], [[1, 2], [3, 4]]);
    }

    #[tokio::test]
    async fn a_place_is_taken_at_the_first_poll_however_much_a_task_has_done_before() {
        let (queue, mut receiver) = Queue::new(1_000);
        for item in 0..1_000 {
            assert!(queue.put(item).now_or_never().is_some(), "item {item} had to wait");
        }
        assert_eq!(receiver.try_recv(), Ok(0));
    }

    #[test]
    fn who_gives_up_waiting_hands_the_turn_on() {
        let (queue, mut receiver) = Queue::new(1);
        assert!(queue.put(1).now_or_never().is_some());
        let last = {
            let second = queue.put(2).fuse();
            let third = queue.put(3).fuse();
            pin_mut!(second);
            let mut third = Box::pin(third);
            assert!((&mut second).now_or_never().is_none());
            assert!((&mut third).now_or_never().is_none());
            third
        };
        assert_eq!(receiver.try_recv(), Ok(1));
        assert!(last.now_or_never().is_some());
        assert_eq!(receiver.try_recv(), Ok(3));
    }
}
