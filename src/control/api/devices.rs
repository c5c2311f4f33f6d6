//! Calls about block devices.

use std::sync::Arc;

use tonic::{Code, Request};

use super::proto::devices_server::Devices;
use super::proto::{AttachRequest, AttachResponse, DetachRequest, DetachResponse};
use super::{Answer, Api, Response, Status, convert, status};
use crate::base::limits::THREADS_MAX;
use crate::frontend::ublk;
use crate::frontend::ublk::{DEPTH_MAX, Shape, UblkError, UblkErrorKind};

#[tonic::async_trait]
impl Devices for Api {
    async fn attach(&self, request: Request<AttachRequest>) -> Answer<AttachResponse> {
        let AttachRequest {
            name,
            number,
            queues,
            depth,
        } = request.into_inner();
        let shape = Shape {
            number,
            queues: within("queues", queues, THREADS_MAX)?,
            depth: within("requests of a queue", depth, DEPTH_MAX.into())?,
        };
        let devices = self.devices()?;
        let attached = self.on_reactor(move || async move {
            let attached = devices.attach(&name, shape).await;
            attached.map_err(|error| told(&error))
        });
        let device = Some(convert::device(attached.await?));
        Ok(Response::new(AttachResponse { device }))
    }

    async fn detach(&self, request: Request<DetachRequest>) -> Answer<DetachResponse> {
        let number = request.into_inner().number;
        let devices = self.devices()?;
        let detached = self.on_reactor(move || async move {
            let detached = devices.detach(number).await;
            detached.map_err(|error| told(&error))
        });
        let name = detached.await?;
        Ok(Response::new(DetachResponse { name }))
    }
}

impl Api {
    /// The devices of this server.
    pub(super) fn devices(&self) -> Result<Arc<ublk::Devices>, Status> {
        match &self.0.door {
            Some(door) => Ok(Arc::clone(&door.devices)),
            None => {
                let why = "a command that opens the store itself shows no block devices";
                Err(Status::failed_precondition(why))
            }
        }
    }
}

/// A number of what a device has; 0 is for whatever is usual.
fn within(what: &str, number: u32, most: usize) -> Result<Option<u16>, Status> {
    match u16::try_from(number) {
        Ok(0) => Ok(None),
        Ok(number) if usize::from(number) <= most => Ok(Some(number)),
        _ => {
            let why = format!("{number} is not 1 to {most} {what}");
            Err(Status::invalid_argument(why))
        }
    }
}

/// An error as callers get it.
fn told(error: &UblkError) -> Status {
    let code = match error.kind {
        UblkErrorKind::NotFound => Code::NotFound,
        UblkErrorKind::Exists => Code::AlreadyExists,
        UblkErrorKind::InUse | UblkErrorKind::Unable => Code::FailedPrecondition,
        UblkErrorKind::Failed => Code::Internal,
    };
    status::of_line(code, &error.line)
}
