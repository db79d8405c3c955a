//! OCI images: pull, verify, convert to EROFS, store.
