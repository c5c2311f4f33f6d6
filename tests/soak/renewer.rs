//! A renewer: has everything in the store written again, under another master key or packed anew.

use std::time::Duration;

use bedplate::env;
use bedplate::store::StoreError;

use super::chance::Chance;
use super::world::Life;

/// Has one renewal after the other made until the life ends.
pub(crate) async fn run(life: &Life, who: u64, chance: &mut Chance) {
    while !life.is_ending.get() {
        let pause = Duration::from_micros(chance.small(1 << 16));
        life.says(who, "pause".to_owned());
        env::sleep(pause).await;
        if life.is_ending.get() {
            return;
        }
        let changes_key = life.plan.cipher.is_some() && chance.one_in(2);
        let waits = !chance.one_in(4);
        life.says(who, format!("renew; with another key? {changes_key}"));
        let renewed = match life.subject.begin_renewal(changes_key).await {
            Ok(number) if waits => life.subject.renewed(number).await.map(|()| "renewals"),
            Ok(_) => Ok("renewals begun"),
            Err(error) => Err(error),
        };
        let mut oracle = life.oracle.borrow_mut();
        let usage = life.subject.usage().unwrap_or_default();
        let excused = oracle.is_broken || oracle.is_closing;
        let what = match renewed {
            Ok(what) => what,
            Err(StoreError::NoSpace) => "renewals without space",
            Err(_) if excused => "renewals that failed",
            Err(StoreError::Unfinished(_)) if usage.free < usage.reserve => {
                "renewals given up in a full store"
            }
            Err(error) => panic!("a renewal failed: {error}; {usage:?}"),
        };
        oracle.tally.count(what);
    }
}
