use super::*;

mod model;
