//! The virtio-mmio transport, version 2: a register file in front of any [`VirtioDevice`].
//!
//! The machine calls [`read`](MmioTransport::read) and [`write`](MmioTransport::write) from vCPU threads, one
//! at a time. Nothing here waits but for a device's stop, at a reset.
//!
//! Source: VIRTIO 1.3 §2.1 (status), §3.1 (initialization), §4.2.2 (registers).

mod interrupt;
mod register;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use monocore_hypervisor::{Doorbell, GuestRam, IrqLine};

use crate::{
    Activation, ActiveQueue, DeviceError, Interrupt, QueueError, QueueState, ThreadSetup, VirtioDevice,
    features,
};
use interrupt::MmioInterrupt;
use register::status;
pub use state::TransportState;

/// Why a transport cannot be made, resumed or restored.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Not one doorbell for each queue.
    #[error("{got} doorbells for {expected} queues")]
    Doorbells {
        /// How many came.
        got: usize,
        /// How many queues the device has.
        expected: usize,
    },
    /// A saved state that no transport of this device has.
    #[error("saved transport state does not fit: {0}")]
    State(&'static str),
    /// A queue of the saved state.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A queue's doorbell has no second handle.
    #[error("doorbell: {0}")]
    Doorbell(#[source] std::io::Error),
}

/// A device on the machine's bus.
pub struct MmioTransport {
    device: Box<dyn VirtioDevice>,
    ram: GuestRam,
    interrupt: Arc<MmioInterrupt>,
    doorbells: Vec<Doorbell>,
    kick_port: Option<u16>,
    thread_setup: ThreadSetup,
    status: u32,
    driver_features: u64,
    device_features_select: u32,
    driver_features_select: u32,
    queue_select: u32,
    queues: Vec<QueueState>,
    /// The device has its queues.
    running: bool,
    guest_faults: u64,
}

impl MmioTransport {
    /// Length of the register file with its configuration space, in bytes; a device's stride on the bus.
    pub const LEN_BYTES: u64 = 0x1000;
    /// Where, from the device's base on, a driver's write of a queue's number rings that queue's doorbell.
    pub const NOTIFY_OFFSET_BYTES: u64 = register::QUEUE_NOTIFY;

    /// Puts `device` behind registers. `doorbells` holds one per queue, made by the hypervisor where it can
    /// or plain; `kick_port` is the I/O port at which they are rung, if the machine has one that leads to them or to
    /// [`ring`](Self::ring); `line` is raised for every notification; `thread_setup` runs first in each of the
    /// device's threads.
    ///
    /// # Errors
    /// [`TransportError::Doorbells`].
    pub fn new(
        device: Box<dyn VirtioDevice>,
        ram: GuestRam,
        line: Arc<dyn IrqLine>,
        doorbells: Vec<Doorbell>,
        kick_port: Option<u16>,
        thread_setup: ThreadSetup,
    ) -> Result<Self, TransportError> {
        let (got, expected) = (doorbells.len(), device.queue_max_sizes().len());
        if got != expected {
            return Err(TransportError::Doorbells { got, expected });
        }
        let queues = idle_queues(device.as_ref());
        Ok(Self {
            device,
            ram,
            interrupt: Arc::new(MmioInterrupt::new(line)),
            doorbells,
            kick_port,
            thread_setup,
            status: 0,
            driver_features: 0,
            device_features_select: 0,
            driver_features_select: 0,
            queue_select: 0,
            queues,
            running: false,
            guest_faults: 0,
        })
    }

    /// How often the driver did what no driver may, seen from the registers.
    pub fn guest_faults(&self) -> u64 {
        self.guest_faults
    }

    /// Answers a read of `data.len()` bytes at `offset_bytes` from the device's base. The registers are 32
    /// bits wide (§4.2.2.2); what is read otherwise, or where nothing is, reads as zero.
    pub fn read(&self, offset_bytes: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(offset) = offset_bytes.checked_sub(register::CONFIG) {
            self.device.read_config(offset, data);
        } else if data.len() == 4 && offset_bytes.is_multiple_of(4) {
            data.copy_from_slice(&self.register(offset_bytes).to_le_bytes());
        }
    }

    /// Takes a write of `data` at `offset_bytes` from the device's base; one that no driver may make changes
    /// nothing and is counted.
    pub fn write(&mut self, offset_bytes: u64, data: &[u8]) {
        if let Some(offset) = offset_bytes.checked_sub(register::CONFIG) {
            if self.status & status::DRIVER != 0 {
                self.device.write_config(offset, data);
            } else {
                self.fault("a write to the configuration before DRIVER is set");
            }
        } else if let (Ok(bytes), 0) = (<[u8; 4]>::try_from(data), offset_bytes % 4) {
            self.set_register(offset_bytes, u32::from_le_bytes(bytes));
        } else {
            self.fault("a register write that is not 32 bits wide");
        }
    }

    /// Stops the device and keeps its queues, for a pause or a snapshot; [`resume`](Self::resume) goes on.
    pub fn pause(&mut self) {
        if !std::mem::take(&mut self.running) {
            return;
        }
        let states = self.device.stop();
        let ready: Vec<_> = self.queues.iter_mut().filter(|queue| queue.ready).collect();
        if states.len() != ready.len() {
            // Where the device stood is lost with its worker; only the driver can start afresh.
            return self.interrupt.needs_reset();
        }
        for (queue, state) in ready.into_iter().zip(states) {
            *queue = state;
        }
    }

    /// Goes on after a [`pause`](Self::pause) or a [`restore`](Self::restore).
    ///
    /// # Errors
    /// [`TransportError`]; the device then stands still.
    pub fn resume(&mut self) -> Result<(), TransportError> {
        if self.running || self.status & status::DRIVER_OK == 0 || self.interrupt.is_broken() {
            return Ok(());
        }
        self.interrupt.set_live(true);
        self.start()?;
        self.interrupt.raise_pending();
        Ok(())
    }

    /// Has a device that runs go on with a new worker; one that does not run is left alone.
    ///
    /// # Errors
    /// [`TransportError`]; the device then stands still.
    pub fn restart(&mut self) -> Result<(), TransportError> {
        if !self.running {
            return Ok(());
        }
        self.pause();
        self.resume()
    }

    /// What a snapshot keeps; called when paused.
    ///
    /// # Errors
    /// The device's, where it is not stopped.
    pub fn state(&self) -> Result<TransportState, TransportError> {
        Ok(TransportState {
            status: self.register(register::STATUS),
            driver_features: self.driver_features,
            selectors: [self.device_features_select, self.driver_features_select, self.queue_select],
            interrupt_status: self.interrupt.status(),
            config_generation: self.interrupt.generation(),
            queues: self.queues.clone(),
            device: self.device.save()?,
        })
    }

    /// Takes back what [`state`](Self::state) gave; called before the device ever started.
    ///
    /// # Errors
    /// [`TransportError`] where the state is not that of this device.
    pub fn restore(&mut self, state: TransportState) -> Result<(), TransportError> {
        if state.driver_features & !self.device.features() != 0 {
            return Err(TransportError::State("feature bits the device does not offer"));
        }
        if state.status & !status::ALL != 0 {
            return Err(TransportError::State("unknown status bits"));
        }
        let sizes = self.device.queue_max_sizes();
        if !state.queues.iter().map(|queue| &queue.max_size).eq(sizes) {
            return Err(TransportError::State("other queues than the device's"));
        }
        self.device.restore(&state.device)?;
        let broken = state.status & status::NEEDS_RESET != 0;
        self.status = state.status & !status::NEEDS_RESET;
        self.interrupt.restore(state.interrupt_status, state.config_generation, broken);
        self.driver_features = state.driver_features;
        [self.device_features_select, self.driver_features_select, self.queue_select] = state.selectors;
        self.queues = state.queues;
        Ok(())
    }

    fn register(&self, offset_bytes: u64) -> u32 {
        match offset_bytes {
            register::MAGIC_VALUE => register::MAGIC,
            register::VERSION => register::MMIO_VERSION,
            register::DEVICE_ID => self.device.device_type() as u32,
            register::VENDOR_ID => register::VENDOR | self.kick_port.map_or(0, u32::from),
            register::DEVICE_FEATURES => half(self.device.features(), self.device_features_select),
            register::QUEUE_SIZE_MAX => self.queue().map_or(0, |queue| queue.max_size.into()),
            register::QUEUE_READY => self.queue().map_or(0, |queue| queue.ready.into()),
            register::INTERRUPT_STATUS => self.interrupt.status(),
            register::STATUS => {
                self.status | if self.interrupt.is_broken() { status::NEEDS_RESET } else { 0 }
            }
            register::SHM_LEN_LOW..=register::SHM_BASE_HIGH => u32::MAX,
            register::CONFIG_GENERATION => self.interrupt.generation(),
            _ => 0,
        }
    }

    fn set_register(&mut self, offset_bytes: u64, value: u32) {
        match offset_bytes {
            register::DEVICE_FEATURES_SEL => self.device_features_select = value,
            register::DRIVER_FEATURES_SEL => self.driver_features_select = value,
            register::DRIVER_FEATURES => self.set_driver_features(value),
            register::QUEUE_SEL => self.queue_select = value,
            register::QUEUE_NOTIFY => self.ring(value),
            register::INTERRUPT_ACK => self.interrupt.acknowledge(value),
            register::STATUS => self.set_status(value),
            register::QUEUE_SIZE
            | register::QUEUE_READY
            | register::QUEUE_DESC_LOW..=register::QUEUE_DEVICE_HIGH => {
                self.configure_queue(offset_bytes, value);
            }
            _ => self.fault("a write to a register that has none"),
        }
    }

    fn set_driver_features(&mut self, value: u32) {
        if self.status & (status::DRIVER | status::FEATURES_OK) != status::DRIVER {
            return self.fault("features outside their negotiation");
        }
        let value = u64::from(value);
        self.driver_features = match self.driver_features_select {
            0 => self.driver_features & !0xffff_ffff | value,
            1 => self.driver_features & 0xffff_ffff | value << 32,
            // There are no such bits to offer; Linux writes zero here.
            _ if value == 0 => return,
            _ => return self.fault("feature bits past the 64th"),
        };
    }

    fn configure_queue(&mut self, offset_bytes: u64, value: u32) {
        // Reset is the only way out of DRIVER_OK; drivers clear QueueReady once more after it.
        if self.status & status::DRIVER_OK != 0 {
            return self.fault("a queue configured after DRIVER_OK");
        }
        let Some(queue) =
            usize::try_from(self.queue_select).ok().and_then(|index| self.queues.get_mut(index))
        else {
            return self.fault("a queue that does not exist");
        };
        if offset_bytes == register::QUEUE_READY {
            queue.ready = value == 1;
            return;
        }
        if queue.ready {
            return self.fault("a queue changed while it is ready");
        }
        match offset_bytes {
            // A size past 16 bits is none; 0 is refused when the driver is ready.
            register::QUEUE_SIZE => queue.size = u16::try_from(value).unwrap_or(0),
            register::QUEUE_DESC_LOW => set_low(&mut queue.desc_table, value),
            register::QUEUE_DESC_HIGH => set_high(&mut queue.desc_table, value),
            register::QUEUE_DRIVER_LOW => set_low(&mut queue.avail_ring, value),
            register::QUEUE_DRIVER_HIGH => set_high(&mut queue.avail_ring, value),
            register::QUEUE_DEVICE_LOW => set_low(&mut queue.used_ring, value),
            register::QUEUE_DEVICE_HIGH => set_high(&mut queue.used_ring, value),
            _ => self.fault("a write to a register that has none"),
        }
    }

    fn set_status(&mut self, value: u32) {
        if value == 0 {
            return self.reset();
        }
        // NEEDS_RESET is the device's; the driver may write it back.
        let value = value & !status::NEEDS_RESET;
        if value & !status::ALL != 0 || value & self.status != self.status {
            return self.fault("a status bit that is unknown or was taken back");
        }
        let new = value & !self.status;
        self.status |= new & (status::ACKNOWLEDGE | status::FAILED);
        if new & status::DRIVER != 0 && self.has(status::ACKNOWLEDGE) {
            self.status |= status::DRIVER;
        }
        if new & status::FEATURES_OK != 0 && self.has(status::DRIVER) && self.accepts_features() {
            self.status |= status::FEATURES_OK;
        }
        if new & status::DRIVER_OK != 0 {
            if !self.has(status::FEATURES_OK) || self.has(status::FAILED) {
                return self.fault("DRIVER_OK without FEATURES_OK");
            }
            self.status |= status::DRIVER_OK;
            self.interrupt.set_live(true);
            if let Err(error) = self.start() {
                tracing::warn!(device = ?self.device.device_type(), %error, "the device does not start");
                self.guest_faults += 1;
                self.interrupt.needs_reset();
            }
        }
    }

    fn has(&self, bits: u32) -> bool {
        self.status & bits == bits
    }

    fn accepts_features(&self) -> bool {
        self.driver_features & !self.device.features() == 0 && self.driver_features & features::VERSION_1 != 0
    }

    /// Hands the ready queues to the device.
    fn start(&mut self) -> Result<(), TransportError> {
        let mut queues = Vec::with_capacity(self.queues.len());
        for ((index, state), doorbell) in (0u16..).zip(&mut self.queues).zip(&self.doorbells) {
            if state.ready {
                state.event_idx = self.driver_features & features::EVENT_IDX != 0;
                let queue = state.into_queue(index, &self.ram)?;
                let kick = Doorbell(doorbell.0.try_clone().map_err(TransportError::Doorbell)?);
                queues.push(ActiveQueue { index, queue, kick });
            }
        }
        self.device.start(Activation {
            ram: self.ram.clone(),
            features: self.driver_features,
            queues,
            interrupt: Arc::clone(&self.interrupt) as Arc<dyn Interrupt>,
            thread_setup: Arc::clone(&self.thread_setup),
        })?;
        self.running = true;
        Ok(())
    }

    fn reset(&mut self) {
        if std::mem::take(&mut self.running) {
            self.device.stop();
        }
        self.device.reset();
        self.interrupt.clear();
        self.status = 0;
        self.driver_features = 0;
        self.queues = idle_queues(self.device.as_ref());
    }

    /// The driver kicks `queue` where the hypervisor has no doorbell for it: at the register, or at the port the machine gave
    /// the device.
    pub fn ring(&mut self, queue: u32) {
        let doorbell = usize::try_from(queue).ok().and_then(|index| self.doorbells.get(index));
        match doorbell {
            Some(doorbell) if self.status & status::DRIVER_OK != 0 => {
                if let Err(error) = doorbell.0.raise() {
                    tracing::error!(queue, %error, "a doorbell cannot be raised");
                }
            }
            _ => self.fault("a kick of a queue that does not run"),
        }
    }

    fn queue(&self) -> Option<&QueueState> {
        usize::try_from(self.queue_select).ok().and_then(|index| self.queues.get(index))
    }

    fn fault(&mut self, what: &'static str) {
        self.guest_faults += 1;
        tracing::debug!(device = ?self.device.device_type(), what, "the driver broke the rules");
    }
}

fn idle_queues(device: &dyn VirtioDevice) -> Vec<QueueState> {
    device.queue_max_sizes().iter().map(|&max_size| QueueState::idle(max_size)).collect()
}

/// Bits 0 to 31 or 32 to 63; there are none beyond.
fn half(bits: u64, select: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "one half is what is asked for")]
    match select {
        0 => bits as u32,
        1 => (bits >> 32) as u32,
        _ => 0,
    }
}

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !0xffff_ffff | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & 0xffff_ffff | u64::from(value) << 32;
}
