//! Publishing to Tidewire, and subscribing to it.
//!
//! ```no_run
//! use tidewire_client::{
//!     EventData, Item, NewEvent, Publisher, Subscriber, Topic, TopicFilter, limits,
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let publisher = Publisher::connect("http://127.0.0.1:50051")?;
//! let data = EventData::parse(r#"{"total":12}"#, limits::EVENT_BYTES_MAX_DEFAULT)?;
//! let receipt = publisher.publish(NewEvent::new(Topic::parse("orders.eu.42")?, data)).await?;
//! println!("stored at {}", receipt.cursor);
//!
//! let mut subscriber = Subscriber::builder("http://127.0.0.1:8080")
//!     .filter(TopicFilter::parse("orders.>")?)
//!     .build()?;
//! loop {
//!     match subscriber.next().await? {
//!         Item::Event { cursor, data, .. } => println!("{cursor}: {data}"),
//!         Item::Gap { reason, .. } => println!("events are missing here: {reason}"),
//!         Item::Ended => return Ok(()),
//!         Item::Connected { .. } | Item::Disconnected { .. } => {}
//!     }
//! }
//! # }
//! ```

mod backoff;
mod builder;
mod connection;
mod frame;
mod item;
mod parser;
mod publish_error;
mod publish_stream;
mod publisher;
mod subscriber;
mod wire;

pub use builder::{Envelope, OnGap, Start, SubscriberBuilder};
pub use connection::{Connection, ConnectionError, ConnectionOptions, Refusal};
pub use frame::{Frame, Gap, GapReason, Hello, NotAFrame, Resume};
pub use item::{DisconnectReason, Item, SubscribeError};
pub use parser::{FRAME_BYTES_MAX_DEFAULT, ParseError, Parser, RawFrame, Reading};
pub use publish_error::PublishError;
pub use publish_stream::{Pending, PublishStream, StreamOptions};
pub use publisher::Publisher;
pub use subscriber::Subscriber;
pub use tidewire_core::{
    Attributes, Cursor, EventData, EventId, EventType, Invalid, NewEvent, Receipt, Topic,
    TopicFilter, TraceParent, Ttl, limits,
};
