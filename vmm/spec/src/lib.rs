//! Plain data that describes one virtual machine.
