//! Opening what a specification names.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use monocore_spec::{FileRef, Sink};

use crate::{Error, sys};

/// A [`FileRef`] as an error names it.
pub(crate) struct Named<'a>(pub(crate) &'a FileRef);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FileRef::Path(path) => path.display().fmt(f),
            FileRef::Fd(number) => write!(f, "descriptor {number}"),
        }
    }
}

fn named(file: &FileRef) -> impl FnOnce(io::Error) -> Error {
    let file = Named(file).to_string();
    move |source| Error::File { file, source }
}

/// Opens for reading.
pub(crate) fn open(file: &FileRef) -> Result<File, Error> {
    match file {
        FileRef::Path(path) => File::open(path),
        FileRef::Fd(number) => sys::duplicate(*number).map(File::from),
    }
    .map_err(named(file))
}

/// Opens for reading and writing.
pub(crate) fn open_writable(file: &FileRef) -> Result<File, Error> {
    match file {
        FileRef::Path(path) => OpenOptions::new().read(true).write(true).open(path),
        FileRef::Fd(number) => sys::duplicate(*number).map(File::from),
    }
    .map_err(named(file))
}

/// Takes an inherited descriptor that is no file.
pub(crate) fn descriptor(number: i32) -> Result<OwnedFd, Error> {
    sys::duplicate(number).map_err(named(&FileRef::Fd(number)))
}

/// Opens a sink, or gives `None` where text is discarded.
pub(crate) fn open_sink(sink: &Sink) -> Result<Option<File>, Error> {
    match sink {
        Sink::Discard => Ok(None),
        Sink::Fd(number) => descriptor(*number).map(|fd| Some(File::from(fd))),
        Sink::Path(path) => {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened.map(Some).map_err(named(&FileRef::Path(path.clone())))
        }
    }
}

/// The same, as something text is written to.
pub(crate) fn open_writer(sink: &Sink) -> Result<Option<Box<dyn Write + Send>>, Error> {
    Ok(open_sink(sink)?.map(|file| Box::new(file) as Box<dyn Write + Send>))
}
