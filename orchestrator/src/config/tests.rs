use super::*;

mod bad;
mod loading;
mod model;
mod same;
mod schema;
mod wild;
