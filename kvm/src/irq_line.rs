//! An interrupt line, raised by whoever has something to say.
//!
//! The thread that raises a line delivers the interrupt itself, by KVM_IRQ_LINE. An irqfd on a pin of the I/O APIC would
//! cost less here and more in all: KVM delivers it from a work item (only messages, MSI, go at once), which is two changes
//! between tasks, 7,400 of the 73,200 instructions of a network's request.
//!
//! Source: Linux Documentation/virt/kvm/api.rst (4.25 KVM_IRQ_LINE), arch/x86/kvm/ioapic.c.

use std::io;
use std::sync::Arc;

use kvm_ioctls::VmFd;
use monocore_hypervisor::{Gsi, IrqLine};

/// An input pin of the in-kernel interrupt controllers.
///
/// It keeps KVM's machine, but neither vCPUs nor the memory behind it: a line that outlives its machine interrupts nobody.
pub(crate) struct KvmIrqLine {
    fd: Arc<VmFd>,
    gsi: Gsi,
}

impl KvmIrqLine {
    pub(crate) fn new(fd: Arc<VmFd>, gsi: Gsi) -> Self {
        Self { fd, gsi }
    }

    fn set(&self, high: bool) -> io::Result<()> {
        self.fd.set_irq_line(self.gsi.0, high).map_err(|error| io::Error::from_raw_os_error(error.errno()))
    }
}

impl IrqLine for KvmIrqLine {
    /// Lowers the line, then raises it, and leaves it high: a pin takes edges, and what level it rests at is nothing to it.
    ///
    /// In this order threads that share a line need no lock. Whoever finds it high already finds an edge that another thread
    /// made after this one had lowered it, so after this one had put down what it has to say. The other way round, an edge could
    /// be lost on a line that somebody else still held; and a vCPU woken by the edge takes this thread's processor where
    /// there is only one, which would then be in the middle instead of done.
    fn raise(&self) -> io::Result<()> {
        self.set(false)?;
        self.set(true)
    }
}
