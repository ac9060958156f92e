//! What became of an event, as protobuf.

use tidewire_core::Receipt;
use tidewire_proto::v1::{self, PublishResult, publish_result};

use crate::{refusal::Refusal, status};

/// An outcome beside others.
pub(crate) fn result_of(outcome: Result<Receipt, Refusal>) -> PublishResult {
    let result = match outcome {
        Ok(receipt) => publish_result::Result::Receipt(written(receipt)),
        Err(refusal) => publish_result::Result::Status(status::of_event(&refusal)),
    };
    PublishResult { result: Some(result) }
}

/// Proof that an event is stored.
pub(crate) fn written(receipt: Receipt) -> v1::Receipt {
    v1::Receipt { cursor: receipt.cursor.to_string(), duplicate: receipt.duplicate }
}
