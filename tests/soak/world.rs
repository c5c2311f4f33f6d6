//! A world: a store on a disk that loses power again and again, and those who use it.
//!
//! A world has several lives. Each opens the store, looks at all of it, lets clients and admins
//! at it, and ends: by a power loss, by the death of the process, or in good order. All of it
//! comes from one seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bedplate::backend::{Fault, Faulty, Kind};
use bedplate::env::sim;
use bedplate::env::{self, Either, Signal};
use bedplate::store::{Properties, TreeName, Tuning};

use super::admin;
use super::chance::Chance;
use super::client;
use super::content::BLOCK;
use super::deeds::Deed;
use super::fake::{Bug, FakeMedium};
use super::keeper;
use super::oracle::Oracle;
use super::plan::Plan;
use super::renewer;
use super::subject::{Ground, Handle, READ_FAULTS_WITHIN, Subject};
use super::tally::trace;
use super::tree::TreeId;
use super::verify;

/// How long nothing may happen, in virtual time, while operations are under way.
const STANDSTILL: Duration = Duration::from_secs(300);

/// What the world is to be tried on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kindof {
    /// The store, changed as said.
    Store(fn(&mut Tuning)),
    /// The one in memory.
    Fake(Bug),
}

/// What the users of a store share in one life.
pub(crate) struct Life {
    pub(crate) plan: Plan,
    pub(crate) oracle: Rc<RefCell<Oracle>>,
    pub(crate) subject: Subject,
    handles: RefCell<BTreeMap<TreeId, Handle>>,
    /// Operations that clients still begin; with the last the life ends.
    left: Cell<u64>,
    /// Whether users begin nothing any more.
    pub(crate) is_ending: Cell<bool>,
    users: Cell<u64>,
    changed: Signal,
    /// What every user is at.
    doing: RefCell<BTreeMap<u64, String>>,
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The power fails.
    PowerLoss,
    /// The process dies; what it had written stays.
    Death,
    /// The store is closed.
    Closed,
}

/// Runs the world of `seed`. What it did is in `oracle`, also where it panics.
pub(crate) fn run(seed: u64, kind: Kindof, oracle: &Rc<RefCell<Oracle>>) {
    let mut plan = Plan::new(seed);
    let ground = match kind {
        Kindof::Fake(bug) => Ground::Fake(FakeMedium::new(bug)),
        Kindof::Store(tune) => {
            tune(&mut plan.tuning);
            Ground::Disk(Faulty::new(plan.disk_bytes(), plan.block), plan.cipher)
        }
    };
    oracle.borrow_mut().is_broken = plan.faults;
    let mut chance = Chance::new(seed, 1);
    let (on, of) = (ground.clone(), plan.clone());
    sim::run(chance.next(), async move {
        on.create(&of).await.expect("a store on a good disk");
    });
    let mut left = plan.lives;
    while left > 0 {
        let life = (plan.clone(), ground.clone(), Rc::clone(oracle));
        let chances = Chance::new(chance.next(), 2);
        let is_last = left == 1;
        let end = sim::run(chance.next(), async move {
            let (plan, ground, oracle) = life;
            live(plan, &ground, oracle, chances, is_last).await
        });
        let mut oracle = oracle.borrow_mut();
        oracle.lose_power();
        trace(0, || format!("it ended: {end:?}"));
        match end {
            Some(End::PowerLoss) => {
                ground.lose_power(&mut |bound| chance.below(bound));
                oracle.tally.count("power losses");
            }
            Some(End::Death) => oracle.tally.count("deaths of the process"),
            Some(End::Closed) => oracle.tally.count("closed in good order"),
            None => {
                // It was hit while it recovered, and has not lived yet.
                oracle.tally.count("power losses while recovering");
                ground.lose_power(&mut |bound| chance.below(bound));
                continue;
            }
        }
        left -= 1;
    }
    let calls = ground.calls();
    let mut oracle = oracle.borrow_mut();
    oracle.digest.add(&[calls]);
    oracle.tally.add("calls of the disk", calls);
}

