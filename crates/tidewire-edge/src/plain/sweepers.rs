//! The threads that hold streams at rest, and how streams come to them.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Wake,
    thread::{self, JoinHandle},
};

use futures_util::future::BoxFuture;
use mio::{Poll, Waker};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Arrival, Doorbell, Resting,
    sweeper::{Sweeper, WAKE},
};
use crate::{SlowStream, feed::Listener, subscription::Shared};

/// Threads at most. One writes some 250,000 events a second where they come one by one.
const THREADS_MAX: usize = 16;

/// A sweeper for each core. Dropping this ends them, and with them the streams that they hold.
pub(crate) struct SweeperThreads {
    sweepers: Sweepers,
    threads: Vec<JoinHandle<()>>,
    _news: AbortOnDropHandle<()>,
}

impl SweeperThreads {
    /// Starts them. What rings the doorbell has [what accepts](Sweepers::accept) polled.
    ///
    /// # Errors
    /// Where the system has no room for a thread, or for what it waits with.
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<(Self, Doorbell)> {
        let cores = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let polls = (0..cores).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let doorbell = Doorbell::of(&polls[0])?;
        let posts = polls.iter().map(Post::new).collect::<io::Result<Vec<_>>>()?;
        let sweepers = Sweepers(Arc::new(Posts { posts, next: AtomicUsize::new(0) }));
        let mut threads = Vec::new();
        for (poll, post) in polls.into_iter().zip(&sweepers.0.posts) {
            let sweeper = Sweeper::new(
                poll,
                Arc::clone(post),
                Arc::clone(shared),
                sweepers.clone(),
                Handle::current(),
            );
            let thread = thread::Builder::new().name("tidewire-sweeper".into());
            threads.push(thread.spawn(move || sweeper.run())?);
        }
        let news = tokio::spawn(tell_news(sweepers.clone(), Arc::clone(shared)));
        Ok((Self { sweepers, threads, _news: AbortOnDropHandle::new(news) }, doorbell))
    }

    pub(crate) fn sweepers(&self) -> &Sweepers {
        &self.sweepers
    }
}

impl Drop for SweeperThreads {
    fn drop(&mut self) {
        self.sweepers.send_all(|| Mail::End);
        for thread in self.threads.drain(..) {
            // An error is a panic of the thread, which has been reported by its hook.
            thread.join().ok();
        }
    }
}

/// Where streams at rest are taken.
#[derive(Clone)]
pub(crate) struct Sweepers(Arc<Posts>);

struct Posts {
    posts: Vec<Arc<Post>>,
    next: AtomicUsize,
}

impl Sweepers {
    /// One alone, and where it is reached.
    #[cfg(test)]
    pub(super) fn of_one(poll: &Poll) -> io::Result<(Arc<Post>, Self)> {
        let post = Post::new(poll)?;
        let posts = vec![Arc::clone(&post)];
        Ok((post, Self(Arc::new(Posts { posts, next: AtomicUsize::new(0) }))))
    }

    /// Has connections accepted by the sweeper that waits for the listener, until that is over.
    pub(crate) async fn accept(&self, accepting: impl Future<Output = ()> + Send + 'static) {
        let (over, is_over) = oneshot::channel();
        let accepting = async {
            accepting.await;
            // It fails where nobody waits for it any more.
            let _unheard = over.send(());
        };
        if let Some(first) = self.0.posts.first() {
            first.send(Mail::Accepting(Box::pin(accepting)));
        }
        // An error is a sweeper that has ended before.
        let _ended = is_over.await;
    }

    /// Hears what a connection is for.
    pub(crate) fn welcome(&self, arrival: Arrival) {
        self.next().send(Mail::Arrival(Box::new(arrival)));
    }

    /// Lets a stream rest.
    pub(super) fn take(&self, stream: Resting) {
        self.next().send(Mail::Stream(Box::new(stream)));
    }

    fn next(&self) -> &Post {
        &self.0.posts[self.0.next.fetch_add(1, Ordering::Relaxed) % self.0.posts.len()]
    }

    /// How many threads hold streams.
    pub(crate) fn threads(&self) -> usize {
        self.0.posts.len()
    }

