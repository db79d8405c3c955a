//! Boots and runs one guest: spec to machine; the embedding API.
