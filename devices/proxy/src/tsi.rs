//! The guest's own sockets, carried by the socket device instead of a network card.

mod frame;

pub use frame::{Frame, Op};
