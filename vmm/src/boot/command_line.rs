//! The kernel command line: what the machine must say, then what the specification adds.

use monocore_hypervisor::{Gsi, layout};

use crate::Error;

/// A kernel command line within its bounds, without its final zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandLine(String);

impl CommandLine {
    /// The line for a machine with `vcpus` vCPUs and `virtio_devices` devices on its bus, followed by `words`.
    ///
    /// A kernel without our patches takes no notice of `monocore.exit`; it reboots by the keyboard controller's reset line, at
    /// once after a panic.
    ///
    /// On a single processor Linux patches thousands of lock prefixes out of its text; that copies every page of it
    /// and gains nothing (18 of 146 million instructions of a boot), so it is told not to.
    ///
    /// # Errors
    /// [`Error::Spec`] where the line is longer than the kernel reads or holds a zero.
    pub(crate) fn new(words: &str, vcpus: u8, virtio_devices: usize) -> Result<Self, Error> {
        let mut line = format!("monocore.exit={:#x} reboot=k panic=-1", layout::EXIT_PORT);
        if vcpus == 1 {
            line.push_str(" noreplace-smp");
        }
        for index in 0..virtio_devices {
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
mod tests {
    use super::*;

    #[test]
    fn devices_are_announced_before_the_specifications_words() {
        let line = CommandLine::new("quiet -- x", 2, 2).unwrap();
        assert_eq!(
            line.0,
            "monocore.exit=0x600 reboot=k panic=-1 virtio_mmio.device=4K@0xd0000000:5 \
             virtio_mmio.device=4K@0xd0001000:6 quiet -- x"
        );
    }

    #[test]
    fn what_the_kernel_would_cut_is_refused() {
        assert!(CommandLine::new(&"x".repeat(2048), 1, 0).is_err());
        assert!(CommandLine::new("a\0b", 1, 0).is_err());
        let longest = CommandLine::new("", 1, layout::VIRTIO_DEVICES_MAX).unwrap();
        assert!(longest.as_bytes().len() < 1000, "room for the specification's words");
    }
}
