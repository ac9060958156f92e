//! Every limit of the protocol in one place: what it bounds, its unit, and why it is what it is.
//!
//! Limits that an operator may move have their default here; limits without `_DEFAULT` are the
//! protocol's own.

/// Bytes of a topic's or filter's UTF-8 text. Escaped into a NATS subject it stays below 1,024
/// bytes, a quarter of the control line at which a server ends the whole connection.
pub const TOPIC_BYTES_MAX: usize = 255;
/// Tokens of a topic or filter.
pub const TOPIC_TOKENS_MAX: usize = 16;
/// Filters of one subscription.
pub const FILTERS_MAX: usize = 100;
/// Bytes of an event's data, unless configured: several SSE clients fail on lines over 64 KiB.
pub const EVENT_BYTES_MAX_DEFAULT: usize = 60 * 1024;
/// Bytes of an event's data that no configuration may exceed.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an event's type.
pub const TYPE_BYTES_MAX: usize = 64;
/// Bytes of a publisher's idempotency key.
pub const ID_BYTES_MAX: usize = 128;
/// Entries of an event's attributes.
pub const ATTRIBUTES_MAX: usize = 16;
/// Bytes of all attribute names and values of an event together.
pub const ATTRIBUTES_BYTES_MAX: usize = 4 * 1024;
/// Bytes of one attribute's name.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
/// Seconds an event may ask to be kept: one year.
pub const TTL_SECONDS_MAX: u32 = 365 * 24 * 60 * 60;
/// Events of one `PublishBatch` or JSON array.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// Events that a subscription may ask for from before its beginning, by number: as many as a page
/// shows, and few enough to search for while a client waits.
pub const LAST_EVENTS_MAX: u16 = 1_000;
/// Bytes of a cursor's text: 8 hex digits, a hyphen and 20 decimal digits.
pub const CURSOR_BYTES_MAX: usize = 29;
/// Seconds for which a repeated id is recognised, unless configured.
pub const DEDUPLICATION_SECONDS_DEFAULT: u64 = 120;
