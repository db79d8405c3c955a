//! The embedding API: a machine in a few lines of another program.

use std::path::PathBuf;

use monocore_spec::{DeviceSpec, FileRef, JailMode, KernelSpec, Kicks, RamSpec, SPEC_VERSION, Sink, VmSpec};

use crate::attachments::Attachments;
use crate::{Error, HostHypervisor, Machine};

/// Describes a machine and builds it on the host's hypervisor.
///
/// ```no_run
/// let exit = monocore_vmm::Builder::new("/boot/vmlinux")
///     .initrd("/boot/initramfs.cpio")
///     .ram_mib(256)
///     .build()?
///     .run()?;
/// println!("{exit:?}");
/// # Ok::<(), monocore_vmm::Error>(())
/// ```
pub struct Builder {
    spec: VmSpec,
    attachments: Attachments,
}

impl Builder {
    /// A machine of one vCPU and 512 MiB that boots the ELF kernel at `kernel` and has no devices.
    pub fn new(kernel: impl Into<PathBuf>) -> Self {
        let kernel = KernelSpec {
            image: FileRef::Path(kernel.into()),
            initrd: Vec::new(),
            command_line: String::new(),
            kicks: Kicks::default(),
        };
        let spec = VmSpec {
            version: SPEC_VERSION,
            name: "vm".into(),
            vcpus: 1,
            ram: RamSpec { size_mib: 512, shared: false },
            kernel,
            devices: Vec::new(),
            serial: Sink::Discard,
            timeline: Sink::Discard,
            jail: JailMode::default(),
            control: None,
        };
        Self::from_spec(spec)
    }

    /// A machine that is described already.
    pub fn from_spec(spec: VmSpec) -> Self {
        Self { spec, attachments: Attachments::default() }
    }

    /// What was described so far.
    pub fn spec(&self) -> &VmSpec {
        &self.spec
    }

    /// Names it in logs.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.spec.name = name.into();
        self
    }

    /// Adds an initramfs (newc cpio) behind those already there.
    #[must_use]
    pub fn initrd(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.kernel.initrd.push(FileRef::Path(path.into()));
        self
    }

    /// Adds words to the kernel command line.
    #[must_use]
    pub fn command_line(mut self, words: &str) -> Self {
        let line = &mut self.spec.kernel.command_line;
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(words);
        self
    }

    /// Says how the kernel kicks queues; this project's can do it by [`Kicks::Port`].
    #[must_use]
    pub fn kicks(mut self, kicks: Kicks) -> Self {
        self.spec.kernel.kicks = kicks;
        self
    }

    /// Sets the size of its RAM in MiB, an even number from 32 on.
    #[must_use]
    pub fn ram_mib(mut self, size_mib: u32) -> Self {
        self.spec.ram.size_mib = size_mib;
        self
    }

    /// Sets its number of vCPUs, 1 to 64.
    #[must_use]
    pub fn vcpus(mut self, vcpus: u8) -> Self {
        self.spec.vcpus = vcpus;
        self
    }

    /// Adds a device behind those already there.
    #[must_use]
    pub fn device(mut self, device: DeviceSpec) -> Self {
        self.spec.devices.push(device);
        self
    }

    /// Sends the serial port's text to `sink`; the kernel writes there if its command line says `console=ttyS0`.
    #[must_use]
    pub fn serial(mut self, sink: Sink) -> Self {
        self.spec.serial = sink;
        self
    }

    /// Attaches closures and policies of this process.
    #[must_use]
    pub fn attachments(mut self, attachments: Attachments) -> Self {
        self.attachments = attachments;
        self
    }

    /// Builds the machine on this host's hypervisor.
    ///
    /// # Errors
    /// [`Error`]; where the host cannot run machines, its text says why and what to do.
    pub fn build(self) -> Result<Machine<HostHypervisor>, Error> {
        let hypervisor = HostHypervisor::open().map_err(Error::hypervisor)?;
        Machine::build(&hypervisor, &self.spec, self.attachments)
    }
}
