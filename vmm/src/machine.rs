//! A machine: built from its specification, started, waited for.

mod handle;
mod metrics;
mod service;
mod shares;
mod vcpu;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use monocore_fs::FsHandle;
use monocore_hypervisor::memory::{self, Backing};
use monocore_hypervisor::{GuestRam, Hypervisor, VcpuStart, Vm, layout};
use monocore_legacy::{Cmos, ExitDevice, KeyboardController, Serial, SystemControl};
use monocore_proxy::PortsHandle;
use monocore_spec::{SPEC_VERSION, TimelineEntry, VmExit, VmSpec};
use vm_memory::GuestMemoryBackend;

use crate::attachments::{Attachments, ThreadKind};
use crate::boot::{self, CommandLine};
use crate::bus::Bus;
use crate::devices::StartQueue;
use crate::outcome::Outcome;
use crate::{BusCounts, Error, devices, files, sys};
pub use handle::MachineHandle;
use handle::{Control, Woken};
use metrics::Counted;
pub use metrics::{DeviceMetrics, Metrics};
pub(crate) use service::MachineService;
pub use shares::Shares;
use vcpu::VcpuThread;

/// The most vCPUs of a machine: what the MP table has room for.
const VCPUS_MAX: u8 = 64;
/// Less RAM than this holds no kernel.
const RAM_MIN_MIB: u32 = 32;

type Unbound<H> = <<H as Hypervisor>::Vm as Vm>::Unbound;

/// A machine that is built and has not run yet.
pub struct Machine<H: Hypervisor> {
    // Dropped in this order: vCPUs and devices before the VM, the VM before the RAM it maps.
    vcpus: Vec<Unbound<H>>,
    bus: Arc<Bus>,
    vm: H::Vm,
    ram: GuestRam,
    boot: VcpuStart,
    outcome: Arc<Outcome>,
    starts: StartQueue,
    attachments: Attachments,
    /// The file device's window and the way to its shares.
    shares: Option<(usize, FsHandle)>,
    ports: Option<PortsHandle>,
    counted: Counted,
}

impl<H: Hypervisor> Machine<H> {
    /// Builds what `spec` describes on `hypervisor`.
    ///
    /// # Errors
    /// [`Error`], naming the file, device or number it is about.
    pub fn build(hypervisor: &H, spec: &VmSpec, mut attachments: Attachments) -> Result<Self, Error> {
        check(spec)?;
        let outcome = Arc::new(Outcome::new().map_err(Error::os("eventfd"))?);
        let backing = if spec.ram.shared { Backing::Shared } else { Backing::Private };
        let ram = memory::allocate(&layout::ram_ranges(u64::from(spec.ram.size_mib) << 20), backing)?;
        let line = CommandLine::new(spec)?;
        let boot = boot::load(spec, &line, &ram, backing)?;
        let vm = hypervisor.create_vm(spec.vcpus).map_err(Error::hypervisor)?;
        for region in ram.iter() {
            sys::map_region(&vm, region).map_err(Error::hypervisor)?;
        }
        let vcpus = (0..spec.vcpus)
            .map(|index| vm.create_vcpu(index).map_err(Error::hypervisor))
            .collect::<Result<_, _>>()?;
        let mut bus = Bus::new(Arc::clone(&outcome));
        add_legacy(&mut bus, &vm, spec, &outcome)?;
        let made = devices::make_all(spec, &mut attachments)?;
        let of_shares = |(window, made): (usize, &devices::Made)| Some((window, made.shares.clone()?));
        let shares = made.iter().enumerate().find_map(of_shares);
        let ports = made.iter().find_map(|made| made.ports.clone());
        let counted = Counted::of(&made);
        let (starts, starter) = StartQueue::new().map_err(Error::os("eventfd"))?;
        devices::add(&mut bus, &vm, &ram, spec.kernel.kicks, made, &attachments, &starter)?;
        outcome.record("built".into());
        Ok(Self {
            vcpus,
            bus: Arc::new(bus),
            vm,
            ram,
            boot,
            outcome,
            starts,
            attachments,
            shares,
            ports,
            counted,
        })
    }

