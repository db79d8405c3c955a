//! Credit: how much either side may send before the other has taken it (VIRTIO 1.3 §5.10.6.3).

/// What the guest granted for what goes to it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GuestCredit {
    buf_alloc: u32,
    fwd_cnt: u32,
    /// Bytes sent so far, modulo 2^32.
    sent: u32,
}

impl GuestCredit {
    /// Takes what a packet of the guest says.
    pub(crate) fn update(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        self.buf_alloc = buf_alloc;
        self.fwd_cnt = fwd_cnt;
    }

    /// Bytes that may be sent now; none where the guest's counts cannot be.
    pub(crate) fn free_bytes(self) -> u32 {
        self.buf_alloc.saturating_sub(self.sent.wrapping_sub(self.fwd_cnt))
    }

    /// Bytes sent in packets so far, modulo 2^32.
    pub(crate) fn sent(self) -> u32 {
        self.sent
    }

    pub(crate) fn spend(&mut self, bytes: u32) {
        self.sent = self.sent.wrapping_add(bytes);
    }
}

/// What is granted to the guest for what comes from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostWindow {
    buf_alloc: u32,
    /// Bytes passed on so far, modulo 2^32.
    forwarded: u32,
    /// The value of `forwarded` the guest knows.
    told: u32,
}

impl HostWindow {
    pub(crate) fn new(buf_alloc: u32) -> Self {
        Self { buf_alloc, forwarded: 0, told: 0 }
    }

    /// Bytes granted in all.
    pub(crate) fn size_bytes(self) -> u32 {
        self.buf_alloc
    }

    pub(crate) fn forward(&mut self, bytes: u32) {
        self.forwarded = self.forwarded.wrapping_add(bytes);
    }

    /// Whether the guest should hear of the room there is now: it knows of less than half of it. Linux uses no more of a
    /// window than it grants itself, so the half is of whichever is smaller.
    pub(crate) fn is_update_due(self, guest: GuestCredit) -> bool {
        self.forwarded.wrapping_sub(self.told) >= self.buf_alloc.min(guest.buf_alloc.max(2)) / 2
    }

    /// `buf_alloc` and `fwd_cnt` for a packet that is sent now.
    pub(crate) fn tell(&mut self) -> (u32, u32) {
        self.told = self.forwarded;
        (self.buf_alloc, self.forwarded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_wraps_and_never_exceeds_the_grant() {
        let mut credit = GuestCredit { buf_alloc: 0, fwd_cnt: u32::MAX - 9, sent: u32::MAX - 9 };
        credit.update(100, u32::MAX - 9);
        credit.spend(60);
        assert_eq!(credit.free_bytes(), 40);
        credit.update(100, 50);
        assert_eq!(credit.free_bytes(), 100);
        // More taken than was sent.
        credit.update(100, 51);
        assert_eq!(credit.free_bytes(), 0);
    }

    #[test]
    fn the_guest_is_told_when_half_the_window_is_news() {
        let generous = GuestCredit { buf_alloc: 1000, ..GuestCredit::default() };
        let mut window = HostWindow::new(100);
        window.forward(49);
        assert!(!window.is_update_due(generous));
        window.forward(1);
        assert!(window.is_update_due(generous));
        assert_eq!(window.tell(), (100, 50));
        assert!(!window.is_update_due(generous));
    }

    #[test]
    fn a_guest_that_uses_less_than_the_window_is_told_earlier() {
        let modest = GuestCredit { buf_alloc: 20, ..GuestCredit::default() };
        let mut window = HostWindow::new(100);
        assert!(!window.is_update_due(modest));
        window.forward(10);
        assert!(window.is_update_due(modest));
        // Nothing granted, nothing new: no update.
        window.tell();
        assert!(!window.is_update_due(GuestCredit::default()));
    }
}
