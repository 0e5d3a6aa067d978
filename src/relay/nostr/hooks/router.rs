//! Several sets of hooks behind one endpoint.

use bytes::Bytes;
use corecast_nostr::{Event, Filter};
use serde_json::{Map, Value};

use super::{Context, HookList, NostrHooks, Operation, Rejection, Subscriber};
use crate::engine::{Refused, Request};

/// Hooks that are only for some events and filters: khatru's router.
///
/// An event is the business of the first route that takes it, a filter that of every route that
/// takes it. No hook of a route is called for others. All routes share the store of the relay: one
/// EOSE follows the answers of all, and a filter also finds events of other routes that match it.
/// Relays with stores of their own are endpoints of their own, each with its path.
///
/// ```
/// use corecast::relay::nostr::{HookList, Router, policies};
///
/// let groups = HookList::new().reject_event(policies::only_allow_nip70_protected_events);
/// let rest = HookList::new().reject_filter(policies::anti_sync_bots);
/// let is_of_groups = |kind: u16| (9_000..9_021).contains(&kind);
/// let router = Router::new()
///     .route(
///         move |event| is_of_groups(event.kind()),
///         move |filter| filter.kinds.iter().flatten().any(|kind| is_of_groups(*kind)),
///         groups,
///     )
///     .route(|_| true, |_| true, rest);
/// let hooks = HookList::new().with(router);
/// # let _ = hooks;
/// ```
#[derive(Default)]
pub struct Router {
    routes: Vec<Route>,
}

struct Route {
    events: Box<dyn Fn(&Event) -> bool + Send + Sync>,
    filters: Box<dyn Fn(&Filter) -> bool + Send + Sync>,
    hooks: HookList,
}

impl Route {
    fn hooks(&self) -> impl Iterator<Item = &dyn NostrHooks> {
        self.hooks.all().iter().map(|hook| &**hook)
    }
}

impl Router {
    /// A router without routes.
    pub fn new() -> Router {
        Router::default()
    }

    /// Adds a route for the events and the filters for which the functions return true.
    #[must_use]
    pub fn route<E, F>(mut self, events: E, filters: F, hooks: HookList) -> Router
    where
        E: Fn(&Event) -> bool + Send + Sync + 'static,
        F: Fn(&Filter) -> bool + Send + Sync + 'static,
    {
        self.routes.push(Route {
            events: Box::new(events),
            filters: Box::new(filters),
            hooks,
        });
        self
    }

    fn all(&self) -> impl Iterator<Item = &dyn NostrHooks> {
        self.routes.iter().flat_map(Route::hooks)
    }

    fn of_event(&self, event: &Event) -> impl Iterator<Item = &dyn NostrHooks> {
        let route = self.routes.iter().find(|route| (route.events)(event));
        route.into_iter().flat_map(Route::hooks)
    }
}

/// Hooks on connections and on the information document are called whatever the route.
impl NostrHooks for Router {
    fn reject_connection(&self, request: &Request<'_>) -> Result<(), Refused> {
        self.all()
            .try_for_each(|hook| hook.reject_connection(request))
    }

    fn reject_event(&self, context: &Context<'_>, event: &Event) -> Result<(), Rejection> {
        self.of_event(event)
            .try_for_each(|hook| hook.reject_event(context, event))
    }

    fn reject_filter(
        &self,
        context: &Context<'_>,
        operation: Operation,
        filter: &Filter,
    ) -> Result<(), Rejection> {
        let routes = self.routes.iter().filter(|route| (route.filters)(filter));
        routes
            .flat_map(Route::hooks)
            .try_for_each(|hook| hook.reject_filter(context, operation, filter))
    }

    fn overwrite_filter(&self, context: &Context<'_>, filter: &mut Filter) {
        let routes = self.routes.iter().filter(|route| (route.filters)(filter));
        // The routes are chosen before any of their hooks changes the filter.
        let hooks: Vec<_> = routes.flat_map(Route::hooks).collect();
        for hook in hooks {
            hook.overwrite_filter(context, filter);
        }
    }

    fn overwrite_deletion_outcome(&self, target: &Event, deletion: &Event, is_due: bool) -> bool {
        self.of_event(target).fold(is_due, |is_due, hook| {
            hook.overwrite_deletion_outcome(target, deletion, is_due)
        })
    }

    fn on_event_saved(&self, context: &Context<'_>, event: &Event) {
        self.of_event(event)
            .for_each(|hook| hook.on_event_saved(context, event));
    }

    fn on_ephemeral_event(&self, context: &Context<'_>, event: &Event) {
        self.of_event(event)
            .for_each(|hook| hook.on_ephemeral_event(context, event));
    }

    fn overwrite_response_event(&self, context: &Context<'_>, event: &Event) -> Option<Bytes> {
        self.of_event(event)
            .find_map(|hook| hook.overwrite_response_event(context, event))
    }

    fn prevent_broadcast(
        &self,
        subscriber: &Subscriber<'_>,
        filter: &Filter,
        event: &Event,
    ) -> bool {
        self.of_event(event)
            .any(|hook| hook.prevent_broadcast(subscriber, filter, event))
    }

    fn overwrite_relay_information(
        &self,
        request: &Request<'_>,
        document: &mut Map<String, Value>,
    ) {
        self.all()
            .for_each(|hook| hook.overwrite_relay_information(request, document));
    }

    fn concerns_deliveries(&self) -> bool {
        let mut routes = self.routes.iter();
        routes.any(|route| !route.hooks.deliveries().is_empty())
    }
}