    /// Starts the vCPUs, each on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Os`] where there is no thread; [`Error::Hypervisor`] comes later, as the machine's end.
    pub fn start(self) -> Result<Running<H>, Error> {
        let control = Arc::new(Control::new(Arc::clone(self.starts.event())));
        let mut threads = Vec::with_capacity(self.vcpus.len());
        for (index, unbound) in self.vcpus.into_iter().enumerate() {
            let start = if index == 0 { self.boot } else { VcpuStart::Wait };
            let thread = VcpuThread::spawn(
                index,
                unbound,
                start,
                vcpu::Shared {
                    bus: Arc::clone(&self.bus),
                    outcome: Arc::clone(&self.outcome),
                    control: Arc::clone(&control),
                    setup: self.attachments.confinement.thread_setup(ThreadKind::Vcpu),
                },
            );
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // Those that run already must not outlive this.
                    self.outcome.end_as(VmExit::Killed);
                    stop(&threads, &control);
                    threads.into_iter().for_each(VcpuThread::join);
                    return Err(error);
                }
            }
        }
        let shares = self.shares.map(|(window, handle)| {
            let starts_on = self.attachments.confinement.starts_on(ThreadKind::Fs);
            Shares::new(handle, Arc::clone(&self.bus), window, starts_on)
        });
        Ok(Running {
            threads,
            control,
            shares,
            ports: self.ports,
            counted: self.counted,
            starts: Some(self.starts),
            bus: self.bus,
            outcome: self.outcome,
            _vm: self.vm,
            _ram: self.ram,
        })
    }

    /// Runs the machine to its end.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub fn run(self) -> Result<VmExit, Error> {
        Ok(self.start()?.wait())
    }
}

/// A machine whose vCPUs run; dropping it ends them.
pub struct Running<H: Hypervisor> {
    threads: Vec<VcpuThread<Unbound<H>>>,
    control: Arc<Control>,
    /// Gone once nobody waits any more, so that no vCPU waits for a device's start either.
    starts: Option<StartQueue>,
    shares: Option<Shares>,
    ports: Option<PortsHandle>,
    counted: Counted,
    bus: Arc<Bus>,
    outcome: Arc<Outcome>,
    _vm: H::Vm,
    _ram: GuestRam,
}

impl<H: Hypervisor> Running<H> {
    /// Ends the machine from other threads.
    pub fn handle(&self) -> MachineHandle {
        MachineHandle::new(Arc::clone(&self.outcome))
    }

    /// The published ports of the machine, if its network has some; for any thread.
    pub fn ports(&self) -> Option<&PortsHandle> {
        self.ports.as_ref()
    }

    /// The shares of the machine's file device, if it has one; for any thread.
    pub fn shares(&self) -> Option<Shares> {
        self.shares.clone()
    }

    /// Waits for the machine's end, and stops and joins everything it ran on.
    pub fn wait(mut self) -> VmExit {
        let exit = self.wait_for_end(None, None);
        self.finish();
        exit
    }

    /// Waits for the machine's end, which also comes when the other end of `lifeline` is closed, and serves `control`
    /// meanwhile; everything still runs then.
    pub(crate) fn wait_for_end(
        &self,
        lifeline: Option<BorrowedFd<'_>>,
        mut control: Option<MachineService>,
    ) -> VmExit {
        while !self.outcome.has_ended() {
            if let Some(starts) = &self.starts {
                starts.serve();
            }
            self.wait_for_event(lifeline, control.as_ref().map(AsFd::as_fd));
            control = control.and_then(|control| control.serve(self, lifeline));
        }
        self.outcome.exit()
    }

    /// Blocks until there is something to look at; a cut lifeline ends the machine.
    fn wait_for_event(&self, lifeline: Option<BorrowedFd<'_>>, control: Option<BorrowedFd<'_>>) {
        let starts = self.starts.as_ref().map(|starts| &**starts.event());
        if handle::wait(&self.outcome, starts, lifeline, control) == Woken::LifelineCut {
            self.outcome.end_as(VmExit::Killed);
        }
    }

    /// Keeps every vCPU out of the guest until [`resume`](Self::resume), and stops the devices. A paused machine stays
    /// paused.
    ///
    /// # Errors
    /// [`Error::Os`] where a vCPU cannot be kicked; the machine then runs.
    pub fn pause(&self) -> Result<(), Error> {
        self.pause_unless_cut(None)
    }