/// One life; nothing if it ended before the store was open and looked at.
async fn live(
    plan: Plan,
    ground: &Ground,
    oracle: Rc<RefCell<Oracle>>,
    mut chance: Chance,
    is_last: bool,
) -> Option<End> {
    if plan.faults && plan.astray {
        ground.use_up_reads().await;
    }
    trace(0, || format!("a life begins; is it the last? {is_last}"));
    let recovering = recover(&plan, ground, &oracle);
    let subject = match !is_last && chance.one_in(4) {
        false => recovering.await?,
        true => {
            let patience = Duration::from_micros(chance.small(1 << 18));
            match env::either(recovering, env::sleep(patience)).await {
                Either::First(subject) => subject?,
                Either::Second(()) => return None,
            }
        }
    };
    let life = Rc::new(Life {
        left: Cell::new(chance.between(1, plan.operations_max)),
        plan,
        oracle,
        subject,
        handles: RefCell::default(),
        is_ending: Cell::new(false),
        users: Cell::new(0),
        changed: Signal::new(),
        doing: RefCell::default(),
    });
    if life.oracle.borrow().trees_made == 0 {
        life.make_volumes().await;
    }
    if is_last {
        // What is left to see is whether it can be closed.
        return life.close(&mut chance).await;
    }
    life.plan_faults(ground, &mut chance);
    life.start_users(&mut chance);
    life.watch().await;
    let end = life.end(&mut chance).await;
    let traffic = life.subject.traffic();
    let mut oracle = life.oracle.borrow_mut();
    let (tally, block) = (&mut oracle.tally, BLOCK as u64);
    tally.add("passes of garbage collection", traffic.passes);
    tally.add("blocks found to be there", traffic.deduplicated / block);
    tally.add("bitmaps given up", traffic.given_up);
    end
}

/// Opens the store and looks at all of it. Nothing if a fault that was planned befell that.
async fn recover(plan: &Plan, ground: &Ground, oracle: &Rc<RefCell<Oracle>>) -> Option<Subject> {
    // A fault that is planned would befall the check.
    let wrong = match plan.faults {
        true => Vec::new(),
        false => ground.check().await,
    };
    assert!(wrong.is_empty(), "the structure: {}", wrong.join("; "));
    let mut tries = 0;
    let subject = loop {
        let opened = env::timeout(STANDSTILL, ground.open(plan.tuning)).await;
        match opened.expect("the store opens some time") {
            Ok(subject) => break subject,
            Err(error) => {
                let excused = plan.faults && tries < 12;
                assert!(excused, "the store does not open: {error}");
                oracle.borrow_mut().tally.count("faults while recovering");
                tries += 1;
            }
        }
    };
    {
        let mut oracle = oracle.borrow_mut();
        oracle.tally.count("recoveries");
        oracle.room = plan.room(subject.reserve());
    }
    match verify::everything(&subject, oracle).await {
        Ok(()) => Some(subject),
        Err(_) => {
            oracle.borrow_mut().tally.count("faults while recovering");
            None
        }
    }
}

impl Life {
    /// A number for a new name.
    pub(crate) fn new_number(&self) -> u64 {
        let mut oracle = self.oracle.borrow_mut();
        oracle.names_made += 1;
        oracle.names_made
    }

    /// The tree in use: mostly one that is at hand, now and then a new one.
    pub(crate) fn handle(&self, tree: TreeId, chance: &mut Chance) -> Option<Handle> {
        let name = self.oracle.borrow().trees.get(&tree)?.name.clone();
        let at_hand = self.handles.borrow().get(&tree).cloned();
        if let Some(handle) = at_hand.filter(|_| !chance.one_in(8)) {
            return Some(handle);
        }
        match self.subject.disk(&name) {
            Ok(handle) => {
                let mut handles = self.handles.borrow_mut();
                handles.insert(tree, handle.clone());
                Some(handle)
            }
            Err(error) => {
                let oracle = self.oracle.borrow();
                let excused = oracle.is_broken || oracle.is_closing;
                let is_locked = oracle.is_locked(tree);
                assert!(excused || is_locked, "{name} cannot be used: {error}");
                None
            }
        }
    }

    /// What the user `who` is at now.
    pub(crate) fn says(&self, who: u64, what: String) {
        self.doing.borrow_mut().insert(who, what);
        self.changed.wake_all();
    }

    /// Whether there is another operation to begin.
    pub(crate) fn goes_on(&self) -> bool {
        if self.is_ending.get() {
            return false;
        }
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        if left == 0 {
            self.is_ending.set(true);
            self.changed.wake_all();
        }
        left > 0
    }

    async fn make_volumes(&self) {
        for volume in &self.plan.volumes {
            let name = format!("v{}", self.new_number());
            let name = TreeName::volume(&name).expect("a good name");
            let clusters = volume.clusters.clone().into();
            let deed = {
                let mut oracle = self.oracle.borrow_mut();
                let tree = oracle.add_volume(name.clone(), volume.bytes, clusters);
                oracle.begin_deed(Deed::Create(tree))
            };
            let properties = Properties {
                compression: volume.compression,
                dedup: volume.dedup,
                ..Properties::default()
            };
            let name = name.volume_name();
            let made = self.subject.create_volume(name, volume.bytes, properties);
            let made = made.await;
            self.oracle.borrow_mut().end_deed(deed, made);
            if volume.write_through {
                let through = Deed::WriteThrough(self.oracle.borrow().trees_made, true);
                let deed = self.oracle.borrow_mut().begin_deed(through);
                let set = self.subject.set_write_through(name, true).await;
                self.oracle.borrow_mut().end_deed(deed, set);
            }
        }
    }

