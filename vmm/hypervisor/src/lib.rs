//! Traits a virtualization backend implements, guest RAM, doorbells and interrupt lines.
