//! virtio-mmio transport, queues, the VirtioDevice trait and its conformance tests.
