use super::*;

mod bad;
mod model;
