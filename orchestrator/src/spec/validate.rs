//! What a description's types let through, and no sandbox can be.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::size::{DISK_BYTES, RAM_MIB};
use super::{
    MAX_VCPUS, MachineSpec, MountSource, ParseError, ProcessSpec, RootSource, SandboxSpec, parse_name,
};

impl SandboxSpec {
    /// Checks every number, name and path. What was made by the parsers of this module passes; a description that
    /// another program wrote, or that was read from a file, may not.
    ///
    /// # Errors
    /// The first field that is wrong, with its value and what would be right.
    pub fn validate(&self) -> Result<(), ParseError> {
        if let Some(name) = &self.name {
            parse_name(name)?;
        }
        match &self.root.source {
            RootSource::Image(image) => {
                require("root.image", &image.reference, !image.reference.is_empty(), "no image")?
            }
            RootSource::Directory(path) => {
                require("root.directory", path.display(), !path.as_os_str().is_empty(), "no directory")?;
            }
        }
        if let Some(bytes) = self.root.disk_bytes {
            let fits = DISK_BYTES.contains(&bytes) && bytes.is_multiple_of(4096);
            require("root.disk_bytes", bytes, fits, "a multiple of 4096 from 64 MiB to 8 TiB")?;
        }
        self.process.validate()?;
        self.machine.validate()?;
        for mount in &self.mounts {
            require("mounts.target", &mount.target, mount.target.starts_with('/'), "an absolute path")?;
            no_zero("mounts.target", mount.target.as_ref())?;
            if let MountSource::Volume(name) = &mount.source {
                parse_name(name)?;
            }
        }
        for port in &self.network.publish {
            require(
                "network.publish",
                port.guest_port,
                port.guest_port != 0,
                "a port of the guest from 1 on",
            )?;
        }
        self.labels.keys().try_for_each(|key| require("labels", key, !key.is_empty(), "a key"))
    }
}

impl ProcessSpec {
    fn validate(&self) -> Result<(), ParseError> {
        let words = self.entrypoint.iter().flatten().chain(&self.args);
        words.into_iter().try_for_each(|word| no_zero("process.args", word))?;
        for variable in &self.env {
            let name = variable.name.as_bytes();
            let is_name = !name.is_empty() && !name.contains(&b'=');
            require("process.env", variable.name.display(), is_name, "a name without '='")?;
            no_zero("process.env", &variable.name)?;
            no_zero("process.env", &variable.value)?;
        }
        if let Some(path) = &self.workdir {
            require("process.workdir", path, path.starts_with('/'), "an absolute path")?;
            no_zero("process.workdir", path.as_ref())?;
        }
        Ok(())
    }
}

impl MachineSpec {
    fn validate(&self) -> Result<(), ParseError> {
        let Self { vcpus, ram_mib, .. } = *self;
        let right = format!("1 to {MAX_VCPUS}");
        require("machine.vcpus", vcpus, (1..=MAX_VCPUS).contains(&vcpus), &right)?;
        let right = "an even number of MiB from 64 to 1048576";
        require("machine.ram_mib", ram_mib, RAM_MIB.contains(&ram_mib) && ram_mib.is_multiple_of(2), right)?;
        if let Some(millis) = self.cpu_millis {
            let most = u32::from(vcpus) * 1000;
            require("machine.cpu_millis", millis, (10..=most).contains(&millis), &format!("10 to {most}"))?;
        }
        Ok(())
    }
}

fn require(
    field: &str,
    value: impl std::fmt::Display,
    is_right: bool,
    right: &str,
) -> Result<(), ParseError> {
    if is_right {
        Ok(())
    } else {
        Err(ParseError::new(&format!("{field} = {value}"), format!("give {right}")))
    }
}

fn no_zero(field: &str, value: &OsStr) -> Result<(), ParseError> {
    require(field, value.display(), !value.as_bytes().contains(&0), "a text without a zero byte")
}

#[cfg(test)]
mod tests {
    use super::super::tests::minimal;
    use super::super::{EnvVar, MountSpec};
    use super::*;

    #[test]
    fn the_first_field_that_is_wrong_is_named() {
        minimal().validate().unwrap();
        let wrong = |change: fn(&mut SandboxSpec)| {
            let mut spec = minimal();
            change(&mut spec);
            spec.validate().unwrap_err().to_string()
        };
        let mount = |target: &str, volume: &str| MountSpec {
            target: target.into(),
            source: MountSource::Volume(volume.into()),
            read_only: false,
        };
        assert_eq!(
            wrong(|spec| spec.machine.ram_mib = 63),
            r#""machine.ram_mib = 63": give an even number of MiB from 64 to 1048576"#
        );
        for (text, said) in [
            (wrong(|spec| spec.machine.ram_mib = 65), "machine.ram_mib"),
            (wrong(|spec| spec.machine.ram_mib = u32::MAX), "machine.ram_mib"),
            (wrong(|spec| spec.machine.vcpus = 0), "machine.vcpus"),
            (wrong(|spec| spec.machine.vcpus = 65), "machine.vcpus"),
            (wrong(|spec| spec.machine.cpu_millis = Some(1001)), "machine.cpu_millis"),
            (wrong(|spec| spec.name = Some("../x".into())), "../x"),
            (wrong(|spec| spec.root.disk_bytes = Some(1)), "root.disk_bytes"),
            (wrong(|spec| spec.process.args = vec!["a\0b".into()]), "process.args"),
            (wrong(|spec| spec.process.workdir = Some("here".into())), "process.workdir"),
            (
                wrong(|spec| spec.process.env.push(EnvVar { name: "A=".into(), value: "b".into() })),
                "process.env",
            ),
            (wrong(|spec| drop(spec.labels.insert(String::new(), String::new()))), "labels"),
        ] {
            assert!(text.contains(said), "{text}");
        }
        let mut spec = minimal();
        spec.mounts = vec![mount("/data", "../../etc")];
        spec.validate().unwrap_err();
        spec.mounts = vec![mount("data", "v")];
        spec.validate().unwrap_err();
    }
}
