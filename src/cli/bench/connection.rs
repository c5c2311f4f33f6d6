//! One connection: all replies that have arrived in one receive, all new requests in one send.
//!
//! A send and a receive are under way at once. Were the one to wait for the other, client and
//! server could each wait for the other to read.

use std::future::Future;
use std::future::pending;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::error::BenchError;
use super::replies::Replies;
use super::uri::NbdUri;
use super::worker::Worker;
use crate::base::Buf;
use crate::base::OpenError;
use crate::base::limits::HANDSHAKE_TIMEOUT;
use crate::env;
use crate::env::Either;
use crate::env::Stream;
use crate::frontend::nbd::proto::ClientError;
use crate::frontend::nbd::proto::ClientExport;
use crate::frontend::nbd::proto::ClientHandshake;
use crate::frontend::nbd::proto::ClientStep;
use crate::frontend::nbd::proto::ClientWants;
use crate::frontend::nbd::proto::encode_request;
use crate::frontend::nbd::proto::wire::command;

/// What one receive takes at most, in bytes: 64 replies with 4 KiB.
const RECEIVE_BYTES: usize = 256 << 10;

/// A connection to an export.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    export: ClientExport,
}

impl Connection {
    /// Connects to the export of `uri` and shakes hands, within [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// If there is no server, or it does not offer the export.
    pub(super) async fn open(uri: &NbdUri, wants: ClientWants) -> Result<Self, BenchError> {
        let fail = |why: String, remedy| OpenError::new(uri.to_string(), why, remedy);
        let opening = async {
            let stream = Stream::connect(uri.address()).await.map_err(|error| {
                fail(format!("cannot connect: {error}"), "start the server first")
            })?;
            let export = shake_hands(&stream, uri, wants).await?;
            Ok(Self { stream, export })
        };
        match env::timeout(HANDSHAKE_TIMEOUT, opening).await {
            Some(opened) => opened,
            None => {
                let why = "the server does not finish the handshake".to_owned();
                let remedy = "it may serve fewer connections than --connections";
                Err(fail(why, remedy).into())
            }
        }
    }

    /// What the server said of the export.
    pub(super) fn export(&self) -> ClientExport {
        self.export
    }

