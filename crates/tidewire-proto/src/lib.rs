//! The gRPC types and services of `proto/`, generated at build time without `protoc`.

/// Package `tidewire.v1`.
pub mod v1 {
    tonic::include_proto!("tidewire.v1");
}

/// The encoded `FileDescriptorSet` of everything here, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
