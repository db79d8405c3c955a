//! The protocol's requests, and when they let the device run.

use std::fs::File;
use std::sync::Arc;

use monocore_virtio::{Activation, Interrupt, ThreadSetup, VirtioDevice, features};
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVirtioFeatures, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};

use crate::interrupt::CallFiles;
use crate::memory::Memory;
use crate::vring::Vring;

const NOT_OFFERED: Error = Error::InvalidOperation("not offered");

/// A device and what a front end has said about it.
pub(crate) struct DeviceBackend {
    device: Box<dyn VirtioDevice>,
    thread_setup: ThreadSetup,
    calls: Arc<CallFiles>,
    memory: Memory,
    vrings: Vec<Vring>,
    features: Option<u64>,
    /// What it said of the protocol: that it knows its features at all, and which.
    knows_protocol: bool,
    protocol: u64,
    running: bool,
}

impl DeviceBackend {
    pub(crate) fn new(device: Box<dyn VirtioDevice>, thread_setup: ThreadSetup) -> Self {
        let queues = device.queue_max_sizes().len();
        Self {
            device,
            thread_setup,
            calls: Arc::new(CallFiles::new(queues)),
            memory: Memory::default(),
            vrings: fresh(queues),
            features: None,
            knows_protocol: false,
            protocol: 0,
            running: false,
        }
    }

    /// Forgets the front end; the device is as before it came.
    pub(crate) fn disconnect(&mut self) {
        self.stop();
        self.device.reset();
        self.calls = Arc::new(CallFiles::new(self.vrings.len()));
        self.memory = Memory::default();
        self.vrings = fresh(self.vrings.len());
        self.features = None;
        (self.knows_protocol, self.protocol) = (false, 0);
    }

    /// Whether the front end may still enable queues before it has said that it can.
    pub(crate) fn is_early(&self) -> bool {
        !self.knows_protocol
    }

    /// Whether messages are answered where the front end asks for it.
    pub(crate) fn replies(&self) -> bool {
        self.protocol & VhostUserProtocolFeatures::REPLY_ACK.bits() != 0
    }

    /// Stops the device if it runs and keeps where its queues stood.
    fn stop(&mut self) {
        if !std::mem::take(&mut self.running) {
            return;
        }
        for (vring, state) in self.vrings.iter_mut().zip(self.device.stop()) {
            vring.base = state.next_avail;
        }
    }

    /// Starts the device if everything is known that it takes.
    fn start(&mut self) -> Result<()> {
        let (Some(features), Some(ram)) = (self.features, self.memory.ram()) else { return Ok(()) };
        if self.running || !self.vrings.iter().all(Vring::is_ready) {
            return Ok(());
        }
        let event_idx = features & features::EVENT_IDX != 0;
        let queues = (0u16..)
            .zip(&self.vrings)
            .map(|(index, vring)| vring.activate(index, ram, event_idx))
            .collect::<Result<Vec<_>>>()?;
        if self.vrings.iter().all(|vring| vring.base == 0) {
            // A driver that begins; what an earlier one left is not its own.
            self.device.reset();
        }
        let activation = Activation {
            ram: ram.clone(),
            features,
            queues,
            interrupt: Arc::clone(&self.calls) as Arc<dyn Interrupt>,
            thread_setup: Arc::clone(&self.thread_setup),
        };
        self.device
            .start(activation)
            .map_err(|error| Error::ReqHandlerError(std::io::Error::other(error)))?;
        self.running = true;
        tracing::info!(device = ?self.device.device_type(), "the device runs");
        Ok(())
    }

    /// Changes one queue, with the device stopped meanwhile.
    fn change(&mut self, index: u32, change: impl FnOnce(&mut Vring) -> Result<()>) -> Result<()> {
        self.stop();
        let vring = usize::try_from(index).ok().and_then(|index| self.vrings.get_mut(index));
        change(vring.ok_or(Error::InvalidParam)?)?;
        self.start()
    }
}

fn fresh(queues: usize) -> Vec<Vring> {
    std::iter::repeat_with(Vring::default).take(queues).collect()
}

