//! What the transforming plugins share: Kong's five steps over anything that has named values.
//!
//! Invariant: the steps run in one order, remove, rename, replace, add, append, each over its
//! entries in the order of the file, each on what the ones before have left.

pub(super) mod entries;
pub(super) mod fields;
pub(super) mod object;
pub(super) mod pairs;
pub(super) mod parts;
pub(super) mod template;

/// Named values that can be edited. A name may have several values.
pub(super) trait Named {
    /// Whether the name has a value.
    fn has(&self, name: &str) -> bool;
    /// Takes all values of the name away.
    fn remove(&mut self, name: &str);
    /// Gives all values of `from`, which has some, to `to` instead of its own.
    fn rename(&mut self, from: &str, to: &str);
    /// Puts one value in the place of all values of the name, if it has any.
    fn set(&mut self, name: &str, value: &str);
    /// Adds a further value.
    fn append(&mut self, name: &str, value: &str);
}

/// The five steps over one kind of values. `V` is what stands for a value.
#[derive(Clone, Debug)]
pub(super) struct Edits<V> {
    /// Names to be taken out.
    pub(super) remove: Vec<String>,
    /// Old names and new ones.
    pub(super) rename: Vec<(String, V)>,
    /// Values in place of those that are there.
    pub(super) replace: Vec<(String, V)>,
    /// Values for names that are not there.
    pub(super) add: Vec<(String, V)>,
    /// Further values.
    pub(super) append: Vec<(String, V)>,
}

impl<V> Default for Edits<V> {
    fn default() -> Self {
        Edits {
            remove: Vec::new(),
            rename: Vec::new(),
            replace: Vec::new(),
            add: Vec::new(),
            append: Vec::new(),
        }
    }
}

impl<V> Edits<V> {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.rename.is_empty() && self.replace.is_empty() && !self.grows()
    }

    /// Whether something may come of nothing.
    pub(super) fn grows(&self) -> bool {
        !self.add.is_empty() || !self.append.is_empty()
    }

    /// Runs the steps; `text` gives each value.
    pub(super) fn apply<'v>(&'v self, to: &mut impl Named, text: impl Fn(&'v V) -> &'v str) {
        for name in &self.remove {
            to.remove(name);
        }
        for (from, name) in &self.rename {
            let name = text(name);
            if from != name && to.has(from) {
                to.rename(from, name);
            }
        }
        for (name, value) in &self.replace {
            if to.has(name) {
                to.set(name, text(value));
            }
        }
        for (name, value) in &self.add {
            if !to.has(name) {
                to.set(name, text(value));
            }
        }
        for (name, value) in &self.append {
            to.append(name, text(value));
        }
    }
}

#[cfg(test)]
mod tests;
