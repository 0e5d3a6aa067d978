//! The work of endpoints on a shard besides answering clients: mail, work in small steps, ticks.

use crate::engine::clients::Clients;
use crate::exchange::EndpointMail;
use crate::fanout::room::EndpointId;
use crate::limits::PRICE_RUN;
use crate::work::TurnPhase;

impl Clients {
    /// Tells all endpoints that the shard has begun.
    pub(in crate::engine) fn begin(&mut self) {
        self.each_endpoint(|clients, id| {
            let endpoint = clients.endpoint(id);
            endpoint.started_on(&mut clients.core, id);
        });
    }

    /// Whether mail for endpoints has arrived, or endpoints have work left.
    #[inline]
    pub(in crate::engine) fn have_endpoints_work(&self) -> bool {
        self.core.exchange.has_arrived() || !self.core.at_work.is_empty()
    }

    /// Hands out mail that has arrived for endpoints, and then gives endpoints with work left one
    /// call each. It comes after the reading, so that endpoints that do much cannot delay clients,
    /// and has a share of its own, so that busy clients cannot starve them.
    pub(in crate::engine) fn endpoints_work(&mut self) {
        self.core.work.begin(TurnPhase::Endpoint);
        while !self.core.work.is_spent()
            && let Some(mail) = self.core.exchange.next_arrived()
        {
            self.endpoint_mail(mail);
        }
        for _ in 0..self.core.at_work.len() {
            if self.core.work.is_spent() {
                break;
            }
            let Some(id) = self.core.at_work.pop_front() else {
                break;
            };
            let endpoint = self.endpoint(id);
            if endpoint.turn(&mut self.core, id) {
                self.core.ask_for_turn(id);
            }
        }
        self.core.note_cut(self.have_endpoints_work());
    }

    /// Hands one mail to its endpoint.
    pub(in crate::engine) fn endpoint_mail(&mut self, mail: EndpointMail) {
        self.core.work.spend(PRICE_RUN);
        let endpoint = self.endpoint(mail.endpoint);
        endpoint.mail(&mut self.core, mail);
    }

    /// Tells all endpoints that a second has passed.
    pub(in crate::engine) fn tick_endpoints(&mut self) {
        self.each_endpoint(|clients, id| {
            let endpoint = clients.endpoint(id);
            endpoint.tick(&mut clients.core, id);
        });
    }

    fn each_endpoint(&mut self, mut call: impl FnMut(&mut Clients, EndpointId)) {
        for number in 0..self.endpoints.len() {
            call(self, EndpointId(number as u16));
        }
    }
}