    /// Sends what `worker` asks for and hands it the replies until none is missing. `finished`
    /// shows how far it is.
    ///
    /// # Errors
    /// If the connection breaks, or the worker does not like what it hears.
    pub(super) async fn carry_out(
        &self,
        worker: &mut Worker,
        finished: &AtomicU64,
    ) -> Result<(), BenchError> {
        let mut replies = Replies::new(self.export.framing);
        let (mut spare, mut room, mut kept_bytes) = (None, None, 0);
        let (mut sending, mut receiving) = (None, None);
        while worker.unanswered() > 0 {
            if sending.is_none() {
                let batch = worker.exchange(&mut spare);
                sending = batch.map(|batch| Box::pin(self.stream.send(batch)));
            }
            let receive = receiving.get_or_insert_with(|| {
                let buf = room.take().unwrap_or_else(|| Buf::new(RECEIVE_BYTES));
                Box::pin(self.stream.receive(buf, kept_bytes))
            });
            match env::either(ended(&mut sending), receive).await {
                Either::First((result, mut sent)) => {
                    sending = None;
                    result.map_err(BenchError::Broken)?;
                    sent.clear();
                    spare = Some(sent);
                }
                Either::Second((result, mut buf)) => {
                    receiving = None;
                    let count = result.map_err(BenchError::Broken)?;
                    if count == 0 {
                        return Err(BenchError::Closed(worker.unanswered()));
                    }
                    worker.received_at(env::now());
                    let end = kept_bytes + count;
                    let taken = replies.take(&buf[..end], worker)?;
                    buf.copy_within(taken..end, 0);
                    kept_bytes = end - taken;
                    room = Some(buf);
                    finished.store(worker.finished(), Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// Takes leave of the server.
    pub(super) async fn close(self) {
        let mut bye = Vec::new();
        encode_request(self.export.framing, 0, command::DISC, 0, 0, 0, &mut bye);
        // There is no answer, and a server that is gone needs no goodbye.
        let _ = self.stream.send(bye).await;
    }
}

/// What the future gives; where there is none, this waits for ever.
async fn ended<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn shake_hands(
    stream: &Stream,
    uri: &NbdUri,
    wants: ClientWants,
) -> Result<ClientExport, BenchError> {
    let fail = |why: ClientError| {
        let remedy = match why {
            ClientError::NotNewstyle => "check the address",
            ClientError::Refused(_) => "check the name; nbdinfo --list shows those there are",
            ClientError::BadReply | ClientError::ReplyTooLong(_) => "",
        };
        OpenError::new(uri.to_string(), why, remedy)
    };
    let mut handshake = ClientHandshake::new(uri.export(), wants);
    let mut buf = Buf::new(RECEIVE_BYTES);
    loop {
        let (result, received) = stream.receive(buf, 0).await;
        buf = received;
        let count = result.map_err(BenchError::Broken)?;
        if count == 0 {
            let why = "the server closed the connection in the handshake";
            let remedy = "it may serve fewer connections than --connections, or only with TLS";
            return Err(OpenError::new(uri.to_string(), why, remedy).into());
        }
        let (mut input, mut out) = (&buf[..count], Vec::new());
        let step = handshake.advance(&mut input, &mut out).map_err(fail)?;
        if !out.is_empty() {
            stream.send(out).await.0.map_err(BenchError::Broken)?;
        }
        if let ClientStep::Ready(export) = step {
            return Ok(export);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::plan::tests::export;
    use super::super::plan::tests::plan;
    use super::super::worker::Stage;
    use super::super::worker::Window;
    use super::*;
    use crate::env::sim;

    /// A request without extended headers, in bytes.
    const REQUEST_BYTES: usize = 28;

    /// What a fake server does wrong.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fault {
        None,
        /// Ignores the tenth write and those behind it.
        LosesWrites,
        /// Closes at the tenth request.
        Closes,
        /// Answers the tenth request twice.
        AnswersTwice,
        /// Fails the tenth request.
        Fails,
    }

    /// Serves 1 MiB with simple replies: reads, writes and flushes.
    async fn serve(stream: Stream, fault: Fault) {
        let (mut disk, mut input, mut count) = (vec![0; 1 << 20], Vec::new(), 0);
        loop {
            let (received, buf) = stream.receive(Buf::new(4096), 0).await;
            match received {
                Ok(count) if count > 0 => input.extend_from_slice(&buf[..count]),
                _ => return,
            }
            let (mut out, mut taken) = (Vec::new(), 0);
            while let Some((number, head)) = request(&input[taken..]) {
                let offset = usize::try_from(head.offset).unwrap();
                let place = offset..offset + head.bytes;
                taken += REQUEST_BYTES;
                count += 1;
                let wrong = count == 10;
                if wrong && fault == Fault::Closes {
                    return;
                }
                for _ in 0..(if wrong && fault == Fault::AnswersTwice {
                    2
                } else {
                    1
                }) {
                    let error = if wrong && fault == Fault::Fails {
                        5_u32
                    } else {
                        0
                    };
                    out.extend_from_slice(&0x6744_6698_u32.to_be_bytes());
                    out.extend_from_slice(&error.to_be_bytes());
                    out.extend_from_slice(&head.cookie);
                }
                match number {
                    command::READ => out.extend_from_slice(&disk[place]),
                    command::WRITE => {
                        if count < 10 || fault != Fault::LosesWrites {
                            disk[place].copy_from_slice(&input[taken..taken + head.bytes]);
                        }
                        taken += head.bytes;
                    }
                    _ => {}
                }
            }
            input.drain(..taken);
            env::sleep(Duration::from_millis(1)).await;
            if stream.send(out).await.0.is_err() {
                return;
            }
        }
    }

    struct Head {
        cookie: [u8; 8],
        offset: u64,
        bytes: usize,
    }

    /// The request at the front of `input`, once it and its payload are there.
    fn request(input: &[u8]) -> Option<(u16, Head)> {
        let field = |from: usize, to: usize| {
            let bytes = input[from..to].iter();
            bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let head = input.get(..REQUEST_BYTES)?;
        let number = u16::try_from(field(6, 8)).unwrap();
        let head = Head {
            cookie: head[8..16].try_into().unwrap(),
            offset: field(16, 24),
            bytes: usize::try_from(field(24, 28)).unwrap(),
        };
        let payload = if number == command::WRITE {
            head.bytes
        } else {
            0
        };
        (input.len() >= REQUEST_BYTES + payload).then_some((number, head))
    }

    /// Runs all stages that `words` ask for against a server with this fault.
    fn run(seed: u64, words: &str, fault: Fault) -> Result<u64, BenchError> {
        let plan = plan(&format!("--depth 8 {words}"));
        sim::run(seed, async move {
            let (near, far) = sim::pipe(10_000);
            env::spawn(serve(far, fault));
            let connection = Connection {
                stream: near,
                export: export(1 << 20),
            };
            let start = env::now() + Duration::from_millis(10);
            let window = Window {
                start,
                end: start + Duration::from_millis(100),
            };
            let mut worker = Worker::new(Arc::new(plan), 0);
            for stage in [Stage::Fill, Stage::Load(window), Stage::ReadBack] {
                worker.begin(stage);
                connection
                    .carry_out(&mut worker, &AtomicU64::new(0))
                    .await?;
            }
            Ok(worker.into_tally().operations())
        })
    }

    #[test]
    fn a_faithful_server_passes() {
        let size = "--size 64k --verify";
        for (seed, op) in (0..).zip(["read", "write", "write-flush", "write --block 1000"]) {
            let operations = run(seed, &format!("{size} --op {op}"), Fault::None).unwrap();
            assert!((20..=10_000).contains(&operations), "{op}: {operations}");
        }
    }

    #[test]
    fn what_a_server_does_wrong_ends_the_run() {
        let why = |fault| {
            let ended = run(1, "--op write --size 64k --verify", fault);
            ended.unwrap_err().to_string()
        };
        assert!(why(Fault::LosesWrites).starts_with("wrong data at offset"));
        assert!(why(Fault::Closes).contains("connection"));
        assert!(why(Fault::AnswersTwice).contains("a reply to no request"));
        assert!(why(Fault::Fails).contains("failed with EIO"));
    }
}
