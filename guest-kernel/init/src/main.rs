//! PID 1 and agent of a guest; see the library of this package.
//!
//! The C library starts `main` directly. Rust's own start-up would look at descriptors 0 to 2, which a kernel without
//! a console leaves closed, open `/dev/null` in their place, which is not there yet, and give up.

#![no_main]

mod sys {
    #![allow(unsafe_code, reason = "a symbol that the C library calls must be unmangled")]

    // SAFETY: no other `main` is linked into this program, and its signature is the C library's.
    #[unsafe(no_mangle)]
    extern "C" fn main(count: i32, arguments: *const *const std::ffi::c_char) -> i32 {
        let mut words = Vec::new();
        for index in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: the C library hands over `count` pointers to NUL-terminated strings that live as long as the
            // process.
            let word = unsafe { std::ffi::CStr::from_ptr(*arguments.add(index)) };
            words.push(word.to_string_lossy().into_owned());
        }
        monocore_init::main(&words)
    }
}
