//! The protocol between coordinator and workers.
//!
//! [`wire`] holds the types generated from `proto/granule.proto`. [`convert`] converts them to domain types
//! and back, once, where messages enter and leave the program. The generated code is committed, so that
//! building granule needs no protobuf compiler. A test checks that it matches the `.proto` file.

pub mod convert;
pub mod parts;

/// The generated types. Only this crate and the two ends of the connection use them.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod wire {
    include!("generated/granule.v1.rs");
}

/// Version of the protocol. It increases with each incompatible change. Both ends must have the same version.
pub const PROTOCOL: u32 = 5;

/// Largest message that a worker or a watcher accepts, in bytes.
pub const LARGEST_MESSAGE: usize = 64 << 20;

/// Largest message that a coordinator accepts from a worker, in bytes. Larger results are sent in [`parts`].
pub const LARGEST_OF_WORKER: usize = 1 << 20;

/// Name of the request header that carries the coordinator's secret, in the form `Bearer …`.
pub const AUTHORIZATION: &str = "authorization";