impl VhostUserBackendReqHandlerMut for DeviceBackend {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> Result<()> {
        self.stop();
        self.device.reset();
        self.vrings.iter_mut().for_each(|vring| (vring.enabled, vring.base) = (false, 0));
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.device.features() | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        let protocol = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        let driver = features & !protocol;
        if driver & !self.device.features() != 0 {
            return Err(Error::FeatureMismatch);
        }
        self.stop();
        self.features = Some(driver);
        self.knows_protocol = features & protocol != 0;
        if features & protocol == 0 {
            // A front end that cannot enable queues has them enabled.
            self.vrings.iter_mut().for_each(|vring| vring.enabled = true);
        }
        self.start()
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy_listening: Option<bool>,
    ) -> Result<Option<Vec<u64>>> {
        self.stop();
        self.memory = Memory::map(regions, files)?;
        self.start()?;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num).map_err(|_| Error::InvalidParam)?;
        self.change(index, |vring| {
            vring.size = Some(size);
            Ok(())
        })
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let gpa = |user| self.memory.to_gpa(user).ok_or(Error::InvalidParam);
        let rings = [gpa(descriptor)?, gpa(available)?, gpa(used)?];
        self.change(index, |vring| {
            vring.rings = Some(rings);
            Ok(())
        })
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.change(index, |vring| {
            vring.base = base;
            Ok(())
        })
    }

    /// The queue stops; it starts again only when it is set up anew.
    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let mut base = 0;
        self.change(index, |vring| {
            vring.kick = None;
            base = vring.base;
            Ok(())
        })?;
        Ok(VhostUserVringState::new(index, base.into()))
    }

    fn set_vring_kick(&mut self, index: u8, file: Option<File>) -> Result<()> {
        // Without a descriptor the back end would have to poll.
        let file = file.ok_or(NOT_OFFERED)?;
        self.change(index.into(), |vring| {
            vring.kick = Some(file);
            Ok(())
        })
    }

    fn set_vring_call(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.calls.set_call(index.into(), file);
        if self.running {
            // What the device told the old descriptor just now may have been lost.
            self.calls.notify_queue(index.into());
        }
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.calls.set_error(index.into(), file);
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::RESET_DEVICE)
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        self.protocol = features;
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.vrings.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.change(index, |vring| {
            vring.enabled = enable;
            Ok(())
        })
    }

    fn get_config(&mut self, offset: u32, size: u32, _flags: VhostUserConfigFlags) -> Result<Vec<u8>> {
        // Messages are shorter than 4 KiB, so is the size.
        let mut bytes = vec![0; size as usize];
        self.device.read_config(offset.into(), &mut bytes);
        Ok(bytes)
    }

    fn set_config(&mut self, offset: u32, bytes: &[u8], _flags: VhostUserConfigFlags) -> Result<()> {
        self.device.write_config(offset.into(), bytes);
        Ok(())
    }

    fn set_gpu_socket(&mut self, _gpu: GpuBackend) -> Result<()> {
        Err(NOT_OFFERED)
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        Err(NOT_OFFERED)
    }

    fn get_inflight_fd(&mut self, _inflight: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        Err(NOT_OFFERED)
    }

    fn set_inflight_fd(&mut self, _inflight: &VhostUserInflight, _file: File) -> Result<()> {
        Err(NOT_OFFERED)
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Err(NOT_OFFERED)
    }

    fn add_mem_region(
        &mut self,
        _region: &VhostUserSingleMemoryRegion,
        _file: File,
        _postcopy_listening: Option<bool>,
    ) -> Result<Option<u64>> {
        Err(NOT_OFFERED)
    }

    fn remove_mem_region(&mut self, _region: &VhostUserSingleMemoryRegion) -> Result<()> {
        Err(NOT_OFFERED)
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _file: File,
    ) -> Result<Option<File>> {
        Err(NOT_OFFERED)
    }

    fn check_device_state(&mut self) -> Result<()> {
        Err(NOT_OFFERED)
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Err(NOT_OFFERED)
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> Result<()> {
        Err(NOT_OFFERED)
    }
}
