//! Whole-system tests: real images, real guests, real registry.
