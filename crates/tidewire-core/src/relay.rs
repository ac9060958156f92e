//! A way from edge to edge, past the log: for words too small and too short-lived to be stored.

use std::{error::Error, fmt, pin::Pin};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

/// Which of the edges on one log: drawn at random by each of them when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EdgeNumber(pub u32);

impl fmt::Display for EdgeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What the edges on one log say to each other.
///
/// # Contract
///
/// - A word reaches whoever listens under its number, and nobody else: at most once, and perhaps
///   not at all. Nobody is told which, nor whether there is such an edge.
/// - It is stored nowhere. No promise to a subscriber may hang on its arrival.
/// - Who hears a word trusts it no further than a client's.
#[async_trait]
pub trait Relay: Send + Sync + 'static {
    /// Says a word to an edge. The wait is bounded, and short.
    ///
    /// # Errors
    /// [`RelayError`] where it is certain that the word does not arrive.
    async fn say(&self, to: EdgeNumber, word: Bytes) -> Result<(), RelayError>;

    /// Hears what is said to an edge from now on. It goes on after interruptions; what is said
    /// during one is lost.
    ///
    /// # Errors
    /// [`RelayError`] where nothing will be heard.
    async fn listen(&self, edge: EdgeNumber) -> Result<WordStream, RelayError>;
}

/// Words in the order in which they were heard.
pub type WordStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The other edges are out of reach; later they may not be.
#[derive(Debug, thiserror::Error)]
#[error("the other edges are out of reach: {0}")]
pub struct RelayError(pub Box<dyn Error + Send + Sync>);
