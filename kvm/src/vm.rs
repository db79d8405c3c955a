//! A machine: memory slots, interrupt lines, doorbells.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_bindings::{CpuId, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{IoEventAddress, VmFd};
use monocore_hypervisor::{
    BusAddress, Doorbell, DoorbellAddress, Event, Gpa, Gsi, IrqLine, Protection, RamSlot, Vm,
};
use vmm_sys_util::eventfd::EventFd;

use crate::error::NamedCall;
use crate::irq_line::KvmIrqLine;
use crate::{Error, UnboundVcpu, VmState, arch};

/// Input pins of the in-kernel I/O APIC.
const GSI_COUNT: u32 = 24;

/// A KVM machine.
#[derive(Debug)]
pub struct KvmVm {
    /// Shared with the interrupt lines.
    fd: Arc<VmFd>,
    vcpus: u8,
    cpuid: CpuId,
    slots: Mutex<BTreeMap<u32, kvm_userspace_memory_region>>,
    taken_gsis: Mutex<BTreeSet<u32>>,
}

/// State behind these locks is whole after every operation, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KvmVm {
    pub(crate) fn new(fd: VmFd, vcpus: u8, cpuid: CpuId) -> Self {
        Self { fd: Arc::new(fd), vcpus, cpuid, slots: Mutex::default(), taken_gsis: Mutex::default() }
    }

    fn set_region(&self, region: kvm_userspace_memory_region) -> Result<(), Error> {
        // SAFETY: `map_ram`'s caller keeps the range mapped until it is unmapped here; an empty range removes a slot.
        unsafe { self.fd.set_user_memory_region(region) }.call("KVM_SET_USER_MEMORY_REGION")
    }
}

/// A handle of the same eventfd in the type kvm-ioctls takes.
fn event_fd(event: &Event) -> Result<EventFd, Error> {
    let fd = event.as_fd().try_clone_to_owned().call("dup")?;
    // SAFETY: the descriptor is open and nobody else's.
    Ok(unsafe { EventFd::from_raw_fd(fd.into_raw_fd()) })
}

impl Vm for KvmVm {
    type Error = Error;
    type Unbound = UnboundVcpu;
    type State = VmState;

    unsafe fn map_ram(
        &self,
        gpa: Gpa,
        host: *mut u8,
        len_bytes: usize,
        protection: Protection,
    ) -> Result<RamSlot, Error> {
        let mut slots = lock(&self.slots);
        let slot = (0..).find(|n| !slots.contains_key(n)).unwrap_or_default();
        let region = kvm_userspace_memory_region {
            slot,
            flags: if protection == Protection::ReadExecute { KVM_MEM_READONLY } else { 0 },
            guest_phys_addr: gpa.0,
            memory_size: len_bytes as u64,
            userspace_addr: host as u64,
        };
        self.set_region(region)?;
        slots.insert(slot, region);
        Ok(RamSlot(slot))
    }

    fn unmap(&self, slot: RamSlot) -> Result<(), Error> {
        let mut slots = lock(&self.slots);
        let region = slots.remove(&slot.0).ok_or(Error::Slot(slot.0))?;
        self.set_region(kvm_userspace_memory_region { memory_size: 0, ..region })
    }

    fn irq_line(&self, gsi: Gsi) -> Result<Arc<dyn IrqLine>, Error> {
        if gsi.0 >= GSI_COUNT || !lock(&self.taken_gsis).insert(gsi.0) {
            return Err(Error::Gsi(gsi.0));
        }
        Ok(Arc::new(KvmIrqLine::new(Arc::clone(&self.fd), gsi)))
    }

    fn doorbell(&self, address: DoorbellAddress) -> Result<Option<Doorbell>, Error> {
        let event = Event::new().call("eventfd")?;
        let at = match address.register {
            BusAddress::Memory(gpa) => IoEventAddress::Mmio(gpa.0),
            BusAddress::Port(port) => IoEventAddress::Pio(port.into()),
        };
        self.fd.register_ioevent(&event_fd(&event)?, &at, address.value).call("KVM_IOEVENTFD")?;
        Ok(Some(Doorbell(event)))
    }

    fn create_vcpu(&self, index: u8) -> Result<UnboundVcpu, Error> {
        if index >= self.vcpus {
            return Err(Error::VcpuIndex { index, vcpus: self.vcpus });
        }
        let fd = self.fd.create_vcpu(u64::from(index)).call("KVM_CREATE_VCPU")?;
        Ok(UnboundVcpu::new(fd, index, arch::vcpu_cpuid(&self.cpuid, index, self.vcpus)))
    }

    fn save(&self) -> Result<VmState, Error> {
        arch::save_vm(&self.fd)
    }

    fn restore(&self, state: &VmState) -> Result<(), Error> {
        arch::restore_vm(&self.fd, state)
    }
}
