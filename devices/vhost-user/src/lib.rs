//! Runs a VirtioDevice as a vhost-user backend.
