//! Calls about limits.

use tonic::{Code, Request};

use super::proto;
use super::proto::qos_server::Qos;
use super::{Answer, Api, Response, Status, status};
use crate::base::limits::QOS_GROUPS_MAX;
use crate::control::StoreName;
use crate::volume::qos::{
    GroupQos, GroupStays, LimitWords, Limits, NoSuchGroup, QosSettings, QosTable, VolumeQos, Waits,
};

/// How people find out what groups there are.
const SEE_GROUPS: &str = "see 'bedplate qos show'";

#[tonic::async_trait]
impl Qos for Api {
    async fn set(&self, request: Request<proto::SetQosRequest>) -> Answer<proto::SetQosResponse> {
        let wanted = request.into_inner();
        let name = wanted.name;
        self.check_export(&name)?;
        let settings = QosSettings {
            limits: checked(&name, wanted.limits)?,
            group: Some(wanted.group).filter(|group| !group.is_empty()),
        };
        self.limits().set(&name, &settings).map_err(no_such_group)?;
        tracing::info!(export = name, ?settings, "limits are set");
        let qos = Some(self.limits().show(&name).into());
        Ok(Response::new(proto::SetQosResponse { qos }))
    }

    async fn set_group(
        &self,
        request: Request<proto::SetGroupQosRequest>,
    ) -> Answer<proto::SetGroupQosResponse> {
        let proto::SetGroupQosRequest { name, limits } = request.into_inner();
        StoreName::new(&name).map_err(Status::invalid_argument)?;
        let limits = checked(&name, limits)?;
        let table = self.limits();
        if table.show_group(&name).is_none() && table.groups().len() >= QOS_GROUPS_MAX {
            let why = format!("there are {QOS_GROUPS_MAX} groups already");
            let remedy = "delete one with 'bedplate qos clear --group'";
            return Err(status::new(Code::ResourceExhausted, &name, &why, remedy));
        }
        table.set_group(&name, limits);
        tracing::info!(group = name, ?limits, "limits are set");
        let qos = table.show_group(&name).map(Into::into);
        Ok(Response::new(proto::SetGroupQosResponse { qos }))
    }

    async fn clear(
        &self,
        request: Request<proto::ClearQosRequest>,
    ) -> Answer<proto::ClearQosResponse> {
        let name = request.into_inner().name;
        // Limits may be set for what is not there any more.
        if !self.limits().volumes().iter().any(|set| set.name == name) {
            self.check_export(&name)?;
        }
        self.limits().clear(&name);
        tracing::info!(export = name, "limits are lifted");
        Ok(Response::new(proto::ClearQosResponse {}))
    }

    async fn delete_group(
        &self,
        request: Request<proto::DeleteGroupQosRequest>,
    ) -> Answer<proto::DeleteGroupQosResponse> {
        let name = request.into_inner().name;
        let deleted = self.limits().remove_group(&name);
        deleted.map_err(|stays| match stays {
            GroupStays::Missing(missing) => no_such_group(missing),
            GroupStays::Shared(member) => {
                let why = format!("{member} shares it");
                let remedy = "lift its limits first, with 'bedplate qos clear'";
                status::new(Code::FailedPrecondition, &name, &why, remedy)
            }
        })?;
        tracing::info!(group = name, "the group is deleted");
        Ok(Response::new(proto::DeleteGroupQosResponse {}))
    }

    async fn get(&self, request: Request<proto::GetQosRequest>) -> Answer<proto::GetQosResponse> {
        let name = request.into_inner().name;
        self.check_export(&name)?;
        let qos = Some(self.limits().show(&name).into());
        Ok(Response::new(proto::GetQosResponse { qos }))
    }

    async fn list(&self, _: Request<proto::ListQosRequest>) -> Answer<proto::ListQosResponse> {
        let exports = self.limits().volumes().into_iter().map(Into::into);
        let groups = self.limits().groups().into_iter().map(Into::into);
        let (exports, groups) = (exports.collect(), groups.collect());
        Ok(Response::new(proto::ListQosResponse { exports, groups }))
    }
}

impl Api {
    fn limits(&self) -> &QosTable {
        self.0.catalog.qos()
    }

    fn check_export(&self, name: &str) -> Result<(), Status> {
        if self.0.catalog.names().iter().any(|known| known == name) {
            return Ok(());
        }
        let why = "there is no such export";
        let remedy = "see 'bedplate volume list' and 'bedplate status'";
        Err(status::new(Code::NotFound, name, why, remedy))
    }
}

fn checked(name: &str, wanted: Option<proto::Limits>) -> Result<Limits, Status> {
    let limits = LimitWords::from(wanted.unwrap_or_default()).check();
    limits.map_err(|wrong| {
        let why = format!("{}: {}", wrong.word, wrong.why);
        status::new(Code::InvalidArgument, name, &why, "")
    })
}

fn no_such_group(missing: NoSuchGroup) -> Status {
    let why = "there is no such group";
    status::new(Code::NotFound, &missing.0, why, SEE_GROUPS)
}

impl From<proto::Limits> for LimitWords {
    fn from(told: proto::Limits) -> Self {
        Self {
            average: [
                told.iops,
                told.read_iops,
                told.write_iops,
                told.bps,
                told.read_bps,
                told.write_bps,
            ],
            burst: [
                told.burst_iops,
                told.burst_read_iops,
                told.burst_write_iops,
                told.burst_bps,
                told.burst_read_bps,
                told.burst_write_bps,
            ],
            burst_seconds: told.burst_seconds,
            iops_size: told.iops_size,
        }
    }
}

impl From<LimitWords> for proto::Limits {
    fn from(words: LimitWords) -> Self {
        let [iops, read_iops, write_iops, bps, read_bps, write_bps] = words.average;
        let [burst_iops, burst_read_iops, burst_write_iops, ..] = words.burst;
        let [.., burst_bps, burst_read_bps, burst_write_bps] = words.burst;
        Self {
            iops,
            read_iops,
            write_iops,
            bps,
            read_bps,
            write_bps,
            burst_iops,
            burst_read_iops,
            burst_write_iops,
            burst_bps,
            burst_read_bps,
            burst_write_bps,
            burst_seconds: words.burst_seconds,
            iops_size: words.iops_size,
        }
    }
}

impl From<Waits> for proto::Waits {
    fn from(waits: Waits) -> Self {
        Self {
            requests: waits.requests,
            nanoseconds: u64::try_from(waits.time.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl From<VolumeQos> for proto::ExportQos {
    fn from(qos: VolumeQos) -> Self {
        Self {
            name: qos.name,
            limits: Some(qos.settings.limits.words().into()),
            group: qos.settings.group.unwrap_or_default(),
            waits: Some(qos.waits.into()),
        }
    }
}

impl From<GroupQos> for proto::GroupQos {
    fn from(qos: GroupQos) -> Self {
        Self {
            name: qos.name,
            limits: Some(qos.limits.words().into()),
            exports: qos.volumes,
            waits: Some(qos.waits.into()),
        }
    }
}
