//! The PVH start info: command line, memory map, initramfs.
//!
//! Source: Xen xen/include/public/arch-x86/hvm/start_info.h.

use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use monocore_hypervisor::{Gpa, GuestRam, layout};
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::CommandLine;
use super::initrd::Initrd;
use super::kernel::ram_mib;
use crate::Error;

const MAGIC: u32 = 0x336e_c578;
/// The first version with a memory map.
const VERSION: u32 = 1;
const E820_RAM: u32 = 1;

/// Writes everything and gives the start info's address.
pub(super) fn write(ram: &GuestRam, line: &CommandLine, initrd: Option<Initrd>) -> Result<Gpa, Error> {
    let map = memory_map(ram);
    let put = Writer(ram);
    put.bytes(layout::COMMAND_LINE.0, line.as_bytes())?;
    put.bytes(layout::COMMAND_LINE.0 + line.as_bytes().len() as u64, &[0])?;
    for (at, entry) in (layout::MEMORY_MAP.0..).step_by(size_of::<hvm_memmap_table_entry>()).zip(&map) {
        put.bytes(at, entry.as_slice())?;
    }
    if let Some(initrd) = initrd {
        let module = hvm_modlist_entry { paddr: initrd.gpa.0, size: initrd.len_bytes, ..Default::default() };
        put.bytes(layout::MODULE_LIST.0, module.as_slice())?;
    }
    let start_info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        nr_modules: u32::from(initrd.is_some()),
        modlist_paddr: layout::MODULE_LIST.0,
        cmdline_paddr: layout::COMMAND_LINE.0,
        memmap_paddr: layout::MEMORY_MAP.0,
        memmap_entries: u32::try_from(map.len()).unwrap_or(0),
        ..Default::default()
    };
    put.bytes(layout::START_INFO.0, start_info.as_slice())?;
    Ok(layout::START_INFO)
}

/// RAM as the guest may use it: base memory up to the MP table, then everything from [`layout::HIGH_RAM_START`] on.
fn memory_map(ram: &GuestRam) -> Vec<hvm_memmap_table_entry> {
    let entry =
        |addr, end: u64| hvm_memmap_table_entry { addr, size: end - addr, type_: E820_RAM, reserved: 0 };
    let mut map = vec![entry(0, layout::BASE_RAM_END.0)];
    for region in ram.iter() {
        let start = region.start_addr().0.max(layout::HIGH_RAM_START.0);
        map.push(entry(start, region.start_addr().0 + region.len()));
    }
    map
}

/// Writes tables whose place is fixed; RAM that has no such place is too small.
pub(super) struct Writer<'a>(pub(super) &'a GuestRam);

impl Writer<'_> {
    pub(super) fn bytes(&self, gpa: u64, bytes: &[u8]) -> Result<(), Error> {
        self.0
            .write_slice(bytes, GuestAddress(gpa))
            .map_err(|_| Error::TooLarge { what: "boot information", ram_mib: ram_mib(self.0) })
    }
}

#[cfg(test)]
mod tests {
    use monocore_hypervisor::memory::{self, Backing};

    use super::*;

    #[test]
    fn the_start_info_leads_to_everything() {
        let ram = memory::allocate(&layout::ram_ranges((3 << 30) + (64 << 20)), Backing::Private).unwrap();
        let line = CommandLine::new(&super::super::command_line::tests::spec("quiet", 1, 0)).unwrap();
        let initrd = Initrd { gpa: Gpa(0x200_0000), len_bytes: 5 };
        let at = write(&ram, &line, Some(initrd)).unwrap();
        let info: hvm_start_info = ram.read_obj(GuestAddress(at.0)).unwrap();
        assert_eq!((info.magic, info.memmap_entries, info.nr_modules), (MAGIC, 3, 1));
        let entries: [hvm_memmap_table_entry; 3] =
            std::array::from_fn(|i| ram.read_obj(GuestAddress(info.memmap_paddr + 24 * i as u64)).unwrap());
        let ranges = entries.map(|e| (e.addr, e.size));
        assert_eq!(ranges, [(0, 0x9_e000), (2 << 20, (3 << 30) - (2 << 20)), (4 << 30, 64 << 20)]);
        let module: hvm_modlist_entry = ram.read_obj(GuestAddress(info.modlist_paddr)).unwrap();
        assert_eq!((module.paddr, module.size), (0x200_0000, 5));
        let mut text = [0; 6];
        let end = info.cmdline_paddr + line.as_bytes().len() as u64;
        ram.read_slice(&mut text, GuestAddress(end - 5)).unwrap();
        assert_eq!(&text, b"quiet\0");
    }
}