    fn plan_faults(&self, ground: &Ground, chance: &mut Chance) {
        if !self.plan.faults || chance.one_in(3) {
            return;
        }
        for _ in 0..chance.between(1, 2) {
            let kind = chance.pick(&[Kind::Read, Kind::Write, Kind::Flush]);
            let fault = match (kind, chance.below(4)) {
                (Kind::Read, _) if self.plan.astray => {
                    Fault::Misdirect(4096 * chance.between(1, 64))
                }
                (Kind::Write, 0) => Fault::NoSpace,
                (_, 1) => Fault::TimeOutAfter,
                _ => Fault::Fail,
            };
            let after = chance.small(READ_FAULTS_WITHIN) - 1;
            trace(0, || {
                format!("planned: after {after} more {kind:?}: {fault:?}")
            });
            ground.plan_fault(kind, after, fault);
            self.oracle.borrow_mut().tally.count("faults planned");
        }
    }

    fn start_users(self: &Rc<Self>, chance: &mut Chance) {
        let (clients, admins) = (self.plan.clients, self.plan.admins);
        let keepers = self.plan.keepers;
        for who in 0..clients + admins + keepers + self.plan.renewers {
            let (life, mut own) = (Rc::clone(self), Chance::new(chance.next(), who));
            life.users.set(life.users.get() + 1);
            env::spawn(async move {
                if who < clients {
                    client::run(&life, who, &mut own).await;
                } else if who < clients + admins {
                    admin::run(&life, who, &mut own).await;
                } else if who < clients + admins + keepers {
                    keeper::run(&life, who, &mut own).await;
                } else {
                    renewer::run(&life, who, &mut own).await;
                }
                life.users.set(life.users.get() - 1);
                life.doing.borrow_mut().remove(&who);
                life.changed.wake_all();
            });
        }
    }

    /// Waits until the life is to end.
    async fn watch(&self) {
        let ending = || self.is_ending.get().then_some(());
        self.wait("the life ends", ending).await;
    }

    /// Waits until all users have gone.
    async fn wait_for_users(&self) {
        let gone = || (self.users.get() == 0).then_some(());
        self.wait("all users are gone", gone).await;
    }

    async fn wait(&self, what: &str, until: impl Fn() -> Option<()>) {
        let mut before = self.doing.borrow().clone();
        while env::timeout(STANDSTILL, self.changed.wait_for(&until))
            .await
            .is_none()
        {
            let doing = self.doing.borrow().clone();
            let stuck = doing == before;
            assert!(!stuck, "nothing happens any more until {what}: {doing:?}");
            before = doing;
        }
    }

    async fn end(&self, chance: &mut Chance) -> Option<End> {
        match chance.below(8) {
            0..4 => {
                env::sleep(Duration::from_micros(chance.small(4096) - 1)).await;
                Some(End::PowerLoss)
            }
            4 => Some(End::Death),
            5 => {
                // Long enough for chores to do all that they want.
                self.wait_for_users().await;
                env::sleep(Duration::from_millis(chance.small(5000))).await;
                Some(End::PowerLoss)
            }
            6 => {
                self.wait_for_users().await;
                self.close(chance).await
            }
            _ => self.close(chance).await,
        }
    }

    /// Closes the store; now and then the power fails while it does.
    async fn close(&self, chance: &mut Chance) -> Option<End> {
        let begun = {
            let mut oracle = self.oracle.borrow_mut();
            oracle.is_closing = true;
            oracle.begin_look()
        };
        let closing = async {
            match env::timeout(STANDSTILL, self.subject.close()).await {
                Some(closed) => closed,
                None => panic!("the store does not close"),
            }
        };
        let closed = match chance.one_in(5) {
            false => closing.await,
            true => {
                let patience = Duration::from_micros(chance.small(1 << 14));
                match env::either(closing, env::sleep(patience)).await {
                    Either::First(closed) => closed,
                    Either::Second(()) => return Some(End::PowerLoss),
                }
            }
        };
        let mut oracle = self.oracle.borrow_mut();
        match closed {
            Ok(()) => {
                oracle.end_close(begun);
                // What was closed survives whatever comes.
                let end = chance.pick(&[End::Closed, End::PowerLoss]);
                Some(end)
            }
            Err(error) => {
                assert!(oracle.is_broken, "the store does not close: {error}");
                Some(End::Death)
            }
        }
    }
}
