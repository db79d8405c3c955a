//! A guest of a few bytes that takes interrupts and writes to a port at each. Needs a KVM that works.
#![allow(unsafe_code, reason = "guest RAM is given to the machine")]
#![allow(clippy::unwrap_used, reason = "a test's own steps succeed or the test fails")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use monocore_hypervisor::memory::{Backing, allocate};
use monocore_hypervisor::{
    BindVcpu, BusAddress, CpuIo, DoorbellAddress, Gpa, Gsi, GuestRam, Hypervisor, Protection, Vcpu, VcpuExit,
    VcpuHandle, VcpuStart, Vm,
};
use monocore_kvm::{Kvm, KvmVm};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

const PIN: Gsi = Gsi(5);
/// What the handler writes to, four bytes.
const PORT: u16 = 0x1000;

const VECTOR: u8 = 0x40;
const CODE: u32 = 0x1000;
const GDT: u32 = 0x2000;
const TABLES: u32 = 0x2100;
const IDT: u32 = 0x3000;
const STACK: u32 = 0x8000;

/// `mov dword [address], value`
fn store(address: u32, value: u32) -> Vec<u8> {
    [&[0xc7, 0x05][..], &address.to_le_bytes(), &value.to_le_bytes()].concat()
}

/// Code that waits for interrupts of the pin, and its handler, which acknowledges one and then tells of it.
fn guest(ram: &GuestRam) {
    let put = |address: u32, bytes: &[u8]| ram.write_slice(bytes, GuestAddress(address.into())).unwrap();
    let mut code = [&[0xbc][..], &STACK.to_le_bytes()].concat();
    // lgdt, lidt
    code.extend([&[0x0f, 0x01, 0x15][..], &TABLES.to_le_bytes()].concat());
    code.extend([&[0x0f, 0x01, 0x1d][..], &(TABLES + 8).to_le_bytes()].concat());
    // The local APIC on, and deaf to the 8259; the pin's entry: an edge is interrupt `VECTOR` of the first processor.
    code.extend(store(0xfee0_00f0, 0x1ff));
    code.extend(store(0xfee0_0350, 0x1_0000));
    code.extend(store(0xfec0_0000, 0x10 + 2 * PIN.0));
    code.extend(store(0xfec0_0010, VECTOR.into()));
    // Tell that all is ready; sti; hlt; jmp to hlt
    let [low, high] = PORT.to_le_bytes();
    let tell = [0x66, 0xba, low, high, 0xef];
    code.extend(tell);
    code.extend([0xfb, 0xf4, 0xeb, 0xfd]);
    let handler = CODE + u32::try_from(code.len()).unwrap();
    code.extend(store(0xfee0_00b0, 0));
    code.extend(tell);
    code.push(0xcf);
    put(CODE, &code);
    put(GDT, &[0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff].map(u64::to_le_bytes).concat());
    let [low, high] = [handler & 0xffff, handler >> 16].map(|half| u16::try_from(half).unwrap());
    let gate = [low, 0x8, 0x8e00, high].map(u16::to_le_bytes).concat();
    put(IDT + 8 * u32::from(VECTOR), &gate);
    for (at, limit, base) in [(TABLES, 23u16, GDT), (TABLES + 8, 0x7ff, IDT)] {
        put(at, &[&limit.to_le_bytes()[..], &base.to_le_bytes()].concat());
    }
}

/// What the guest told, and what it is there to be told of.
#[derive(Default)]
struct Seen {
    tells: AtomicU32,
    /// One flag for each thread that interrupts; the handler takes them all.
    pending: [AtomicBool; 2],
}

