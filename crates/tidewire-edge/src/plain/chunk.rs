//! Chunks of a body of HTTP/1.1 (RFC 9112, section 7.1).

use std::io::Write as _;

/// What ends a body in good order.
pub(crate) const LAST: &[u8] = b"0\r\n\r\n";

/// Bytes of a chunk beside those that it carries: room for any length, and two ends of lines.
const AROUND_BYTES: usize = 20;

/// One chunk alone.
pub(crate) fn of(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + AROUND_BYTES);
    write(&mut out, bytes);
    out
}

/// Writes one chunk behind what is there.
pub(crate) fn write(out: &mut Vec<u8>, bytes: &[u8]) {
    // Writing to memory does not fail.
    let _written = write!(out, "{:x}\r\n", bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_its_length_in_hexadecimal_and_its_bytes() {
        let mut out = b"before ".to_vec();
        write(&mut out, b"0123456789abcdefg");
        assert_eq!(out, b"before 11\r\n0123456789abcdefg\r\n");
    }
}
