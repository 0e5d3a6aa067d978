//! A connection, as its endpoint sees it during a callback.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::client::Client;
use super::core::Core;
use super::local::Local;
use crate::fanout::room::EndpointId;

/// An open connection, as its endpoint sees it during a callback: a [`Client`], with the state that
/// the endpoint keeps for it (`S`) and on its shard (`L`).
pub struct Session<'c, S = (), L = ()> {
    client: Client<'c>,
    kept: PhantomData<fn() -> (S, L)>,
}

impl<'c, S: Default + Send + 'static, L: Local> Session<'c, S, L> {
    /// `S` and `L` must be the types of the client's endpoint.
    pub(super) fn new(client: Client<'c>) -> Session<'c, S, L> {
        Session {
            client,
            kept: PhantomData,
        }
    }

    /// The state that the endpoint keeps for the connection; `None` until it was accepted with a
    /// state, or [`Session::state`] was called.
    pub fn kept(&self) -> Option<&S> {
        let connection = &self.core.connections[self.key.index as usize];
        connection.state.as_ref()?.downcast_ref()
    }

    /// The state that the endpoint keeps for the connection, created from the default if necessary.
    pub fn state(&mut self) -> &mut S {
        self.state_and_local().0
    }

    /// The state that the endpoint keeps on the connection's shard.
    pub fn local(&mut self) -> &mut L {
        self.state_and_local().1
    }

    /// Sends mail to the endpoint on a shard: see [`OnShard::mail`](crate::OnShard::mail).
    pub fn mail(&mut self, shard: u16, mail: Arc<L::Mail>) {
        let endpoint = self.endpoint();
        self.client.core.send_mail(endpoint, shard, mail);
    }

    /// Sends mail to the endpoint on all shards.
    pub fn mail_all(&mut self, mail: &Arc<L::Mail>) {
        for shard in 0..self.client.core.shared.shards() {
            self.mail(shard, Arc::<L::Mail>::clone(mail));
        }
    }

    /// Asks for a call of [`Local::turn`]: see
    /// [`OnShard::ask_for_turn`](crate::OnShard::ask_for_turn).
    pub fn ask_for_turn(&mut self) {
        let endpoint = self.endpoint();
        self.client.core.ask_for_turn(endpoint);
    }

    fn endpoint(&self) -> EndpointId {
        self.client.core.connections[self.client.key.index as usize].endpoint
    }

    /// Both states at once.
    pub fn state_and_local(&mut self) -> (&mut S, &mut L) {
        let Core {
            connections,
            locals,
            ..
        } = &mut *self.client.core;
        let connection = &mut connections[self.client.key.index as usize];
        let local = locals[usize::from(connection.endpoint.0)].downcast_mut();
        let state = connection.state.get_or_insert_with(|| Box::<S>::default());
        let state = state.downcast_mut();
        state
            .zip(local)
            .expect("made by the endpoint whose types they are")
    }
}

impl<'c, S, L> Deref for Session<'c, S, L> {
    type Target = Client<'c>;

    fn deref(&self) -> &Client<'c> {
        &self.client
    }
}

impl<S, L> DerefMut for Session<'_, S, L> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.client
    }
}
