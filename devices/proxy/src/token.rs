//! The tokens of a poller that the proxy's descriptors go by: a kind in the highest byte, a number below.

use crate::slab::Id;

pub(crate) const TOKEN_TCP: u64 = 1;
pub(crate) const TOKEN_FLOW: u64 = 2;
pub(crate) const TOKEN_ECHO: u64 = 3;
pub(crate) const TOKEN_LISTENER: u64 = 4;
pub(crate) const TOKEN_DNS_STREAM: u64 = 5;
pub(crate) const TOKEN_DNS_UPSTREAM: u64 = 6;
pub(crate) const TOKEN_HOST: u64 = 7;
pub(crate) const TOKEN_PEER_LINE: u64 = 8;
pub(crate) const TOKEN_PEER_LINK: u64 = 9;
/// A number has as many bits as [`Id::to_bits`] gives.
const KIND_SHIFT: u32 = 56;

/// The token of a thing.
pub(crate) fn token(kind: u64, id: Id) -> u64 {
    raw_token(kind, id.to_bits())
}

pub(crate) fn raw_token(kind: u64, bits: u64) -> u64 {
    kind << KIND_SHIFT | bits
}

/// Kind and number of a token.
pub(crate) fn split(token: u64) -> (u64, u64) {
    (token >> KIND_SHIFT, token & ((1 << KIND_SHIFT) - 1))
}

// The devices' own tokens lie below all of these.
const _: () = assert!(1 << KIND_SHIFT >= monocore_net::FIRST_TOKEN);
const _: () = assert!(1 << KIND_SHIFT >= monocore_vsock::FIRST_FRONT_TOKEN);
