//! Which inherited descriptors a specification names.

use crate::{
    BlockBackend, BlockSpec, ConsoleSpec, DeviceSpec, FileRef, FsSpec, NetSpec, ProxySpec, Sink, TapRef,
    VmSpec, VsockBackend, VsockSpec,
};

impl VmSpec {
    /// Calls `each` with the number of every descriptor that is named here; a number may come twice.
    pub fn for_each_fd(&self, mut each: impl FnMut(i32)) {
        let each: &mut dyn FnMut(i32) = &mut each;
        self.kernel.image.for_each_fd(each);
        self.kernel.initrd.iter().for_each(|file| file.for_each_fd(each));
        self.devices.iter().for_each(|device| device.for_each_fd(each));
        self.serial.for_each_fd(each);
        self.timeline.for_each_fd(each);
        self.control.into_iter().for_each(each);
    }
}

impl DeviceSpec {
    fn for_each_fd(&self, each: &mut dyn FnMut(i32)) {
        match self {
            Self::Vsock(VsockSpec { guest_cid: _, backend, carries }) => {
                if let VsockBackend::Handoff { fd } = backend {
                    each(*fd);
                }
                carries.iter().for_each(|proxy| proxy.for_each_fd(each));
            }
            Self::Block(BlockSpec { serial: _, backend: BlockBackend::Raw { file, read_only: _ } }) => {
                file.for_each_fd(each);
            }
            Self::Block(BlockSpec { serial: _, backend: BlockBackend::Concat { parts } }) => {
                parts.iter().filter_map(|part| part.file.as_ref()).for_each(|file| file.for_each_fd(each));
            }
            Self::Fs(FsSpec { tag: _, shares, grows: _ }) => {
                shares.iter().for_each(|share| share.source.for_each_fd(each));
            }
            Self::Console(ConsoleSpec { output, input }) => {
                output.for_each_fd(each);
                input.iter().copied().for_each(each);
            }
            Self::Rng | Self::Balloon => {}
            Self::Net(NetSpec::Nat(nat)) => nat.proxy.for_each_fd(each),
            Self::Net(NetSpec::Tap(tap)) => {
                if let TapRef::Fd(fd) = tap.interface {
                    each(fd);
                }
            }
            Self::Net(NetSpec::Passt(passt)) => each(passt.fd),
        }
    }
}

impl ProxySpec {
    fn for_each_fd(&self, each: &mut dyn FnMut(i32)) {
        self.receipts.for_each_fd(each);
        self.bound.iter().for_each(|port| each(port.fd));
        self.peers.iter().for_each(|peers| each(peers.fd));
    }
}

impl FileRef {
    fn for_each_fd(&self, each: &mut dyn FnMut(i32)) {
        match self {
            Self::Fd(number) => each(*number),
            Self::Path(_) => {}
        }
    }
}

impl Sink {
    fn for_each_fd(&self, each: &mut dyn FnMut(i32)) {
        match self {
            Self::Fd(number) => each(*number),
            Self::Discard | Self::Path(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::VmSpec;

    /// One of each: a descriptor that is named and not found here would be closed under the device.
    #[test]
    fn every_descriptor_is_found_once() {
        let text = r#"{
            "version": 1, "name": "m", "vcpus": 1, "ram": {"size_mib": 32},
            "kernel": {"image": {"fd": 10}, "initrd": [{"fd": 11}, {"path": "/x"}]},
            "devices": [
                {"vsock": {"guest_cid": 3, "backend": {"handoff": {"fd": 12}}, "carries": {
                    "receipts": {"fd": 13}, "bound": [{"protocol": "tcp", "guest_port": 80, "fd": 14}],
                    "peers": {"fd": 15, "groups": []}}}},
                {"block": {"serial": "a", "backend": {"concat": {"parts": [
                    {"file": {"fd": 16}, "len_bytes": 512}, {"file": null, "len_bytes": 512}]}}}},
                {"block": {"serial": "b", "backend": {"raw": {"file": {"fd": 17}}}}},
                {"fs": {"tag": "t", "shares": [{"name": "s", "source": {"fd": 18}}]}},
                {"console": {"output": {"fd": 19}, "input": 20}},
                "rng",
                {"net": {"nat": {"mac": [2, 0, 0, 0, 0, 1], "proxy": {"receipts": {"fd": 21}}}}},
                {"net": {"tap": {"mac": [2, 0, 0, 0, 0, 1], "interface": {"fd": 22}}}},
                {"net": {"passt": {"mac": [2, 0, 0, 0, 0, 1], "fd": 23}}}
            ],
            "serial": {"fd": 24}, "timeline": {"fd": 25}, "control": 26
        }"#;
        let spec: VmSpec = serde_json::from_str(text).unwrap();
        let mut found = Vec::new();
        spec.for_each_fd(|number| found.push(number));
        found.sort_unstable();
        assert_eq!(found, (10..=26).collect::<Vec<_>>());
    }
}
