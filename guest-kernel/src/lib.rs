//! The guest's kernel and init, as bytes.
