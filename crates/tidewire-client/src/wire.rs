//! Events and receipts, to and from their protobuf forms.

use tidewire_core::{NewEvent, Receipt};
use tidewire_proto::v1;

use crate::publish_error::PublishError;

/// Writes an event.
pub(crate) fn event(event: &NewEvent) -> v1::Event {
    v1::Event {
        topic: event.topic.as_str().to_owned(),
        // Event data is UTF-8: its parser has seen to it.
        data: String::from_utf8_lossy(event.data.as_bytes()).into_owned(),
        r#type: event.event_type.as_ref().map_or_else(String::new, |name| name.as_str().to_owned()),
        id: event.id.as_ref().map_or_else(String::new, |id| id.as_str().to_owned()),
        attributes: event
            .attributes
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ttl: event.ttl.map(|ttl| prost_types::Duration {
            // At most a year.
            seconds: i64::try_from(ttl.seconds()).unwrap_or(i64::MAX),
            nanos: 0,
        }),
    }
}

/// Reads a receipt.
pub(crate) fn receipt(receipt: Option<v1::Receipt>) -> Result<Receipt, PublishError> {
    let receipt = receipt.ok_or_else(|| PublishError::refused("the hub sent no receipt"))?;
    let cursor = receipt
        .cursor
        .parse()
        .map_err(|_| PublishError::refused("the hub sent a receipt without a cursor"))?;
    Ok(Receipt { cursor, duplicate: receipt.duplicate })
}

/// Reads what became of one event.
pub(crate) fn result(result: Option<v1::PublishResult>) -> Result<Receipt, PublishError> {
    match result.and_then(|result| result.result) {
        Some(v1::publish_result::Result::Receipt(stored)) => receipt(Some(stored)),
        Some(v1::publish_result::Result::Status(status)) => Err(status.into()),
        None => receipt(None),
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::{Attributes, EventData, EventId, EventType, Topic, Ttl};

    use super::*;

    #[test]
    fn writes_every_part_of_an_event() {
        let mut given =
            NewEvent::new(Topic::parse("a.é").unwrap(), EventData::parse("{}", 2).unwrap());
        assert_eq!(
            event(&given),
            v1::Event { topic: "a.é".into(), data: "{}".into(), ..v1::Event::default() }
        );
        given.event_type = EventType::parse("price").unwrap();
        given.id = EventId::parse("order 42").unwrap();
        given.attributes = Attributes::parse([("source", "/x")]).unwrap();
        given.ttl = Some(Ttl::from_seconds(7).unwrap());
        let written = event(&given);
        assert_eq!((&*written.r#type, &*written.id), ("price", "order 42"));
        assert_eq!(written.attributes["source"], "/x");
        assert_eq!(written.ttl.map(|ttl| ttl.seconds), Some(7));
    }

    #[test]
    fn a_receipt_has_a_cursor() {
        let read =
            |cursor: &str| receipt(Some(v1::Receipt { cursor: cursor.into(), duplicate: true }));
        assert_eq!(read("5f3a91c2-7").unwrap().cursor.to_string(), "5f3a91c2-7");
        assert!(matches!(read("7"), Err(PublishError::Refused { .. })));
        assert!(matches!(receipt(None), Err(PublishError::Refused { .. })));
        assert!(matches!(result(None), Err(PublishError::Refused { .. })));
    }
}
