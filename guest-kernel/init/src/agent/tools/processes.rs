//! The guest's processes, from `/proc` (proc(5)).

use std::fs;
use std::io::{self, Write};

use crate::identity;

/// Most bytes of a command line that are told.
const COMMAND_BYTES: usize = 4096;

/// Writes the fields of the commands and what they started: their namespace has neither the agent nor the kernel's
/// threads. `has_reaper`: process 1 is the agent's.
pub(super) fn write(mut out: impl Write, has_reaper: bool) -> io::Result<()> {
    let own = std::process::id();
    let ticks = uptime_ticks();
    let epoch =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut ids: Vec<u32> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|id| *id != own && !(*id == 1 && has_reaper))
        .collect();
    ids.sort_unstable();
    let (passwd, group) = identity::databases();
    for id in ids {
        // One that ended meanwhile is not told.
        let Some(fields) = fields(id, &passwd, &group, ticks, epoch) else { continue };
        for field in fields {
            out.write_all(&field)?;
            out.write_all(&[0])?;
        }
    }
    out.flush()
}

fn fields(id: u32, passwd: &[u8], group: &[u8], now: u64, epoch: u64) -> Option<[Vec<u8>; 16]> {
    let stat = fs::read(format!("/proc/{id}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = stat.get(open + 1..close)?.to_vec();
    let rest = String::from_utf8_lossy(stat.get(close + 1..)?).into_owned();
    let rest: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| rest.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let parent = number(1);
    let (uid, gid) = owner(id)?;
    let mut command = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    command.truncate(COMMAND_BYTES);
    while command.last() == Some(&0) {
        command.pop();
    }
    command.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    if command.is_empty() {
        command = [b"[", &name[..], b"]"].concat();
    }
    let text = |number: u64| number.to_string().into_bytes();
    Some([
        text(u64::from(id)),
        text(parent),
        text(u64::from(uid)),
        text(u64::from(gid)),
        identity::name_of(passwd, uid),
        identity::name_of(group, gid),
        rest.first()?.as_bytes().to_vec(),
        terminal(number(4)),
        text(number(11) + number(12)),
        text(number(19)),
        text(number(20)),
        text(number(21) * 4096),
        text(now),
        text(epoch),
        name,
        command,
    ])
}

fn owner(id: u32) -> Option<(u32, u32)> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    Some((value("Uid:")?, value("Gid:")?))
}

/// A terminal's name from its device number: only those of pseudo-terminals have one here.
fn terminal(device: u64) -> Vec<u8> {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor).into_bytes(),
        _ => b"?".to_vec(),
    }
}

fn uptime_ticks() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let (seconds, hundredths) =
        text.split_ascii_whitespace().next().and_then(|word| word.split_once('.')).unwrap_or(("0", "0"));
    seconds.parse().unwrap_or(0) * 100 + hundredths.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use monocore_protocol::PROCESS_FIELDS;

    use super::*;

    #[test]
    fn a_process_has_every_field() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (passwd, group) = (b"root:x:0:0::/:".to_vec(), b"root:x:0:".to_vec());
        // Until it has become the program.
        while !fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().starts_with(b"sleep") {}
        let fields = fields(child.id(), &passwd, &group, 5000, 7).unwrap();
        let field = |name: &str| {
            let at = PROCESS_FIELDS.iter().position(|known| *known == name).unwrap();
            String::from_utf8(fields[at].clone()).unwrap()
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(field("ppid"), std::process::id().to_string());
        assert_eq!((field("name").as_str(), field("command").as_str()), ("sleep", "sleep 1000"));
        // The kernel counts pages for each processor apart, so a process this young may seem to have none.
        assert!(field("resident_bytes").parse::<u64>().is_ok());
        assert_eq!(terminal((136 << 8) | 3), b"pts/3");
    }
}
