//! What may be done in a second: the limits of a volume or a group, as people set them.

use super::bucket::SECOND;

/// The highest limit, a second: 10^15, QEMU's too. No machine gets there.
const RATE_MAX: u64 = 1_000_000_000_000_000;

/// The longest burst, in seconds: a day.
const BURST_SECONDS_MAX: u64 = 86_400;

/// How long it may take to earn a burst back, in seconds: a year.
const RECOVERY_SECONDS_MAX: u64 = 365 * 86_400;

/// The largest unit in which large requests are counted, in bytes.
const IOPS_SIZE_MAX: u64 = 1 << 40;

/// What a limit counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Measure {
    /// Requests a second.
    Iops,
    /// Reads a second.
    ReadIops,
    /// Writes a second; discards and writes of zeroes are writes.
    WriteIops,
    /// Bytes a second.
    Bps,
    /// Bytes read a second.
    ReadBps,
    /// Bytes written a second.
    WriteBps,
}

impl Measure {
    /// All there are, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Iops,
        Self::ReadIops,
        Self::WriteIops,
        Self::Bps,
        Self::ReadBps,
        Self::WriteBps,
    ];

    /// What people call the limit; on the command line with a dash.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Iops => "iops",
            Self::ReadIops => "read_iops",
            Self::WriteIops => "write_iops",
            Self::Bps => "bps",
            Self::ReadBps => "read_bps",
            Self::WriteBps => "write_bps",
        }
    }

    /// What people call the rate of bursts beyond the limit.
    pub const fn burst_word(self) -> &'static str {
        match self {
            Self::Iops => "burst_iops",
            Self::ReadIops => "burst_read_iops",
            Self::WriteIops => "burst_write_iops",
            Self::Bps => "burst_bps",
            Self::ReadBps => "burst_read_bps",
            Self::WriteBps => "burst_write_bps",
        }
    }

    /// Whether it counts bytes, not requests.
    pub const fn counts_bytes(self) -> bool {
        matches!(self, Self::Bps | Self::ReadBps | Self::WriteBps)
    }
}

/// How much of one measure is let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// So much a second in the long run; not zero.
    pub average: u64,
    /// How far that may be exceeded for a while.
    pub burst: Option<Burst>,
}

/// A bucket of `rate * seconds` that the average empties: who starts with it empty may go on at
/// `rate` for at least `seconds`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Burst {
    /// So much a second; not below the average.
    pub rate: u64,
    /// For so long.
    pub seconds: u64,
}

/// Limits that can be kept. Where there are several, each is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    rates: [Option<Rate>; 6],
    iops_size: Option<u64>,
}

/// Limits as somebody has written them, unchecked; what is `None` was not said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LimitWords {
    /// The averages, by [`Measure`].
    pub average: [Option<u64>; 6],
    /// The bursts, by [`Measure`].
    pub burst: [Option<u64>; 6],
    /// How long bursts last, in seconds.
    pub burst_seconds: Option<u64>,
    /// Larger requests count as several of this many bytes.
    pub iops_size: Option<u64>,
}

/// A word that cannot be, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrongLimit {
    /// Which: a [`Measure::word`], a [`Measure::burst_word`], `burst_seconds` or `iops_size`.
    pub word: &'static str,
    /// A sentence without the word.
    pub why: String,
}

impl WrongLimit {
    fn new(word: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { word, why }
    }
}

impl LimitWords {
    /// Checks every word.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn check(&self) -> Result<Limits, WrongLimit> {
        let mut limits = Limits::default();
        for measure in Measure::ALL {
            limits.rates[measure as usize] = self.rate(measure)?;
        }
        if self.burst_seconds.is_some() && self.burst.iter().all(Option::is_none) {
            let why = "there is no burst that would last so long";
            return Err(WrongLimit::new("burst_seconds", why));
        }
        limits.iops_size = self.check_iops_size()?;
        Ok(limits)
    }

    fn rate(&self, measure: Measure) -> Result<Option<Rate>, WrongLimit> {
        let (word, burst_word) = (measure.word(), measure.burst_word());
        let average = check_rate(word, self.average[measure as usize])?;
        let burst = check_rate(burst_word, self.burst[measure as usize])?;
        let (average, burst) = match (average, burst) {
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                let why = format!("there is no {word} that it would exceed");
                return Err(WrongLimit::new(burst_word, why));
            }
            (Some(average), None) => {
                let burst = None;
                return Ok(Some(Rate { average, burst }));
            }
            (Some(average), Some(burst)) => (average, burst),
        };
        if burst < average {
            let why = format!("{burst} is less than {word}, {average}");
            return Err(WrongLimit::new(burst_word, why));
        }
        let Some(seconds) = self.burst_seconds else {
            let why = "how long it may last is missing: burst_seconds";
            return Err(WrongLimit::new(burst_word, why));
        };
        if !(1..=BURST_SECONDS_MAX).contains(&seconds) {
            let why = format!("{seconds} is not 1 to {BURST_SECONDS_MAX}");
            return Err(WrongLimit::new("burst_seconds", why));
        }
        // Less than 2^50 times less than 2^17.
        if u128::from(burst) * u128::from(seconds) / u128::from(average)
            > u128::from(RECOVERY_SECONDS_MAX)
        {
            let why = format!("{burst} for {seconds} s would take more than a year to earn back");
            return Err(WrongLimit::new(burst_word, why));
        }
        let burst = Some(Burst {
            rate: burst,
            seconds,
        });
        Ok(Some(Rate { average, burst }))
    }

    fn check_iops_size(&self) -> Result<Option<u64>, WrongLimit> {
        let Some(size) = self.iops_size else {
            return Ok(None);
        };
        let wrong = |why: String| Err(WrongLimit::new("iops_size", why));
        if !(1..=IOPS_SIZE_MAX).contains(&size) {
            return wrong(format!("{size} is not 1 byte to 1T"));
        }
        let counts_requests = |measure: &Measure| !measure.counts_bytes();
        let mut of_requests = Measure::ALL.into_iter().filter(counts_requests);
        match of_requests.any(|measure| self.average[measure as usize].is_some()) {
            true => Ok(Some(size)),
            false => wrong("there is no limit of requests that it would count for".to_owned()),
        }
    }
}

