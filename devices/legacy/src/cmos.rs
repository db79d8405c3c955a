//! The CMOS clock (MC146818): ports 0x70 (index) and 0x71 (data), the host's time in UTC.
//!
//! Only the clock's registers hold anything. All ones in all of them would make Linux wait for an update in progress
//! that never ends.
//!
//! Source: Motorola MC146818A data sheet, "Address Map".

use std::time::{SystemTime, UNIX_EPOCH};

use crate::PortDevice;

const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const STATUS_D: u8 = 0x0d;
const CENTURY: u8 = 0x32;
/// 32.768 kHz divider, no update in progress.
const STATUS_A_VALUE: u8 = 0x26;
/// 24 hours, binary-coded decimals.
const STATUS_B_VALUE: u8 = 0x02;
/// The battery is good.
const STATUS_D_VALUE: u8 = 0x80;

/// The CMOS clock.
#[derive(Debug, Default)]
pub struct Cmos {
    index: u8,
}

impl Cmos {
    /// The index port; the data port follows.
    pub const PORT: u16 = 0x70;
    /// Number of ports it takes.
    pub const PORTS: u16 = 2;
}

impl PortDevice for Cmos {
    fn read(&mut self, offset: u16, data: &mut [u8]) {
        data.fill(0);
        if let (1, [value]) = (offset, data) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
            *value = register(self.index, now);
        }
    }

    fn write(&mut self, offset: u16, data: &[u8]) {
        if let (0, &[value]) = (offset, data) {
            // The top bit masks NMIs and is no part of the index.
            self.index = value & 0x7f;
        }
    }
}

/// A register's value at `unix_s` seconds since 1970.
fn register(index: u8, unix_s: u64) -> u8 {
    let days = unix_s / 86_400;
    let (year, month, day) = civil_date(days);
    match index {
        0x00 => decimal(unix_s % 60),
        0x02 => decimal(unix_s / 60 % 60),
        0x04 => decimal(unix_s / 3600 % 24),
        // 1970-01-01 was a Thursday, the fifth day of a week that begins on Sunday.
        0x06 => decimal((days + 4) % 7 + 1),
        0x07 => decimal(day),
        0x08 => decimal(month),
        0x09 => decimal(year % 100),
        CENTURY => decimal(year / 100),
        STATUS_A => STATUS_A_VALUE,
        STATUS_B => STATUS_B_VALUE,
        STATUS_D => STATUS_D_VALUE,
        _ => 0,
    }
}

/// Two decimal digits, one in each half byte.
fn decimal(value: u64) -> u8 {
    let value = u8::try_from(value % 100).unwrap_or(0);
    ((value / 10) << 4) | (value % 10)
}

/// Year, month and day of month of a day counted from 1970-01-01.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_round_leap_days() {
        assert_eq!(civil_date(0), (1970, 1, 1));
        assert_eq!(civil_date(11_016), (2000, 2, 29));
        assert_eq!(civil_date(11_017), (2000, 3, 1));
        assert_eq!(civil_date(20_819), (2027, 1, 1));
    }

    #[test]
    fn registers_are_binary_coded_decimals() {
        // 2026-11-21 23:59:58 UTC, a Saturday.
        let at = 1_795_305_598;
        let read = |index| register(index, at);
        assert_eq!([read(0x32), read(9), read(8), read(7)], [0x20, 0x26, 0x11, 0x21]);
        assert_eq!([read(4), read(2), read(0), read(6)], [0x23, 0x59, 0x58, 7]);
    }

    #[test]
    fn an_update_is_never_in_progress() {
        let mut cmos = Cmos::default();
        cmos.write(0, &[STATUS_A | 0x80]);
        let mut value = [0xff];
        cmos.read(1, &mut value);
        assert_eq!(value[0] & 0x80, 0);
        cmos.read(0, &mut value);
        assert_eq!(value, [0]);
    }
}
