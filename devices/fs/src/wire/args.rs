//! Taking a request's arguments apart.

use std::ffi::CStr;

use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::{NAME_MAX, PATH_MAX};

/// What follows a request's header, consumed from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args<'a>(&'a [u8]);

/// The name of a directory entry: 1 to 255 bytes, no `/`, neither `.` nor `..`.
///
/// Nothing the guest sends becomes part of a path of the host in any other form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<'a>(&'a CStr);

impl<'a> Args<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next structure.
    ///
    /// # Errors
    /// EINVAL where the request is too short.
    pub(crate) fn take<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Result<T, Errno> {
        let (value, rest) = T::read_from_prefix(self.0).map_err(|_| Errno::INVAL)?;
        self.0 = rest;
        Ok(value)
    }

    /// The next string, up to its NUL.
    ///
    /// # Errors
    /// EINVAL where no NUL follows.
    pub(crate) fn string(&mut self) -> Result<&'a CStr, Errno> {
        let string = CStr::from_bytes_until_nul(self.0).map_err(|_| Errno::INVAL)?;
        self.0 = self.0.get(string.count_bytes() + 1..).ok_or(Errno::INVAL)?;
        Ok(string)
    }

    /// The next string as the name of a directory entry.
    ///
    /// # Errors
    /// EINVAL or ENAMETOOLONG where it is none.
    pub(crate) fn name(&mut self) -> Result<Name<'a>, Errno> {
        Name::new(self.string()?)
    }

    /// The next string as the target of a symbolic link: 1 to 4095 bytes, not looked at otherwise.
    ///
    /// # Errors
    /// ENOENT or ENAMETOOLONG, as the system call says it.
    pub(crate) fn target(&mut self) -> Result<&'a CStr, Errno> {
        let target = self.string()?;
        match target.count_bytes() {
            0 => Err(Errno::NOENT),
            n if n >= PATH_MAX => Err(Errno::NAMETOOLONG),
            _ => Ok(target),
        }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// EINVAL where the request is too short.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Errno> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(bytes)
    }
}

impl<'a> Name<'a> {
    /// Checks a name.
    ///
    /// # Errors
    /// EINVAL or ENAMETOOLONG where it is none.
    pub(crate) fn new(name: &'a CStr) -> Result<Self, Errno> {
        match name.to_bytes() {
            b"" | b"." | b".." => Err(Errno::INVAL),
            bytes if bytes.contains(&b'/') => Err(Errno::INVAL),
            bytes if bytes.len() > NAME_MAX => Err(Errno::NAMETOOLONG),
            _ => Ok(Self(name)),
        }
    }

    /// The name as the operating system takes it.
    pub(crate) fn as_c_str(self) -> &'a CStr {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in [&b"\0"[..], b".\0", b"..\0", b"a/b\0", b"/\0", b"../x\0", b"no end"] {
            assert_eq!(Args::new(bad).name().unwrap_err(), Errno::INVAL, "{bad:?}");
        }
        let long = [vec![b'a'; 256], vec![0]].concat();
        assert_eq!(Args::new(&long).name().unwrap_err(), Errno::NAMETOOLONG);
        for good in [&b"...\0"[..], b"..a\0", b"a\0b", b"\xff\x01\0", b"-\0"] {
            assert!(Args::new(good).name().is_ok(), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_one_component(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(name) = Args::new(&bytes).name() {
                let name = name.as_c_str().to_bytes();
                prop_assert!(!name.is_empty() && name.len() <= NAME_MAX && !name.contains(&b'/'));
                prop_assert!(name != b"." && name != b"..");
            }
        }
    }
}
