//! 8250, CMOS, i8042 stub and exit device: what an x86 machine answers besides virtio.