    /// The same; the machine ends instead if `lifeline` is cut meanwhile.
    fn pause_unless_cut(&self, lifeline: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let began = Instant::now();
        if !self.control.pause() {
            return Ok(());
        }
        if let Err(error) = self.threads.iter().try_for_each(VcpuThread::kick) {
            self.control.resume();
            return Err(error);
        }
        // A vCPU on its way to the gate may wait for a device's start.
        self.control.until_all_wait(
            self.threads.len(),
            || self.starts.iter().for_each(StartQueue::serve),
            || {
                let runs = !self.outcome.has_ended();
                if runs {
                    self.wait_for_event(lifeline, None);
                }
                runs
            },
        );
        tracing::debug!(took = ?began.elapsed(), "every vCPU stands still");
        for (index, mut device) in self.bus.virtio().enumerate() {
            device.pause();
            tracing::debug!(index, took = ?began.elapsed(), "a device stands still");
        }
        Ok(())
    }

    /// Lets devices and vCPUs go on after a [`pause`](Self::pause). A machine that runs goes on running. To be called on the
    /// thread that waits for the machine's end, or while another one does.
    ///
    /// # Errors
    /// [`Error::Device`] where a device does not start again; the machine stays paused.
    pub fn resume(&self) -> Result<(), Error> {
        if !self.control.is_paused() {
            return Ok(());
        }
        let began = Instant::now();
        for (index, mut device) in self.bus.virtio().enumerate() {
            device.resume().map_err(|error| Error::Device {
                index,
                kind: "resume",
                source: Box::new(error),
            })?;
            tracing::debug!(index, took = ?began.elapsed(), "a device goes on");
        }
        self.control.resume();
        Ok(())
    }

    /// What the guest asked of this process so far.
    pub fn counts(&self) -> BusCounts {
        self.bus.counts()
    }

    /// What the machine and each of its devices counted so far; nothing is stopped for it.
    pub fn metrics(&self) -> Metrics {
        self.counted.read(self.bus.counts())
    }

    /// The points of its life the machine came to so far.
    pub fn timeline(&self) -> Vec<TimelineEntry> {
        self.outcome.timeline()
    }

    fn finish(&mut self) {
        self.starts = None;
        stop(&self.threads, &self.control);
        self.threads.drain(..).for_each(VcpuThread::join);
        self.bus.virtio().for_each(|mut device| device.pause());
    }
}

impl<H: Hypervisor> Drop for Running<H> {
    fn drop(&mut self) {
        self.outcome.end_as(VmExit::Killed);
        self.finish();
    }
}

fn stop<U: monocore_hypervisor::BindVcpu>(threads: &[VcpuThread<U>], control: &Control) {
    control.resume();
    for thread in threads {
        if let Err(error) = thread.kick() {
            tracing::error!(%error, "a vCPU cannot be kicked");
        }
    }
}

fn check(spec: &VmSpec) -> Result<(), Error> {
    let refuse = |text: String| Err(Error::Spec(text));
    if spec.version != SPEC_VERSION {
        return refuse(format!("version {}, this program reads {SPEC_VERSION}", spec.version));
    }
    if spec.vcpus == 0 || spec.vcpus > VCPUS_MAX {
        return refuse(format!("{} vCPUs, 1 to {VCPUS_MAX} are possible", spec.vcpus));
    }
    if spec.ram.size_mib < RAM_MIN_MIB || !spec.ram.size_mib.is_multiple_of(2) {
        return refuse(format!(
            "{} MiB of RAM; an even number from {RAM_MIN_MIB} on is needed",
            spec.ram.size_mib
        ));
    }
    if spec.devices.len() > layout::VIRTIO_DEVICES_MAX {
        return refuse(format!("{} devices, {} at most", spec.devices.len(), layout::VIRTIO_DEVICES_MAX));
    }
    Ok(())
}

fn add_legacy<V: Vm>(bus: &mut Bus, vm: &V, spec: &VmSpec, outcome: &Arc<Outcome>) -> Result<(), Error> {
    let requests = || Arc::clone(outcome) as Arc<dyn monocore_legacy::GuestRequests>;
    bus.add_ports(layout::EXIT_PORT, ExitDevice::PORTS, Box::new(ExitDevice::new(requests())));
    bus.add_ports(KeyboardController::PORT, 1, Box::new(KeyboardController::new(requests())));
    bus.add_ports(SystemControl::PORT, 1, Box::new(SystemControl));
    bus.add_ports(Cmos::PORT, Cmos::PORTS, Box::new(Cmos::default()));
    if let Some(output) = files::open_writer(&spec.serial)? {
        let line = vm.irq_line(layout::SERIAL_GSI).map_err(Error::hypervisor)?;
        bus.add_ports(layout::SERIAL_PORT, Serial::PORTS, Box::new(Serial::new(output, Some(line))));
    }
    Ok(())
}
