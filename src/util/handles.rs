//! A map by type: things that the process offers to whoever knows their type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

/// Filled once at start; read while compiling.
#[derive(Clone, Default)]
pub struct Handles(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Handles {
    /// Offers a value under its type, in place of an earlier one.
    pub fn offer<T: Any + Send + Sync>(&mut self, value: Arc<T>) {
        self.0.insert(TypeId::of::<T>(), value);
    }

    /// The value of that type, if one is offered.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }
}
