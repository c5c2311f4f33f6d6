//! What stands in the file of a lease: 512 bytes of text.

use crate::env;

use super::proto::Verifier;

/// How long it is, always.
pub(super) const CONTENT_BYTES: usize = 512;

/// Its first line.
const FIRST: &str = "Bedplate lease 1: removing this file lets two servers destroy a disk";

/// What a lease says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Content {
    pub(super) owner: Owner,
    /// How often it was renewed.
    pub(super) count: u64,
}

/// Who has a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    /// Drawn anew for each lease.
    id: u128,
    host: String,
    process: Process,
}

/// A process, as the kernel that it runs on knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Process {
    /// Which start of which kernel, and which space of numbers.
    kernel: String,
    pid: u32,
    /// When it was started, in the kernel's ticks.
    started: u64,
}

impl Owner {
    /// This process, with a new identity.
    pub(super) fn this_process() -> Self {
        let id = u128::from(env::random_u64()) << 64 | u128::from(env::random_u64());
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let pid = std::process::id();
        Self {
            id,
            host: word(&host),
            process: Process {
                kernel: this_kernel(),
                pid,
                started: started(pid).unwrap_or(0),
            },
        }
    }

    /// Whether it was a process of this machine that is there no more. One that cannot be seen from
    /// here may live.
    pub(super) fn is_dead_here(&self) -> bool {
        let Process {
            kernel,
            pid,
            started: then,
        } = &self.process;
        *kernel == this_kernel() && *then != 0 && started(*pid) != Some(*then)
    }

    /// What the file of the lease is made with.
    pub(super) fn verifier(&self) -> Verifier {
        let [high, .., _] = [self.id >> 64, self.id];
        u64::try_from(high).expect("the upper half").to_be_bytes()
    }

    /// A part of its identity, for a name.
    pub(super) fn short(&self) -> String {
        format!("{:016x}", self.id >> 64)
    }

    /// Who that is, for people.
    pub(super) fn shown(&self) -> String {
        format!("process {} on {}", self.process.pid, self.host)
    }
}

impl Content {
    pub(super) fn new(owner: &Owner) -> Self {
        Self {
            owner: owner.clone(),
            count: 0,
        }
    }

    pub(super) fn encode(&self) -> [u8; CONTENT_BYTES] {
        let Owner { id, host, process } = &self.owner;
        let Process {
            kernel,
            pid,
            started,
        } = process;
        let text = format!(
            "{FIRST}\nowner {id:032x}\nhost {host}\nkernel {kernel}\npid {pid}\nstarted {started}\n\
             count {}\n",
            self.count
        );
        let mut bytes = [b'\n'; CONTENT_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes
    }

    /// Reads what stands in a lease, if it is all there.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        if bytes.len() != CONTENT_BYTES || lines.next() != Some(FIRST) {
            return None;
        }
        let mut value = |key: &str| {
            let value = lines.next()?.strip_prefix(key)?.strip_prefix(' ')?;
            (value == word(value)).then(|| value.to_owned())
        };
        let content = Self {
            owner: Owner {
                id: u128::from_str_radix(&value("owner")?, 16).ok()?,
                host: value("host")?,
                process: Process {
                    kernel: value("kernel")?,
                    pid: value("pid")?.parse().ok()?,
                    started: value("started")?.parse().ok()?,
                },
            },
            count: value("count")?.parse().ok()?,
        };
        Some(content)
    }
}

/// What of `text` can stand on a line: 64 plain characters at most.
fn word(text: &str) -> String {
    let plain = |c: &char| c.is_ascii_graphic();
    text.trim().chars().filter(plain).take(64).collect()
}

/// Which start of which kernel this is, and in which space its processes are numbered.
fn this_kernel() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let space = space.to_string_lossy();
    let digits: String = space.chars().filter(char::is_ascii_digit).collect();
    word(&format!("{}/{digits}", boot.trim()))
}

/// When the process `pid` was started: field 22 of `/proc/PID/stat`, which follows a name in
/// parentheses that may have anything in it.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim;

    #[test]
    fn what_is_written_is_read() {
        sim::run(1, async {
            let mut content = Content::new(&Owner::this_process());
            content.count = u64::MAX;
            let bytes = content.encode();
            assert_eq!(Content::parse(&bytes), Some(content.clone()));
            let other = Content::new(&Owner::this_process());
            assert_ne!(other.owner, content.owner, "each lease has another owner");
            for end in 0..bytes.len() {
                assert_eq!(Content::parse(&bytes[..end]), None);
            }
        });
    }

    #[test]
    fn rubbish_is_nobody() {
        for byte in [0, b'\n', b'x', 0xff] {
            assert_eq!(Content::parse(&[byte; CONTENT_BYTES]), None);
        }
    }

    #[test]
    fn a_process_is_dead_if_it_is_not_there_or_another_is() {
        sim::run(1, async {
            let mut owner = Owner::this_process();
            assert!(!owner.is_dead_here(), "this one lives");
            owner.process.started += 1;
            assert!(owner.is_dead_here(), "another has its number");
            owner.process.kernel = "elsewhere".to_owned();
            assert!(!owner.is_dead_here(), "nobody knows from here");
        });
    }
}
