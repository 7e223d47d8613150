//! Which configuration of a plugin a request meets: Kong's order of scopes, compiled into slots.
//!
//! Kong takes the most specific of route+service+consumer, route+consumer, service+consumer,
//! route+service, consumer, route, service, global. On one route those without a consumer give one
//! instance for everybody, and those with one give an instance per consumer, unless everybody's
//! is for route+service and the consumer's own names neither.
//!
//! Invariant: configurations are never merged, and a disabled one counts as absent.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::config::model::{Model, Plugin};
use crate::identity::Identity;
use crate::plugin::{Build, Credentials, Instance, Plan, PluginDef, Scope, Slot, guarded};
use crate::telemetry::Metrics;
use crate::util::background::give_way;
use crate::util::handles::Handles;
use crate::util::ids::ConsumerIx;
use crate::util::keep::Keeps;

/// What an instance is attached to, as indexes of the model's lists.
type At = (Option<usize>, Option<usize>, Option<usize>);

/// Every enabled instance, by plugin and scope. `I` is the instance, or what stands for it.
pub(super) struct Plans<I> {
    plugins: Vec<(&'static PluginDef, Instances<I>)>,
}

/// The instances of one plugin.
pub(super) struct Instances<I> {
    by_scope: HashMap<At, I>,
    /// The consumers that have an instance at a route and a service, each once.
    consumers: HashMap<(Option<usize>, Option<usize>), Vec<usize>>,
    /// What routes without an instance of their own run.
    shared: RefCell<Shared<I>>,
}

/// By whether consumers alone count, and by the service that has instances for consumers.
type Shared<I> = HashMap<(bool, Option<usize>), ByConsumer<I>>;

/// What single consumers run.
type ByConsumer<I> = Arc<HashMap<ConsumerIx, I>>;

/// What instances are built from.
pub(super) struct Sources<'a> {
    pub(super) identity: &'a Identity,
    pub(super) credentials: &'a Credentials,
    pub(super) keeps: &'a Keeps,
    pub(super) handles: &'a Handles,
    pub(super) metrics: &'a Metrics,
    pub(super) workers: usize,
}

