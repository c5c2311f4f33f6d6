//! Long work of a store on all that it has: encrypting it again, packing it again.

use clap::Args;

use super::interrupt::Interrupt;
use super::place::{Place, PlaceChoice};
use super::progress::Progress;
use crate::base::OpenError;
use crate::control::StoreName;
use crate::control::api::proto;

const REPACK_EXAMPLES: &str = "\
Examples:
  bedplate volume set main/vm1 compress=zstd && bedplate store repack main
  bedplate store repack main --detach      'store show' tells how far it is
  bedplate store repack main --stop

Every block is read and written again, as its volume wants it packed by now; a snapshot's as its
volume's are, what clones share as the one of them that wants it cheapest to read. Clients are
served meanwhile. It needs no space but that of a few segments, and goes on by itself when the store
is opened again.";

/// What there is to do about a renewal.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct RenewalArgs {
    /// Do not wait for its end: it goes on while the store is open.
    #[arg(long, conflicts_with = "stop")]
    detach: bool,

    /// End the one that is under way, whoever began it. What is done stays done.
    #[arg(long)]
    pub(super) stop: bool,
}

/// Pack everything in a store again, as its volumes want it now.
#[derive(Debug, Args)]
#[command(after_help = REPACK_EXAMPLES)]
pub(super) struct RepackArgs {
    /// The store.
    #[arg(value_name = "STORE", value_parser = StoreName::new)]
    store: StoreName,

    #[command(flatten)]
    place: PlaceChoice,

    #[command(flatten)]
    renewal: RenewalArgs,
}

/// Has a store packed again.
///
/// # Errors
/// One line that says why not.
pub(super) fn repack(args: RepackArgs) -> Result<(), OpenError> {
    let RepackArgs {
        store,
        place,
        renewal,
    } = args;
    let begin = async |place: &Place, store: String| {
        let message = proto::RepackStoreRequest { name: store };
        Ok(place.repack_store(message).await?.renewal)
    };
    let name = store.to_string();
    place.run(Some(&store), async move |place| {
        renewal.see_to(&place, name, "repacking", begin).await
    })
}

impl RenewalArgs {
    /// Has a renewal of `store` begun, and waits for its end; or ends the one under way.
    ///
    /// # Errors
    /// Why it came to nothing; that it was interrupted.
    pub(super) async fn see_to(
        self,
        place: &Place,
        store: String,
        what: &'static str,
        begin: impl AsyncFnOnce(&Place, String) -> Result<u64, OpenError>,
    ) -> Result<(), OpenError> {
        if self.stop {
            let message = proto::StopRenewalRequest { name: store };
            return place.stop_renewal(message).await.map(drop);
        }
        let number = begin(place, store.clone()).await?;
        if self.detach {
            return Ok(());
        }
        let interrupt = Interrupt::listen()?;
        let mut progress: Option<Progress> = None;
        loop {
            let message = proto::AwaitRenewalRequest {
                name: store.clone(),
                renewal: number,
            };
            let Some(left) = place.await_renewal(message).await?.renewal else {
                return Ok(());
            };
            let shown = progress.get_or_insert_with(|| Progress::new(what, left.total));
            shown.show(left.done);
            if interrupt.came() {
                let why = "interrupted; it goes on as long as the store is open, and when it is \
                    opened again";
                return Err(OpenError::new(store, why, "use --stop to end it"));
            }
        }
    }
}