fn check_rate(word: &'static str, rate: Option<u64>) -> Result<Option<u64>, WrongLimit> {
    match rate {
        Some(0) => {
            let why = "0 would let nothing through; leave it out for no limit";
            Err(WrongLimit::new(word, why))
        }
        Some(rate) if rate > RATE_MAX => {
            Err(WrongLimit::new(word, format!("{rate} is more than 10^15")))
        }
        rate => Ok(rate),
    }
}

impl Limits {
    /// How much of `measure` is let through; `None` for all.
    pub fn rate(&self, measure: Measure) -> Option<Rate> {
        self.rates[measure as usize]
    }

    /// Of how many bytes a request is, where larger ones count as several.
    pub fn iops_size(&self) -> Option<u64> {
        self.iops_size
    }

    /// Whether everything is let through.
    pub fn is_none(&self) -> bool {
        self.rates.iter().all(Option::is_none)
    }

    /// The words that say this.
    pub fn words(&self) -> LimitWords {
        let bursts = || self.rates.iter().flatten().filter_map(|rate| rate.burst);
        LimitWords {
            average: self.rates.map(|rate| rate.map(|rate| rate.average)),
            burst: self
                .rates
                .map(|rate| rate.and_then(|rate| rate.burst).map(|burst| burst.rate)),
            burst_seconds: bursts().map(|burst| burst.seconds).next(),
            iops_size: self.iops_size,
        }
    }
}

impl Burst {
    /// How long the average takes to earn all of it, in nanoseconds; checked to be less than a
    /// year.
    pub(super) fn recovery_ns(self, average: u64) -> u64 {
        let units = u128::from(self.rate) * u128::from(self.seconds);
        let nanos = units * u128::from(SECOND) / u128::from(average);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(average: [u64; 6], burst: [u64; 6], seconds: Option<u64>) -> LimitWords {
        let said = |word: u64| (word != u64::MAX).then_some(word);
        LimitWords {
            average: average.map(said),
            burst: burst.map(said),
            burst_seconds: seconds,
            iops_size: None,
        }
    }

    const NOT: u64 = u64::MAX;

    #[test]
    fn good_limits_say_what_was_said() {
        let said = words(
            [1000, NOT, 500, 1 << 30, NOT, NOT],
            [5000, NOT, 500, NOT, NOT, NOT],
            Some(10),
        );
        let said = LimitWords {
            iops_size: Some(65_536),
            ..said
        };
        let limits = said.check().expect("good words");
        assert_eq!(limits.words(), said);
        let burst = limits.rate(Measure::Iops).and_then(|rate| rate.burst);
        let (rate, seconds) = (5000, 10);
        assert_eq!(burst, Some(Burst { rate, seconds }));
        assert_eq!(
            burst.map(|burst| burst.recovery_ns(1000)),
            Some(50 * SECOND)
        );
        assert!(!limits.is_none());
        assert!(
            LimitWords::default()
                .check()
                .expect("nothing said")
                .is_none()
        );
    }

    #[test]
    fn what_cannot_be_is_named() {
        let none = [NOT; 6];
        let one = |rate| [rate, NOT, NOT, NOT, NOT, NOT];
        for (said, word) in [
            (words(one(0), none, None), "iops"),
            (words(one(RATE_MAX + 1), none, None), "iops"),
            (words(one(100), one(0), Some(1)), "burst_iops"),
            (words(one(100), one(99), Some(1)), "burst_iops"),
            (words(one(100), one(200), None), "burst_iops"),
            (words(none, one(200), Some(1)), "burst_iops"),
            (words(one(100), one(200), Some(0)), "burst_seconds"),
            (words(one(100), one(200), Some(86_401)), "burst_seconds"),
            (words(one(100), none, Some(1)), "burst_seconds"),
            (words(one(1), one(RATE_MAX), Some(86_400)), "burst_iops"),
        ] {
            let wrong = said.check().expect_err(word);
            assert_eq!(wrong.word, word, "{}", wrong.why);
        }
        for (average, size) in [(one(100), 0), (one(100), IOPS_SIZE_MAX + 1), (none, 4096)] {
            let said = LimitWords {
                iops_size: Some(size),
                ..words(average, none, None)
            };
            assert_eq!(said.check().expect_err("wrong").word, "iops_size");
        }
    }
}
