//! The server as a guest's kernel uses it, and as a hostile one abuses it.

mod client;
mod confinement;
mod dirs;
mod files;
mod limits;
mod locks;
mod memory;
mod moved;
mod news;
mod owners;
mod protocol;
mod random;
mod restore;
mod shares;
mod xattrs;

use client::{Client, Reply};
