//! The thread for what is not on the way of data: tokio runs there, for code that needs it.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// How long the thread may take to end what it does without waiting.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// One thread with a runtime of tokio. Reactors are not disturbed by what it does, and it never
/// does any of their work: see [`Handle::spawn`](super::Handle::spawn) for how it asks them to.
#[derive(Debug)]
pub struct Outskirts(Option<Runtime>);

impl Outskirts {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the kernel gives no thread.
    pub fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).thread_name("control");
        let builder = builder.enable_io().enable_time();
        Ok(Self(Some(builder.build()?)))
    }

    /// Runs `task` there. What comes back is its end; it may be awaited on any thread.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.handle().spawn(task)
    }

    /// Runs `task` there and waits for it, blocking this thread.
    pub fn block_on<T>(&self, task: impl Future<Output = T>) -> T {
        self.handle().block_on(task)
    }

    /// A way to run tasks there from anywhere.
    pub fn handle(&self) -> &Handle {
        self.0
            .as_ref()
            .expect("it is there until it is dropped")
            .handle()
    }
}

impl Drop for Outskirts {
    /// Ends the thread. Tasks that are left are dropped.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(END_TIMEOUT);
        }
    }
}
