//! Hooks in the order in which they are called.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use corecast_nostr::{Event, Filter};
use serde_json::{Map, Value};

use super::{Context, NostrHooks, Operation, Rejection, Subscriber};
use crate::engine::{Refused, Request};

/// Hooks in the order in which they were added, which is the order in which they are called.
///
/// ```
/// use corecast::relay::nostr::{HookList, NostrSettings, policies};
///
/// let hooks = HookList::new()
///     .reject_event(policies::prevent_large_tags(100))
///     .reject_filter(policies::no_complex_filters)
///     .on_event_saved(|_, event| println!("{}", event.json()));
/// let settings = NostrSettings {
///     hooks,
///     ..NostrSettings::default()
/// };
/// # let _ = settings;
/// ```
#[derive(Clone, Default)]
pub struct HookList {
    all: Vec<Arc<dyn NostrHooks>>,
    /// Those that concern deliveries.
    deliveries: Vec<Arc<dyn NostrHooks>>,
}

impl HookList {
    /// No hooks.
    pub fn new() -> HookList {
        HookList::default()
    }

    /// Adds hooks.
    #[must_use]
    pub fn with(mut self, hooks: impl NostrHooks) -> HookList {
        let hooks: Arc<dyn NostrHooks> = Arc::new(hooks);
        if hooks.concerns_deliveries() {
            self.deliveries.push(Arc::clone(&hooks));
        }
        self.all.push(hooks);
        self
    }

    /// Adds all hooks of another list.
    #[must_use]
    pub fn with_all(mut self, others: HookList) -> HookList {
        self.all.extend(others.all);
        self.deliveries.extend(others.deliveries);
        self
    }

    /// Whether the list has none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The number of hooks.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn all(&self) -> &[Arc<dyn NostrHooks>] {
        &self.all
    }

    pub(super) fn deliveries(&self) -> &[Arc<dyn NostrHooks>] {
        &self.deliveries
    }
}

impl fmt::Debug for HookList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookList({})", self.all.len())
    }
}

/// For each hook, a method of [`HookList`] that adds a closure, and a type that contains it.
macro_rules! closures {
    ($($about:literal $name:ident, $adapter:ident: ($($arg:ident: $type:ty),*) $(-> $result:ty)?,
       $concerns_deliveries:literal;)*) => {
        impl HookList {$(
            #[doc = $about]
            #[must_use]
            pub fn $name<F>(self, hook: F) -> HookList
            where
                F: Fn($($type),*) $(-> $result)? + Send + Sync + 'static,
            {
                self.with($adapter(hook))
            }
        )*}
        $(
            struct $adapter<F>(F);

            impl<F> NostrHooks for $adapter<F>
            where
                F: Fn($($type),*) $(-> $result)? + Send + Sync + 'static,
            {
                fn $name(&self, $($arg: $type),*) $(-> $result)? {
                    (self.0)($($arg),*)
                }

                fn concerns_deliveries(&self) -> bool {
                    $concerns_deliveries
                }
            }
        )*
    };
}

closures! {
    "Adds [`NostrHooks::reject_connection`]."
    reject_connection, RejectConnection: (request: &Request<'_>) -> Result<(), Refused>, false;
    "Adds [`NostrHooks::reject_event`]."
    reject_event, RejectEvent: (context: &Context<'_>, event: &Event) -> Result<(), Rejection>,
        false;
    "Adds [`NostrHooks::reject_filter`]."
    reject_filter, RejectFilter:
        (context: &Context<'_>, operation: Operation, filter: &Filter) -> Result<(), Rejection>,
        false;
    "Adds [`NostrHooks::overwrite_filter`]."
    overwrite_filter, OverwriteFilter: (context: &Context<'_>, filter: &mut Filter), false;
    "Adds [`NostrHooks::overwrite_deletion_outcome`]."
    overwrite_deletion_outcome, OverwriteDeletionOutcome:
        (target: &Event, deletion: &Event, is_due: bool) -> bool, false;
    "Adds [`NostrHooks::on_event_saved`]."
    on_event_saved, OnEventSaved: (context: &Context<'_>, event: &Event), false;
    "Adds [`NostrHooks::on_ephemeral_event`]."
    on_ephemeral_event, OnEphemeralEvent: (context: &Context<'_>, event: &Event), false;
    "Adds [`NostrHooks::overwrite_response_event`]."
    overwrite_response_event, OverwriteResponseEvent:
        (context: &Context<'_>, event: &Event) -> Option<Bytes>, true;
    "Adds [`NostrHooks::prevent_broadcast`]."
    prevent_broadcast, PreventBroadcast:
        (subscriber: &Subscriber<'_>, filter: &Filter, event: &Event) -> bool, true;
    "Adds [`NostrHooks::overwrite_relay_information`]."
    overwrite_relay_information, OverwriteRelayInformation:
        (request: &Request<'_>, document: &mut Map<String, Value>), false;
}
