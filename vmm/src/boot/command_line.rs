//! The kernel command line: what the machine must say, then what the specification adds.

use monocore_hypervisor::{Gsi, layout};
use monocore_spec::VmSpec;

use crate::Error;

/// A kernel command line within its bounds, without its final zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandLine(String);

impl CommandLine {
    /// The line for a machine like `spec`: what the machine says, then the specification's words.
    ///
    /// A kernel without our patches takes no notice of `monocore.exit`; it reboots by the keyboard controller's reset line, at
    /// once after a panic.
    ///
    /// The time comes from kvmclock, so nothing need watch the TSC, which wakes an idle guest twice a second.
    ///
    /// On a single processor Linux patches thousands of lock prefixes out of its text; that copies every page of it
    /// and gains nothing (18 of 146 million instructions of a boot), so it is told not to. And it keeps an initramfs that
    /// is mapped: the pages are the page cache's, used again they would each be copied.
    ///
    /// # Errors
    /// [`Error::Spec`] where the line is longer than the kernel reads or holds a zero.
    pub(crate) fn new(spec: &VmSpec) -> Result<Self, Error> {
        let mut line = format!("monocore.exit={:#x} reboot=k panic=-1 tsc=nowatchdog", layout::EXIT_PORT);
        if spec.vcpus == 1 {
            line.push_str(" noreplace-smp");
        }
        if !spec.kernel.initrd.is_empty() && !spec.ram.shared {
            line.push_str(" retain_initrd");
        }
        if spec.carries_sockets() {
            line.push_str(" tsi");
        }
        let words = &spec.kernel.command_line;
        for index in 0..spec.devices.len() {
            let (gpa, Gsi(gsi)) = virtio_window(index);
            line.push_str(&format!(" virtio_mmio.device=4K@{gpa:#x}:{gsi}"));
        }
        if !words.is_empty() {
            line.push(' ');
            line.push_str(words);
        }
        if line.len() >= layout::COMMAND_LINE_MAX {
            let max = layout::COMMAND_LINE_MAX - 1;
            return Err(Error::Spec(format!("kernel command line of {} bytes, {max} at most", line.len())));
        }
        if line.contains('\0') {
            return Err(Error::Spec("kernel command line with a zero in it".into()));
        }
        Ok(Self(line))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Address and interrupt of virtio-mmio window `index`.
pub(crate) fn virtio_window(index: usize) -> (u64, Gsi) {
    let gsi = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(layout::VIRTIO_GSI_START.0);
    (layout::VIRTIO_MMIO_START.0 + index as u64 * layout::VIRTIO_MMIO_LEN, Gsi(gsi))
}

#[cfg(test)]
pub(super) mod tests {
    use monocore_spec::{
        DeviceSpec, FileRef, JailMode, KernelSpec, Kicks, ProxySpec, RamSpec, SPEC_VERSION, Sink,
        VsockBackend, VsockSpec,
    };

    use super::*;

    pub(crate) fn spec(words: &str, vcpus: u8, devices: usize) -> VmSpec {
        VmSpec {
            version: SPEC_VERSION,
            name: "line".into(),
            vcpus,
            ram: RamSpec { size_mib: 32, shared: false },
            kernel: KernelSpec {
                image: FileRef::Fd(0),
                initrd: Vec::new(),
                command_line: words.into(),
                kicks: Kicks::Register,
            },
            devices: vec![DeviceSpec::Rng; devices],
            serial: Sink::Discard,
            timeline: Sink::Discard,
            jail: JailMode::default(),
            control: None,
        }
    }

    #[test]
    fn devices_are_announced_before_the_specifications_words() {
        let line = CommandLine::new(&spec("quiet -- x", 2, 2)).unwrap();
        assert_eq!(
            line.0,
            "monocore.exit=0x600 reboot=k panic=-1 tsc=nowatchdog virtio_mmio.device=4K@0xd0000000:5 \
             virtio_mmio.device=4K@0xd0001000:6 quiet -- x"
        );
    }

    #[test]
    fn a_mapped_initramfs_is_kept() {
        let mut spec = spec("", 1, 0);
        spec.kernel.initrd.push(FileRef::Fd(0));
        let kept =
            |spec: &VmSpec| CommandLine::new(spec).unwrap().0.ends_with(" noreplace-smp retain_initrd");
        assert!(kept(&spec));
        spec.ram.shared = true;
        assert!(!kept(&spec));
    }

    #[test]
    fn a_kernel_that_carries_sockets_is_told_so() {
        let mut spec = spec("quiet", 1, 0);
        let says = |spec: &VmSpec| CommandLine::new(spec).unwrap().0.split(' ').any(|word| word == "tsi");
        assert!(!says(&spec));
        let (backend, carries) = (VsockBackend::Attached, Some(ProxySpec::default()));
        spec.devices.push(DeviceSpec::Vsock(VsockSpec { guest_cid: 3, backend, carries }));
        assert!(says(&spec));
        assert!(CommandLine::new(&spec).unwrap().0.ends_with(":5 quiet"), "and no card is announced");
    }

    #[test]
    fn what_the_kernel_would_cut_is_refused() {
        assert!(CommandLine::new(&spec(&"x".repeat(2048), 1, 0)).is_err());
        assert!(CommandLine::new(&spec("a\0b", 1, 0)).is_err());
        let longest = CommandLine::new(&spec("", 1, layout::VIRTIO_DEVICES_MAX)).unwrap();
        assert!(longest.as_bytes().len() < 1000, "room for the specification's words");
    }
}
