//! The protocol between coordinator and workers.
//!
//! [`wire`] holds the types generated from `proto/granule.proto`; [`convert`] turns them into domain
//! types and back, once, at the edge. The generated code is committed so that building granule needs
//! no protobuf compiler; a test keeps it true to the `.proto` file.

pub mod convert;
pub mod parts;

/// The generated types. Nothing outside this crate and the two ends of the connection uses them.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod wire {
    include!("generated/granule.v1.rs");
}

/// Counts incompatible changes of the protocol. Both ends must have the same.
pub const PROTOCOL: u32 = 4;

/// Largest message that a worker or a watcher takes, in bytes.
pub const LARGEST_MESSAGE: usize = 64 << 20;

/// Largest message that a coordinator takes, in bytes: a worker's. Larger results come in [`parts`].
pub const LARGEST_OF_WORKER: usize = 1 << 20;

/// Name of the request header that carries the coordinator's secret, as `Bearer …`.
pub const AUTHORIZATION: &str = "authorization";