    /// Asks each of them which of its streams are furthest behind.
    pub(crate) fn ask_slowest(&self, answer: &mpsc::Sender<Vec<SlowStream>>) {
        self.send_all(|| Mail::Slowest(answer.clone()));
    }

    /// What finds them as long as they are there.
    pub(crate) fn downgrade(&self) -> WeakSweepers {
        WeakSweepers(Arc::downgrade(&self.0))
    }

    fn send_all(&self, mail: impl Fn() -> Mail) {
        for post in &self.0.posts {
            post.send(mail());
        }
    }
}

/// Sweepers that may have ended. What streams hold leads to it, so it must not hold streams.
pub(crate) struct WeakSweepers(Weak<Posts>);

impl WeakSweepers {
    pub(crate) fn upgrade(&self) -> Option<Sweepers> {
        self.0.upgrade().map(Sweepers)
    }
}

/// Tells the sweepers when a drain begins, and when everything ends.
async fn tell_news(sweepers: Sweepers, shared: Arc<Shared>) {
    for news in [shared.drain.begun(), shared.drain.ending()] {
        news.cancelled().await;
        sweepers.send_all(|| Mail::News);
    }
}

/// What a sweeper is sent.
pub(super) enum Mail {
    Arrival(Box<Arrival>),
    Stream(Box<Resting>),
    /// What accepts connections, for the one that waits for the listener.
    Accepting(BoxFuture<'static, ()>),
    /// A drain has begun, or everything ends.
    News,
    /// Which of its streams are furthest behind?
    Slowest(mpsc::Sender<Vec<SlowStream>>),
    /// Its own end.
    End,
}

/// What has come to a sweeper by post.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) mail: Vec<Mail>,
    /// The feeds that have moved, by the sweeper's own keys.
    pub(super) moved: Vec<usize>,
}

impl Collected {
    fn is_empty(&self) -> bool {
        self.mail.is_empty() && self.moved.is_empty()
    }
}

/// Where a sweeper is reached.
#[derive(Debug)]
pub(super) struct Post {
    came: Mutex<Collected>,
    /// Whether what accepts connections is to be polled.
    accept_is_due: AtomicBool,
    /// Whether the sweeper looks here before it waits again.
    is_awake: AtomicBool,
    waker: Waker,
}

impl Post {
    fn new(poll: &Poll) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            came: Mutex::default(),
            accept_is_due: AtomicBool::new(false),
            is_awake: AtomicBool::new(false),
            waker: Waker::new(poll.registry(), WAKE)?,
        }))
    }

    fn send(&self, mail: Mail) {
        self.came.lock().mail.push(mail);
        self.wake_up();
    }

    fn wake_up(&self) {
        if !self.is_awake.swap(true, Ordering::AcqRel) {
            // It fails where the sweeper has gone, and nobody is waited for.
            let _gone = self.waker.wake();
        }
    }

    /// Takes what has come, and leaves for what comes next what is empty.
    pub(super) fn collect(&self, into: &mut Collected) {
        std::mem::swap(&mut *self.came.lock(), into);
    }

    /// Notes that the sweeper will wait, unless something has come.
    pub(super) fn may_wait(&self) -> bool {
        self.is_awake.store(false, Ordering::SeqCst);
        self.came.lock().is_empty() && !self.accept_is_due.load(Ordering::SeqCst)
    }

    /// Whether what accepts connections has asked to be polled since it was last.
    pub(super) fn take_accept_is_due(&self) -> bool {
        self.accept_is_due.swap(false, Ordering::SeqCst)
    }

    /// Notes that the sweeper waits no longer.
    pub(super) fn is_looking(&self) {
        self.is_awake.store(true, Ordering::SeqCst);
    }
}

impl Listener for Post {
    fn ring(&self, key: usize) {
        self.came.lock().moved.push(key);
        self.wake_up();
    }
}

/// Wakes what accepts connections.
impl Wake for Post {
    fn wake(self: Arc<Self>) {
        self.accept_is_due.store(true, Ordering::SeqCst);
        self.wake_up();
    }
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Arrival(_) => "Arrival",
            Self::Stream(_) => "Stream",
            Self::Accepting(_) => "Accepting",
            Self::News => "News",
            Self::Slowest(_) => "Slowest",
            Self::End => "End",
        })
    }
}