impl<I: Clone> Plans<I> {
    /// Makes something of every enabled instance, once each.
    pub(super) fn new(
        model: &Model,
        table: &[&'static PluginDef],
        mut make: impl FnMut(&'static PluginDef, usize, &Plugin) -> I,
    ) -> Self {
        let mut of = |def: &&'static PluginDef| {
            let name = def.known.name;
            let all = model.plugins.iter().enumerate();
            let enabled = all.filter(|(_, plugin)| plugin.enabled && plugin.name == name);
            let made = enabled.map(|(ix, plugin)| (at(plugin), make(def, ix, plugin)));
            (*def, Instances::new(made))
        };
        let mut plugins: Vec<_> = table.iter().map(&mut of).collect();
        plugins.retain(|(_, instances)| !instances.by_scope.is_empty());
        Plans { plugins }
    }

    /// What runs on a route, plugin by plugin: for everybody, and for single consumers.
    fn choices(
        &self,
        route: usize,
        service: Option<usize>,
    ) -> impl Iterator<Item = (&'static PluginDef, Option<I>, ByConsumer<I>)> {
        self.plugins.iter().filter_map(move |(def, instances)| {
            let base = instances.base(route, service).cloned();
            let by_consumer = instances.by_consumer(route, service);
            let used = base.is_some() || !by_consumer.is_empty();
            used.then_some((*def, base, by_consumer))
        })
    }
}

/// One plugin of a route's chain, as indexes of the model's plugins.
pub struct Chosen {
    /// The plugin.
    pub def: &'static PluginDef,
    /// The configuration for everybody without one of their own.
    pub base: Option<usize>,
    /// The configurations of single consumers, as indexes of the model's consumers.
    pub by_consumer: Vec<(usize, usize)>,
}

/// What runs on a route, given as indexes of the model's lists, in the order in which it runs.
pub fn chosen(
    model: &Model,
    table: &[&'static PluginDef],
    route: usize,
    service: Option<usize>,
) -> Vec<Chosen> {
    let plans = Plans::new(model, table, |_, ix, _| ix);
    let choices = plans.choices(route, service);
    let mut all: Vec<Chosen> = choices
        .map(|(def, base, by_consumer)| {
            let mut by_consumer: Vec<_> = by_consumer
                .iter()
                .map(|(consumer, plugin)| (consumer.ix(), *plugin))
                .collect();
            by_consumer.sort_unstable();
            Chosen {
                def,
                base,
                by_consumer,
            }
        })
        .collect();
    all.sort_by_key(|chosen| (-chosen.def.priority, chosen.def.known.name));
    all
}

impl Plans<Instance> {
    /// Builds every enabled instance.
    pub(super) fn build(
        model: &Model,
        table: &[&'static PluginDef],
        sources: &Sources<'_>,
    ) -> Self {
        Plans::new(model, table, |def, _, plugin| {
            build(model, def, plugin, sources)
        })
    }

    /// The chain of a route, given as indexes of the model's lists.
    pub(super) fn of_route(&self, route: usize, service: Option<usize>) -> Plan {
        let slot = |(def, base, by_consumer)| Slot {
            def,
            base,
            by_consumer,
        };
        Plan::new(self.choices(route, service).map(slot).collect())
    }

    /// The chain of requests that match no route.
    pub(super) fn global(&self) -> Plan {
        let slot = |(def, instances): &(&'static PluginDef, Instances<_>)| {
            let base = instances.by_scope.get(&(None, None, None))?;
            Some(Slot {
                def,
                base: Some(Arc::clone(base)),
                by_consumer: Arc::default(),
            })
        };
        Plan::new(self.plugins.iter().filter_map(slot).collect())
    }
}

fn at(plugin: &Plugin) -> At {
    (plugin.route, plugin.service, plugin.consumer)
}

fn build(model: &Model, def: &PluginDef, plugin: &Plugin, sources: &Sources<'_>) -> Instance {
    give_way();
    let route = plugin.route.and_then(|ix| model.routes.get(ix));
    let service = plugin.service.and_then(|ix| model.services.get(ix));
    let consumer = plugin.consumer.and_then(|ix| model.consumers.get(ix));
    let scope = Scope {
        id: plugin.meta.id.to_string(),
        route: route.map(|it| it.meta.id.to_string()).unwrap_or_default(),
        service: service.map(|it| it.meta.id.to_string()).unwrap_or_default(),
        consumer: consumer
            .map(|it| it.meta.id.to_string())
            .unwrap_or_default(),
    };
    let behind = route.and_then(|route| model.services.get(route.service?));
    let services = match service.or(behind) {
        Some(one) => std::slice::from_ref(one),
        None if route.is_some() => &[],
        None => &model.services,
    };
    let build = Build {
        scope: &scope,
        route,
        services,
        identity: sources.identity,
        credentials: sources.credentials,
        keeps: sources.keeps,
        handles: sources.handles,
        workers: sources.workers,
    };
    let panics = sources.metrics.counter(
        "sluicegate_plugin_panics_total",
        "Panics of plugins; each has ended one request with 500.",
        &[("plugin", def.known.name)],
    );
    guarded((def.build)(&plugin.config, &build), panics)
}

impl<I: Clone> Instances<I> {
    fn new(instances: impl Iterator<Item = (At, I)>) -> Self {
        let by_scope: HashMap<At, I> = instances.collect();
        let mut consumers: HashMap<_, Vec<usize>> = HashMap::new();
        for (route, service, consumer) in by_scope.keys() {
            if let Some(consumer) = consumer {
                consumers
                    .entry((*route, *service))
                    .or_default()
                    .push(*consumer);
            }
        }
        Instances {
            by_scope,
            consumers,
            shared: RefCell::default(),
        }
    }

    fn get(&self, at: At) -> Option<&I> {
        self.by_scope.get(&at)
    }

    /// What runs for everybody without an instance of their own.
    fn base(&self, route: usize, service: Option<usize>) -> Option<&I> {
        self.both(route, service, None)
            .or_else(|| self.get((Some(route), None, None)))
            .or_else(|| service.and_then(|service| self.get((None, Some(service), None))))
            .or_else(|| self.get((None, None, None)))
    }

    /// The instance for route and service together; a route without service has none.
    fn both(&self, route: usize, service: Option<usize>, consumer: Option<usize>) -> Option<&I> {
        self.get((Some(route), Some(service?), consumer))
    }

    /// What runs for single consumers.
    fn by_consumer(&self, route: usize, service: Option<usize>) -> ByConsumer<I> {
        let has = |at: (Option<usize>, Option<usize>)| self.consumers.contains_key(&at);
        let alone = self.both(route, service, None).is_none();
        if has((Some(route), None)) || has((Some(route), service)) {
            return Arc::new(self.collect(alone, Some(route), service));
        }
        let service = service.filter(|service| has((None, Some(*service))));
        let mut shared = self.shared.borrow_mut();
        let made = shared
            .entry((alone, service))
            .or_insert_with(|| Arc::new(self.collect(alone, None, service)));
        Arc::clone(made)
    }

    /// `alone`: consumers' own instances count, which route+service outranks.
    fn collect(
        &self,
        alone: bool,
        route: Option<usize>,
        service: Option<usize>,
    ) -> HashMap<ConsumerIx, I> {
        let mut found = HashMap::new();
        // From the weakest to the strongest: later ones replace earlier ones.
        if alone {
            self.add((None, None), &mut found);
        }
        if service.is_some() {
            self.add((None, service), &mut found);
        }
        if route.is_some() {
            self.add((route, None), &mut found);
            self.add((route, service), &mut found);
        }
        found
    }

    fn add(
        &self,
        (route, service): (Option<usize>, Option<usize>),
        found: &mut HashMap<ConsumerIx, I>,
    ) {
        for consumer in self.consumers.get(&(route, service)).into_iter().flatten() {
            if let Some(instance) = self.get((route, service, Some(*consumer))) {
                found.insert(ConsumerIx::from(*consumer), instance.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The eight steps as Kong's documentation lists them.
    fn oracle(
        all: &[At],
        route: usize,
        service: Option<usize>,
        consumer: Option<usize>,
    ) -> Option<At> {
        let (r, s, c) = (Some(route), service, consumer);
        let mut steps = Vec::new();
        if s.is_some() && c.is_some() {
            steps.push((r, s, c));
        }
        if c.is_some() {
            steps.push((r, None, c));
        }
        if s.is_some() && c.is_some() {
            steps.push((None, s, c));
        }
        if s.is_some() {
            steps.push((r, s, None));
        }
        if c.is_some() {
            steps.push((None, None, c));
        }
        steps.push((r, None, None));
        if s.is_some() {
            steps.push((None, s, None));
        }
        steps.push((None, None, None));
        steps.into_iter().find(|step| all.contains(step))
    }

    /// What a slot would run.
    fn chosen(
        all: &[At],
        route: usize,
        service: Option<usize>,
        consumer: Option<usize>,
    ) -> Option<At> {
        let instances = Instances::new(all.iter().map(|at| (*at, *at)));
        let own = instances.by_consumer(route, service);
        let own = consumer.and_then(|consumer| own.get(&ConsumerIx::from(consumer)).copied());
        own.or_else(|| instances.base(route, service).copied())
    }

    #[test]
    fn route_and_service_outrank_a_consumer_alone() {
        let all = [(Some(0), Some(0), None), (None, None, Some(0))];
        assert_eq!(chosen(&all, 0, Some(0), Some(0)), Some(all[0]));
        assert_eq!(chosen(&all, 1, Some(0), Some(0)), Some(all[1]));
        assert_eq!(chosen(&all, 0, None, Some(0)), Some(all[1]));
    }

    #[test]
    fn routes_without_their_own_share_what_consumers_run() {
        let all = [
            (None, None, Some(0)),
            (Some(5), None, Some(1)),
            (None, Some(2), Some(3)),
        ];
        let instances = Instances::new(all.iter().map(|at| (*at, *at)));
        let of = |route, service| instances.by_consumer(route, service);
        assert!(Arc::ptr_eq(&of(0, Some(0)), &of(1, Some(1))));
        assert!(Arc::ptr_eq(&of(0, Some(2)), &of(1, Some(2))));
        assert_eq!(
            (
                of(0, Some(0)).len(),
                of(0, Some(2)).len(),
                of(5, Some(0)).len()
            ),
            (1, 2, 2)
        );
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_the_eight_steps(
            all in proptest::collection::hash_set(
                (
                    proptest::option::of(0usize..2),
                    proptest::option::of(0usize..2),
                    proptest::option::of(0usize..2),
                ),
                0..10,
            ),
            route in 0usize..2,
            service in proptest::option::of(0usize..2),
            consumer in proptest::option::of(0usize..3),
        ) {
            let all: Vec<At> = all.into_iter().collect();
            prop_assert_eq!(
                chosen(&all, route, service, consumer),
                oracle(&all, route, service, consumer),
            );
        }
    }
}