impl CpuIo for Seen {
    fn mmio_read(&self, _gpa: Gpa, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn mmio_write(&self, _gpa: Gpa, _data: &[u8]) {}
    fn port_read(&self, _port: u16, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn port_write(&self, port: u16, _data: &[u8]) {
        if port == PORT {
            self.tells.fetch_add(1, Ordering::SeqCst);
            self.pending.iter().for_each(|flag| flag.store(false, Ordering::SeqCst));
        }
    }
    fn should_stop(&self) -> bool {
        false
    }
}

/// Waits until `is_so`; false if it does not come.
fn wait(is_so: impl Fn() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        thread::yield_now();
    }
}

/// Runs `test` beside the guest.
fn beside_the_guest(test: impl FnOnce(&KvmVm, &Seen)) {
    let ram = allocate(&[(GuestAddress(0), 2 << 20)], Backing::Private).unwrap();
    guest(&ram);
    let vm = Kvm::open().unwrap().create_vm(1).unwrap();
    for region in ram.iter() {
        let (gpa, len) = (Gpa(region.start_addr().0), region.size());
        // SAFETY: the RAM outlives the vCPU's thread, which is joined below, and is only touched through `vm-memory`.
        unsafe { vm.map_ram(gpa, region.as_ptr(), len, Protection::ReadWriteExecute) }.unwrap();
    }
    let vcpu = vm.create_vcpu(0).unwrap();
    let handle = vcpu.handle();
    let seen = &Seen::default();
    thread::scope(|scope| {
        let start = VcpuStart::Boot { entry: Gpa(CODE.into()), argument: Gpa(0) };
        let runner = scope.spawn(move || vcpu.bind(start).unwrap().run(seen).unwrap());
        let ready = wait(|| seen.tells.load(Ordering::SeqCst) == 1 || runner.is_finished());
        let ready = ready && !runner.is_finished();
        // A test that fails must not leave the guest running: the scope would wait for it.
        let outcome = catch_unwind(AssertUnwindSafe(|| ready.then(|| test(&vm, seen))));
        handle.kick().unwrap();
        assert_eq!(runner.join().unwrap(), VcpuExit::Kicked);
        assert!(ready, "the guest does not begin");
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

#[test]
fn every_raise_of_a_line_is_an_interrupt() {
    beside_the_guest(|vm, seen| {
        let line = vm.irq_line(PIN).unwrap();
        assert!(vm.irq_line(PIN).is_err(), "a pin has one line");
        for raised in 0..50 {
            assert!(wait(|| seen.tells.load(Ordering::SeqCst) == 1 + raised), "{raised}");
            line.raise().unwrap();
        }
        assert!(wait(|| seen.tells.load(Ordering::SeqCst) == 51));
    });
}

#[test]
fn a_doorbell_at_a_port_is_rung_by_its_value_alone_and_without_an_exit() {
    beside_the_guest(|vm, seen| {
        let line = vm.irq_line(PIN).unwrap();
        let doorbell = |value| {
            let register = BusAddress::Port(PORT);
            vm.doorbell(DoorbellAddress { register, value }).unwrap().unwrap().0
        };
        // The guest writes the zero its registers begin with.
        let (other, rung) = (doorbell(1), doorbell(0));
        line.raise().unwrap();
        assert!(wait(|| rung.clear().unwrap()));
        assert!(!other.clear().unwrap());
        assert_eq!(seen.tells.load(Ordering::SeqCst), 1, "none but the first reached the process");
    });
}

#[test]
fn threads_that_share_a_line_lose_none_of_each_others_edges() {
    beside_the_guest(|vm, seen| {
        let line = vm.irq_line(PIN).unwrap();
        let interrupt = &|flag: &AtomicBool| {
            flag.store(true, Ordering::SeqCst);
            line.raise().unwrap();
        };
        for round in 0..500 {
            // One edge each, for the next would make up for one that is lost.
            thread::scope(|scope| {
                for flag in &seen.pending {
                    scope.spawn(move || interrupt(flag));
                }
            });
            let is_told = |flag: &AtomicBool| wait(|| !flag.load(Ordering::SeqCst));
            assert!(seen.pending.iter().all(is_told), "an edge came before what it was to tell of, {round}");
        }
    });
}
