//! Calls about the keys of stores.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use tonic::{Code, Request};

use super::proto;
use super::proto::credential;
use super::proto::keys_server::Keys;
use super::{Answer, Api, Response, Status, status};
use crate::codec::{Cost, Credential, Kind, Secret, SlotInfo};
use crate::env;
use crate::store::{KeyChange, NewKey};

#[tonic::async_trait]
impl Keys for Api {
    async fn list(
        &self,
        request: Request<proto::ListKeysRequest>,
    ) -> Answer<proto::ListKeysResponse> {
        let name = request.into_inner().store;
        let served = self.store(&name)?;
        let (cipher, slots) = self
            .on_reactor(move || async move {
                let listed = served.store().list_keys().await;
                listed.map_err(|error| status::of(&name, error))
            })
            .await?;
        let cipher = cipher.name().to_owned();
        let keys = slots.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::ListKeysResponse { cipher, keys }))
    }

    async fn add(&self, request: Request<proto::AddKeyRequest>) -> Answer<proto::AddKeyResponse> {
        let wanted = request.into_inner();
        let known = told(&wanted.store, wanted.known)?;
        let change = KeyChange::Add(new_key(&wanted.store, wanted.new, wanted.label)?);
        let slot = self.change_keys(wanted.store, known, change).await?;
        Ok(Response::new(proto::AddKeyResponse { slot }))
    }

    async fn remove(
        &self,
        request: Request<proto::RemoveKeyRequest>,
    ) -> Answer<proto::RemoveKeyResponse> {
        let wanted = request.into_inner();
        let known = told(&wanted.store, wanted.known)?;
        let slot = usize::try_from(wanted.slot).unwrap_or(usize::MAX);
        let change = KeyChange::Remove(slot);
        self.change_keys(wanted.store, known, change).await?;
        Ok(Response::new(proto::RemoveKeyResponse {}))
    }

    async fn rotate(
        &self,
        request: Request<proto::RotateKeyRequest>,
    ) -> Answer<proto::RotateKeyResponse> {
        let wanted = request.into_inner();
        let known = told(&wanted.store, wanted.known)?;
        let change = KeyChange::Rotate(new_key(&wanted.store, wanted.new, wanted.label)?);
        let slot = self.change_keys(wanted.store, known, change).await?;
        Ok(Response::new(proto::RotateKeyResponse { slot }))
    }

    async fn reencrypt(
        &self,
        request: Request<proto::ReencryptRequest>,
    ) -> Answer<proto::ReencryptResponse> {
        let proto::ReencryptRequest {
            store: name,
            known,
            drop_others,
        } = request.into_inner();
        let known = told(&name, known)?;
        let served = self.store(&name)?;
        let turn = Arc::clone(&self.0.key_turn).lock_owned().await;
        let renewal = self.on_reactor(move || async move {
            // Until the change is made, whatever becomes of the caller.
            let _turn: OwnedMutexGuard<()> = turn;
            let begun = served.store().renew_master(&known, drop_others).await;
            begun.map_err(|error| status::of(&name, error))
        });
        let renewal = renewal.await?;
        Ok(Response::new(proto::ReencryptResponse { renewal }))
    }
}

impl Api {
    /// Changes what opens the store `name`; gives the slot of a new key.
    async fn change_keys(
        &self,
        name: String,
        known: Credential,
        change: KeyChange,
    ) -> Result<u32, Status> {
        let served = self.store(&name)?;
        let turn = Arc::clone(&self.0.key_turn).lock_owned().await;
        let slot = self
            .on_reactor(move || async move {
                // Until the change is made, whatever becomes of the caller.
                let _turn: OwnedMutexGuard<()> = turn;
                let changed = served.store().change_keys(&known, change).await;
                changed.map_err(|error| status::of(&name, error))
            })
            .await?;
        Ok(slot.and_then(|slot| u32::try_from(slot).ok()).unwrap_or(0))
    }
}

fn told(store: &str, credential: Option<proto::Credential>) -> Result<Credential, Status> {
    // From here on there is a secret in this process that was not there before.
    env::forbid_core_dumps();
    match credential.and_then(|credential| credential.secret) {
        Some(credential::Secret::Key(key)) => Ok(Credential::KeyFile(Secret::new(key.into()))),
        Some(credential::Secret::Passphrase(words)) => {
            Ok(Credential::Passphrase(Secret::new(words.into())))
        }
        None => {
            let why = "a key is missing";
            Err(status::new(Code::InvalidArgument, store, why, "name one"))
        }
    }
}

fn new_key(
    store: &str,
    credential: Option<proto::Credential>,
    label: String,
) -> Result<NewKey, Status> {
    Ok(NewKey {
        credential: told(store, credential)?,
        label,
        cost: Cost::default(),
    })
}

impl From<&Credential> for proto::Credential {
    fn from(credential: &Credential) -> Self {
        let bytes = |secret: &Secret| secret.expose().to_vec().into();
        Self {
            secret: Some(match credential {
                Credential::KeyFile(key) => credential::Secret::Key(bytes(key)),
                Credential::Passphrase(words) => credential::Secret::Passphrase(bytes(words)),
            }),
        }
    }
}

impl From<SlotInfo> for proto::Key {
    fn from(info: SlotInfo) -> Self {
        let kind = match info.kind {
            Kind::Passphrase => proto::key::Kind::Passphrase,
            Kind::KeyFile => proto::key::Kind::KeyFile,
        };
        Self {
            slot: u32::try_from(info.slot).unwrap_or(u32::MAX),
            kind: kind.into(),
            label: info.label,
        }
    }
}
