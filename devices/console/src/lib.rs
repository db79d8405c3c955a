//! virtio-console device.
